"""The Heidelberg spiking data sets: SHD and SSC, spoken words as spikes of a model of the cochlea."""

from functools import partial
from pathlib import Path
from typing import ClassVar

from ..events.recording import Recording, Sensor
from ..events.tables import SpikeFile
from .places import find_folder
from .recordings import Part, Recorded, Sample

HOME = "zenkelab.org/datasets ({0}_train.h5.zip and {0}_test.h5.zip, unpacked)"


class Heidelberg(Recorded):
    """Spike trains of 700 units, in one row of 700 x 1 pixels, all of one polarity; times count from the word's start.

    Args:
        path: the folder; None looks under ``$SPIKEPROOF_DATA``.
        microseconds: of a bin; None: a train's own duration is cut into equal bins, which hides how long words are.
        downsample: so many neighbouring units become one.
    """

    sensor: ClassVar[Sensor] = (700, 1)
    start: ClassVar[int | None] = 0
    files: ClassVar[str]

    def __init__(self, path: str | None = None, microseconds: int | None = None, downsample: int = 1) -> None:
        super().__init__(path, downsample, "merged", microseconds)
        self._open: dict[Path, SpikeFile] = {}

    def samples(self, part: Part) -> list[Sample]:
        """Return the trains in the file's order."""
        names = tuple(f"{self.files}_{which}.h5" for which in ("train", "test"))
        below = (self.files.upper(), self.files, "hsd")
        root = find_folder(self.files, self.path, names, below, HOME.format(self.files))
        path = root / f"{self.files}_{part}.h5"
        with SpikeFile(path) as file:
            labels = file.labels.tolist()
        return [Sample(label, partial(self._train, path, index)) for index, label in enumerate(labels)]

    def _train(self, path: Path, index: int) -> Recording:
        # Opened once for all trains, and closed with the data set.
        if path not in self._open:
            self._open[path] = SpikeFile(path, self.sensor[0])
        return self._open[path][index]


class SHD(Heidelberg):
    """Spiking Heidelberg Digits: 20 spoken digits, German and English; 8156 to train, 2264 to test."""

    title: ClassVar[str] = "SHD"
    classes: ClassVar[int | None] = 20
    files: ClassVar[str] = "shd"


class SSC(Heidelberg):
    """Spiking Speech Commands: 35 words; the part for validation is not read."""

    title: ClassVar[str] = "SSC"
    classes: ClassVar[int | None] = 35
    files: ClassVar[str] = "ssc"
