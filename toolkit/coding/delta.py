"""Coders of sequences: changes between frames, and events that are spikes already."""

from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data import Images
from ..errors import InputError
from .base import LEVELS, Coder, Gradient, Shape, pixels, straight


class Delta(Coder):
    """ON and OFF events of a sequence of frames, as channels (ON of all channels, then OFF).

    ON(t) = p(t) - p(t-1) >= h, OFF(t) = p(t-1) - p(t) >= h, p the 8-bit pixels, h = max(1, round(255 threshold)), and
    darkness before the first frame; snnTorch's ``spikegen.delta(off_spike=True)`` gives the same on 8-bit pixels, with
    OFF as -1.

    Gradient: straight-through with slope 1 of the change itself, x(t) - x(t-1) for ON and its negative for OFF.

    Args:
        steps: time steps: the number of frames.
        threshold: least change, in units of the [0, 1] pixel range.
    """

    name: ClassVar[str] = "delta"
    sequences: ClassVar[bool] = True

    def __init__(self, steps: int, *, threshold: float = 0.1) -> None:
        super().__init__(steps)
        if not 0 < threshold <= 1:
            raise InputError(f"coding.threshold: {threshold}, expected a number in (0, 1]")
        self.threshold = threshold

    def encoded_shape(self, shape: Shape) -> Shape:
        """Return twice as many channels."""
        return 2 * shape[0], shape[1], shape[2]

    def image_shape(self, shape: Shape) -> Shape:
        """Return half as many channels."""
        return shape[0] // 2, shape[1], shape[2]

    def encode(self, images: Tensor) -> Tensor:
        """Return events (time, batch, 2 channels, height, width) of sequences (batch, time, ...)."""
        frames = images.transpose(0, 1)
        change, whole = (x - torch.cat([torch.zeros_like(x[:1]), x[:-1]]) for x in (frames, pixels(frames)))
        least = max(1, round(LEVELS * self.threshold))
        both = torch.cat([whole >= least, whole <= -least], 2).to(images.dtype)
        return straight(both, torch.cat([change, -change], 2))


class Events(Coder):
    """Events binned over time are input already: s(t) = x(t), each 0 or 1. Gradient: exact.

    What an attack leaves between 0 and 1 reaches the chip rounded.

    Args:
        steps: time steps: the number of bins.
    """

    name: ClassVar[str] = "events"
    gradient: ClassVar[Gradient] = "exact"
    sequences: ClassVar[bool] = True

    def encode(self, images: Tensor) -> Tensor:
        """Return (batch, time, ...) as (time, batch, ...)."""
        return images.transpose(0, 1)

    def on_grid(self, images: Images) -> Images:
        """Return the nearest spikes, 0 or 1."""
        return np.rint(images).astype(np.float32)

    def check(self, images: NDArray[Any], source: str, shape: Shape | None = None) -> Images:
        """Return events as float32 in [0, 1]; integers are not taken for pixels."""
        return super().check(images.astype(np.float32) if images.dtype.kind in "biu" else images, source, shape)
