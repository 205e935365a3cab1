"""Folders of images, written here by Pillow."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from spikeproof.toolkit.config import DataSettings
from spikeproof.toolkit.data import Dataset, folder, load_data, places
from spikeproof.toolkit.errors import FileError, InputError

PIXELS = np.random.default_rng(0).integers(0, 256, (9, 5, 4, 3), dtype=np.uint8)


def save(path: Path, pixels: np.ndarray, mode: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two training images of "ant" and three of "bee", one test image of each; "bee" comes first in time."""
    for number, place in enumerate(
        ("train/bee/1.png", "train/bee/2.bmp", "train/bee/3.png", "train/ant/9.png", "train/ant/x.png")
    ):
        save(tmp_path / "insects" / place, PIXELS[number])
    save(tmp_path / "insects/test/bee/1.png", PIXELS[5])
    save(tmp_path / "insects/test/ant/1.png", PIXELS[6])
    (tmp_path / "insects" / "train" / "ant" / ".hidden").write_text("no image")
    return tmp_path / "insects"


def load(root: Path, **settings: int) -> Dataset:
    return load_data(DataSettings(name="folder", path=str(root), **settings))


def test_classes_are_sub_folders_and_come_in_turn(root: Path) -> None:
    data = load(root)
    assert (data.name, data.kind, data.classes, data.shape) == ("insects", "image", 2, (3, 5, 4))
    assert list(data.train_labels) == [0, 1, 0, 1, 1]
    expected = PIXELS[[3, 0, 4, 1, 2]].transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(np.rint(data.train_images * 255), expected)
    assert list(data.test_labels) == [0, 1]
    assert data.provenance == "insects, 5 train, 2 test"


def test_a_cut_keeps_all_classes_and_says_what_it_is_a_part_of(root: Path) -> None:
    data = load(root, train_samples=1, test_samples=1)
    assert (len(data.train_images), data.classes) == (1, 2)
    assert data.provenance == "insects, 1 of 5 train, 1 of 2 test"


def test_grey_images_have_one_channel(tmp_path: Path) -> None:
    for place in ("train/a/1.png", "train/b/1.png", "test/a/1.png"):
        save(tmp_path / place, PIXELS[0, :, :, 0])
    data = load(tmp_path)
    assert data.shape == (1, 5, 4)
    np.testing.assert_array_equal(np.rint(data.train_images[0, 0] * 255), PIXELS[0, :, :, 0])


def test_jpeg_is_read_as_pillow_decodes_it(root: Path) -> None:
    path = save(root / "photo.jpg", PIXELS[0])
    np.testing.assert_array_equal(folder.read_image(path), np.asarray(Image.open(path)).transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("place", "pixels", "mode", "why"),
    [
        ("train/bee/4.png", PIXELS[0, :4], None, r"4\.png: shape \(3, 4, 4\), but .*9\.png has \(3, 5, 4\)"),
        ("test/bee/4.png", PIXELS[0, :, :, 0], None, r"4\.png: shape \(1, 5, 4\)"),
        ("train/bee/4.png", PIXELS[0], "P", r"4\.png: mode P, expected 8-bit grey \(L\) or RGB"),
        ("train/bee/4.png", PIXELS[0], "RGBA", r"4\.png: mode RGBA"),
        ("train/bee/4.png", PIXELS[0], "1", r"4\.png: mode 1"),
        ("test/wasp/4.png", PIXELS[0], None, r"test: class 'wasp' is not among those to train on: ant, bee"),
    ],
)
def test_what_does_not_fit_is_named(root: Path, place: str, pixels: np.ndarray, mode: str | None, why: str) -> None:
    save(root / place, pixels, mode)
    with pytest.raises(FileError, match=why):
        load(root)


def test_other_files_and_missing_parts_are_named(root: Path) -> None:
    note = root / "train" / "ant" / "note.txt"
    note.write_text("?")
    with pytest.raises(FileError, match=r"note\.txt: not one of \.png, .*; remove it"):
        load(root)
    note.unlink()
    (root / "test").rename(root / "tests")
    with pytest.raises(FileError, match=r"test: not a readable folder .*<class>/\*\.png"):
        load(root)
    (root / "test" / "ant").mkdir(parents=True)
    with pytest.raises(FileError, match=r"test: no images; expected test/<class>/\*\.png"):
        load(root)


def test_a_file_in_place_of_a_class_is_refused(root: Path) -> None:
    save(root / "train" / "loose.png", PIXELS[0])
    with pytest.raises(FileError, match=r"loose\.png: not a readable folder"):
        load(root)


def test_limits_are_checked_before_pixels_are_unpacked(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(places, "MOST_BYTES", 1000)
        with pytest.raises(InputError, match=r"train: \(5, 3, 5, 4\) values take"):
            load(root)
    with monkeypatch.context() as patch:
        patch.setattr(folder, "PIXEL_LIMIT", 19)
        with pytest.raises(FileError, match=r"4x5 pixels, 19 at most"):
            load(root)
    monkeypatch.setattr(folder, "FILE_LIMIT", 10)
    with pytest.raises(FileError, match="more than 10 bytes"):
        load(root)


def test_a_decompression_bomb_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "bomb.png", np.zeros((50, 50), np.uint8))
    for limit in (2000, 100):  # where Pillow warns, and where it refuses
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        monkeypatch.setattr(folder, "PIXEL_LIMIT", 2000)
        with pytest.raises(FileError, match=r"bomb\.png: "):
            folder.read_image(path)


@pytest.mark.parametrize("suffix", folder.FORMATS)
@given(data=st.data())
def test_damaged_images_are_refused_or_read_but_never_crash(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, data: st.DataObject
) -> None:
    path = save(tmp_path_factory.getbasetemp() / f"damaged{suffix}", PIXELS[0])
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        del content[place:]
    else:
        content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        assert folder.read_image(path).ndim == 3
    except FileError as error:
        assert str(error).startswith(f"{path}: ")  # noqa: PT017
        assert "\n" not in str(error)  # noqa: PT017
