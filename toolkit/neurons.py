"""Layers that keep state and scan over time: spiking neurons and delays."""

from collections import deque
from collections.abc import Callable
from typing import cast

import snntorch
import torch
from torch import Tensor, nn

from .errors import InputError
from .scan import scan
from .surrogates import Spike, Surrogate, derivative_of

Step = Callable[[Tensor], Tensor]


class LIF(nn.Module):
    """Leaky integrate-and-fire neurons with hard reset: snnTorch's ``Leaky``, all time steps in one :func:`.scan.scan`.

    v(t) = beta v(t-1) (1 - s(t-1)) + I(t),  s(t) = 1 if v(t) > threshold else 0.  The backward pass uses the arctan
    surrogate, ds/dv = (alpha/2) / (1 + (pi alpha (v - threshold) / 2)^2), and does not go through the reset.

    Args:
        beta: membrane factor a time step.
        threshold: firing threshold; the comparison is strict.
        alpha: sharpness of the surrogate.
    """

    def __init__(self, beta: float, threshold: float, alpha: float) -> None:
        super().__init__()
        self.alpha = alpha
        self.neuron = snntorch.Leaky(
            beta=beta, threshold=threshold, spike_grad=Spike(Surrogate("arctan", alpha)), reset_mechanism="zero"
        )

    @property
    def beta(self) -> float:
        """Membrane factor a time step."""
        return float(self.neuron.beta)

    @property
    def threshold(self) -> float:
        """Firing threshold."""
        return float(self.neuron.threshold)

    def unlike(self) -> str | None:
        """Return why these are not LIF neurons at inference, None if they are; for classes that derive from it."""
        return None

    def stepper(self) -> Step:
        """Return a function of the current (batch, ...) of one step; its state starts at 0."""
        membrane: Tensor | None = None

        def step(current: Tensor) -> Tensor:
            nonlocal membrane
            spike, membrane = self.neuron(current, torch.zeros_like(current) if membrane is None else membrane)
            # snnTorch keeps the last membrane, and with it the whole graph; nothing may outlive the call.
            self.neuron.mem = current.new_zeros(0)
            self.neuron.reset = None
            return cast(Tensor, spike)

        return step

    def forward(self, current: Tensor) -> Tensor:
        """Return spikes (time, batch, ...) for input current (time, batch, ...); state starts at 0."""
        if self.neuron.reset_mechanism != "zero" or self.neuron.beta.numel() > 1:
            # Somebody changed the neuron: snnTorch knows how it runs.
            step = self.stepper()
            return torch.stack([step(now) for now in current])
        return scan(current, self.beta, self.threshold, derivative_of(self.neuron.spike_grad))


class Delay(nn.Module):
    """An axonal delay: x(t) -> x(t - steps), 0 before.

    Args:
        steps: 1 or more.
    """

    def __init__(self, steps: int) -> None:
        super().__init__()
        if steps < 1:
            raise InputError(f"delay of {steps} steps: must be 1 or more")
        self.steps = steps

    def stepper(self) -> Step:
        """Return a function of the signal (batch, ...) of one step; nothing is under way when it starts."""
        past: deque[Tensor] = deque()

        def step(x: Tensor) -> Tensor:
            past.append(x)
            return past.popleft() if len(past) > self.steps else torch.zeros_like(x)

        return step

    def forward(self, x: Tensor) -> Tensor:
        """Return the delayed signal, (time, batch, ...) as the given one."""
        kept = max(len(x) - self.steps, 0)
        return torch.cat([torch.zeros_like(x[: len(x) - kept]), x[:kept]])
