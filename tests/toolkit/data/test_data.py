import hashlib
import io
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from sklearn.datasets import load_digits

from spikeproof.toolkit.config import DataSettings
from spikeproof.toolkit.data import Dataset, check_images, check_labels, load_data, read_npz
from spikeproof.toolkit.errors import FileError, InputError

GOOD = np.zeros((3, 1, 4, 4), np.float32)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_data(DataSettings())


def sample_counts(images: np.ndarray, labels: np.ndarray) -> Counter[tuple[bytes, int]]:
    return Counter((image.tobytes(), int(label)) for image, label in zip(images, labels, strict=True))


def test_digits_are_split_1297_to_500(digits: Dataset) -> None:
    assert digits.train_images.shape == (1297, 1, 8, 8)
    assert digits.test_images.shape == (500, 1, 8, 8)
    assert (digits.name, digits.shape, digits.classes) == ("digits", (1, 8, 8), 10)
    assert digits.train_images.dtype == digits.test_images.dtype == np.float32
    assert digits.train_labels.dtype == digits.test_labels.dtype == np.int64


def test_every_original_digit_is_used_exactly_once(digits: Dataset) -> None:
    original = load_digits()
    whole = sample_counts((original.images / 16).astype(np.float32), original.target)
    train = sample_counts(digits.train_images, digits.train_labels)
    assert train + sample_counts(digits.test_images, digits.test_labels) == whole


def test_the_split_is_stratified(digits: Dataset) -> None:
    shares = np.bincount(load_digits().target) * 500 / 1797
    assert np.abs(np.bincount(digits.test_labels) - shares).max() < 1


def test_pixels_fill_the_unit_interval(digits: Dataset) -> None:
    assert (digits.train_images.min(), digits.train_images.max()) == (0, 1)


def test_the_hash_is_the_sha256_of_all_four_arrays_and_stays(digits: Dataset) -> None:
    parts = (digits.train_images, digits.train_labels, digits.test_images, digits.test_labels)
    assert digits.sha256 == hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()
    assert load_data(DataSettings()).sha256 == digits.sha256


def test_test_samples_cuts_the_test_part_alone_and_changes_the_hash(digits: Dataset) -> None:
    cut = load_data(DataSettings(test_samples=7))
    np.testing.assert_array_equal(cut.test_images, digits.test_images[:7])
    np.testing.assert_array_equal(cut.test_labels, digits.test_labels[:7])
    np.testing.assert_array_equal(cut.train_images, digits.train_images)
    assert cut.sha256 != digits.sha256


def with_value(value: float) -> np.ndarray:
    images = GOOD.copy()
    images[1, 0, 2, 3] = value
    return images


@pytest.mark.parametrize(
    ("images", "why"),
    [
        (with_value(np.nan), "NaN or infinity in image 1"),
        (with_value(np.inf), "NaN or infinity in image 1"),
        (with_value(-np.inf), "NaN or infinity in image 1"),
        (with_value(-0.01), r"values from -0\.01 to 0"),
        (with_value(1.5), r"values from 0 to 1\.5"),
        (GOOD[0, 0], "shape"),
        (GOOD[None], "shape"),
        (GOOD[:0], "shape"),
        (GOOD[:, :, :, :0], "shape"),
        (GOOD.astype(np.int64), "type int64"),
        (GOOD.astype(bool), "type bool"),
        (GOOD.astype(complex), "type complex128"),
        (GOOD.astype(object), "type object"),
        (GOOD.astype(str), "type <U"),
        (GOOD.astype("datetime64[s]"), "type datetime64"),
    ],
)
def test_images_are_refused_with_their_source_and_the_reason(images: np.ndarray, why: str) -> None:
    with pytest.raises(InputError, match=rf"^file\.npz: x: .*{why}"):
        check_images(images, "file.npz: x")


def test_images_of_another_shape_than_expected_are_refused() -> None:
    with pytest.raises(InputError, match=r"images of shape \(1, 4, 4\), expected \(3, 4, 4\)"):
        check_images(GOOD, "x", (3, 4, 4))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
def test_float_images_become_float32(dtype: Any) -> None:
    images = np.linspace(0, 1, 32).reshape(2, 1, 4, 4).astype(dtype)
    np.testing.assert_array_equal(check_images(images, "x"), images.astype(np.float32), strict=True)


def test_bytes_are_divided_by_255_and_a_missing_channel_is_added() -> None:
    images = np.arange(256, dtype=np.uint8).reshape(4, 8, 8)
    expected = (np.arange(256, dtype=np.float32) / np.float32(255)).reshape(4, 1, 8, 8)
    np.testing.assert_array_equal(check_images(images, "x"), expected, strict=True)


