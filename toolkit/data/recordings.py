"""Data sets of recordings: what they share, a folder of one's own, and samples of Python (tonic's, PyTorch's)."""

import itertools
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from ..errors import FileError, InputError
from ..events.binning import Bins
from ..events.read import SUFFIXES, read_recording
from ..events.recording import Order, Recording, Sensor
from ..events.tables import Unit, from_array
from .folder import visible
from .places import check_size
from .source import Arrays, Cut, DataSource, Found

Part = Literal["train", "test"]
PARTS: tuple[Part, Part] = ("train", "test")


@dataclass(frozen=True)
class Sample:
    """A recording that is read when it is needed.

    Attributes:
        label: its class.
        read: returns it.
    """

    label: int
    read: Callable[[], Recording]


def binned_part(name: str, samples: Sequence[Sample], bins: Bins, sensor: Sensor, part: Part) -> Arrays:
    """Return ``x_part`` (samples, steps, channels, height, width) and ``y_part`` of recordings, each read once.

    Args:
        name: of the data set, for messages.
        samples: the recordings.
        bins: a fixed number of them.
        sensor: that all must have.
        part: train or test.

    Raises:
        FileError: a recording cannot be read.
        InputError: it is refused, has another sensor, or the frames would take too much memory.
    """
    steps = bins.steps or bins.count
    if steps is None:
        raise InputError(f"{name}: bins of any number; say steps, since all samples have as many")
    shape = (len(samples), steps, *bins.shape(sensor))
    check_size(f"{name}: {part}", shape)
    frames = np.zeros(shape, np.float32)
    for frame, sample in zip(frames, samples, strict=True):
        recording = sample.read()
        if recording.sensor != sensor:
            raise InputError(
                f"{recording.source}: sensor of {recording.sensor[0]} x {recording.sensor[1]} pixels, others have "
                f"{sensor[0]} x {sensor[1]}"
            )
        bins.frames(recording, frame)
    return {f"x_{part}": frames, f"y_{part}": np.array([sample.label for sample in samples], np.int64)}


def in_turn(classes: Iterable[Sequence[Sample]]) -> list[Sample]:
    """Return samples of each class in turn, so that a cut keeps classes balanced."""
    return [sample for row in itertools.zip_longest(*classes) for sample in row if sample is not None]


class Recorded(DataSource):
    """A data set of recordings, binned into ``coding.steps`` time steps; a pixel is 1 where a bin holds an event.

    Args:
        path: the folder; None looks under ``$SPIKEPROOF_DATA``.
        downsample: so many pixels in each direction become one.
        polarity: "channels": darker and brighter apart; "merged": in one channel; "on" or "off": one of them.
        microseconds: of a bin, from the recording's start on: what is later is cut off, what is missing silent; None:
            the recording's own duration is cut into equal bins.
    """

    events: ClassVar[bool] = True
    sensor: ClassVar[Sensor]
    classes: ClassVar[int | None] = None
    start: ClassVar[int | None] = None

    def __init__(
        self,
        path: str | None = None,
        downsample: int = 1,
        polarity: Literal["channels", "merged", "on", "off"] = "channels",
        microseconds: int | None = None,
    ) -> None:
        self.path, self.downsample, self.polarity, self.microseconds = path, downsample, polarity, microseconds

    @abstractmethod
    def samples(self, part: Part) -> list[Sample]:
        """Return the recordings of a part, unread.

        Raises:
            FileError: files are missing; the message says where to get them.
        """

    def bins(self, steps: int) -> Bins:
        """Return how a recording becomes ``steps`` frames."""
        if self.microseconds is None:
            return Bins(count=steps, downsample=self.downsample, polarity=self.polarity)
        return Bins(
            microseconds=self.microseconds,
            steps=steps,
            start=self.start,
            downsample=self.downsample,
            polarity=self.polarity,
        )

    def read(self, cut: Cut, steps: int) -> Found:
        """Return as many of the recordings as are needed, binned."""
        arrays: Arrays = {}
        whole = []
        name = self.title or type(self).__name__
        for part, most in zip(PARTS, cut, strict=True):
            samples = self.samples(part)
            if not samples:
                raise FileError(f"{name}: no recording to {part} with")
            whole.append(len(samples))
            arrays |= binned_part(name, samples[:most], self.bins(steps), self.sensor_of(samples), part)
        return Found(arrays, (whole[0], whole[1]), self.classes)

    def sensor_of(self, samples: Sequence[Sample]) -> Sensor:
        """Return the sensor that all samples must have."""
        return self.sensor


