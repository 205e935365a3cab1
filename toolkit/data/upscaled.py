"""Small images with the large ones that they were made of: digits, and Set5 behind crops of CIFAR-10."""

import io
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import FileError
from ..extras import extra
from ..task.regression import Picture, Upscaling
from .archive import unzipped
from .cifar import subset_file
from .digits import Digits
from .places import find_folder, read_published
from .source import NAMES, Baseline, Cut, DataSource, Found, FromFolder

SET5 = {
    "baby": "f7cbdaacb27cf330f20ee1c9d2235678",
    "bird": "c2c48709e2ea017fda63d83720ddccf2",
    "butterfly": "4ec8e6b44cb1031fb6545f4c5f662e5d",
    "head": "fecbf0590a2bd3a9190dc9839cdd345f",
    "woman": "bd2daf44e355250d3a29af302bd4f25d",
}
"""MD5 of the five pictures, RGB PNG files, by name."""
SET5_LIMIT = 2**20
HOME = "docs/regression.md, which says where these files are from"
LARGE = 32
"""Pixels of a large tile in each direction: a picture of CIFAR-10."""
MARGINS = {2: 6, 4: 8}
"""Pixels of a large tile that are left out on each side, by scale."""


def luma(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the Y channel of images (..., 3), 8 bits, 16 to 235: Y = 16 + (65.481 R + 128.553 G + 24.966 B) / 255.

    As MATLAB's ``rgb2ycbcr`` (ITU-R BT.601), in which the literature of super-resolution measures.
    """
    weighted = rgb.astype(np.float64) @ np.array([65.481, 128.553, 24.966]) / 255 + 16
    return bytes_of(weighted)


def bicubic(images: NDArray[Any], height: int, width: int) -> NDArray[np.float32]:
    """Return images (samples, rows, columns) in another size, by Pillow's cubic filter (a = -1/2).

    Where they shrink, the kernel is stretched, as in MATLAB's ``imresize``.
    """
    with extra("data"):
        from PIL import Image

    found = [
        np.asarray(Image.fromarray(one).resize((width, height), Image.Resampling.BICUBIC))
        for one in images.astype(np.float32)
    ]
    return np.stack(found).astype(np.float32)


def bytes_of(images: NDArray[Any]) -> NDArray[np.uint8]:
    """Return numbers of 0 to 255 as bytes: rounded, what is beyond is cut off."""
    found: NDArray[np.uint8] = np.rint(images).clip(0, 255).astype(np.uint8)
    return found


class DigitsX2(DataSource):
    """The digits of scikit-learn from their means over 2 x 2 pixels: 4 x 4 to 8 x 8."""

    title: ClassVar[str] = "scikit-learn digits, 4x4 to 8x8"
    classed: ClassVar[bool] = False

    def read(self, cut: Cut, steps: int) -> Found:
        """Return small digits, and the large ones as targets."""
        large = Digits().read(cut, steps).arrays
        task = Upscaling((1, 4, 4), 2)
        small = {key: large[key].reshape(-1, 1, 4, 2, 4, 2).mean((3, 5)) for key in ("x_train", "x_test")}
        targets = {f"y_{part}": task.targets(large[f"x_{part}"]) for part in ("train", "test")}
        enlarged = bicubic(small["x_test"][:, 0], 8, 8)[:, None].clip(0, 1)
        return Found(small | targets, task=task, baseline=Baseline("bicubic", task.targets(enlarged)))


class Set5(FromFolder):
    """Super-resolution on the Y channel: tested on Set5, trained on pictures of CIFAR-10's exact subset.

    Small images are made by bicubic reduction, as the literature makes them. Pictures of Set5 come as overlapping tiles
    of the size of a training image; what a tile's network answers near its edges is left out.

    Args:
        path: the folder that holds ``Set5`` and ``cifar10``; None for ``$SPIKEPROOF_DATA``.
        scale: by how much images grow.
    """

    title: ClassVar[str] = "Set5 in tiles, trained on CIFAR-10 exact subset, Y channel"
    classed: ClassVar[bool] = False

    def __init__(self, path: str | None = None, scale: Literal[2, 4] = 2) -> None:
        super().__init__(path)
        self.scale = scale

    def read(self, cut: Cut, steps: int) -> Found:
        """Return small images, and large ones as targets."""
        scale, size = self.scale, LARGE // self.scale
        path, content = subset_file(self.path)
        colours = unzipped(path, content, NAMES[:1])[0]
        large = luma(colours[: cut[0]])
        small = bytes_of(bicubic(large, size, size))
        tiles = [_Tiles(name, picture, scale) for name, picture in self.pictures().items()]
        counts = np.cumsum([0, *(len(one.places) for one in tiles)])
        pictures = tuple(one.picture(int(first)) for one, first in zip(tiles, counts, strict=False))
        task = Upscaling((1, size, size), scale, MARGINS[scale], pictures)

        def targets(parts: NDArray[Any]) -> NDArray[Any]:
            return task.targets((parts[:, None] / np.float32(255)).astype(np.float32))

        arrays = {
            "x_train": small[:, None],
            "y_train": targets(large),
            "x_test": np.concatenate([one.small for one in tiles])[:, None],
            "y_test": targets(np.concatenate([one.large for one in tiles])),
        }
        enlarged = targets(np.concatenate([one.enlarged for one in tiles]).clip(0, 255))
        return Found(arrays, (len(colours), int(counts[-1])), task=task, baseline=Baseline("bicubic", enlarged))

    def pictures(self) -> dict[str, NDArray[np.uint8]]:
        """Return the Y channel of the five pictures, (height, width), by name.

        Raises:
            FileError: one is missing, or not the one whose sum is known.
        """
        with extra("data"):
            from PIL import Image, UnidentifiedImageError

        folder = find_folder("set5", self.path, ["baby.png"], ("Set5",), HOME)
        found = {}
        for name, md5 in SET5.items():
            path: Path = folder / f"{name}.png"
            content = read_published(path, SET5_LIMIT, md5, HOME)
            try:
                found[name] = luma(np.asarray(Image.open(io.BytesIO(content)).convert("RGB")))
            except (UnidentifiedImageError, OSError) as error:
                raise FileError(f"{path}: not a readable picture ({error}); get it from {HOME}") from error
        return found


class _Tiles:
    """A picture in tiles: small, large, and enlarged bicubically as a whole, each mirrored beyond its edges.

    Args:
        name: of the picture.
        whole: (height, width), cut to a multiple of the scale.
        scale: by how much images grow.
    """

    def __init__(self, name: str, whole: NDArray[np.uint8], scale: int) -> None:
        height, width = (length - length % scale for length in whole.shape)
        self.name, self.size, margin = name, (height, width), MARGINS[scale]
        whole = whole[:height, :width]
        small = bytes_of(bicubic(whole[None], height // scale, width // scale))[0]
        step = LARGE - 2 * margin
        self.places = [(top, left) for top in range(0, height, step) for left in range(0, width, step)]
        enlarged = bicubic(small[None], height, width)[0]
        self.small = self._cut(small, step // scale, margin // scale, LARGE // scale)
        self.large, self.enlarged = (self._cut(one, step, margin, LARGE) for one in (whole, enlarged))

    def _cut(self, picture: NDArray[Any], step: int, margin: int, tile: int) -> NDArray[Any]:
        beyond = [(margin, margin + -length % step) for length in picture.shape]
        padded = np.pad(picture, beyond, mode="symmetric")
        rows, columns = (range(0, length, step) for length in picture.shape)
        return np.stack([padded[top : top + tile, left : left + tile] for top in rows for left in columns])

    def picture(self, first: int) -> Picture:
        """Return where the tiles belong, the first of which has the number ``first``."""
        return Picture(self.name, self.size, tuple((first + i, *place) for i, place in enumerate(self.places)))