@given(
    hnp.arrays(
        hnp.boolean_dtypes() | hnp.integer_dtypes() | hnp.floating_dtypes() | hnp.complex_number_dtypes(),
        hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=2),
    )
)
def test_whatever_the_array_it_is_refused_or_becomes_images_in_the_unit_interval(array: np.ndarray) -> None:
    try:
        images = check_images(array, "x")
    except InputError:
        return
    assert images.dtype == np.float32
    assert images.ndim == 4
    assert images.min() >= 0
    assert images.max() <= 1


@pytest.mark.parametrize(
    ("labels", "why"),
    [
        (np.array([0, 10, 2]), "label 10 at index 1 is out of range, expected 0 to 9"),
        (np.array([0, 1, -1]), "label -1 at index 2"),
        (np.array([0.0, 1.0, 2.0]), r"float64 of shape \(3,\), expected 3 integers"),
        (np.array([True, False, True]), "bool"),
        (np.array([0, 1]), r"shape \(2,\), expected 3"),
        (np.array([[0, 1, 2]]), r"shape \(1, 3\)"),
        (np.array([0, 1, 2**64 - 1], dtype=np.uint64), "at index 2"),
        (np.array(["0", "1", "2"]), "<U1"),
    ],
)
def test_labels_are_refused_with_their_source_and_the_reason(labels: np.ndarray, why: str) -> None:
    with pytest.raises(InputError, match=rf"^file\.npz: y: .*{why}"):
        check_labels(labels, "file.npz: y", 3, 10)


def test_labels_become_int64() -> None:
    found = check_labels(np.array([9, 0], dtype=np.uint8), "y", 2, 10)
    np.testing.assert_array_equal(found, np.array([9, 0], dtype=np.int64), strict=True)


def archive(path: Path, **changes: Any) -> Path:
    rng = np.random.default_rng(0)
    parts = {
        "x_train": rng.random((6, 5, 4)),
        "y_train": np.array([0, 1, 2, 0, 1, 2]),
        "x_test": rng.random((4, 5, 4)),
        "y_test": np.array([2, 1, 0, 0]),
    } | changes
    np.savez(path, **{name: part for name, part in parts.items() if part is not None})
    return path


def test_an_archive_of_arrays_is_a_data_set(tmp_path: Path) -> None:
    data = load_data(DataSettings(name="arrays", path=str(archive(tmp_path / "mine.npz"))))
    assert (data.name, data.classes, data.shape) == ("mine", 3, (1, 5, 4))
    assert (len(data.train_images), len(data.test_labels)) == (6, 4)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"y_test": None}, "no array named y_test; it has x_train, y_train, x_test"),
        ({"x_test": np.zeros((4, 1, 6, 4))}, r"x_test: images of shape \(1, 6, 4\), expected \(1, 5, 4\)"),
        ({"y_test": np.array([0, 1, 2, 3])}, "y_test: label 3 at index 3 is out of range, expected 0 to 2"),
        ({"y_train": np.zeros(6, int)}, "y_train: only one class"),
        ({"y_train": np.arange(5)}, "y_train: .* expected 6 integers"),
        ({"x_train": np.full((6, 5, 4), np.nan)}, "x_train: NaN"),
        ({"y_test": np.array([{}, 1, 2, 0], dtype=object)}, "not a readable .npz archive .*pickle"),
        pytest.param(
            {"y_train": np.array([0, 1, 2, 0, 1, 10**12])},
            "y_train: label 1000000000000",
        ),
    ],
)
def test_a_bad_archive_is_refused_by_file_and_array(tmp_path: Path, changes: dict[str, Any], why: str) -> None:
    path = archive(tmp_path / "mine.npz", **changes)
    with pytest.raises(InputError, match=rf"mine\.npz: .*({why})"):
        load_data(DataSettings(name="arrays", path=str(path)))


def test_a_single_array_is_told_from_an_archive(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", GOOD)
    with pytest.raises(FileError, match=r"one\.npy: a single array, expected an \.npz archive with x"):
        read_npz(tmp_path / "one.npy", ("x",))


def test_a_missing_archive_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"absent\.npz: no such file"):
        read_npz(tmp_path / "absent.npz", ("x",))


@given(st.data())
def test_damaged_archives_are_refused_or_read_but_never_crash(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, x=np.arange(40.0), y=np.arange(3))
    content = bytearray(buffer.getvalue())
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        del content[place:]
    else:
        content[place] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    path.write_bytes(content)
    try:
        assert len(read_npz(path, ("x", "y"))) == 2
    except FileError as error:
        assert str(error).startswith(f"{path}: ")  # noqa: PT017


def test_text_inside_an_archive_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "text.npz", "w") as archive_file:
        archive_file.writestr("x", "no array")
    with pytest.raises(InputError, match=r"text\.npz"):
        check_images(np.asarray(read_npz(tmp_path / "text.npz", ("x",))[0]), f"{tmp_path / 'text.npz'}: x")
