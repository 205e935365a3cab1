"""A defence of one's own: training on noisy images."""

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from spikeproof.toolkit.defences.base import Batch, Defence


class NoiseTraining(Defence):
    """Train on images with noise: x' = clip(x + sigma N(0, 1), 0, 1).

    Attributes:
        sigma: of the noise, in units of the [0, 1] pixel range.
    """

    name: Literal["noise_training"] = "noise_training"
    summary: ClassVar[str] = "train on images with Gaussian noise"
    sigma: Annotated[float, Field(gt=0.0)] = 0.1

    def inputs(self, batch: Batch) -> Tensor:
        """Return the noisy images, (batch, ...)."""
        return (batch.images + self.sigma * torch.randn_like(batch.images)).clamp(0, 1)
