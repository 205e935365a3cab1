"""The direct coder: the same image at every time step."""

from typing import ClassVar

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


def direct_integers(images: NDArray[np.float32], steps: int) -> NDArray[np.int32]:
    """Return what the chip receives for :func:`direct`: round(255 x) at every time step, half to even.

    Args:
        images: (batch, channels, height, width), in [0, 1].
        steps: number of time steps.

    Returns:
        (time, batch, channels, height, width), 0...255; a read-only view.
    """
    # float32 throughout, as Brevitas' input quantizer computes it, so that both round the same way.
    levels = np.rint(images.astype(np.float32) * np.float32(LEVELS)).astype(np.int32)
    return np.broadcast_to(levels, (steps, *levels.shape))


class Direct(Coder):
    """x(t) = image: the first layer sees real numbers; the chip 8-bit graded messages, or bias-coded input.

    The float network sees the image as it is, the quantized network and the chip see 8-bit pixels.
    """

    name: ClassVar[str] = "direct"
    gradient: ClassVar[Gradient] = "exact"
    message_bits = MESSAGE_BITS
    levels = LEVELS

    def encode(self, images: Tensor) -> Tensor:
        """Return :func:`direct`."""
        return direct(images, self.steps)

    def integers(self, images: Images) -> NDArray[np.int32]:
        """Return :func:`direct_integers`."""
        return direct_integers(images, self.steps)
