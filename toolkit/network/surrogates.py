"""Surrogates: what an attacker may take for the derivative of a spike, with fixed or adaptive sharpness."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from ..errors import InputError

Kind = Literal["arctan", "triangular", "sigmoid", "rectangular", "gaussian"]

_DERIVATIVES: dict[str, Callable[[Tensor], Tensor]] = {
    "triangular": lambda x: (1 - x.abs()).clamp(min=0),
    "sigmoid": lambda x: torch.sigmoid(x) * torch.sigmoid(-x),
    "rectangular": lambda x: 0.5 * (x.abs() <= 1).to(x.dtype),
    "gaussian": lambda x: torch.exp(-x * x / 2) / math.sqrt(2 * math.pi),
}
_MASSES: dict[str, Callable[[Tensor], Tensor]] = {
    "arctan": lambda x: 2 / math.pi * torch.atan(math.pi * x.abs() / 2),
    "triangular": lambda x: 1 - (1 - x.abs()).clamp(min=0) ** 2,
    "sigmoid": lambda x: torch.tanh(x.abs() / 2),
    "rectangular": lambda x: x.abs().clamp(max=1),
    "gaussian": lambda x: torch.erf(x.abs() / math.sqrt(2)),
}
_WIDTHS: dict[str, Callable[[float], float]] = {
    "arctan": lambda mass: 2 / math.pi * math.tan(math.pi * mass / 2),
    "triangular": lambda mass: 1 - math.sqrt(1 - mass),
    "sigmoid": lambda mass: 2 * math.atanh(mass),
    "rectangular": lambda mass: mass,
    "gaussian": lambda mass: math.sqrt(2) * float(torch.erfinv(torch.tensor(mass, dtype=torch.float64))),
}

KINDS: tuple[Kind, ...] = ("arctan", "triangular", "sigmoid", "rectangular", "gaussian")
"""All surrogates, the one that snnTorch trains with first."""


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise InputError(f"surrogate: {kind!r}, expected one of {', '.join(KINDS)}")


@dataclass(frozen=True)
class Surrogate:
    """A density that stands for the derivative of a spike: g(x) = a h(a x), even, unimodal, of integral 1.

    h(x) = 1/2 / (1 + (pi x / 2)^2) for arctan (snnTorch's ``atan`` with alpha = a), max(0, 1 - |x|) for triangular,
    s(x) s(-x) with the logistic s for sigmoid, 1/2 where |x| <= 1 for rectangular, and the standard normal density for
    gaussian. x is what the layer passes: v - threshold in snnTorch, v / threshold - 1 in the twin.

    Args:
        kind: the shape h.
        sharpness: a; the larger, the narrower.

    Raises:
        InputError: another kind, or a sharpness that is not a positive number.
    """

    kind: Kind = "arctan"
    sharpness: float = 2.0

    def __post_init__(self) -> None:
        _check_kind(self.kind)
        if not 0 < self.sharpness < math.inf:
            raise InputError(f"surrogate: sharpness {self.sharpness}, expected a positive number")

    def __call__(self, x: Tensor) -> Tensor:
        """Return g(x), the shape and type of ``x``."""
        if self.kind == "arctan":
            # Most of all backward passes: in one piece of memory, with the roundings of snnTorch's ``atan``.
            z = x * (math.pi / 2 * self.sharpness)
            return z.square_().add_(1).reciprocal_().mul_(self.sharpness / 2)
        return self.sharpness * _DERIVATIVES[self.kind](self.sharpness * x)

    def mass(self, x: Tensor) -> Tensor:
        """Return the integral of g over [-|x|, |x|]: how much of the derivative vanishes at distance |x|."""
        return _MASSES[self.kind](self.sharpness * x)

    def width(self, mass: float) -> float:
        """Return the x >= 0 whose :meth:`mass` is ``mass``, in [0, 1).

        Raises:
            InputError: ``mass`` is out of range.
        """
        if not 0 <= mass < 1:
            raise InputError(f"surrogate: mass {mass}, expected a number in [0, 1)")
        return _WIDTHS[self.kind](mass) / self.sharpness


@dataclass(frozen=True)
class AdaptiveSharpness:
    """Sharpness that follows the membrane of every neuron, time step and sample (ASSG, arXiv 2512.22522).

    At iteration k of an attack, with h and its mass H as in :class:`Surrogate`,

    M <- b1 M + (1 - b1) |x|,  D <- b2 D + (1 - b2) ||x| - M|,  a = w / (M + r D + 1e-4),  H(w) = A,

    from M = 1 and D = 0. H is concave on x >= 0, so a <= w / E|x| bounds the expected vanishing degree E[H(a x)] by A.

    Args:
        kind: the shape h.
        vanishing: A, the expected vanishing degree that is allowed, in (0, 1).
        mean_decay: b1.
        spread_decay: b2.
        spread_weight: r.

    Raises:
        InputError: a setting is out of range.
    """

    kind: Kind = "arctan"
    vanishing: float = 0.85
    mean_decay: float = 0.9
    spread_decay: float = 0.9
    spread_weight: float = 1.5

    def __post_init__(self) -> None:
        _check_kind(self.kind)
        for name, low, value, high in (
            ("vanishing", 0, self.vanishing, 1),
            ("mean_decay", -1, self.mean_decay, 1),
            ("spread_decay", -1, self.spread_decay, 1),
            ("spread_weight", -1, self.spread_weight, math.inf),
        ):
            if not low < value < high or (low == -1 and value < 0):
                raise InputError(f"adaptive surrogate: {name} {value} is out of range")


class Following:
    """The state of :class:`AdaptiveSharpness` during the attack on one batch; a derivative x -> g(x).

    It is called in the backward pass, once a neuron population and time step, in an order that is the same in every
    iteration; that order tells the calls apart. :meth:`restart` goes back to the first one.

    Args:
        settings: what follows, and how fast.
    """

    def __init__(self, settings: AdaptiveSharpness) -> None:
        self.settings = settings
        self.shape = Surrogate(settings.kind, 1.0)
        self.target = self.shape.width(settings.vanishing)
        self.frozen = False
        self._state: list[tuple[Tensor, Tensor]] = []
        self._position = 0

    def restart(self) -> None:
        """Begin a new backward pass."""
        self._position = 0

    def keep(self, index: Tensor) -> None:
        """Keep the samples ``index`` (a mask or indices) of the batch, whose others are done."""
        self._state = [(mean[index], spread[index]) for mean, spread in self._state]

    def sharpness(self, x: Tensor) -> Tensor:
        """Update the state of the next call with ``x`` (batch, ...) and return a, of the same shape."""
        x = x.detach().abs()
        if self._position == len(self._state):
            self._state.append((torch.ones_like(x), torch.zeros_like(x)))
        mean, spread = self._state[self._position]
        if mean.shape != x.shape:
            raise InputError(
                f"adaptive surrogate: membranes of shape {tuple(x.shape)} after {tuple(mean.shape)}; "
                "its state belongs to one batch of one network, make a new one"
            )
        settings = self.settings
        if not self.frozen:
            mean = settings.mean_decay * mean + (1 - settings.mean_decay) * x
            spread = settings.spread_decay * spread + (1 - settings.spread_decay) * (x - mean).abs()
            self._state[self._position] = mean, spread
        self._position += 1
        return self.target / (mean + settings.spread_weight * spread + 1e-4)

    def __call__(self, x: Tensor) -> Tensor:
        """Return a h(a x), with a from :meth:`sharpness`."""
        sharpness = self.sharpness(x)
        return sharpness * self.shape(sharpness * x)


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, derivative: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.save_for_backward(x)
        ctx.derivative = derivative
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        return grads[0] * ctx.derivative(x), None


@dataclass(frozen=True)
class Spike:
    """The function x -> (1 if x > 0 else 0), whose backward pass multiplies by ``derivative(x)``."""

    derivative: Callable[[Tensor], Tensor]

    def __call__(self, x: Tensor) -> Tensor:
        """Return spikes of the shape and type of ``x``."""
        fired: Tensor = _Spike.apply(x, self.derivative)  # type: ignore[no-untyped-call]
        return fired


def derivative_of(spike: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Return x -> ds/dx of a spike function as its backward pass takes it: a :class:`Spike`, or any of snnTorch's."""
    if isinstance(spike, Spike):
        return spike.derivative

    def derivative(x: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            return torch.autograd.grad(spike(x).sum(), x)[0]

    return derivative
