"""Attention of SpikeSR: features scaled by what is seen of them over time, channels and places (arXiv 2503.04223).

What multiplies features by other features is no sum of spikes: no layer of this file has a form on the chip.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn

from ..errors import InputError
from .layers import Scanned, Step

WITHOUT = 'train with model.attention = "none", which lowers exactly'


class Attention(Scanned):
    """What multiplies features by features: it trains, and is refused on the chip."""

    what: ClassVar[str]

    @property
    def undeployable(self) -> str:  # type: ignore[override]
        """Why it has no exact form on the chip, and what to do instead."""
        return f"{self.what} multiplies features by features, which no synapse does; {WITHOUT}"

    def stepper(self) -> Step:
        """Refuse to run step by step.

        Raises:
            InputError: always.
        """
        raise InputError(f"{self.what} needs all time steps at once; a network with loops cannot have it")


class HDA(Attention):
    """Hybrid dimension attention: y = x sigmoid(a b), a and b from the mean of x over places.

    m(t, c) = mean over places of x(t, c);  a mixes the steps of m, b its channels, each by a convolution of three.

    Args:
        steps: time steps.
        channels: of the features.
    """

    what = "hybrid dimension attention"

    def __init__(self, steps: int, channels: int) -> None:
        super().__init__()
        self.time = nn.Conv1d(steps, steps, 3, padding=1)
        self.channel = nn.Conv1d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (time, batch, channels, height, width) for features of that shape."""
        mean = x.mean((3, 4)).transpose(0, 1)
        scale = torch.sigmoid(self.time(mean) * self.channel(mean.transpose(1, 2)).transpose(1, 2))
        return x * scale.transpose(0, 1)[..., None, None]


class Fusion(Attention):
    """The mean m over time, gated by place and channel: y = t m + (1 - t) a m, the same at every step.

    a = sigmoid(A mean over places of m), one number a channel;  t = sigmoid(B * m), one number a place.

    Args:
        channels: of the features.
    """

    what = "fusion by gates"

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channel = nn.Conv2d(channels, channels, 1)
        self.place = nn.Conv2d(channels, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (time, batch, channels, height, width) for features of that shape."""
        mean = x.mean(0)
        gate = torch.sigmoid(self.place(mean))
        fused = gate * mean + (1 - gate) * torch.sigmoid(self.channel(mean.mean((2, 3), keepdim=True))) * mean
        return fused.unsqueeze(0).expand(x.shape)
