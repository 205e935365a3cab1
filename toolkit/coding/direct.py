"""The direct coder: the same image at every time step."""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..data import Images
from .base import LEVELS, MESSAGE_BITS, Coder, Gradient


def direct(images: Tensor, steps: int) -> Tensor:
    """Show the same image at every time step: x(t) = image.

    Args:
        images: (batch, channels, height, width), in [0, 1].
        steps: number of time steps.

    Returns:
        (time, batch, channels, height, width); a view, no copy.
    """
    return images.unsqueeze(0).expand(steps, *images.shape)


def direct_integers(images: NDArray[np.float32], steps: int, levels: int = LEVELS) -> NDArray[np.int32]:
    """Return what the chip receives for :func:`direct`: round(255 x) at every time step, half to even.

    Args:
        images: (batch, channels, height, width), in [0, 1].
        steps: number of time steps.
        levels: the message that stands for 1.0, in place of 255.

    Returns:
        (time, batch, channels, height, width), 0...255; a read-only view.
    """
    # float32 throughout, as Brevitas' input quantizer computes it, so that both round the same way.
    found = np.rint(images.astype(np.float32) * np.float32(levels)).astype(np.int32)
    return np.broadcast_to(found, (steps, *found.shape))


class Direct(Coder):
    """x(t) = image: the first layer sees real numbers; the chip 8-bit graded messages, or bias-coded input.

    The float network sees the image as it is, the quantized network and the chip see 8-bit pixels.

    Args:
        steps: time steps.
        levels: the message that stands for 1.0; other than 255 only for a Program from elsewhere.
    """

    name: ClassVar[str] = "direct"
    gradient: ClassVar[Gradient] = "exact"
    message_bits = MESSAGE_BITS
    levels = LEVELS

    def __init__(self, steps: int, *, levels: int = LEVELS) -> None:
        super().__init__(steps)
        if levels != LEVELS:
            self.levels = self.pixels = levels
            self.message_bits = levels.bit_length()

    @property
    def settings(self) -> dict[str, Any]:
        """Name and every argument of the constructor that is not as usual."""
        unusual = {} if self.levels == LEVELS else {"levels": self.levels}
        return {"name": self.name, "steps": self.steps, **unusual}

    def encode(self, images: Tensor) -> Tensor:
        """Return :func:`direct`."""
        return direct(images, self.steps)

    def integers(self, images: Images) -> NDArray[np.int32]:
        """Return :func:`direct_integers`."""
        return direct_integers(images, self.steps, self.levels)
