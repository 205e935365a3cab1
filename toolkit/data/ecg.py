"""QTDB: heartbeats of two ECG leads as spikes of level crossings, with the class of the wave at every step."""

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat

from ..errors import FileError, InputError
from ..task.steps import UNLABELLED, Steps
from .places import check_size, find_folder, read_published
from .source import Cut, Found, FromFolder

HOME = "github.com/byin-cwi/Efficient-spiking-networks (data/)"
FILES = {"train": "QTDB_train.mat", "test": "QTDB_test.mat"}
MD5 = {"train": "39790ebc28587c94a2245fae7475e6f2", "test": "4deb6d02f9dae171ad99f2b372926cc0"}
LIMIT = 2**21
CHANNELS, CLASSES = 4, 6


@dataclass(frozen=True)
class Recordings:
    """Recordings with a label at every step.

    Attributes:
        spikes: (recordings, time, channels), 0 or 1, uint8.
        labels: (recordings, time), the class of each step, :data:`UNLABELLED` where there is none.
    """

    spikes: NDArray[np.uint8]
    labels: NDArray[np.int64]


def parse_recordings(content: bytes, path: Path) -> Recordings:
    """Return the recordings of a MATLAB 5 file, ``x`` (recordings, time, channels), ``y`` (recordings, time, classes).

    A -1 in ``x``, which marks the end of a recording, is no spike. A step whose row of ``y`` is 0 has no label.

    Args:
        content: of the file.
        path: for messages.

    Raises:
        FileError: it cannot be read, or its arrays have another form.
    """
    try:
        arrays = loadmat(io.BytesIO(content), variable_names=("x", "y"))
    except Exception as error:  # SciPy, zlib and NumPy raise a dozen kinds on damaged files
        raise FileError(f"{path}: not a readable MATLAB 5 file ({error})") from error
    missing = [name for name in ("x", "y") if name not in arrays]
    if missing:
        raise FileError(f"{path}: no array named {', '.join(missing)}")
    x, y = arrays["x"], arrays["y"]
    if x.ndim != 3 or y.ndim != 3 or x.shape[:2] != y.shape[:2] or (x.shape[2], y.shape[2]) != (CHANNELS, CLASSES):
        raise FileError(
            f"{path}: x of shape {x.shape} and y of shape {y.shape}, expected (recordings, time, {CHANNELS}) and "
            f"(recordings, time, {CLASSES})"
        )
    if not np.isin(x, (-1, 0, 1)).all() or not np.isin(y, (0, 1)).all() or (y.sum(2) > 1).any():
        raise FileError(f"{path}: expected -1, 0 and 1 in x, and at most one 1 a step in y")
    return Recordings((x == 1).astype(np.uint8), np.where(y.any(2), y.argmax(2), UNLABELLED).astype(np.int64))


def read_qtdb(given: str | None, part: str) -> Recordings:
    """Return the recordings of "train" or "test".

    Args:
        given: the folder; None looks under ``$SPIKEPROOF_DATA``.
        part: which.

    Raises:
        FileError: the file is missing, or not the published one.
    """
    path = find_folder("qtdb", given, (FILES[part],), ("QTDB",), HOME) / FILES[part]
    return parse_recordings(read_published(path, LIMIT, MD5[part], HOME), path)


def windows(recordings: Recordings, steps: int, most: int | None) -> tuple[dict[str, NDArray[Any]], int]:
    """Cut recordings into windows one behind the other, each labelled as its last step; return them and their number.

    A window whose last step has no label is left out, and so is what is left at a recording's end.

    Args:
        recordings: what is cut.
        steps: of a window.
        most: how many windows are returned, the first ones; None: all.

    Returns:
        ``x`` (windows, steps, channels, 1, 1) and ``y`` (windows,); how many there are in all.

    Raises:
        InputError: there is none.
    """
    count, time, channels = recordings.spikes.shape
    fit = time // steps
    spikes = recordings.spikes[:, : fit * steps].reshape(count * fit, steps, channels, 1, 1)
    labels = recordings.labels[:, steps - 1 : fit * steps : steps].reshape(-1)
    labelled = np.flatnonzero(labels != UNLABELLED)
    if not len(labelled):
        raise InputError(f"data set 'qtdb': no labelled window of {steps} steps in {time}; lower coding.steps")
    kept = labelled[:most]
    check_size("qtdb", (len(kept), steps, channels))
    return {"x": spikes[kept], "y": labels[kept]}, len(labelled)


def sequences(recordings: Recordings, steps: int, most: int | None) -> tuple[dict[str, NDArray[Any]], int]:
    """Cut recordings into sequences one behind the other, each with the label of every step.

    A sequence without any label is left out, and so is what is left at a recording's end.

    Args:
        recordings: what is cut.
        steps: of a sequence.
        most: how many sequences are returned, the first ones; None: all.

    Returns:
        ``x`` (sequences, steps, channels, 1, 1) and ``y`` (sequences, steps); how many there are in all.

    Raises:
        InputError: there is none.
    """
    count, time, channels = recordings.spikes.shape
    fit = time // steps
    spikes = recordings.spikes[:, : fit * steps].reshape(count * fit, steps, channels, 1, 1)
    labels = recordings.labels[:, : fit * steps].reshape(count * fit, steps)
    labelled = np.flatnonzero((labels != UNLABELLED).any(1))
    if not len(labelled):
        raise InputError(f"data set 'qtdb-steps': no labelled sequence of {steps} steps in {time}; lower coding.steps")
    kept = labelled[:most]
    check_size("qtdb-steps", (len(kept), steps, channels))
    return {"x": spikes[kept], "y": labels[kept]}, len(labelled)


class _Cut(FromFolder):
    """QTDB's recordings, cut."""

    events: ClassVar[bool] = True

    def cut(self, cut: Cut, of: Callable[[Recordings, int | None], tuple[dict[str, NDArray[Any]], int]]) -> Found:
        """Return what ``of`` makes of recordings and the number that is wanted."""
        arrays: dict[str, NDArray[Any]] = {}
        whole = []
        for part, most in zip(("train", "test"), cut, strict=True):
            found, number = of(read_qtdb(self.path, part), most)
            arrays |= {f"{name}_{part}": array for name, array in found.items()}
            whole.append(number)
        return Found(arrays, (whole[0], whole[1]), CLASSES)


class QTDB(_Cut):
    """Windows of QTDB's recordings, ``coding.steps`` long, each with the class of the wave at its last step."""

    title: ClassVar[str] = "QTDB ECG windows"

    def read(self, cut: Cut, steps: int) -> Found:
        """Return the windows."""
        return self.cut(cut, lambda recordings, most: windows(recordings, steps, most))


class QTDBSteps(_Cut):
    """QTDB's recordings in sequences, ``coding.steps`` long, with the class of the wave at every step."""

    title: ClassVar[str] = "QTDB ECG, a label at every step"
    classed: ClassVar[bool] = False

    def read(self, cut: Cut, steps: int) -> Found:
        """Return the sequences."""
        found = self.cut(cut, lambda recordings, most: sequences(recordings, steps, most))
        return replace(found, task=Steps(CLASSES))
