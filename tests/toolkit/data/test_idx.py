"""IDX files, made here byte by byte; the published ones are only pinned by their MD5."""

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikeproof.toolkit.config import DataSettings
from spikeproof.toolkit.data import idx, load_data
from spikeproof.toolkit.errors import FileError, InputError


def packed(array: np.ndarray) -> bytes:
    return b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small Fashion-MNIST, whose sums are taken for the published ones."""
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 256, (n, 6, 6), dtype=np.uint8) for n in (30, 12)]
    labels = [np.arange(n, dtype=np.uint8) % 10 for n in (30, 12)]
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    sums = {}
    for stem, array in zip(idx._NAMES, (arrays[0], labels[0], arrays[1], labels[1]), strict=True):
        content = gzip.compress(packed(array), mtime=0)
        (raw / f"{stem}.gz").write_bytes(content)
        sums[stem] = hashlib.md5(content).hexdigest()
    source = idx.SOURCES["fashion-mnist"]
    monkeypatch.setitem(idx.SOURCES, "fashion-mnist", idx.Source(source.folder, sums, source.home))
    return tmp_path


def test_published_files_are_read_from_the_data_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIKEPROOF_DATA", str(folder))
    data = load_data(DataSettings(name="fashion-mnist"))
    assert (data.name, data.classes, data.shape) == ("fashion-mnist", 10, (1, 6, 6))
    raw = folder / "FashionMNIST" / "raw" / "train-images-idx3-ubyte.gz"
    expected = np.frombuffer(gzip.decompress(raw.read_bytes())[16:], np.uint8).reshape(30, 1, 6, 6)
    np.testing.assert_array_equal(np.rint(data.train_images * 255), expected)
    np.testing.assert_array_equal(data.test_labels, np.arange(12) % 10)


@pytest.mark.parametrize("below", ["", "FashionMNIST", "FashionMNIST/raw"])
def test_the_folder_may_be_named_at_any_level_and_both_parts_be_cut(folder: Path, below: str) -> None:
    data = load_data(DataSettings(name="fashion-mnist", path=str(folder / below), train_samples=20, test_samples=5))
    assert (len(data.train_images), len(data.test_labels)) == (20, 5)


def test_unpacked_files_are_read_too(folder: Path) -> None:
    raw = folder / "FashionMNIST" / "raw"
    for path in list(raw.glob("*.gz")):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    assert len(load_data(DataSettings(name="fashion-mnist", path=str(raw))).train_labels) == 30


def test_absent_files_are_named_with_where_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPIKEPROOF_DATA", raising=False)
    with pytest.raises(FileError, match=r"set data.path, or \$SPIKEPROOF_DATA.*nothing is downloaded: get it from"):
        load_data(DataSettings(name="mnist"))
    with pytest.raises(FileError, match=r"looked in .*MNIST/raw"):
        load_data(DataSettings(name="mnist", path=str(tmp_path)))


def test_a_file_that_is_not_the_published_one_is_refused(folder: Path) -> None:
    path = folder / "FashionMNIST" / "raw" / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(packed(np.zeros(12, np.uint8)), mtime=0))
    with pytest.raises(FileError, match=r"t10k-labels-idx1-ubyte\.gz: is not the published file"):
        load_data(DataSettings(name="fashion-mnist", path=str(folder)))


def test_the_published_sums_are_those_that_torchvision_expects() -> None:
    sums = [md5 for source in idx.SOURCES.values() for md5 in source.sums.values()]
    assert len(set(sums)) == 8
    assert all(len(md5) == 32 and int(md5, 16) for md5 in sums)


@given(st.binary(max_size=60))
def test_any_bytes_are_an_array_or_refused(content: bytes) -> None:
    try:
        array = idx.parse(content, Path("f"))
    except FileError as error:
        assert str(error).startswith("f: ")  # noqa: PT017
    else:
        assert content == packed(array)


def test_a_gzip_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idx, "UNPACKED_LIMIT", 1000)
    with pytest.raises(FileError, match="unpacks to more than 1,000 bytes"):
        idx._unpack(tmp_path / "x.gz", gzip.compress(bytes(2000)))


def test_labels_that_do_not_fit_the_images_are_refused(folder: Path) -> None:
    raw = folder / "FashionMNIST" / "raw"
    for path in list(raw.glob("*.gz")):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    (raw / "t10k-labels-idx1-ubyte").write_bytes(packed(np.zeros(3, np.uint8)))
    with pytest.raises(InputError, match=r"fashion-mnist: y_test: .*expected 12 integers"):
        load_data(DataSettings(name="fashion-mnist", path=str(raw)))
