"""CIFAR-10 in its published formats, made here with a few rows; the published files are only pinned by their MD5."""

import hashlib
import io
import pickle
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikeproof.toolkit.config import DataSettings
from spikeproof.toolkit.data import cifar, load_data
from spikeproof.toolkit.errors import FileError

ROWS = 4


@pytest.fixture(autouse=True, scope="module")
def few_rows():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cifar, "ROWS", ROWS)
        yield


def batch(number: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(number)
    return rng.integers(0, 256, (ROWS, 3, 32, 32), dtype=np.uint8), rng.integers(0, 10, ROWS, dtype=np.uint8)


BATCHES = {name: batch(number) for number, name in enumerate(cifar.PYTHON_SUMS)}


def binary(images: np.ndarray, labels: np.ndarray) -> bytes:
    return b"".join(bytes([label]) + image.tobytes() for image, label in zip(images, labels, strict=True))


def short(text: str) -> bytes:
    return b"U" + bytes([len(text)]) + text.encode()


def pickled(images: np.ndarray, labels: np.ndarray) -> bytes:
    """What Python 2's cPickle wrote, opcode by opcode: a dictionary with a list and an array of NumPy."""
    pixels = images.tobytes()
    shape = b"(K\x01" + b"M" + struct.pack("<H", len(images)) + b"M" + struct.pack("<H", 3072) + b"\x86"
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\nq\x05cnumpy\nndarray\nq\x06K\x00\x85" + short("b") + b"\x87R" + shape
        + b"cnumpy\ndtype\nq\x07" + short("u1") + b"K\x00K\x01\x87R(K\x03" + short("|") + b"NNN"
        + b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T" + struct.pack("<i", len(pixels)) + pixels + b"tb"
    )  # fmt: skip
    listed = b"]q\x02(" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    names = b"](" + b"".join(short(f"{index}.png") for index in range(len(labels))) + b"e"
    parts = (
        short("batch_label") + b"q\x01" + short("training batch 1 of 5"),
        short("labels") + listed,
        short("data") + array,
        short("filenames") + names,
    )
    return b"\x80\x02}(" + b"".join(parts) + b"u."


def write(folder: Path, form: str, patch: pytest.MonkeyPatch) -> None:
    folder.mkdir()
    files = {name: (pickled if form == "python" else binary)(*made) for name, made in BATCHES.items()}
    if form == "archive":
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            for name, content in files.items():
                entry = tarfile.TarInfo(f"cifar-10-batches-bin/{name}.bin")
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
        (folder / cifar.ARCHIVE).write_bytes(buffer.getvalue())
        patch.setattr(cifar, "ARCHIVE_MD5", hashlib.md5(buffer.getvalue()).hexdigest())
        return
    for name, content in files.items():
        (folder / (name if form == "python" else f"{name}.bin")).write_bytes(content)
    patch.setattr(cifar, "PYTHON_SUMS", {name: hashlib.md5(content).hexdigest() for name, content in files.items()})


@pytest.mark.parametrize(
    ("form", "below"),
    [("archive", "cifar10"), ("binary", "cifar-10-batches-bin"), ("python", "cifar-10-batches-py")],
)
def test_every_version_gives_the_same_images_in_the_published_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, below: str
) -> None:
    write(tmp_path / below, form, monkeypatch)
    monkeypatch.setenv("SPIKEPROOF_DATA", str(tmp_path))
    data = load_data(DataSettings(name="cifar10", train_samples=19))
    *train, test = BATCHES.values()
    expected = np.concatenate([images for images, _ in train])[:19]
    np.testing.assert_array_equal(np.rint(data.train_images * 255), expected)
    np.testing.assert_array_equal(data.train_labels, np.concatenate([labels for _, labels in train])[:19])
    np.testing.assert_array_equal(np.rint(data.test_images * 255), test[0])
    np.testing.assert_array_equal(data.test_labels, test[1])
    assert (data.kind, data.shape) == ("image", (3, 32, 32))
    assert data.provenance == "CIFAR-10, 19 of 20 train, 4 test"


def test_the_pickle_made_here_is_one_that_python_reads_alike() -> None:
    images, labels = BATCHES["data_batch_1"]
    loaded = pickle.loads(pickled(images, labels), encoding="bytes")
    np.testing.assert_array_equal(loaded[b"data"].reshape(-1, 3, 32, 32), images)
    assert loaded[b"labels"] == list(labels)
    found, numbers = cifar.parse_pickled(pickled(images, labels), Path("f"))
    np.testing.assert_array_equal(found, images)
    np.testing.assert_array_equal(numbers, labels)


