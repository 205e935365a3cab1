"""A folder of images, one sub-folder a class, read by Pillow; nothing is resized or converted."""

import itertools
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import FileError
from ..extras import extra
from .places import check_size
from .source import Cut, DataSource, Found

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".bmp": "BMP"}
CHANNELS = {"L": 1, "RGB": 3}
FILE_LIMIT = 2**26
PIXEL_LIMIT = 2**24


def read_image(path: Path) -> NDArray[np.uint8]:
    """Return a grey or RGB image of 8 bits as (channels, height, width).

    Raises:
        FileError: it is something else, damaged, or too large.
    """
    with extra("data"):
        from PIL import Image
    try:
        if path.stat().st_size > FILE_LIMIT:
            raise FileError(f"{path}: more than {FILE_LIMIT:,} bytes; not read")
        with warnings.catch_warnings():
            # Pillow warns of images that are large for it; the limit here is lower.
            warnings.simplefilter("ignore")
            image = Image.open(path, formats=[FORMATS[path.suffix.lower()]])
        with image:
            if image.mode not in CHANNELS:
                raise FileError(f"{path}: mode {image.mode}, expected 8-bit grey (L) or RGB; convert it")
            if image.width * image.height > PIXEL_LIMIT:
                raise FileError(f"{path}: {image.width}x{image.height} pixels, {PIXEL_LIMIT:,} at most; not read")
            pixels = np.asarray(image)
    except FileError:
        raise
    except Exception as error:  # Pillow and its decoders raise a dozen kinds on damaged files
        raise FileError(f"{path}: not a readable {FORMATS[path.suffix.lower()]} image ({error})") from error
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def visible(folder: Path) -> list[Path]:
    """Return what a folder holds, by name, but for names that begin with a dot.

    Raises:
        FileError: it cannot be read.
    """
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise FileError(
            f"{folder}: not a readable folder ({error.strerror}); expected <class>/*.png, or recordings, in it"
        ) from error


def _listed(folder: Path, classes: list[str] | None = None) -> tuple[list[str], list[tuple[Path, int]]]:
    """Return the classes, and (file, class): the first of each class in turn, then the second, and so on."""
    found = visible(folder)
    names = [path.name for path in found] if classes is None else classes
    unknown = [path.name for path in found if path.name not in names]
    if unknown:
        raise FileError(f"{folder}: class {unknown[0]!r} is not among those to train on: {', '.join(names)}")
    files = [visible(folder / name) if classes is None or (folder / name).exists() else [] for name in names]
    for path in itertools.chain(*files):
        if path.suffix.lower() not in FORMATS:
            raise FileError(f"{path}: not one of {', '.join(FORMATS)}; remove it")
    rows = itertools.zip_longest(*files)
    return names, [(path, label) for row in rows for label, path in enumerate(row) if path is not None]


def read_folder(root: Path, cut: tuple[int | None, int | None]) -> tuple[dict[str, NDArray[Any]], tuple[int, int], int]:
    """Return ``x_train y_train x_test y_test`` as uint8, how many images there are of both, and the number of classes.

    Classes are numbered in the alphabetical order of ``train``'s sub-folders; images come in turn, one of each class,
    so that a cut keeps the classes balanced.

    Args:
        root: holds ``train/<class>/*`` and ``test/<class>/*``; names that begin with a dot are left out.
        cut: how many training and test images are read; None for all.

    Raises:
        FileError: something else is found, sizes or colours differ, or an image cannot be read.
        InputError: the images would take too much memory.
    """
    classes, train = _listed(root / "train")
    _, test = _listed(root / "test", classes)
    shape: tuple[int, ...] | None = None
    arrays: dict[str, NDArray[Any]] = {}
    for part, files, most in (("train", train, cut[0]), ("test", test, cut[1])):
        files = files[:most]
        if not files:
            raise FileError(f"{root / part}: no images; expected {part}/<class>/*.png")
        for index, (path, _) in enumerate(files):
            image = read_image(path)
            if shape is None:
                shape = image.shape
            if index == 0:
                check_size(str(root / part), (len(files), *shape))
                arrays[f"x_{part}"] = np.empty((len(files), *shape), np.uint8)
            if image.shape != shape:
                raise FileError(f"{path}: shape {image.shape}, but {train[0][0]} has {shape}; make them alike")
            arrays[f"x_{part}"][index] = image
        arrays[f"y_{part}"] = np.array([label for _, label in files])
    return arrays, (len(train), len(test)), len(classes)


class Folder(DataSource):
    """The images of a folder, ``train/<class>/*`` and ``test/<class>/*``.

    Args:
        path: the folder.
    """

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self.path_name, self.place = self.path.name, str(self.path)

    def read(self, cut: Cut, steps: int) -> Found:
        """Return as many of the images as are needed."""
        return Found(*read_folder(self.path, cut))
