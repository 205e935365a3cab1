"""What happens to a signal between weights and neurons: it is scaled, compared, delayed, reshaped, or merely passed."""

import math
from collections import deque

import torch
from torch import Tensor, nn

from ..errors import InputError
from .layers import Layer, Scanned, Step
from .surrogates import Kind, Spike, Surrogate

DELAY_LIMIT = 4096
"""Longest delay in steps: bounds the memory that a file can ask for."""


def _constant(values: Tensor | float) -> Tensor:
    """Return numbers as a tensor: a tensor's own type, else PyTorch's default."""
    given = values.detach().clone() if isinstance(values, Tensor) else torch.tensor(values)
    return given if given.is_floating_point() else given.to(torch.get_default_dtype())


class Scale(Layer):
    """x -> scale x.

    Args:
        scale: one number, or an array that broadcasts to a signal without batch.
    """

    scale: Tensor

    def __init__(self, scale: Tensor | float) -> None:
        super().__init__()
        self.register_buffer("scale", _constant(scale))

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, ...) for x of that shape."""
        return x * self.scale


class Threshold(Layer):
    """Spikes of what is above a threshold now, without a memory: s(t) = 1 where x(t) > threshold.

    Args:
        threshold: one number, or an array that broadcasts to a signal without batch.
        surrogate: shape of ds/dx, see :class:`.surrogates.Surrogate`.
        alpha: its sharpness.
    """

    sends_spikes = True
    threshold: Tensor

    def __init__(self, threshold: Tensor | float, surrogate: Kind = "arctan", alpha: float = 2.0) -> None:
        super().__init__()
        self.register_buffer("threshold", _constant(threshold))
        self.surrogate, self.alpha = surrogate, alpha
        self.spike_grad = Spike(Surrogate(surrogate, alpha))

    def forward(self, x: Tensor) -> Tensor:
        """Return spikes (batch, ...) for x of that shape."""
        return self.spike_grad(x - self.threshold)


class Reshape(Layer):
    """A signal in another shape, in the same order.

    Args:
        shape: without batch.
    """

    undeployable = "a change of shape other than flattening all has no form on the chip; flatten to features"

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = tuple(shape)

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, *shape)."""
        return x.reshape(len(x), *self.shape)


class Slice(Layer):
    """One of several inputs that arrive as one: its elements, flattened, from ``start`` on.

    Args:
        start: of its first element in the joint input.
        shape: without batch.
    """

    undeployable = "one of several joint inputs has no form of its own; 'nir evaluate' lowers such a file as it is"

    def __init__(self, start: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.start, self.shape = start, tuple(shape)

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, *shape)."""
        return x.flatten(1)[:, self.start : self.start + math.prod(self.shape)].reshape(len(x), *self.shape)


class Wire(Layer):
    """What sends what it receives; folding removes it."""

    def folded(self) -> nn.Module | None:
        """Return a mere wire."""
        return None

    def forward(self, x: Tensor) -> Tensor:
        """Return x."""
        return x


class Read(Layer):
    """The end of a network whose read-out feeds other layers, too, or is a sum: sends what it receives."""

    def forward(self, x: Tensor) -> Tensor:
        """Return x."""
        return x


class Delays(Scanned):
    """Axonal delays neuron by neuron: x(t) -> x(t - steps), 0 before.

    Args:
        steps: whole numbers from 0 to :data:`DELAY_LIMIT`, in the shape of a signal without batch.

    Raises:
        InputError: other numbers.
    """

    steps: Tensor

    def __init__(self, steps: Tensor) -> None:
        super().__init__()
        if not steps.is_meta:
            whole = bool((steps == steps.round()).all()) and int(steps.min()) >= 0 and int(steps.max()) <= DELAY_LIMIT
            if not whole:
                raise InputError(f"delays: expected whole steps from 0 to {DELAY_LIMIT}")
        # Floats, as all that a file of weights holds.
        self.register_buffer("steps", _constant(steps))

    def stepper(self) -> Step:
        """Return a function of the signal (batch, ...) of one step; nothing is under way when it starts."""
        where = {int(lag): self.steps == lag for lag in self.steps.unique()}
        past: deque[Tensor] = deque(maxlen=max(where) + 1)

        def step(x: Tensor) -> Tensor:
            past.appendleft(x)
            found = torch.zeros_like(x)
            for lag, mask in where.items():
                if lag < len(past):
                    found = torch.where(mask, past[lag], found)
            return found

        return step
