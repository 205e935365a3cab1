"""A recording: events (t, x, y, p) of one sensor, whole or as a stream of parts; checked when it is made."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

Sensor = tuple[int, int]
"""Width and height in pixels."""
Columns = tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]
"""Time, column, row and polarity of some events, as a file has them."""
Order = Literal["refuse", "sort"]
"""What is done about events that come before an earlier one."""

MOST_EVENTS = 2**28
"""A recording of more events is not held as a whole (3.5 GB); it can be streamed."""
LONGEST_SIDE = 2**15
LATEST = 2**53
"""A time beyond this many microseconds (285 years) is no time, and would not be exact as a float."""
DTYPE = np.dtype([("t", np.int64), ("x", np.uint16), ("y", np.uint16), ("p", np.uint8)])


def check_sensor(sensor: Any, source: str) -> Sensor:
    """Return a sensor's (width, height).

    Raises:
        InputError: it is not two whole numbers of 1 to :data:`LONGEST_SIDE`.
    """
    try:
        width, height = (int(side) for side in sensor)
    except (TypeError, ValueError, OverflowError):
        width = height = 0
    if not (0 < width <= LONGEST_SIDE and 0 < height <= LONGEST_SIDE):
        raise InputError(f"{source}: sensor {sensor!r}, expected (width, height), each from 1 to {LONGEST_SIDE}")
    return width, height


def _whole(column: Any, name: str, source: str, most: int) -> NDArray[np.int64]:
    """Return a column as int64, each from 0 to ``most`` - 1."""
    array = np.asarray(column)
    if array.ndim != 1 or array.dtype.kind not in "biu":
        raise InputError(f"{source}: {name}: {array.dtype} of shape {array.shape}, expected whole numbers (events,)")
    if array.size and (int(array.min()) < 0 or int(array.max()) >= most):
        where = int(np.flatnonzero((array < 0) | (array >= most))[0])
        raise InputError(f"{source}: event {where}: {name} = {array[where]}, expected 0 to {most - 1}")
    return array.astype(np.int64, copy=False)


@dataclass(frozen=True, eq=False)
class Recording:
    """Events of one sensor, in the order of time.

    Attributes:
        t: microseconds, (events,), int64, from 0, never falling.
        x: column, (events,), uint16, below the sensor's width.
        y: row, (events,), uint16, below its height.
        p: 0 where it became darker, 1 brighter, (events,), uint8.
        sensor: (width, height).
        source: file or other place, for messages.

    Raises:
        InputError: a column has another type or length, an event lies outside of the sensor, or time runs backward.
    """

    t: NDArray[np.int64]
    x: NDArray[np.uint16]
    y: NDArray[np.uint16]
    p: NDArray[np.uint8]
    sensor: Sensor
    source: str = "recording"

    def __post_init__(self) -> None:
        width, height = check_sensor(self.sensor, self.source)
        limits = {"t": (LATEST, np.int64), "x": (width, np.uint16), "y": (height, np.uint16), "p": (2, np.uint8)}
        for name, (most, dtype) in limits.items():
            column = _whole(getattr(self, name), name, self.source, most).astype(dtype, copy=False)
            object.__setattr__(self, name, column)
            if len(column) != len(self.t):
                raise InputError(f"{self.source}: {name}: {len(column)} entries, but t has {len(self.t)}")
        back = np.flatnonzero(self.t[1:] < self.t[:-1])
        if back.size:
            at = int(back[0])
            raise InputError(backward(self.source, at + 1, int(self.t[at + 1]), int(self.t[at])))

    def __len__(self) -> int:
        return len(self.t)

    @property
    def duration(self) -> int:
        """Microseconds from the first event to the last, both included; 0 of no events."""
        return int(self.t[-1] - self.t[0]) + 1 if len(self) else 0

    def __getitem__(self, part: slice) -> "Recording":
        """Return the events of a slice."""
        return Recording(self.t[part], self.x[part], self.y[part], self.p[part], self.sensor, self.source)

    def between(self, start: int, stop: int) -> "Recording":
        """Return the events with ``start`` <= t < ``stop``, microseconds."""
        first, last = np.searchsorted(self.t, (start, stop))
        return self[first:last]

    def structured(self) -> NDArray[Any]:
        """Return the events as a structured array with the fields t, x, y, p, as tonic and others take them."""
        found = np.empty(len(self), DTYPE)
        for name in ("t", "x", "y", "p"):
            found[name] = getattr(self, name)
        return found


def backward(source: str, event: int, time: int, before: int) -> str:
    """Return what is said of an event that comes before an earlier one."""
    return (
        f'{source}: event {event}: at {time} microseconds, after one at {before}: time runs backward; order = "sort" '
        "puts events in order where they are only mixed, and does not help if the clock was reset"
    )


def ordered(columns: Columns, sensor: Sensor, source: str, order: Order = "refuse") -> Recording:
    """Return a recording of columns, put in the order of time (events of one time stay as they are) if asked to.

    Raises:
        InputError: as :class:`Recording`.
    """
    if order == "sort":
        time = _whole(columns[0], "t", source, LATEST)
        if any(len(column) != len(time) for column in columns):
            raise InputError(f"{source}: columns of {', '.join(str(len(column)) for column in columns)} entries")
        if (time[1:] < time[:-1]).any():
            rank = np.argsort(time, kind="stable")
            columns = (time[rank], columns[1][rank], columns[2][rank], columns[3][rank])
    return Recording(*columns, sensor, source)


class Stream:
    """A recording in parts, each made when it is asked for: no more than one part is held. It can be walked once.

    Args:
        sensor: (width, height).
        parts: columns of some events after the other.
        source: file or other place, for messages.
    """

    def __init__(self, sensor: Sensor, parts: Iterable[Columns], source: str = "recording") -> None:
        self.sensor, self.source = check_sensor(sensor, source), source
        self._parts = iter(parts)

    def __iter__(self) -> Iterator[Recording]:
        """Yield one part after the other, empty ones left out.

        Raises:
            InputError: as :class:`Recording`, and where a part begins before the one in front of it ended.
        """
        last, count = 0, 0
        for columns in self._parts:
            part = Recording(*columns, self.sensor, self.source)
            if not len(part):
                continue
            if int(part.t[0]) < last:
                raise InputError(backward(self.source, count, int(part.t[0]), last))
            last, count = int(part.t[-1]), count + len(part)
            yield part

    def whole(self, order: Order = "refuse") -> Recording:
        """Return all that is left as one recording.

        Raises:
            InputError: as :class:`Recording`, or more than :data:`MOST_EVENTS`.
        """
        kept: list[Columns] = []
        count = 0
        for columns in self._parts:
            count += len(columns[0])
            if count > MOST_EVENTS:
                raise InputError(f"{self.source}: more than {MOST_EVENTS:,} events; stream it instead")
            kept.append(columns)
        if not kept:
            kept.append((np.zeros(0, np.int64), *(np.zeros(0, np.uint16) for _ in "xyp")))  # type: ignore[arg-type]
        t, x, y, p = (np.concatenate(column) for column in zip(*kept, strict=True))
        return ordered((t, x, y, p), self.sensor, self.source, order)
