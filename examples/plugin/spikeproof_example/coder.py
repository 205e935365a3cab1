"""A coder of one's own: a pixel that blinks."""

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from spikeproof.toolkit.coding.base import Coder, straight


class Blink(Coder):
    """Pixels above a level spike at every other step, from the first on: s(t) = 1 if x > level and t is odd else 0.

    Gradient: straight-through with slope 1, at all steps.

    Args:
        steps: time steps.
        level: in units of the [0, 1] pixel range.
    """

    name: ClassVar[str] = "blink"

    def __init__(self, steps: int, *, level: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.5) -> None:
        super().__init__(steps)
        self.level = level

    def encode(self, images: Tensor) -> Tensor:
        """Return spikes (time, batch, channels, height, width)."""
        on = (images > self.level).to(images.dtype)
        return straight(torch.stack([on * (1 - t % 2) for t in range(self.steps)]), images)
