"""CIFAR-10 from its published batches, binary or Python version, and its exact subset; nothing is ever unpickled."""

import io
import pickletools
import tarfile
import zlib
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import FileError
from .archive import unzipped
from .places import find_folder, read_bounded, read_published
from .source import NAMES, Cut, Found, FromFolder

ROWS = 10_000
"""Images in a batch."""
PIXELS = 3 * 32 * 32
HOME = "www.cs.toronto.edu/~kriz/cifar.html"
ARCHIVE = "cifar-10-binary.tar.gz"
ARCHIVE_MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
ARCHIVE_LIMIT = 2**28
PYTHON_SUMS = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
"""MD5 by file name, as torchvision expects them; the binary files have a published sum as an archive only."""
SUBSET = "cifar10_exact_subset.npz"
SUBSET_MD5 = "e7473823c6bead1454229de1d5f9cf96"
SUBSET_LIMIT = 2**25

_STRINGS = {"SHORT_BINSTRING", "BINSTRING"}
_KEYS = {"batch_label", "labels", "data", "filenames"}
_OPCODES = _STRINGS | {
    *("PROTO", "EMPTY_DICT", "EMPTY_LIST", "MARK", "APPENDS", "SETITEMS", "STOP"),
    *("BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET", "BININT", "BININT1", "BININT2", "NONE", "NEWFALSE"),
    *("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "GLOBAL", "REDUCE", "BUILD"),
}
_GLOBALS = {"numpy.core.multiarray _reconstruct", "numpy ndarray", "numpy dtype"}

Batch = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def parse_binary(content: bytes, path: Path) -> Batch:
    """Return images (batch, 3, 32, 32) and labels (batch,) of a binary file: rows of one label and 3072 pixels.

    Raises:
        FileError: it is something else.
    """
    if len(content) != ROWS * (1 + PIXELS):
        raise FileError(f"{path}: {len(content):,} bytes, expected {ROWS:,} rows of {1 + PIXELS}; the file is damaged")
    rows = np.frombuffer(content, np.uint8).reshape(ROWS, 1 + PIXELS)
    return _batch(rows[:, 1:], rows[:, 0], path)


def parse_pickled(content: bytes, path: Path) -> Batch:
    """Return images (batch, 3, 32, 32) and labels (batch,) of a Python 2 pickle, read as data.

    The opcodes are listed, none is executed: only those that the published files hold are admitted, and the two values
    that belong to the keys ``labels`` and ``data`` are picked out.

    Raises:
        FileError: it is something else.
    """
    key, labels, pixels = "", bytearray(), b""
    try:
        for opcode, value, _ in pickletools.genops(content):
            if opcode.name not in _OPCODES or (opcode.name == "GLOBAL" and value not in _GLOBALS):
                raise FileError(f"{path}: holds {opcode.name} {value or ''}, which no CIFAR-10 batch does; not read")
            if opcode.name in _STRINGS and value in _KEYS:
                key = str(value)
            elif opcode.name == "BININT1" and key == "labels":
                labels.append(int(value))  # type: ignore[arg-type]
            elif opcode.name == "BINSTRING" and key == "data":
                pixels = str(value).encode("latin-1")
    except ValueError as error:
        raise FileError(f"{path}: not a pickle of protocol 2 ({error}); get it from {HOME}") from error
    if len(labels) != ROWS or len(pixels) != ROWS * PIXELS:
        raise FileError(f"{path}: {len(labels):,} labels and {len(pixels):,} pixels, expected {ROWS:,} images")
    return _batch(np.frombuffer(pixels, np.uint8), np.frombuffer(bytes(labels), np.uint8), path)


def _batch(pixels: NDArray[np.uint8], labels: NDArray[np.uint8], path: Path) -> Batch:
    if labels.max() > 9:
        raise FileError(f"{path}: label {labels.max()}, expected 0 to 9; the file is damaged")
    return pixels.reshape(ROWS, 3, 32, 32), labels


def _from_archive(path: Path) -> list[Batch]:
    content = read_published(path, ARCHIVE_LIMIT, ARCHIVE_MD5, HOME)
    found = []
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
            for name in PYTHON_SUMS:
                member = archive.extractfile(f"cifar-10-batches-bin/{name}.bin")
                rows = b"" if member is None else member.read(ROWS * (1 + PIXELS) + 1)
                found.append(parse_binary(rows, path / f"{name}.bin"))
    except (tarfile.TarError, KeyError, OSError, EOFError, zlib.error) as error:
        raise FileError(f"{path}: not a readable archive of CIFAR-10 ({error}); get it from {HOME}") from error
    return found


def read_cifar(given: str | None) -> dict[str, NDArray[Any]]:
    """Return ``x_train y_train x_test y_test`` of CIFAR-10 in the published order, images (samples, 3, 32, 32).

    Read is, in this order of preference: the archive of the binary version, its unpacked files, the unpacked Python
    version. Sums are checked for the archive and the Python version; for single binary files none were published.

    Args:
        given: the folder; None looks under ``$SPIKEPROOF_DATA``.

    Raises:
        FileError: a file is missing, damaged, or not the published one.
    """
    wanted = (ARCHIVE, "data_batch_1.bin", "data_batch_1")
    folder = find_folder("cifar10", given, wanted, ("cifar10", "cifar-10-batches-bin", "cifar-10-batches-py"), HOME)
    if (folder / ARCHIVE).exists():
        batches = _from_archive(folder / ARCHIVE)
    elif (folder / "data_batch_1.bin").exists():
        paths = [folder / f"{name}.bin" for name in PYTHON_SUMS]
        batches = [parse_binary(read_bounded(path, ROWS * (1 + PIXELS)), path) for path in paths]
    else:
        limit = ROWS * (PIXELS + 1024)
        sums = {folder / name: md5 for name, md5 in PYTHON_SUMS.items()}
        batches = [parse_pickled(read_published(path, limit, md5, HOME), path) for path, md5 in sums.items()]
    *train, (x_test, y_test) = batches
    x_train, y_train = (np.concatenate(parts) for parts in zip(*train, strict=True))
    return {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}


def subset_file(given: str | None) -> tuple[Path, bytes]:
    """Return path and content of the exact subset of CIFAR-10, an ``.npz`` of images (samples, 32, 32, 3).

    Args:
        given: the folder; None looks under ``$SPIKEPROOF_DATA``.

    Raises:
        FileError: it is missing, or not the one whose sum is known.
    """
    home = "docs/data.md, which says how it was put together; the whole set is at " + HOME
    path = find_folder("cifar10-exact", given, (SUBSET,), ("cifar10",), home) / SUBSET
    return path, read_published(path, SUBSET_LIMIT, SUBSET_MD5, home)


class CIFAR10(FromFolder):
    """CIFAR-10 from its published files."""

    title: ClassVar[str] = "CIFAR-10"

    def read(self, cut: Cut, steps: int) -> Found:
        """Return what the files hold."""
        return Found(read_cifar(self.path))


class CIFAR10Exact(FromFolder):
    """The part of CIFAR-10 that one small file holds, exact pixels."""

    title: ClassVar[str] = "CIFAR-10 exact subset"

    def read(self, cut: Cut, steps: int) -> Found:
        """Return what the file holds, channels first."""
        path, content = subset_file(self.path)
        arrays = dict(zip(NAMES, unzipped(path, content, NAMES), strict=True))
        return Found({name: each.transpose(0, 3, 1, 2) if each.ndim == 4 else each for name, each in arrays.items()})
