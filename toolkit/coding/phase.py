"""The phase coder: the bits of a pixel, one a time step."""

from typing import ClassVar

import torch
from torch import Tensor

from .base import MESSAGE_BITS, Coder, pixels, straight


class Phase(Coder):
    """Bit planes of the 8-bit pixel p, most significant first, over and over: v = p / 256 in 8 binary digits.

    s(t) = floor(p / 2^(7 - (t - 1) mod 8)) mod 2, t = 1, 2, ... (Kim et al. 2018, Neurocomputing 311, "Deep neural
    networks with weighted spikes"). With ``weighted`` a spike counts 2^-(1 + (t - 1) mod 8), so that a period adds up
    to v: graded messages of 8 bits. Without, every bit plane counts alike, as in the released code of arXiv 2509.23762,
    where the weights are described but not applied: binary spikes.

    Gradient: straight-through with slope 1 (its weight, where weighted), which is every bit's mean slope over [0, 1].

    Args:
        steps: time steps.
        weighted: whether spikes carry their weight.
    """

    name: ClassVar[str] = "phase"

    def __init__(self, steps: int, *, weighted: bool = False) -> None:
        super().__init__(steps)
        self.weighted = weighted

    @property
    def message_bits(self) -> int:  # type: ignore[override]
        """8 where weighted: the bit at its place in the pixel; else binary."""
        return MESSAGE_BITS if self.weighted else 0

    @property
    def levels(self) -> int:  # type: ignore[override]
        """256 where weighted, since v = p / 256."""
        return 2**MESSAGE_BITS if self.weighted else 1

    def encode(self, images: Tensor) -> Tensor:
        """Return bits or weighted bits (time, batch, channels, height, width)."""
        place = 7 - torch.arange(self.steps, device=images.device) % MESSAGE_BITS
        place = place.view(-1, *[1] * images.dim())
        bits = (pixels(images).to(torch.int64) >> place & 1).to(images.dtype)
        weight = 2.0 ** (place - MESSAGE_BITS) if self.weighted else torch.ones_like(place)
        weight = weight.to(images.dtype)
        return straight(bits * weight, images, weight)
