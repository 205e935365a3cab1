"""Event-camera recordings as binary frames: N-MNIST in its published format, and a small subset in one file."""

import hashlib
import itertools
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import FileError
from ..events.aer import parse_aer
from ..events.binning import Bins
from ..events.recording import Recording, ordered
from .archive import unzipped
from .places import check_size, find_folder, read_bounded, read_published
from .source import Cut, Found, FromFolder

SIDE = 34
"""N-MNIST's sensor: SIDE x SIDE pixels."""
SENSOR = (SIDE, SIDE)
HOME = "www.garrickorchard.com/datasets/n-mnist (Train.zip and Test.zip, as they are or unpacked)"
ARCHIVES = {"Train": "20959b8e626244a1b502305a9e6e2031", "Test": "69ca8762b2fe404d9b9bad1103e97832"}
"""MD5 of Train.zip and Test.zip, as tonic, snnTorch and SpikingJelly give them."""
EVENT_LIMIT = 2**20
"""No recording of N-MNIST holds nearly as many events."""
SMALL = "nmnist_small.npz"
SMALL_MD5 = "0de3f9cfb07e187989770bc093d4a8b9"
SMALL_LIMIT = 2**24

Frames = NDArray[np.float32]


def parse(content: bytes, path: Path) -> Recording:
    """Return the recording of a file of N-MNIST; raises as :func:`.aer.parse_aer`."""
    return parse_aer(content, str(path), SENSOR, EVENT_LIMIT, "N-MNIST")


def binned(recordings: Iterable[Recording], samples: int, steps: int) -> Frames:
    """Return binary frames (samples, steps, 2, height, width), channels by polarity, of equal bins.

    Args:
        recordings: one or more events each.
        samples: how many recordings there are.
        steps: number of bins.
    """
    bins = Bins(count=steps)
    frames = np.zeros((samples, steps, *bins.shape(SENSOR)), np.float32)
    for frame, recording in zip(frames, recordings, strict=True):
        bins.frames(recording, frame)
    return frames


Recordings = list[tuple[Path, int, Callable[[], bytes]]]
"""Name, class and content of each recording."""


@contextmanager
def _recordings(root: Path, part: str) -> Iterator[Recordings]:
    """List recordings of ``root``/``part``.zip or of the folder ``part``, in the order of MNIST, which names number.

    Raises:
        FileError: the archive is not the published one, or there is no recording.
    """
    path = root / f"{part}.zip"
    if path.exists():
        try:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
                if found != ARCHIVES[part]:
                    raise FileError(f"{path}: is not the published file (MD5 differs); get it from {HOME}")
                with zipfile.ZipFile(file) as archive:
                    yield _listed(path, [_packed(path, archive, entry) for entry in archive.infolist()])
        except (OSError, zipfile.BadZipFile) as error:
            raise FileError(f"{path}: cannot be read ({error})") from error
    else:
        yield _listed(root / part, [_unpacked(file) for file in (root / part).glob("[0-9]/*.bin")])


def _unpacked(path: Path) -> tuple[Path, int, Callable[[], bytes]]:
    return path, int(path.parent.name), lambda: read_bounded(path, 5 * EVENT_LIMIT)


def _packed(
    path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo
) -> tuple[Path, int, Callable[[], bytes]] | None:
    match = re.search(r"(?:^|/)([0-9])/[^/]+\.bin$", entry.filename)
    if match is None:
        return None
    if entry.file_size > 5 * EVENT_LIMIT:
        raise FileError(f"{path}: {entry.filename} has {entry.file_size:,} bytes; not a file of N-MNIST")
    return path / entry.filename, int(match[1]), lambda: archive.read(entry)


def _listed(source: Path, found: Iterable[tuple[Path, int, Callable[[], bytes]] | None]) -> Recordings:
    recordings = sorted((entry for entry in found if entry), key=lambda entry: (entry[0].stem, entry[1]))
    if not recordings:
        raise FileError(f"{source}: no recordings 0/*.bin to 9/*.bin; get them from {HOME}")
    return recordings


