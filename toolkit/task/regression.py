"""Regression: outputs are numbers, or the pixels of an image."""

from copy import copy
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .base import Quality, Scores, Task

if TYPE_CHECKING:
    from torch import Tensor  # Names of data sets are listed without loading PyTorch.

Error = Literal["absolute", "squared"]
LOSSES: dict[str, Error] = {"l1": "absolute", "mse": "squared"}
"""By the name that a recipe has for them."""
EXACT = 100.0
"""PSNR in dB of what is the same: there is no larger one, so that means stay numbers."""


def errors_of(outputs: "Tensor", targets: "Tensor", kind: Error) -> "Tensor":
    """Return the mean absolute or squared error of every sample, (batch,)."""
    difference = (outputs - targets).flatten(1)
    return (difference.abs() if kind == "absolute" else difference**2).mean(1)


def _check_widths(outputs: tuple[int, ...], targets: tuple[int, ...]) -> None:
    """Refuse shapes (batch, ...) that differ, which would be broadcast against each other."""
    if tuple(outputs) != tuple(targets):
        given, wanted = (str(prod(one[1:])) for one in (outputs, targets))
        raise InputError(
            f"outputs: the network gives {given} numbers a sample, the data has {wanted} targets"
            if given != wanted
            else f"outputs: shape {tuple(outputs)}, the data's targets {tuple(targets)}"
        )


