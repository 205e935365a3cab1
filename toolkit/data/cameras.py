"""Published recordings of event cameras: DVS128 Gesture, CIFAR10-DVS, N-Caltech101."""

import csv
import io
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

from ..errors import FileError
from ..events.aer import BYTES, parse_aer
from ..events.read import read_recording
from ..events.recording import Recording, Sensor
from .folder import visible
from .places import find_folder, read_bounded
from .recordings import Part, Recorded, Sample, in_turn

GESTURE_HOME = (
    "ibm.ent.box.com/s/3hiq58ww1pbbjrinh367ykfdf60xsfm8 (DvsGesture.tar.gz, unpacked), or as tonic "
    "(ibmGestureTrain, ibmGestureTest) or SpikingJelly (events_np) repackage it"
)
CIFAR_HOME = "figshare.com/articles/dataset/CIFAR10-DVS_New/4724671 (airplane.zip to truck.zip, unpacked)"
CALTECH_HOME = "www.garrickorchard.com/datasets/n-caltech101 (Caltech101.zip, unpacked)"
GESTURES = 11
TEXT_LIMIT = 2**20
NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SPLITS: dict[str, Callable[[int], bool]] = {
    "every-tenth": lambda number: number % 10 == 0,
    "last-tenth": lambda number: number >= 900,
    "first-tenth": lambda number: number < 100,
}
"""Which of a class's 1000 recordings, by the number in their name, are for tests. There is no official split."""
EVENT_LIMIT = 2**22
"""No recording of N-Caltech101 holds nearly as many events."""


class Gesture(Recorded):
    """DVS128 Gesture: 11 gestures, split by who makes them (23 people to train, 6 to test), as published.

    From the published AEDAT 3.1 with their ``_labels.csv``, tonic's ``.npy`` (times in milliseconds), or SpikingJelly's
    ``.npz``. Events that a camera sent out of order are put in order.
    """

    title: ClassVar[str] = "DVS128 Gesture"
    sensor: ClassVar[Sensor] = (128, 128)
    classes: ClassVar[int | None] = GESTURES

    def samples(self, part: Part) -> list[Sample]:
        """Return the recordings, each one gesture."""
        wanted = ("trials_to_train.txt", "ibmGestureTrain", "events_np")
        below = ("DvsGesture", "DVSGesture", "DVS128Gesture")
        root = find_folder("dvsgesture", self.path, wanted, below, GESTURE_HOME)
        if (root / wanted[0]).exists():
            trials = _text(root / f"trials_to_{part}.txt").split()
            return [sample for trial in trials for sample in self._trial(root, trial)]
        if (root / wanted[1]).exists():
            folder = root / f"ibmGesture{part.title()}"
            files = [file for user in visible(folder) for file in visible(user) if file.suffix == ".npy"]
            return [Sample(_label(file.stem, file), partial(self._read, file, "ms")) for file in files]
        classes = visible(root / "events_np" / part)
        return in_turn(
            [Sample(_label(place.name, place), partial(self._read, file, "us")) for file in visible(place)]
            for place in classes
        )

    def _read(self, path: Path, unit: Any) -> Recording:
        return read_recording(path, sensor=self.sensor, unit=unit, order="sort")

    def _trial(self, root: Path, name: str) -> list[Sample]:
        """Return the gestures of a recording, whose class, start and stop the file beside it says."""
        if Path(name).name != name or not name.endswith(".aedat"):
            raise FileError(f"{root}: trial {name!r}, expected the name of an .aedat file")
        path = root / name
        table = path.with_name(f"{path.stem}_labels.csv")
        whole: list[Recording] = []

        def cut(start: int, stop: int, last: bool) -> Recording:
            # All gestures of a file are read one after the other: it is read once, and forgotten behind the last.
            if not whole:
                whole.append(read_recording(path, sensor=self.sensor, order="sort"))
            found = whole[0].between(start, stop)
            if last:
                whole.clear()
            return found

        rows = [row for row in csv.reader(io.StringIO(_text(table))) if row][1:]
        try:
            numbers = [(int(kind), int(start), int(stop)) for kind, start, stop in rows]
        except ValueError as error:
            raise FileError(f"{table}: expected lines of class, start and stop ({error})") from error
        for kind, start, stop in numbers:
            if not 1 <= kind <= GESTURES or not 0 <= start < stop:
                raise FileError(f"{table}: class {kind} from {start} to {stop}, expected 1 to {GESTURES}, start < stop")
        return [
            Sample(kind - 1, partial(cut, start, stop, number == len(numbers)))
            for number, (kind, start, stop) in enumerate(numbers, 1)
        ]


