"""Bins over time: how a recording becomes frames, one for each time step of the network and of the chip."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..data.places import check_size
from ..errors import InputError
from .recording import Recording, Sensor, Stream

Values = Literal["binary", "counts"]
Polarity = Literal["channels", "merged", "on", "off", "signed"]
Crop = tuple[int, int, int, int]
"""Left column, top row, width and height of the part of the sensor that is kept."""


@dataclass(frozen=True)
class Bins:
    """How events become frames. Exactly one of ``count``, ``microseconds`` and ``events`` says what a bin is.

    Events outside of ``crop`` and of a polarity that is not wanted are taken out first; ``t_first`` and ``t_last`` are
    those of the recording, before that. The bin of an event with time t, the i-th of those that are kept, is

    * ``count`` = n:        k = floor(n (t - t_first) / (t_last - t_first + 1)), so that n bins cover the recording;
    * ``microseconds`` = d: k = floor((t - t_0) / d) with t_0 = ``start``, by default t_first;
    * ``events`` = m:       k = floor(i / m); the last bin may hold fewer.

    On the chip bin k is time step k: an event of bin k is a spike that reaches the input in step k. How long a step
    of the chip takes is the chip's own matter; :meth:`step` says how long a bin lasted for the sensor.

    Attributes:
        count: number of bins.
        microseconds: duration of a bin.
        events: events of a bin.
        steps: how many frames are returned: more are cut off, missing ones are silent; None: as many as there are.
        start: microseconds at which the first of the ``microseconds``-long bins begins; events before it are left out.
        values: "binary": 1 where a bin holds an event or more, else 0 (signed: the sign of the sum); "counts": the sum.
        polarity: "channels": darker is channel 0, brighter 1; "merged": both in one channel; "on" or "off": brighter or
            darker only; "signed": one channel, brighter minus darker.
        crop: (left, top, width, height) that is kept; None: all.
        downsample: so many pixels in each direction become one, their events together.
    """

    count: int | None = None
    microseconds: int | None = None
    events: int | None = None
    steps: int | None = None
    start: int | None = None
    values: Values = "binary"
    polarity: Polarity = "channels"
    crop: Crop | None = None
    downsample: int = 1

    def __post_init__(self) -> None:
        rules = [self.count, self.microseconds, self.events]
        if sum(rule is not None for rule in rules) != 1:
            raise InputError("bins: say exactly one of count, microseconds and events")
        for name in ("count", "microseconds", "events", "steps", "downsample"):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < 1):
                raise InputError(f"bins: {name} = {value!r}, expected a whole number from 1")
        if self.start is not None and (self.microseconds is None or self.start < 0):
            raise InputError("bins: start belongs to bins of so many microseconds, and is not negative")
        if self.values not in ("binary", "counts"):
            raise InputError(f"bins: values = {self.values!r}, expected binary or counts")
        if self.polarity not in ("channels", "merged", "on", "off", "signed"):
            raise InputError(f"bins: polarity = {self.polarity!r}, expected channels, merged, on, off or signed")

    def shape(self, sensor: Sensor) -> tuple[int, int, int]:
        """Return (channels, height, width) of a frame.

        Raises:
            InputError: the crop does not lie within the sensor.
        """
        _, _, width, height = self._crop(sensor)
        side = self.downsample
        return 2 if self.polarity == "channels" else 1, -(-height // side), -(-width // side)

    def step(self, recording: Recording) -> float | None:
        """Return how many microseconds of the recording a bin covers; None where each covers another time."""
        if self.count is not None:
            return recording.duration / self.count
        return None if self.microseconds is None else float(self.microseconds)

    def frames(self, recording: Recording, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Return the frames of a recording, (bins, channels, height, width).

        Args:
            recording: whose events are binned.
            out: zeros of that shape and any type that holds the values, which are filled; None makes some: uint8 of
                binary values, int32 of counts and of signed ones.

        Raises:
            InputError: the frames would take too much memory, or the crop does not lie within the sensor.
        """
        place, weight, time = self._kept(recording)
        bins = self._bins(time, (int(recording.t[0]), int(recording.t[-1])) if len(recording) else (0, 0), 0)
        number = self.steps or self.count or (max(int(bins[-1]) + 1, 0) if bins.size else 0)
        if bins.size and (int(bins[0]) < 0 or int(bins[-1]) >= number):
            inside = slice(*np.searchsorted(bins, (0, number)))
            place, weight, bins = place[inside], None if weight is None else weight[inside], bins[inside]
        shape = (number, *self.shape(recording.sensor))
        if out is None:
            check_size(recording.source, shape)
            out = np.zeros(shape, self._summed)
        elif out.shape != shape or not out.flags.c_contiguous:
            raise InputError(f"{recording.source}: frames of shape {out.shape} to fill, expected {shape}, contiguous")
        _fill(out.reshape(-1), bins * prod(shape[1:]) + place, weight, self.values)
        return self._done(out)

    def stream(self, parts: Stream, span: tuple[int, int] | None = None) -> Iterator[NDArray[Any]]:
        """Yield frame after frame, (channels, height, width), of a recording that comes in parts.

        No more than a part and a frame is held. The frames are those of :meth:`frames` of the whole.

        Args:
            parts: the recording.
            span: (t_first, t_last), which a ``count`` of bins must know before.

        Raises:
            InputError: a ``count`` of bins without its span, or an event outside of it.
        """
        if self.count is not None and span is None:
            raise InputError("bins: a count of bins needs the recording's span; read it whole, or say its microseconds")
        most, number, seen, begun = self.steps or self.count, 0, 0, False
        current = np.zeros(self.shape(parts.sensor), self._summed)
        for part in parts:
            if span is None:
                span = int(part.t[0]), int(part.t[0])
            elif self.count is not None and not span[0] <= int(part.t[0]) <= int(part.t[-1]) <= span[1]:
                raise InputError(f"{part.source}: events outside of the span {span}")
            place, weight, time = self._kept(part)
            bins = self._bins(time, span, seen)
            seen += len(time)
            first = int(np.searchsorted(bins, 0))
            cuts = first + np.flatnonzero(np.diff(bins[first:], prepend=-1))
            for start, stop in itertools.pairwise([*cuts, len(bins)]):
                while number < bins[start]:
                    yield self._done(current)
                    current, number = np.zeros_like(current), number + 1
                    if number == most:
                        return
                _fill(
                    current.reshape(-1), place[start:stop], None if weight is None else weight[start:stop], self.values
                )
                begun = True
        if begun or most is not None:
            for _ in range(number, most or number + 1):
                yield self._done(current)
                current = np.zeros_like(current)

    @property
    def _summed(self) -> Any:
        """The type in which events add up."""
        return np.uint8 if self.values == "binary" and self.polarity != "signed" else np.int32

    def _done(self, frames: NDArray[Any]) -> NDArray[Any]:
        """Return sums as values: their sign where those are binary and signed."""
        if self.values == "binary" and self.polarity == "signed":
            np.sign(frames, out=frames)
        return frames

    def _crop(self, sensor: Sensor) -> Crop:
        if self.crop is None:
            return 0, 0, *sensor
        left, top, width, height = self.crop
        if min(left, top) < 0 or min(width, height) < 1 or left + width > sensor[0] or top + height > sensor[1]:
            raise InputError(f"bins: crop {self.crop} does not lie within a sensor of {sensor[0]} x {sensor[1]} pixels")
        return left, top, width, height

    def _kept(self, recording: Recording) -> tuple[NDArray[np.int64], NDArray[np.int64] | None, NDArray[np.int64]]:
        """Return the place within a frame, the weight (None: 1) and the time of every event that is kept."""
        left, top, width, height = self._crop(recording.sensor)
        t, x, y, p = recording.t, recording.x, recording.y, recording.p
        keep = None
        if self.crop is not None:
            keep = (x >= left) & (x < left + width) & (y >= top) & (y < top + height)
        if self.polarity in ("on", "off"):
            wanted = p == (self.polarity == "on")
            keep = wanted if keep is None else keep & wanted
        if keep is not None:
            t, x, y, p = t[keep], x[keep], y[keep], p[keep]
        _, rows, columns = self.shape(recording.sensor)
        column, row = x.astype(np.int64) - left, y.astype(np.int64) - top
        if self.downsample > 1:
            column, row = column // self.downsample, row // self.downsample
        place = row * columns + column
        if self.polarity == "channels":
            place += p.astype(np.int64) * (rows * columns)
        return place, 2 * p.astype(np.int64) - 1 if self.polarity == "signed" else None, t

    def _bins(self, time: NDArray[np.int64], span: tuple[int, int], before: int) -> NDArray[np.int64]:
        """Return the bin of each event, ``before`` of which were kept already; negative before the start."""
        if self.events is not None:
            return (np.arange(len(time), dtype=np.int64) + before) // self.events
        if self.microseconds is not None:
            return (time - (span[0] if self.start is None else self.start)) // self.microseconds
        assert self.count is not None
        duration = span[1] - span[0] + 1
        if self.count * duration >= 2**63:
            raise InputError(f"bins: {self.count} bins of {duration} microseconds are beyond what 64 bits hold")
        return self.count * (time - span[0]) // duration


def _fill(flat: NDArray[Any], index: NDArray[np.int64], weight: NDArray[np.int64] | None, values: Values) -> None:
    """Put events into flat frames."""
    if values == "binary" and weight is None:
        flat[index] = 1
    else:
        np.add.at(flat, index, np.ones(len(index), flat.dtype) if weight is None else weight.astype(flat.dtype))
