"""The latency coder: one spike a pixel, the brighter the earlier."""

from typing import ClassVar, Literal

import torch
from torch import Tensor

from ..errors import InputError
from .base import LEVELS, Coder, pixels, straight

Dark = Literal["silent", "last"]


class Latency(Coder):
    """Time to first spike, linear: one spike at step t = round((steps - 1) (1 - x)), x = p / 255, p the 8-bit pixel.

    There are no halves to round, since 255 is odd. Pixels with p = 0 are "silent", or spike at the "last" step.
    snnTorch's ``spikegen.latency`` with ``linear=True, normalize=True`` does the same on 8-bit pixels, except that it
    takes all below its threshold of 0.01 for dark.

    Gradient: straight-through; a brighter pixel moves its spike earlier, by steps - 1 for a unit, which is taken as
    a central difference: ds(t - 1)/dx = (steps - 1) / 2, ds(t + 1)/dx = -(steps - 1) / 2. The spike itself takes the
    place of a step before the first; after the last comes silence, or the spike itself where black spikes.

    Args:
        steps: time steps, 2 or more.
        dark: what black pixels do.
    """

    name: ClassVar[str] = "latency"

    def __init__(self, steps: int, *, dark: Dark = "silent") -> None:
        super().__init__(steps)
        if steps < 2:
            raise InputError("coding.steps: 1, but a latency needs 2 time steps or more")
        self.dark = dark

    def encode(self, images: Tensor) -> Tensor:
        """Return spikes (time, batch, channels, height, width), one a pixel at most."""
        p, last = pixels(images).to(torch.int64), self.steps - 1
        when = (2 * last * (LEVELS - p) + LEVELS) // (2 * LEVELS)
        if self.dark == "silent":
            when = torch.where(p == 0, self.steps, when)
        t = torch.arange(self.steps, device=p.device).view(-1, *[1] * p.dim())
        # At an end the spike itself takes the place of its earlier or later self; silence comes after the last step.
        earlier, later = (when - 1).clamp(min=0), (when + 1).clamp(max=last + (self.dark == "silent"))
        slope = 0.5 * last * ((t == earlier).to(images.dtype) - (t == later).to(images.dtype))
        return straight((t == when).to(images.dtype), images, slope)
