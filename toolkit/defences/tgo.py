"""TGO: threshold guarding."""

import math
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from ..network.network import SpikingNetwork
from .base import Batch, Defence, Gradients
from .neuron import OpenLIF, opened


def penalty(membrane: Tensor, threshold: float, delta: float) -> Tensor:
    """Return mean max(0, delta - |v - threshold|) over all entries of ``membrane``."""
    return (delta - (membrane - threshold).abs()).clamp(min=0).mean()


class TGO(Defence):
    """Threshold guarding: membranes are kept away from the threshold, and firing is noisy.

    L + lambda(e) sum over layers of mean max(0, delta - |v - threshold|), with v before its reset and

    lambda(e) = weight (1 - cos(pi e)) / 2,  e the share of training that is done;

    s(t) = 1 if v(t) + sigma n(t) > threshold,  n(t) ~ N(0, 1), in training, at inference only where asked for.

    *Read* in notes and reviews of arXiv 2602.20548, which do not state delta and sigma; *reconstructed:* the
    form of the cosine.

    Attributes:
        weight: lambda at the end; the penalty is a mean, and small networks need more than the paper's 0.4 to 0.6.
        delta: the guarded distance.
        sigma: of the noise on the membrane; 0 for none.
        inference: whether the noise stays on at inference; such a network cannot be deployed.
    """

    name: Literal["tgo"] = "tgo"
    summary: ClassVar[str] = "threshold guarding: membranes away from the threshold, noisy firing"
    weight: Annotated[float, Field(ge=0.0)] = 10.0
    delta: Annotated[float, Field(ge=0.0)] = 0.5
    sigma: Annotated[float, Field(ge=0.0)] = 0.3
    inference: bool = False

    def prepare(self, network: SpikingNetwork) -> None:
        """Give every LIF layer its noise."""
        for _, layer in opened(network):
            layer.sigma, layer.noisy_inference = self.sigma, layer.noisy_inference or self.inference

    def schedule(self, progress: float) -> float:
        """Return lambda after this share of training."""
        return self.weight * (1 - math.cos(math.pi * progress)) / 2

    def around(self, batch: Batch, gradients: Gradients) -> Tensor:
        """Listen to the membranes meanwhile."""
        layers = [layer for _, layer in batch.network.named_layers() if isinstance(layer, OpenLIF)]
        for layer in layers:
            layer.told = []
        try:
            return gradients()
        finally:
            for layer in layers:
                layer.told = None

    def loss(self, batch: Batch) -> Tensor:
        """Return the penalty on the membranes of the batch's own pass, which is the first since the last call."""
        total = batch.logits.new_zeros(())
        for _, layer in batch.network.named_layers():
            if isinstance(layer, OpenLIF) and layer.told:
                total = total + penalty(torch.stack(layer.told[0]), layer.threshold, self.delta)
                layer.told.clear()
        return self.schedule(batch.progress) * total
