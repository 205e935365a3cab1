"""What layers say of themselves: how they join, fold and compute at inference. No other file asks which class it is."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

Step = Callable[[Tensor], Tensor]


class Layer(nn.Module):
    """A layer of one's own; torch's layers that can be deployed need nothing of this.

    Attributes:
        sends_spikes: whether it sends binary spikes when it receives some.
        joins: whether it receives its two sources one by one, not their sum.
        undeployable: why it has no exact form in Loihi's integers; None if it has one.
    """

    sends_spikes: bool = False
    joins: ClassVar[bool] = False
    undeployable: str | None = None

    def folded(self) -> "nn.Module | None":
        """Return what stands for this layer in the deployed network: itself, torch's layers, or None for a mere wire.

        Whatever it returns must answer as this layer does in evaluation mode.
        """
        return self


class Scanned(Layer, ABC):
    """A layer with state: a function of one step, scanned over time. The state starts at 0 in every call."""

    @abstractmethod
    def stepper(self) -> Step:
        """Return a function of the signal (batch, ...) of one step; its state starts at 0."""

    def forward(self, x: Tensor) -> Tensor:
        """Return what the layer sends (time, batch, ...) for what it receives (time, batch, ...)."""
        step = self.stepper()
        return torch.stack([step(now) for now in x])


@dataclass(frozen=True)
class Dynamics:
    """What neurons compute at inference; quantization, NIR and the chip need to know nothing else of them.

    u(t) = current u(t-1) + I(t),  v(t) = keep v(t-1) (1 - s(t-1)) + u(t) + bias,  s(t) = 1 if v(t) > threshold else 0.

    Attributes:
        keep: membrane factor a time step, 0 to 1; as threshold and current one number, (channels, 1, 1) or (neurons,).
        threshold: None for neurons that never fire and are read by their membrane.
        current: share of its current that a step keeps, below 1; None where the current has no memory.
        bias: added to the voltage in each step, one number, (channels,) or (neurons,), or None.
    """

    keep: float | Tensor
    threshold: float | Tensor | None
    current: float | Tensor | None = None
    bias: Tensor | None = None


class Membrane(Scanned):
    """A population: neurons whose membrane integrates what they receive."""

    @abstractmethod
    def dynamics(self) -> Dynamics:
        """Return what they compute at inference.

        Raises:
            UnsupportedError: it is none of :class:`Dynamics`; the reason, without the layer's name.
        """

    def take_bias(self, bias: Tensor) -> bool:
        """Take over a constant that enters the current, if it would pile up there; return whether it was taken.

        Args:
            bias: (channels, 1, 1) or (neurons,).
        """
        return False
