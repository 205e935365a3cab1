"""Events as columns of numbers: text (.csv, .txt), NumPy's files (.npz, .npy), structured arrays, HDF5 of SHD."""

import io
import re
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from ..data.archive import read_all
from ..errors import FileError, InputError
from ..files import given_path
from .blocks import BLOCK, chosen
from .recording import LATEST, MOST_EVENTS, Columns, Order, Recording, Sensor, Stream, ordered

Unit = Literal["s", "ms", "us", "ns"]
SECONDS: dict[Unit, float] = {"s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3}
"""Microseconds in a unit of time."""
NAMES = {
    "t": ("t", "ts", "time", "timestamp", "timestamps"),
    "x": ("x", "unit", "units"),
    "y": ("y",),
    "p": ("p", "pol", "polarity", "on"),
}
"""What columns are called."""
ORDER = "txyp"


def microseconds(times: Any, unit: Unit, source: str) -> NDArray[np.int64]:
    """Return times as whole microseconds, rounded.

    Raises:
        InputError: fractions of microseconds without a word about the unit, or no finite time.
    """
    array = np.asarray(times)
    if array.dtype.kind in "biu" and unit == "us":
        if array.dtype.kind == "u" and array.size and int(array.max()) > LATEST:
            raise InputError(f"{source}: t: {int(array.max())} microseconds, expected {LATEST} at most")
        return array.astype(np.int64)
    if array.dtype.kind not in "biuf":
        raise InputError(f"{source}: t: values of type {array.dtype}, expected numbers")
    scaled = array.astype(np.float64) * SECONDS[unit]
    if not (np.abs(scaled) < LATEST).all():
        raise InputError(f"{source}: t: NaN, infinity, or beyond {LATEST} microseconds; remove or repair it")
    if unit == "us" and (scaled != np.rint(scaled)).any():
        raise InputError(f'{source}: t: fractions of microseconds; say in which unit it is, as unit = "s"')
    return np.rint(scaled).astype(np.int64)


def whole_numbers(values: Any, name: str, source: str) -> NDArray[np.int64]:
    """Return numbers as int64.

    Raises:
        InputError: they have fractions, or are none.
    """
    array = np.asarray(values)
    if array.dtype.kind == "f":
        if not (np.abs(array) < LATEST).all() or (array != np.rint(array)).any():
            raise InputError(f"{source}: {name}: expected whole numbers")
        return array.astype(np.int64)
    if array.dtype.kind not in "biu" or (array.dtype == np.uint64 and array.size and int(array.max()) > LATEST):
        raise InputError(f"{source}: {name}: values of type {array.dtype}, expected whole numbers")
    return array.astype(np.int64)


def polarities(values: Any, source: str) -> NDArray[np.int64]:
    """Return polarities as 0 and 1; -1 is taken for 0."""
    found = whole_numbers(values, "p", source)
    return np.where(found == -1, 0, found)


def columns_of(fields: dict[str, Any], unit: Unit, source: str) -> Columns:
    """Return the four columns of arrays by name; without y they lie in one row, without p all are 1.

    Raises:
        InputError: t or x is missing, or an array is refused.
    """
    low = {name.lower(): array for name, array in fields.items()}
    found = {key: next((low[name] for name in names if name in low), None) for key, names in NAMES.items()}
    missing = [name for name in "tx" if found[name] is None]
    if missing:
        raise InputError(f"{source}: no column {missing[0]!r} among {', '.join(fields) or 'none'}")
    t = microseconds(found["t"], unit, source)
    x = whole_numbers(found["x"], "x", source)
    y = np.zeros_like(x) if found["y"] is None else whole_numbers(found["y"], "y", source)
    p = np.ones_like(x) if found["p"] is None else polarities(found["p"], source)
    return t, x, y, p


def from_array(
    events: Any, sensor: Sensor, source: str = "events", unit: Unit = "us", order: Order = "refuse"
) -> Recording:
    """Return the recording of a structured array with the fields t, x, and if it has them y and p (as tonic's).

    Raises:
        InputError: it is something else, or refused as :class:`.recording.Recording` refuses.
    """
    array = np.asarray(events)
    if array.dtype.names is None or array.ndim != 1:
        raise InputError(f"{source}: {array.dtype} of shape {array.shape}, expected a structured array with t, x, y, p")
    return ordered(columns_of({name: array[name] for name in array.dtype.names}, unit, source), sensor, source, order)


def open_npz(path: Path, sensor: Sensor | None, unit: Unit) -> Stream:
    """Return the events of an ``.npz`` of arrays t, x, y, p (or a structured or (events, 4) ``.npy``), unpickled never.

    An array ``sensor`` of width and height says the sensor, unless the user does.

    Raises:
        FileError: it cannot be read.
        InputError: an array is refused, or nobody says how large the sensor is.
    """
    source = str(path)
    if path.suffix == ".npy":
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except Exception as error:  # NumPy raises several kinds on damaged files
            raise FileError(f"{path}: not a readable .npy file ({error})") from error
        if array.dtype.names is None and (array.ndim != 2 or array.shape[1] != 4):
            raise FileError(f"{path}: {array.dtype} of shape {array.shape}, expected fields t, x, y, p or (events, 4)")
        if len(array) > MOST_EVENTS:
            raise FileError(f"{path}: {len(array):,} events, {MOST_EVENTS:,} at most")
        names = array.dtype.names
        fields = {name: array[name] for name in names} if names else dict(zip("xypt", array.T, strict=True))
    else:
        fields = dict(read_all(path))
    given = fields.pop("sensor", None)
    known = chosen(None if given is None else tuple(np.asarray(given).reshape(-1)), sensor, source)
    return Stream(known, [columns_of(fields, unit, source)], source)


def open_text(
    file: BinaryIO, source: str, sensor: Sensor | None, unit: Unit = "us", names: str | None = None
) -> Stream:
    """Return the events of lines of numbers, between commas, semicolons or blanks; ``#`` begins a comment.

    Args:
        file: at its beginning. A first line that is no number names the columns.
        source: for messages.
        sensor: (width, height).
        unit: of the times.
        names: the columns' letters in their order, as "txyp"; None: the first line says it.

    Raises:
        InputError: nobody says what the columns are, or how large the sensor is.
    """
    first = file.readline(BLOCK)
    while first.lstrip().startswith(b"#") or (first and not first.strip()):
        first = file.readline(BLOCK)
    text = first.decode("latin-1").strip()
    separator = next((mark for mark in ",;\t" if mark in text), None)
    words = [word.strip().strip('"').lower() for word in text.split(separator)]
    # faery writes the sensor beside the names: x@640, y@480.
    sides = [re.fullmatch(rf"{name}@(\d{{1,9}})", word) for name, word in zip("xy", words[1:3], strict=False)]
    wide = [int(side[1]) for side in sides if side]
    words = [word.partition("@")[0] for word in words]
    known = chosen((wide[0], wide[1]) if len(wide) == 2 else None, sensor, source)
    titled = bool(words) and not words[0].replace(".", "").replace("e", "").replace("-", "").replace("+", "").isdigit()
    if names is None and not titled:
        raise InputError(f'{source}: its columns have no names; say what they are, as columns = "{ORDER}"')
    kept = list(names) if names is not None else words
    head = b"" if titled else first
    return Stream(known, _lines(file, head, source, kept, separator, unit), source)


def _lines(
    file: BinaryIO, head: bytes, source: str, names: list[str], separator: str | None, unit: Unit
) -> Iterator[Columns]:
    rest, line = head, 1
    while True:
        block = file.read(BLOCK)
        text, cut, rest = (rest + block).rpartition(b"\n") if block else (rest, b"", b"")
        if block and not cut:
            if len(rest) > 2 * BLOCK:
                raise FileError(f"{source}: a line of more than {BLOCK:,} bytes; not lines of events")
            continue
        if text.strip():
            yield _table(text, source, names, separator, unit, line)
            line += text.count(b"\n") + 1
        if not block:
            return


def _table(text: bytes, source: str, names: list[str], separator: str | None, unit: Unit, line: int) -> Columns:
    try:
        lines = io.StringIO(text.decode("ascii"))
        kind = np.float64 if unit != "us" or b"." in text else np.int64
        rows = np.loadtxt(lines, dtype=kind, delimiter=separator, ndmin=2)
    except (ValueError, OverflowError) as error:
        raise FileError(f"{source}: below line {line}: not lines of numbers ({error})") from error
    if not rows.size:
        rows = rows.reshape(0, len(names))
    if rows.shape[1] != len(names):
        raise FileError(f"{source}: {rows.shape[1]} columns, but {len(names)} names: {', '.join(names)}")
    return columns_of(dict(zip(names, rows.T, strict=True)), unit, source)


class SpikeFile:
    """Spike trains of SHD and SSC: HDF5 with ``spikes/times`` in seconds, ``spikes/units`` and ``labels``.

    Args:
        path: of the file.
        units: how many there are; a train is a recording of ``units`` x 1 pixels, all of polarity 1.

    Raises:
        FileError: it cannot be read, or holds something else.
    """

    def __init__(self, path: Path, units: int = 700) -> None:
        self.path, self.sensor = path, (units, 1)
        if not path.is_file():
            raise FileError(f"{path}: no such file; {given_path(path)}")
        try:
            self._file = h5py.File(path, "r")
        except (OSError, RuntimeError) as error:
            raise FileError(f"{path}: not a readable HDF5 file ({error})") from error
        try:
            self._times, self._units, labels = (self._part(name) for name in ("spikes/times", "spikes/units", "labels"))
            if not len(self._times) == len(self._units) == len(labels):
                raise FileError(f"{path}: {len(self._times)} times, {len(self._units)} units, {len(labels)} labels")
            self.labels = whole_numbers(self._read(labels, slice(None)), "labels", str(path))
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Recording:
        """Return one spike train; its times are put in order, since a set of spikes has none of its own.

        Raises:
            FileError: it cannot be read.
            InputError: it is refused.
        """
        source = f"{self.path}: train {index}"
        if not 0 <= index < len(self):
            raise IndexError(f"{source}: there are {len(self)}")
        times, units = (np.asarray(self._read(part, index)) for part in (self._times, self._units))
        if times.dtype.kind == "O" or units.dtype.kind == "O" or times.ndim != 1 or times.shape != units.shape:
            raise FileError(f"{source}: times of shape {times.shape}, units of shape {units.shape}")
        t = microseconds(times, "s", source)
        x = whole_numbers(units, "units", source)
        return ordered((t, x, np.zeros_like(x), np.ones_like(x)), self.sensor, source, "sort")

    def _part(self, name: str) -> Any:
        """Return a data set of this very file: links and storage elsewhere are not followed."""
        try:
            where: Any = self._file
            for word in name.split("/"):
                if not isinstance(where.get(word, getlink=True), h5py.HardLink):
                    raise FileError(f"{self.path}: no data set {name}; not a file of SHD or SSC")
                where = where[word]
            if not isinstance(where, h5py.Dataset) or where.external or where.is_virtual or len(where.shape) != 1:
                raise FileError(f"{self.path}: {name} is not a data set (trains,) within the file")
        except FileError:
            raise
        except Exception as error:  # h5py raises a dozen kinds on damaged files
            raise FileError(f"{self.path}: {name} cannot be read ({error})") from error
        return where

    def _read(self, part: Any, index: Any) -> Any:
        try:
            if isinstance(index, slice) and part.dtype.kind not in "biu":
                raise FileError(f"{self.path}: labels of type {part.dtype}, expected whole numbers")
            if isinstance(index, slice) and len(part) > MOST_EVENTS:
                raise FileError(f"{self.path}: {len(part)} trains; not a file of SHD or SSC")
            return part[index]
        except FileError:
            raise
        except Exception as error:  # as above
            raise FileError(f"{self.path}: cannot be read ({error})") from error
