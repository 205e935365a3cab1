"""The rate coder: as many spikes as the pixel is bright, drawn or evenly spaced."""

from typing import ClassVar, cast

import torch
from torch import Tensor

from .base import LEVELS, Coder, Gradient, pixels, straight


class Rate(Coder):
    """Spikes whose mean rate is x = p / 255, p the 8-bit pixel.

    Stochastic (a Poisson train in discrete time): s(t) = 1 with probability x, independent draws; snnTorch's
    ``spikegen.rate``. Attacks on it must average draws (expectation over transformation). Deterministic: evenly
    spaced, the first in the middle of its interval, s(t) = floor(t x + 1/2) - floor((t - 1) x + 1/2), error diffusion
    in integers.

    Gradient: that of the expectation, dE[s(t)]/dx = 1; the same slope, straight-through, where deterministic.

    Args:
        steps: time steps.
        stochastic: draw the spikes from torch's generator.
    """

    name: ClassVar[str] = "rate"

    def __init__(self, steps: int, *, stochastic: bool = True) -> None:
        super().__init__(steps)
        self.stochastic = stochastic

    @property
    def gradient(self) -> Gradient:  # type: ignore[override]
        """By draws or not."""
        return "expectation" if self.stochastic else "straight-through"

    def encode(self, images: Tensor) -> Tensor:
        """Return spikes (time, batch, channels, height, width)."""
        p = pixels(images)
        if self.stochastic:
            # Drawn on the CPU and sample by sample: a seed means the same on every device and for every batch size.
            draws = torch.rand(len(p), self.steps, *p.shape[1:]).transpose(0, 1).to(p.device)
            spikes = draws * LEVELS < p
        else:
            t = torch.arange(self.steps + 1, device=p.device).view(-1, *[1] * p.dim())
            so_far = (2 * t * p.to(torch.int64) + LEVELS) // (2 * LEVELS)
            spikes = cast(Tensor, so_far.diff(dim=0) > 0)
        return straight(spikes.to(images.dtype), images)
