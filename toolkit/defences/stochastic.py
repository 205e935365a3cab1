"""Stochastic firing."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from ..network.network import SpikingNetwork
from .base import Defence
from .neuron import opened


class Stochastic(Defence):
    """Stochastic neurons: a neuron above threshold fires with probability p, and resets in any case.

    s'(t) = s(t) b(t), b(t) ~ Bernoulli(p) in training, with the surrogate's gradient where b(t) = 1; at inference
    p s(t), its expectation given s, or samples where asked for. Hidden layers only: the read-out counts all spikes.

    *Reconstructed:* Zhang et al., JMLR 25 (2024), arXiv 2207.04876, whose abstract alone was read.

    Attributes:
        probability: p.
        inference: whether spikes are drawn at inference, too; such a network cannot be deployed.
    """

    name: Literal["stochastic"] = "stochastic"
    summary: ClassVar[str] = "stochastic firing: spikes are sent with probability p"
    probability: Annotated[float, Field(gt=0.0, le=1.0)] = 0.9
    inference: bool = False

    def prepare(self, network: SpikingNetwork) -> None:
        """Give every hidden LIF layer its probability."""
        last = list(network.named_layers())[-1][0]
        for name, layer in opened(network):
            if name != last:
                layer.chance = self.probability
                layer.noisy_inference = layer.noisy_inference or self.inference
