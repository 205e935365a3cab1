"""Neurons of one's own: they forget everything but their last input."""

from typing import Annotated

from pydantic import Field
from torch import Tensor

from spikeproof.toolkit.network.layers import Dynamics, Step
from spikeproof.toolkit.network.neurons import Neuron
from spikeproof.toolkit.network.surrogates import Kind, Spike, Surrogate


class Forgetful(Neuron):
    """Without a memory: s(t) = 1 if I(t) > threshold / eagerness else 0.

    Args:
        threshold: as in the section ``model``.
        alpha: sharpness of the surrogate, as there.
        surrogate: its shape, as there.
        eagerness: a key of its own.
    """

    def __init__(
        self,
        threshold: float,
        alpha: float,
        surrogate: Kind = "arctan",
        *,
        eagerness: Annotated[float, Field(gt=0.0)] = 1.0,
    ) -> None:
        super().__init__()
        self.threshold = threshold / eagerness
        self.spike_grad = Spike(Surrogate(surrogate, alpha))

    def dynamics(self) -> Dynamics:
        """Return what the chip's neurons compute with a membrane that keeps nothing."""
        return Dynamics(keep=0.0, threshold=self.threshold)

    def stepper(self) -> Step:
        """Return a function of the current (batch, ...) of one step."""

        def step(current: Tensor) -> Tensor:
            return self.spike_grad(current - self.threshold)

        return step