def _text(path: Path) -> str:
    return read_bounded(path, TEXT_LIMIT).decode("latin-1")


def _label(word: str, path: Path) -> int:
    if not re.fullmatch(r"\d|10", word):
        raise FileError(f"{path}: {word!r} is no class of 0 to {GESTURES - 1}")
    return int(word)


def numbered(files: Sequence[Path]) -> list[tuple[int, Path]]:
    """Return files by the number at the end of their name.

    Raises:
        FileError: a name has none, or two have the same.
    """
    found: dict[int, Path] = {}
    for path in files:
        match = re.search(r"_(\d{1,9})$", path.stem)
        if match is None or int(match[1]) in found:
            raise FileError(f"{path}: expected a name that ends in _ and a number of its own, which decides the split")
        found[int(match[1])] = path
    return sorted(found.items())


class CIFAR10DVS(Recorded):
    """CIFAR10-DVS: pictures of CIFAR-10 on a screen before a DVS128, 1000 recordings of each of 10 classes.

    From the published AEDAT 2, tonic's AEDAT 4, or SpikingJelly's ``.npz``, in a folder for each class. Events that a
    camera sent out of order are put in order.

    Args:
        path: the folder; None looks under ``$SPIKEPROOF_DATA``.
        split: which recordings are for tests, by the number in their name: "every-tenth" (0, 10, ..), "last-tenth"
            (900 to 999) or "first-tenth" (0 to 99). Results on one are not results on another.
        others: keys of every data set of recordings.
    """

    title: ClassVar[str] = "CIFAR10-DVS"
    sensor: ClassVar[Sensor] = (128, 128)
    classes: ClassVar[int | None] = len(NAMES)

    def __init__(
        self,
        path: str | None = None,
        split: Literal["every-tenth", "last-tenth", "first-tenth"] = "every-tenth",
        **others: Any,
    ) -> None:
        super().__init__(path, **others)
        self.split = split

    def samples(self, part: Part) -> list[Sample]:
        """Return the recordings of a part of the split, one of each class in turn."""
        below = ("CIFAR10DVS", "CIFAR10-DVS", "cifar10-dvs", "CIFAR10DVS/events_np", "CIFAR10DVS/extract")
        root = find_folder("cifar10-dvs", self.path, (NAMES[0],), below, CIFAR_HOME)
        for_tests = SPLITS[self.split]
        found = []
        for label, name in enumerate(NAMES):
            files = [path for path in visible(root / name) if path.suffix in (".aedat", ".aedat4", ".npz")]
            kept = [path for number, path in numbered(files) if for_tests(number) == (part == "test")]
            found.append([Sample(label, partial(self._read, path)) for path in kept])
        return in_turn(found)

    def _read(self, path: Path) -> Recording:
        return read_recording(path, sensor=self.sensor, order="sort")


class NCaltech101(Recorded):
    """N-Caltech101: pictures of Caltech101 as an event camera saw them through three saccades.

    Classes are the folders in the order of their names. There is no official split: recordings whose number is a
    multiple of ten are for tests.
    """

    title: ClassVar[str] = "N-Caltech101, every tenth for tests"
    sensor: ClassVar[Sensor] = (240, 180)

    def samples(self, part: Part) -> list[Sample]:
        """Return the recordings of a part, one of each class in turn."""
        below = ("N-Caltech101", "N-Caltech101/Caltech101", "NCALTECH101/Caltech101")
        root = find_folder("n-caltech101", self.path, ("accordion",), below, CALTECH_HOME)
        found = []
        for label, folder in enumerate(place for place in visible(root) if place.is_dir()):
            files = numbered([path for path in visible(folder) if path.suffix == ".bin"])
            kept = [path for number, path in files if (number % 10 == 0) == (part == "test")]
            found.append([Sample(label, partial(self._read, path)) for path in kept])
        return in_turn(found)

    def _read(self, path: Path) -> Recording:
        content = read_bounded(path, BYTES * EVENT_LIMIT)
        return parse_aer(content, str(path), self.sensor, EVENT_LIMIT, "N-Caltech101")
