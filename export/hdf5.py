"""HDF5 files of unknown origin: links, sizes and filters are looked at before a byte of data is loaded."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ..toolkit.errors import FileError, InputError

DATA_LIMIT, TOTAL_LIMIT = 2**28, 2**30
"""Most bytes that one array, and all arrays of a file, may unpack to."""
TEXTS_LIMIT, TEXT_LIMIT = 2**13, 200
"""Most texts of a dataset, and most characters of one."""

# Those that are part of HDF5 and h5py; others would load a library that the file names.
_FILTERS = frozenset({1, 2, 3, 4, 5, 6, 32000})


@contextmanager
def opened(path: Path, what: str, member: str) -> Iterator[h5py.File]:
    """Open a file of unknown origin to read it; whatever a damaged one makes h5py raise becomes one kind of error.

    Args:
        path: of the file.
        what: it should be, for messages: "NIR file".
        member: that such a file has at its top.

    Raises:
        FileError: it is missing, damaged or another kind of file.
    """
    if not path.is_file():
        raise FileError(f"{path}: no such file")
    try:
        with h5py.File(path, "r") as file:
            if member not in file:
                raise FileError(f"{path}: an HDF5 file, but not a {what} (it has no {member!r})")
            yield file
    except InputError:
        raise
    except Exception as error:  # h5py raises many kinds on damaged files
        raise FileError(f"{path}: not a readable {what} ({type(error).__name__}: {error})") from error


class Untrusted:
    """Reads members of one file; nothing outside it is opened, and no more than :data:`TOTAL_LIMIT` is unpacked.

    Args:
        source: the file's name, for messages.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.bytes = 0

    def item(self, group: h5py.Group, name: str, where: str) -> Any:
        """Return a group's member; only members that lie in the file itself are taken."""
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise FileError(f"{where}: {name!r} is a link to another place")
        return group[name]

    def values(self, item: h5py.Dataset, where: str) -> Any:
        """Return the text, list of texts or numbers of a dataset."""
        if not isinstance(item, h5py.Dataset) or item.shape is None:
            raise FileError(f"{where}: is not an array of numbers or texts")
        plist = item.id.get_create_plist()
        filters = {plist.get_filter(index)[0] for index in range(plist.get_nfilters())}
        if item.is_virtual or item.external or not filters <= _FILTERS:
            raise FileError(f"{where}: data is kept outside the file or packed by an unknown filter")
        if h5py.check_string_dtype(item.dtype) is not None:
            return self.texts(item, where)
        if item.dtype.kind not in "fiub":
            raise FileError(f"{where}: holds {item.dtype}, expected numbers or texts")
        chunk = float(np.prod(item.chunks or (1,), dtype=np.float64))
        size = max(float(np.prod(item.shape, dtype=np.float64)), chunk) * item.dtype.itemsize
        self.bytes += int(min(size, TOTAL_LIMIT))
        if size > DATA_LIMIT or self.bytes > TOTAL_LIMIT:
            raise FileError(f"{where}: array of shape {item.shape} is too large for a network")
        return item[()]

    def texts(self, item: h5py.Dataset, where: str) -> Any:
        """Return a text or nested lists of texts, read one by one: many may point to one long text."""
        if item.size > TEXTS_LIMIT or item.dtype.itemsize * item.size > DATA_LIMIT:
            raise FileError(f"{where}: {item.size} texts of {item.dtype.itemsize} bytes, too many for a network")
        found = np.empty(item.shape, dtype=object)
        for index in np.ndindex(item.shape):
            text = item[index]
            text = text.decode("utf8") if isinstance(text, bytes) else str(text)
            if len(text) > TEXT_LIMIT:
                raise FileError(f"{where}: a text of {len(text)} characters, expected at most {TEXT_LIMIT}")
            found[index] = text
        return found.item() if found.shape == () else found.tolist()
