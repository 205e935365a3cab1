"""Data sets: images in [0, 1] of shape ``(samples, channels, height, width)`` with integer labels."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..config import DataSettings
from ..errors import FileError, InputError
from ..files import digest, read_bytes
from .idx import read_idx

MOST_CLASSES = 10_000
"""A label beyond this is taken for a mistake: every class costs an output neuron."""

Images = NDArray[np.float32]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Dataset:
    """Training and test images with their labels, and the SHA-256 of all of it."""

    name: str
    classes: int
    train_images: Images
    train_labels: Labels
    test_images: Images
    test_labels: Labels
    sha256: str

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of one image: (channels, height, width)."""
        channels, height, width = self.train_images.shape[1:]
        return channels, height, width


def check_images(images: NDArray[Any], source: str, shape: tuple[int, ...] | None = None) -> Images:
    """Return ``images`` as float32 in [0, 1], shape ``(samples, channels, height, width)``.

    8-bit integers are divided by 255; ``(samples, height, width)`` gets one channel.

    Args:
        images: what the user gave.
        source: file and array name, for messages.
        shape: the shape of one image that is expected, if any.

    Raises:
        InputError: wrong type, wrong shape, NaN, or values outside [0, 1].
    """
    if images.ndim == 3:
        images = images[:, None]
    if images.ndim != 4 or 0 in images.shape:
        raise InputError(f"{source}: shape {images.shape}, expected (samples, channels, height, width), none of them 0")
    if shape is not None and images.shape[1:] != tuple(shape):
        raise InputError(f"{source}: images of shape {images.shape[1:]}, expected {tuple(shape)}; resize them")
    if images.dtype == np.uint8:
        return images.astype(np.float32) / np.float32(255)
    if images.dtype.kind != "f":
        raise InputError(f"{source}: values of type {images.dtype}, expected uint8, or floats in [0, 1]")
    if not np.isfinite(images).all():
        bad = int(np.flatnonzero(~np.isfinite(images).all(axis=(1, 2, 3)))[0])
        raise InputError(f"{source}: NaN or infinity in image {bad}; remove or repair it")
    if images.min() < 0 or images.max() > 1:
        raise InputError(f"{source}: values from {images.min():g} to {images.max():g}, expected [0, 1]; rescale them")
    return images.astype(np.float32)


def check_labels(labels: NDArray[Any], source: str, samples: int, classes: int | None = None) -> Labels:
    """Return ``labels`` as int64 of shape ``(samples,)``, each in [0, ``classes``).

    Raises:
        InputError: wrong type, wrong number, or a label out of range.
    """
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or len(labels) != samples:
        raise InputError(f"{source}: {labels.dtype} of shape {labels.shape}, expected {samples} integers")
    top = np.iinfo(np.int64).max if classes is None else classes
    wrong = np.flatnonzero((labels < 0) | (labels >= top))
    if wrong.size:
        limit = f"0 to {classes - 1}" if classes else "0 or more"
        raise InputError(f"{source}: label {labels[wrong[0]]} at index {wrong[0]} is out of range, expected {limit}")
    return labels.astype(np.int64)


def read_npz(path: Path, names: tuple[str, ...], optional: tuple[str, ...] = ()) -> list[NDArray[Any]]:
    """Return the named arrays of an ``.npz`` file, then those of ``optional`` that it has; pickled content is refused.

    Raises:
        FileError: missing, damaged, or without one of the names.
    """
    try:
        archive = np.load(io.BytesIO(read_bytes(path)), allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise FileError(f"{path}: a single array, expected an .npz archive with {', '.join(names)}")
        with archive:
            missing = [name for name in names if name not in archive]
            if missing:
                raise FileError(f"{path}: no array named {', '.join(missing)}; it has {', '.join(archive.files)}")
            return [archive[name] for name in (*names, *(name for name in optional if name in archive))]
    except FileError:
        raise
    except Exception as error:  # NumPy, zipfile and zlib raise a dozen kinds on damaged archives
        raise FileError(f"{path}: not a readable .npz archive ({error})") from error


def _digits() -> Dataset:
    """Handwritten digits of scikit-learn, 8x8: 1297 for training, 500 for testing, stratified, always the same."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    images = (digits.images / 16).astype(np.float32)[:, None]
    parts = train_test_split(images, digits.target, test_size=500, random_state=0, stratify=digits.target)
    train_images, test_images, train_labels, test_labels = parts
    return _dataset("digits", train_images, train_labels.astype(np.int64), test_images, test_labels.astype(np.int64))


def _checked(name: str, source: str, arrays: dict[str, NDArray[Any]]) -> Dataset:
    """Return a data set of arrays ``x_train y_train x_test y_test``, each checked."""
    train_images = check_images(arrays["x_train"], f"{source}: x_train")
    test_images = check_images(arrays["x_test"], f"{source}: x_test", train_images.shape[1:])
    train_labels = check_labels(arrays["y_train"], f"{source}: y_train", len(train_images), MOST_CLASSES)
    classes = int(train_labels.max()) + 1
    if classes < 2:
        raise InputError(f"{source}: y_train: only one class; expected at least two")
    test_labels = check_labels(arrays["y_test"], f"{source}: y_test", len(test_images), classes)
    return _dataset(name, train_images, train_labels, test_images, test_labels)


def _dataset(name: str, train: Images, train_labels: Labels, test: Images, test_labels: Labels) -> Dataset:
    content = b"".join(np.ascontiguousarray(a).tobytes() for a in (train, train_labels, test, test_labels))
    return Dataset(name, int(train_labels.max()) + 1, train, train_labels, test, test_labels, digest(content))


def load_data(settings: DataSettings) -> Dataset:
    """Return the data set that a recipe names, cut to ``train_samples`` and ``test_samples`` if asked.

    Raises:
        FileError: the file cannot be read.
        InputError: its content is refused.
    """
    if settings.name == "digits":
        data = _digits()
    elif settings.name == "arrays":
        path = Path(str(settings.path))
        names = ("x_train", "y_train", "x_test", "y_test")
        data = _checked(path.stem, str(path), dict(zip(names, read_npz(path, names), strict=True)))
    else:
        data = _checked(settings.name, settings.name, read_idx(settings.name, settings.path))
    if settings.train_samples is None and settings.test_samples is None:
        return data
    train, test = settings.train_samples, settings.test_samples
    return _dataset(
        data.name,
        data.train_images[:train],
        data.train_labels[:train],
        data.test_images[:test],
        data.test_labels[:test],
    )