class RecordingFolder(Recorded):
    """Recordings of one's own: ``train/<class>/*`` and ``test/<class>/*``, in any format that is read.

    Args:
        path: the folder.
        sensor: [width, height], where files do not say it.
        unit: of the times of text and arrays.
        order: "sort" puts events in the order of time; "refuse" refuses those that are not.
        others: keys of every data set of recordings.
    """

    def __init__(
        self,
        path: str,
        sensor: list[int] | None = None,
        unit: Unit = "us",
        order: Order = "refuse",
        **others: Any,
    ) -> None:
        super().__init__(path, **others)
        self.root = Path(path)
        self.path_name, self.place = self.root.name, path
        self.given = None if sensor is None else tuple(sensor)
        self.unit, self.order = unit, order
        self._sensor: Sensor | None = None

    def samples(self, part: Part) -> list[Sample]:
        """Return the recordings of the sub-folders, one of each class in turn."""
        names = [path.name for path in visible(self.root / "train")]
        found = []
        for folder in visible(self.root / part):
            if folder.name not in names:
                raise FileError(f"{folder}: class {folder.name!r} is not among those to train on: {', '.join(names)}")
            for path in (files := visible(folder)):
                if path.suffix.lower() not in SUFFIXES:
                    raise FileError(f"{path}: not one of {', '.join(SUFFIXES)}; remove it")
            found.append([Sample(names.index(folder.name), self._reader(path)) for path in files])
        return in_turn(found)

    def _reader(self, path: Path) -> Callable[[], Recording]:
        unit = self.unit if path.suffix.lower() in (".csv", ".txt", ".npz", ".npy") else "us"
        sensor: Any = self.given
        return lambda: read_recording(path, sensor=sensor, unit=unit, order=self.order)

    def sensor_of(self, samples: Sequence[Sample]) -> Sensor:
        """Return the sensor of the first recording."""
        if self._sensor is None:
            self._sensor = samples[0].read().sensor
        return self._sensor


def of_samples(samples: Any, sensor: Sensor | None, source: str, order: Order = "refuse") -> list[Sample]:
    """Return the recordings of any sequence of (events, label): a data set of tonic or PyTorch, or a list.

    Args:
        samples: with a length and items; events are recordings, or structured arrays with t, x, and if they have them
            y and p. Its attribute ``sensor_size`` (tonic's) says the sensor, unless it is given.
        sensor: (width, height).
        source: for messages.
        order: "sort" puts events in the order of time.

    Raises:
        InputError: nobody says how large the sensor is, or the labels are none.
    """
    size = sensor or getattr(samples, "sensor_size", None)

    def reader(index: int) -> Callable[[], Recording]:
        def read() -> Recording:
            events = samples[index][0]
            if isinstance(events, Recording):
                return events
            if size is None:
                raise InputError(f"{source}: does not say how large its sensor is; give sensor = (width, height)")
            return from_array(events, (size[0], size[1]), f"{source}: sample {index}", order=order)

        return read

    labels = [np.asarray(samples[index][1]) for index in range(len(samples))]
    wrong = next((index for index, label in enumerate(labels) if label.shape or label.dtype.kind not in "iu"), None)
    if wrong is not None:
        raise InputError(f"{source}: sample {wrong}: label {samples[wrong][1]!r}, expected a whole number from 0")
    return [Sample(int(label), reader(index)) for index, label in enumerate(labels)]


def binned_samples(train: Any, test: Any, bins: Bins, sensor: Sensor | None = None, order: Order = "refuse") -> Arrays:
    """Return ``x_train y_train x_test y_test`` of recordings from Python, as :func:`of_samples` takes them.

    Args:
        train: recordings to train on, with their labels.
        test: those to test on.
        bins: how recordings become frames: a fixed number of them, binary.
        sensor: (width, height); None: as the recordings say.
        order: "sort" puts events in the order of time.

    Raises:
        InputError: a recording is refused.
    """
    arrays: Arrays = {}
    for part, samples in zip(PARTS, (train, test), strict=True):
        found = of_samples(samples, sensor, part, order)
        if not found:
            raise InputError(f"{part}: no recordings")
        sensor = sensor or found[0].read().sensor
        arrays |= binned_part("recordings", found, bins, sensor, part)
    return arrays