def psnr(error: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the peak signal-to-noise ratio in dB of mean squared errors of values in [0, 1]: -10 log10(error)."""
    return np.asarray(-10 * np.log10(np.maximum(error, 10 ** (-EXACT / 10))))


class Regression(Task):
    """Numbers: the mean absolute error (L1) or mean squared error (MSE) over the outputs, judged by the former.

    Args:
        outputs: numbers a sample.
        error: "absolute" for L1, "squared" for MSE: what training lowers, and attacks raise.

    Raises:
        InputError: there are no outputs.
    """

    name: ClassVar[str] = "regression"
    raised: ClassVar[Error] = "absolute"

    def __init__(self, outputs: int, error: Error = "absolute") -> None:
        if outputs < 1:
            raise InputError(f"task {self.name!r}: {outputs} outputs, expected 1 or more")
        self.outputs, self.error = outputs, error

    @property
    def quality(self) -> Quality:
        """Mean absolute error, in the unit of the targets."""
        return Quality("MAE", "unit of the targets", higher_is_better=False, close=0.1)

    def check(self, targets: NDArray[Any], source: str, samples: int) -> NDArray[Any]:
        """Return targets as float32 (samples, outputs).

        Raises:
            InputError: wrong type or shape, NaN or infinity.
        """
        if targets.dtype.kind not in "fiu" or targets.ndim < 1 or len(targets) != samples:
            raise InputError(
                f"{source}: {targets.dtype} of shape {targets.shape}, expected numbers ({samples}, {self.outputs})"
            )
        flat = targets.reshape(samples, -1)
        if flat.shape[1] != self.outputs or not np.isfinite(flat).all():
            raise InputError(
                f"{source}: {flat.shape[1]} numbers a sample, {self.outputs} expected"
                if flat.shape[1] != self.outputs
                else f"{source}: NaN or infinity; leave such samples out"
            )
        return np.ascontiguousarray(flat, dtype=np.float32)

    def losses(self, outputs: "Tensor", targets: "Tensor") -> "Tensor":
        """Return the error of every sample, of what is judged, (batch,)."""
        return self._errors(outputs, targets, self.error)

    def harm(self, outputs: "Tensor", targets: "Tensor") -> "Tensor":
        """Return the error that quality falls with, whatever was trained, (batch,)."""
        return self._errors(outputs, targets, self.raised)

    def _errors(self, outputs: "Tensor", targets: "Tensor", kind: Error) -> "Tensor":
        _check_widths(outputs.shape, targets.shape)
        return errors_of(self.inside(outputs), self.inside(targets), kind)

    def inside(self, outputs: "Tensor") -> "Tensor":
        """Return outputs (batch, ...) without those that nobody judges."""
        return outputs

    def trained_by(self, loss: str | None) -> Task:
        """Return the same task with "l1" or "mse" as its loss."""
        made = copy(self)
        if loss is not None:
            made.error = LOSSES[loss]
        return made

    def scores(self, outputs: NDArray[Any], targets: NDArray[Any]) -> Scores:
        """Return the mean absolute error of every sample, (batch,)."""
        _check_widths(outputs.shape, targets.shape)
        difference = np.abs(self.kept(outputs.astype(np.float64)) - self.kept(targets))
        return np.asarray(difference.reshape(len(difference), -1).mean(1))

    def kept(self, outputs: NDArray[Any]) -> NDArray[Any]:
        """Return outputs (batch, ...) without those that nobody judges."""
        return outputs


@dataclass(frozen=True)
class Picture:
    """A picture whose parts are samples.

    Attributes:
        name: of it.
        size: (height, width) of the large picture.
        places: (sample, top, left) of each part, in pixels of the large picture; parts may overlap nowhere once their
            margins are cut off, and may reach over the right and lower edge.
    """

    name: str
    size: tuple[int, int]
    places: tuple[tuple[int, int, int], ...]

    @property
    def last(self) -> int:
        """The last of its samples."""
        return max(sample for sample, _, _ in self.places)


class Upscaling(Regression):
    """Larger images: outputs are pixels in [0, 1], judged by PSNR.

    Outputs are ordered as membranes of the read-out are: (channels scale^2, height, width) of the small image, which
    ``pixel_shuffle`` makes an image of. Loss and quality leave out a margin, where pixels lack what is around them.

    Args:
        shape: (channels, height, width) of a small image.
        scale: by how much images grow.
        margin: pixels of the large image that are left out on each side.
        pictures: what the test samples are parts of; empty where each is an image of its own.
        error: see :class:`Regression`.

    Raises:
        InputError: nothing is left inside the margin.
    """

    name: ClassVar[str] = "upscaling"
    raised: ClassVar[Error] = "squared"

    def __init__(
        self,
        shape: tuple[int, int, int],
        scale: int,
        margin: int = 0,
        pictures: tuple[Picture, ...] = (),
        error: Error = "absolute",
    ) -> None:
        channels, height, width = shape
        super().__init__(channels * scale * scale * height * width, error)
        self.shape, self.scale, self.margin, self.pictures = shape, scale, margin, pictures
        if scale < 1 or margin < 0 or 2 * margin >= scale * min(height, width):
            raise InputError(f"task upscaling: scale {scale} and margin {margin} leave nothing of {shape}")

    @property
    def quality(self) -> Quality:
        """PSNR of the pixels inside the margin, peak 1."""
        return Quality("PSNR of parts" if self.pictures else "PSNR", "dB", higher_is_better=True, close=0.5)

    def shuffled(self, outputs: "Tensor") -> "Tensor":
        """Return images (batch, channels, scale height, scale width) of outputs (batch, outputs)."""
        import torch

        channels, height, width = self.shape
        parts = outputs.reshape(-1, channels * self.scale**2, height, width)
        return torch.nn.functional.pixel_shuffle(parts, self.scale)

    def images(self, outputs: NDArray[Any]) -> NDArray[Any]:
        """Return images (batch, channels, scale height, scale width) of outputs (batch, outputs)."""
        import torch

        return self.shuffled(torch.from_numpy(np.ascontiguousarray(outputs))).numpy()

    def targets(self, images: NDArray[Any]) -> NDArray[Any]:
        """Return targets (samples, outputs) of large images (samples, channels, scale height, scale width)."""
        import torch

        parts = torch.nn.functional.pixel_unshuffle(torch.from_numpy(np.ascontiguousarray(images)), self.scale)
        return np.ascontiguousarray(parts.flatten(1).numpy())

    def kept(self, outputs: NDArray[Any]) -> NDArray[Any]:
        """Return images (batch, channels, height, width) without the margin."""
        found = self.images(outputs)
        return found[..., self.margin : found.shape[-2] - self.margin, self.margin : found.shape[-1] - self.margin]

    def pixels(self, outputs: NDArray[Any]) -> NDArray[np.float64]:
        """Return images of outputs as a file keeps them: between 0 and 1, 8 bits, the margin cut off."""
        found: NDArray[np.float64] = np.rint(self.kept(outputs.astype(np.float64)).clip(0, 1) * 255) / 255
        return found

    def inside(self, outputs: "Tensor") -> "Tensor":
        """Return outputs without those of the margin, (batch, ...)."""
        if not self.margin:
            return outputs
        cut = slice(self.margin, -self.margin)
        return self.shuffled(outputs)[..., cut, cut]

    def scores(self, outputs: NDArray[Any], targets: NDArray[Any]) -> Scores:
        """Return the PSNR in dB of every sample, (batch,)."""
        _check_widths(outputs.shape, targets.shape)
        difference = self.pixels(outputs) - self.pixels(targets)
        return psnr((difference.reshape(len(difference), -1) ** 2).mean(1))
