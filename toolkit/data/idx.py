"""MNIST and Fashion-MNIST from their published IDX files, checked by their published MD5 sums."""

import gzip
import io
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import FileError
from .places import find_folder, read_bounded, read_published
from .source import Cut, Found, FromFolder

UNPACKED_LIMIT = 2**26
"""No published file unpacks to more bytes."""


@dataclass(frozen=True)
class Source:
    """A data set of four IDX files.

    Attributes:
        folder: its customary name (torchvision's).
        sums: MD5 by file name, of the compressed files as they are published.
        home: where to get them.
    """

    folder: str
    sums: dict[str, str]
    home: str


_NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
SOURCES = {
    "mnist": Source(
        "MNIST",
        dict(
            zip(
                _NAMES,
                (
                    "f68b3c2dcbeaaa9fbdd348bbdeb94873",
                    "d53e105ee54ea40749a09fcbcd1e9432",
                    "9fb629c4189551a2d022fa330f9573f3",
                    "ec29112dd5afa0611ce80d1b7f02629c",
                ),
                strict=True,
            )
        ),
        "LeCun, Cortes and Burges' MNIST database, mirrored by torchvision.datasets.MNIST",
    ),
    "fashion-mnist": Source(
        "FashionMNIST",
        dict(
            zip(
                _NAMES,
                (
                    "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                    "25c81989df183df01b3e8a0aad5dffbe",
                    "bef4ecab320f06d8554ea6380940ec79",
                    "bb300cfdad3c16e7a12a480ee83cd310",
                ),
                strict=True,
            )
        ),
        "github.com/zalandoresearch/fashion-mnist, or torchvision.datasets.FashionMNIST",
    ),
}


def _unpack(path: Path, content: bytes) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as packed:
            found = packed.read(UNPACKED_LIMIT + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise FileError(f"{path}: not a readable gzip file ({error})") from error
    if len(found) > UNPACKED_LIMIT:
        raise FileError(f"{path}: unpacks to more than {UNPACKED_LIMIT:,} bytes; not a published file")
    return found


def parse(content: bytes, path: Path) -> NDArray[np.uint8]:
    """Return the array of an IDX file of unsigned bytes: two zeros, type 8, number of axes, big-endian sizes, values.

    Raises:
        FileError: it is something else.
    """
    if len(content) < 4 or content[:3] != b"\0\0\x08" or not 1 <= content[3] <= 4 or len(content) < 4 + 4 * content[3]:
        raise FileError(f"{path}: not an IDX file of unsigned bytes")
    axes = content[3]
    shape = struct.unpack(f">{axes}I", content[4 : 4 + 4 * axes])
    expected = int(np.prod(shape, dtype=np.float64))
    if len(content) != 4 + 4 * axes + expected:
        raise FileError(f"{path}: {len(content)} bytes do not hold an array of shape {shape}; the file is damaged")
    return np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * axes).reshape(shape)


def read_idx(name: str, given: str | None) -> dict[str, NDArray[Any]]:
    """Return ``x_train y_train x_test y_test`` of a data set, as published.

    Args:
        name: a key of :data:`SOURCES`.
        given: the folder; None looks under ``$SPIKEPROOF_DATA``.

    Raises:
        FileError: a file is missing, damaged, or not the published one.
    """
    source = SOURCES[name]
    wanted = (f"{_NAMES[0]}.gz", _NAMES[0])
    folder = find_folder(name, given, wanted, ("raw", source.folder, f"{source.folder}/raw"), source.home)
    found = []
    for stem, md5 in source.sums.items():
        path = folder / f"{stem}.gz"
        if path.exists():
            content = _unpack(path, read_published(path, UNPACKED_LIMIT, md5, source.home))
        else:
            path = folder / stem
            content = read_bounded(path, UNPACKED_LIMIT)
        found.append(parse(content, path))
    return dict(zip(("x_train", "y_train", "x_test", "y_test"), found, strict=True))


class MNIST(FromFolder):
    """MNIST from its four IDX files."""

    title: ClassVar[str] = "MNIST"

    def read(self, cut: Cut, steps: int) -> Found:
        """Return what the files hold."""
        return Found(read_idx("mnist", self.path))


class FashionMNIST(FromFolder):
    """Fashion-MNIST from its four IDX files."""

    title: ClassVar[str] = "Fashion-MNIST"

    def read(self, cut: Cut, steps: int) -> Found:
        """Return what the files hold."""
        return Found(read_idx("fashion-mnist", self.path))