def test_a_pickle_that_would_run_something_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    mark = tmp_path / "ran"

    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (mark,))

    for protocol in range(6):
        with pytest.raises(FileError, match=r"^f: "):
            cifar.parse_pickled(pickle.dumps(Evil(), protocol=protocol), Path("f"))
    with pytest.raises(FileError, match="holds GLOBAL os system"):
        cifar.parse_pickled(b"\x80\x02cos\nsystem\n" + short("true") + b"\x85R.", Path("f"))
    assert not mark.exists()


@given(st.data())
def test_damaged_batches_are_refused_or_read_but_never_crash(data: st.DataObject) -> None:
    images, labels = BATCHES["data_batch_1"]
    parse, make = data.draw(st.sampled_from([(cifar.parse_pickled, pickled), (cifar.parse_binary, binary)]))
    content = bytearray(make(images, labels))
    # Most of a file is pixels, where nothing can go wrong: look at its ends.
    place = data.draw(st.integers(0, 250) | st.integers(len(content) - 80, len(content) - 1))
    if data.draw(st.booleans()):
        del content[place:]
    else:
        content[place] ^= data.draw(st.integers(1, 255))
    try:
        found, numbers = parse(bytes(content), Path("f"))
    except FileError as error:
        assert str(error).startswith("f: ")  # noqa: PT017
    else:
        assert found.shape == (ROWS, 3, 32, 32)
        assert numbers.max() <= 9


@given(st.binary(max_size=80))
def test_any_bytes_are_refused_by_name(content: bytes) -> None:
    for parse in (cifar.parse_pickled, cifar.parse_binary):
        with pytest.raises(FileError, match=r"^f: "):
            parse(content, Path("f"))


def test_files_that_are_not_the_published_ones_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a", "archive", monkeypatch)
    write(tmp_path / "b", "python", monkeypatch)
    with (tmp_path / "a" / cifar.ARCHIVE).open("ab") as file:
        file.write(b"\0")
    (tmp_path / "b" / "test_batch").write_bytes(pickled(*BATCHES["data_batch_1"]))
    for folder in ("a", "b"):
        with pytest.raises(FileError, match=r"is not the published file \(MD5 differs\); get it from www\.cs"):
            load_data(DataSettings(name="cifar10", path=str(tmp_path / folder)))


def test_an_archive_without_a_batch_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / cifar.ARCHIVE).write_bytes(b"no archive")
    monkeypatch.setattr(cifar, "ARCHIVE_MD5", hashlib.md5(b"no archive").hexdigest())
    with pytest.raises(FileError, match="not a readable archive"):
        load_data(DataSettings(name="cifar10", path=str(tmp_path)))


def test_a_file_of_another_size_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "b", "binary", monkeypatch)
    with (tmp_path / "b" / "data_batch_3.bin").open("ab") as file:
        file.truncate(2**40)
    with pytest.raises(FileError, match=r"data_batch_3\.bin: 1,099,511,627,776 bytes, expected 12,292 at most"):
        load_data(DataSettings(name="cifar10", path=str(tmp_path / "b")))


def test_absent_files_are_named_with_where_to_get_them(tmp_path: Path) -> None:
    for name in ("cifar10", "cifar10-exact"):
        with pytest.raises(FileError, match=r"not found .*nothing is downloaded: get it from .*cs\.toronto\.edu"):
            load_data(DataSettings(name=name, path=str(tmp_path)))


def test_the_exact_subset_is_always_called_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.stack([made[0] for made in BATCHES.values()]).reshape(-1, 3, 32, 32)
    labels = np.arange(len(images)) % 10
    path = tmp_path / cifar.SUBSET
    pixels = images.transpose(0, 2, 3, 1)
    np.savez_compressed(path, x_train=pixels[:20], y_train=labels[:20], x_test=pixels[20:], y_test=labels[:4])
    with pytest.raises(FileError, match="MD5 differs"):
        load_data(DataSettings(name="cifar10-exact", path=str(tmp_path)))
    monkeypatch.setattr(cifar, "SUBSET_MD5", hashlib.md5(path.read_bytes()).hexdigest())
    data = load_data(DataSettings(name="cifar10-exact", path=str(tmp_path), test_samples=3))
    np.testing.assert_array_equal(np.rint(data.train_images * 255), images[:20])
    assert data.provenance == "CIFAR-10 exact subset, 20 train, 3 of 4 test"