def read_nmnist(
    given: str | None, steps: int, cut: tuple[int | None, int | None]
) -> tuple[dict[str, NDArray[Any]], tuple[int, int]]:
    """Return ``x_train y_train x_test y_test`` of N-MNIST, and how many recordings both folders hold.

    Args:
        given: the folder with ``Train`` and ``Test``, or with the archives, whose sums are checked and which are read
            without unpacking; None looks under ``$SPIKEPROOF_DATA``.
        steps: bins a recording.
        cut: how many training and test recordings are read; None for all.

    Raises:
        FileError: a file is missing or damaged.
        InputError: the frames would take too much memory.
    """
    root = find_folder("n-mnist", given, ("Train", "Train.zip"), ("N-MNIST", "NMNIST"), HOME)
    arrays: dict[str, NDArray[Any]] = {}
    whole = []
    for part, folder, most in (("train", "Train", cut[0]), ("test", "Test", cut[1])):
        with _recordings(root, folder) as files:
            whole.append(len(files))
            files = files[:most]
            check_size(f"n-mnist: {folder}", (len(files), steps, 2, SIDE, SIDE))
            arrays[f"x_{part}"] = binned((parse(read(), path) for path, _, read in files), len(files), steps)
            arrays[f"y_{part}"] = np.array([label for _, label, _ in files])
    return arrays, (whole[0], whole[1])


def small_file(given: str | None) -> tuple[Path, bytes]:
    """Return path and content of the small subset of N-MNIST.

    Args:
        given: the folder; None looks under ``$SPIKEPROOF_DATA``.

    Raises:
        FileError: it is missing, or not the one whose sum is known.
    """
    home = "docs/data.md, which says how it was put together; the whole set is at " + HOME
    path = find_folder("n-mnist-small", given, (SMALL,), ("nmnist_small",), home) / SMALL
    return path, read_published(path, SMALL_LIMIT, SMALL_MD5, home)


SMALL_ARRAYS = tuple(
    f"{name}_{part}" for part in ("train", "test") for name in ("x", "y", "p", "t", "offsets", "labels")
)


def split_small(arrays: dict[str, NDArray[Any]], steps: int) -> dict[str, NDArray[Any]]:
    """Return ``x_train y_train x_test y_test`` of the small subset's flat arrays, binned."""
    found = {}
    for part in ("train", "test"):
        x, y, p, t, offsets, labels = (arrays[f"{name}_{part}"] for name in ("x", "y", "p", "t", "offsets", "labels"))
        check_size(f"n-mnist-small: {part}", (len(labels), steps, 2, SIDE, SIDE))
        slices = (slice(start, end) for start, end in itertools.pairwise(offsets))
        found[f"x_{part}"] = binned(
            (ordered((t[at], x[at], y[at], p[at]), SENSOR, SMALL, "sort") for at in slices), len(labels), steps
        )
        found[f"y_{part}"] = labels
    return found


class NMNIST(FromFolder):
    """N-MNIST, recordings of an event camera, from its published files."""

    title: ClassVar[str] = "N-MNIST"
    events: ClassVar[bool] = True

    def read(self, cut: Cut, steps: int) -> Found:
        """Return the recordings, binned."""
        arrays, whole = read_nmnist(self.path, steps, cut)
        return Found(arrays, whole, 10)


class NMNISTSmall(FromFolder):
    """The part of N-MNIST that one small file holds."""

    title: ClassVar[str] = "N-MNIST small"
    events: ClassVar[bool] = True

    def read(self, cut: Cut, steps: int) -> Found:
        """Return the recordings, binned."""
        path, content = small_file(self.path)
        return Found(split_small(dict(zip(SMALL_ARRAYS, unzipped(path, content, SMALL_ARRAYS), strict=True)), steps))
