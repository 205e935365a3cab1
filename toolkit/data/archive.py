"""Arrays in an ``.npz`` file, without pickled content."""

import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import FileError, InputError
from ..files import given_path, read_bytes
from ..task.steps import Steps
from .places import MOST_BYTES
from .source import NAMES, Cut, DataSource, Found, Layout


def read_npz(path: Path, names: tuple[str, ...], optional: tuple[str, ...] = ()) -> list[NDArray[Any]]:
    """Return the named arrays of an ``.npz`` file, then those of ``optional`` that it has; pickled content is refused.

    Raises:
        FileError: missing, damaged, without one of the names, or too large once unpacked.
    """
    return unzipped(path, read_bytes(path, given_path(path)), names, optional)


def read_npz_all(path: Path) -> dict[str, NDArray[Any]]:
    """Return every array of an ``.npz`` file by its name; raises as :func:`read_npz`, and where it holds none."""
    content = read_bytes(path, given_path(path))
    try:
        names = tuple(entry.filename.removesuffix(".npy") for entry in zipfile.ZipFile(io.BytesIO(content)).infolist())
    except zipfile.BadZipFile as error:
        raise FileError(f"{path}: not a readable .npz archive ({error})") from error
    if not names:
        raise FileError(f"{path}: holds no array")
    return dict(zip(names, unzipped(path, content, names), strict=True))


def unzipped(path: Path, content: bytes, names: tuple[str, ...], optional: tuple[str, ...] = ()) -> list[NDArray[Any]]:
    """As :func:`read_npz`, of bytes that were read already."""
    with _archive(path, content, ", ".join(names)) as archive:
        missing = [name for name in names if name not in archive]
        if missing:
            raise FileError(f"{path}: no array named {', '.join(missing)}; it has {', '.join(archive.files)}")
        return [archive[name] for name in (*names, *(name for name in optional if name in archive))]


def read_all(path: Path) -> dict[str, NDArray[Any]]:
    """Return all arrays of an ``.npz`` file by name; as :func:`read_npz` else."""
    with _archive(path, read_bytes(path), "arrays by name") as archive:
        return {name: archive[name] for name in archive.files}


@contextmanager
def _archive(path: Path, content: bytes, wanted: str) -> Iterator[np.lib.npyio.NpzFile]:
    try:
        archive = np.load(io.BytesIO(content), allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise FileError(f"{path}: a single array, expected an .npz archive with {wanted}")
        with archive:
            unpacked = sum(entry.file_size for entry in zipfile.ZipFile(io.BytesIO(content)).infolist())
            if unpacked > MOST_BYTES:
                raise FileError(f"{path}: unpacks to {unpacked:,} bytes, {MOST_BYTES:,} at most")
            yield archive
    except FileError:
        raise
    except Exception as error:  # NumPy, zipfile and zlib raise a dozen kinds on damaged archives
        raise FileError(f"{path}: not a readable .npz archive ({error})") from error


class Sequences(DataSource):
    """Sequences with a label at every step: ``x_train y_train x_test y_test`` of an ``.npz`` file.

    ``x`` is (samples, time, channels, height, width), ``y`` (samples, time): the class of each step, -1 for none.

    Args:
        path: of the file.
    """

    classed: ClassVar[bool] = False

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self.path_name, self.place = self.path.stem, str(self.path)

    def read(self, cut: Cut, steps: int) -> Found:
        """Return the arrays of the file; there are as many classes as the largest label of training says.

        Raises:
            InputError: a label of training is no class.
        """
        arrays = dict(zip(NAMES, read_npz(self.path, NAMES), strict=True))
        train = arrays["y_train"]
        if train.dtype.kind not in "iu" or not train.size or train.max() < 1:
            raise InputError(f"{self.path}: y_train: expected integers (samples, time), two classes or more")
        return Found(arrays, task=Steps(int(train.max()) + 1))


class ArrayFile(DataSource):
    """The arrays ``x_train y_train x_test y_test`` of an ``.npz`` file.

    Args:
        path: of the file.
        layout: of images and events; None: channels first, refused where they look as if they were last.
    """

    def __init__(self, path: str, layout: Layout | None = None) -> None:
        self.path = Path(path)
        self.layout = layout
        self.path_name, self.place = self.path.stem, str(self.path)

    def read(self, cut: Cut, steps: int) -> Found:
        """Return the arrays of the file."""
        arrays = read_npz(self.path, NAMES)
        return Found(dict(zip(NAMES, arrays, strict=True)), layout=self.layout)
