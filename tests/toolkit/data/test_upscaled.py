import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

import spikeproof as sp
from spikeproof.eval.measure.qualities import whole
from spikeproof.toolkit.config import DataSettings
from spikeproof.toolkit.data import load_data, upscaled
from spikeproof.toolkit.errors import FileError, RecipeError
from spikeproof.toolkit.task.regression import Upscaling


def test_digits_are_targets_and_their_means_are_images() -> None:
    data, digits = load_data(DataSettings.of({"name": "digits-x2"})), sp.load_data("digits")
    assert isinstance(data.task, Upscaling)
    assert (data.shape, data.classes, data.task.scale) == ((1, 4, 4), 64, 2)
    assert isinstance(data.task, Upscaling)
    assert np.array_equal(data.task.images(data.test_labels), digits.test_images)
    means = digits.test_images.reshape(-1, 1, 4, 2, 4, 2).mean((3, 5))
    assert np.array_equal(data.test_images, means)
    assert len(data.train_images) + len(data.test_images) == len(load_digits().target)


def test_bicubic_digits_are_the_baseline() -> None:
    data = sp.load_data("digits-x2", test_samples=20)
    assert data.baseline is not None
    assert isinstance(data.task, Upscaling)
    for small, found in zip(data.test_images, data.task.images(data.baseline.outputs), strict=True):
        expected = np.asarray(Image.fromarray(small[0]).resize((8, 8), Image.Resampling.BICUBIC)).clip(0, 1)
        assert np.array_equal(found[0], expected)


def test_luma_is_that_of_bt_601() -> None:
    colours = np.array([[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)
    assert upscaled.luma(colours).tolist() == [16, 235, 81, 145, 41]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Five pictures that are not Set5, and a few images that are not CIFAR-10."""
    rng, sums = np.random.default_rng(0), {}
    (tmp_path / "Set5").mkdir()
    for name, size in zip(upscaled.SET5, [(61, 64), (40, 33), (32, 32), (20, 77), (50, 50)], strict=True):
        path = tmp_path / "Set5" / f"{name}.png"
        Image.fromarray(rng.integers(0, 256, (*size, 3)).astype(np.uint8)).save(path)
        sums[name] = hashlib.md5(path.read_bytes()).hexdigest()
    arrays = {
        "x_train": rng.integers(0, 256, (7, 32, 32, 3)).astype(np.uint8),
        "y_train": np.zeros(7, np.uint8),
        "x_test": np.zeros((1, 32, 32, 3), np.uint8),
        "y_test": np.zeros(1, np.uint8),
    }
    (tmp_path / "cifar10").mkdir()
    packed = tmp_path / "cifar10" / "cifar10_exact_subset.npz"
    np.savez(packed, **arrays)
    monkeypatch.setattr(upscaled, "SET5", sums)
    monkeypatch.setattr("spikeproof.toolkit.data.cifar.SUBSET_MD5", hashlib.md5(packed.read_bytes()).hexdigest())
    return tmp_path


@pytest.mark.parametrize("scale", [2, 4])
def test_tiles_put_together_are_the_pictures(folder: Path, scale: int) -> None:
    data = sp.load_data("set5", path=str(folder), scale=scale)
    task = data.task
    assert isinstance(task, Upscaling)
    assert task.scale == scale
    assert data.shape == (1, 32 // scale, 32 // scale)
    assert len(data.train_images) == 7
    pixels = task.pixels(data.test_labels)
    for picture in task.pictures:
        colours = np.asarray(Image.open(folder / "Set5" / f"{picture.name}.png"))
        luma = upscaled.luma(colours)
        height, width = (length - length % scale for length in luma.shape)
        assert picture.size == (height, width)
        cut = luma[:height, :width][scale:-scale, scale:-scale]
        assert np.array_equal(np.rint(255 * whole(picture, task, pixels)[0]), cut)


def test_small_tiles_show_the_small_picture_and_mirror_its_edges(folder: Path) -> None:
    data = sp.load_data("set5", path=str(folder), scale=2)
    luma = upscaled.luma(np.asarray(Image.open(folder / "Set5" / "bird.png")))[:40, :32]
    small = np.rint(np.asarray(Image.fromarray(luma.astype(np.float32)).resize((16, 20), Image.Resampling.BICUBIC)))
    padded = np.pad(small.clip(0, 255), ((3, 13), (3, 13)), mode="symmetric")
    assert isinstance(data.task, Upscaling)
    picture = next(one for one in data.task.pictures if one.name == "bird")
    for sample, top, left in picture.places:
        expected = padded[top // 2 : top // 2 + 16, left // 2 : left // 2 + 16]
        assert np.array_equal(np.rint(255 * data.test_images[sample, 0]), expected)


def test_another_picture_is_refused(folder: Path) -> None:
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(folder / "Set5" / "head.png")
    with pytest.raises(FileError, match=r"head\.png: is not the published file"):
        sp.load_data("set5", path=str(folder))


def test_other_scales_are_refused() -> None:
    with pytest.raises(RecipeError, match="scale"):
        sp.load_data("set5", scale=5)
