"""Recordings from files of every format that is known, whole or as a stream."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import FileError, InputError
from ..files import given_path
from .aedat import open_aedat
from .blocks import Opened
from .prophesee import open_dat, open_raw
from .recording import Order, Recording, Sensor, Stream
from .tables import Unit, open_npz, open_text

BINARY: dict[str, Opened] = {".aedat": open_aedat, ".aedat4": open_aedat, ".raw": open_raw, ".dat": open_dat}
TEXT = (".csv", ".txt")
ARRAYS = (".npz", ".npy")
SUFFIXES = (*BINARY, *TEXT, *ARRAYS)
"""Suffixes that are known."""


@contextmanager
def open_recording(
    path: str | Path, *, sensor: Sensor | None = None, unit: Unit = "us", columns: str | None = None
) -> Iterator[Stream]:
    """Open a recording as a stream of parts, of which only one is held; arrays (.npz, .npy) are one part.

    Args:
        path: .aedat (2, 3.1), .aedat4, .raw (EVT2, EVT3), .dat, .csv, .txt, .npz or .npy.
        sensor: (width, height), where the file does not say it, or says it wrong.
        unit: of the times of text and arrays.
        columns: of text without a line that names them, as "txyp".

    Raises:
        FileError: it cannot be read, is damaged, or of another format.
        InputError: what it holds is refused.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise FileError(f"{path}: recordings are known by {', '.join(SUFFIXES)}")
    if suffix in BINARY and (unit != "us" or columns is not None):
        raise InputError(f"{path}: unit and columns belong to text and arrays")
    try:
        if suffix in ARRAYS:
            if not path.is_file():
                raise FileNotFoundError
            yield open_npz(path, sensor, unit)
            return
        with path.open("rb") as file:
            if suffix in TEXT:
                yield open_text(file, str(path), sensor, unit, columns)
            else:
                yield BINARY[suffix](file, str(path), sensor)
    except FileNotFoundError as error:
        raise FileError(f"{path}: no such file; {given_path(path)}") from error
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror})") from error


def read_recording(
    path: str | Path,
    *,
    sensor: Sensor | None = None,
    unit: Unit = "us",
    columns: str | None = None,
    order: Order = "refuse",
) -> Recording:
    """Return a recording as a whole.

    Args:
        path: as :func:`open_recording`.
        sensor: as there.
        unit: as there.
        columns: as there.
        order: "sort" puts events in the order of time; "refuse" refuses those that are not.

    Raises:
        FileError: it cannot be read, is damaged, or of another format.
        InputError: what it holds is refused.
    """
    with open_recording(path, sensor=sensor, unit=unit, columns=columns) as stream:
        return stream.whole(order)
