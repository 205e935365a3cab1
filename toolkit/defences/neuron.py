"""The neuron that defences of neurons share: LIF with places for noise, a prediction current and failing spikes."""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..network.layers import Step
from ..network.network import SpikingNetwork
from ..network.neurons import IF, LIF


class Current(Protocol):
    """A current that a neuron adds to its input, made of its own past."""

    def begin(self) -> tuple[Callable[[], Tensor | float], Callable[[Tensor, Tensor], None]]:
        """Return a function that gives the current of this step, and one that is told input and spikes of it."""

    def why_not(self) -> str | None:
        """Return why LIF neurons do not have it, None if it never flows."""

    def gamma(self) -> float | None:
        """Return what share of itself the current of a CUBA neuron keeps that is the same; None if none is."""


class OpenLIF(LIF):
    """LIF with places for defences; with none of them taken, the spikes of :class:`.neurons.LIF` bit for bit.

    v(t) = beta v(t-1) (1 - s(t-1)) + I(t) + P(t),  s(t) = 1 if v(t) + sigma n(t) > threshold else 0,

    with n standard normal. What is sent is s(t) b(t), with b(t) = 1 of probability p, else 0; a neuron whose spike is
    not sent resets all the same. At inference, where n and b are off unless told otherwise, it sends p s(t).

    Args:
        lif: gives constants and surrogate.

    Attributes:
        current: P, or None.
        sigma: of the noise.
        chance: p.
        noisy_inference: whether noise and chance act at inference, too.
        told: where not None, every run appends the list of its membranes v(t) before reset, (batch, ...).
    """

    def __init__(self, lif: LIF) -> None:
        super().__init__(lif.beta, lif.threshold, lif.alpha)
        self.neuron = lif.neuron
        self.current: Current | None = None
        self.sigma = 0.0
        self.chance = 1.0
        self.noisy_inference = False
        self.told: list[list[Tensor]] | None = None

    def unlike(self) -> str | None:
        """Return why these are not LIF neurons at inference, None if they are."""
        if self.noisy_inference and (self.sigma or self.chance < 1):
            return "random numbers at inference have no exact form on Loihi; switch them off there (inference = false)"
        if self.chance < 1:
            return f"sends spikes of {self.chance:g}, which only weights behind it can take; export from the recipe"
        return self.current.why_not() if self.current is not None else None

    def stepper(self) -> Step:
        """Return a function of the current (batch, ...) of one step; its state starts at 0."""
        kept: Tensor | float = 0.0
        membranes: list[Tensor] = []
        if self.told is not None:
            self.told.append(membranes)
        give, tell = self.current.begin() if self.current is not None else (None, None)
        random = self.training or self.noisy_inference

        def step(current: Tensor) -> Tensor:
            nonlocal kept
            membrane = kept * self.beta + (current if give is None else current + give())
            if self.told is not None:
                membranes.append(membrane)
            above = membrane - self.threshold
            if random and self.sigma:
                above = above + self.sigma * torch.randn_like(above)
            spike: Tensor = self.neuron.spike_grad(above)
            kept = membrane * (1 - spike.detach())
            if tell is not None:
                tell(current, spike)
            if self.chance == 1:
                return spike
            return spike * (torch.rand_like(spike) < self.chance if random else self.chance)

        return step

    def forward(self, current: Tensor) -> Tensor:
        """Return what is sent, (time, batch, ...), for input current (time, batch, ...)."""
        step = self.stepper()
        return torch.stack([step(now) for now in current])


def opened(network: SpikingNetwork) -> list[tuple[str, OpenLIF]]:
    """Make every LIF layer of a network an :class:`OpenLIF`, in place, and return them by name.

    Raises:
        InputError: a layer has neurons of another kind.
    """
    found = []
    for name, layer in list(network.named_layers()):
        if isinstance(layer, LIF):
            if type(layer) not in (IF, LIF, OpenLIF):
                raise InputError(f"layer {name!r}: {type(layer).__name__}; this defence is defined for LIF neurons")
            new = layer if isinstance(layer, OpenLIF) else OpenLIF(layer)
            setattr(network.layers, name, new.train(layer.training))
            found.append((name, new))
    return found


def last_weights(network: SpikingNetwork) -> tuple[str, nn.Linear]:
    """Return name and layer of the read-out's weights: the last linear layer.

    Raises:
        InputError: there is none.
    """
    for name, layer in reversed(list(network.named_layers())):
        if isinstance(layer, nn.Linear):
            return name, layer
    raise InputError("this defence needs a linear layer for the read-out; the network has none")
