"""Neurons as other frameworks define them: one set of difference equations that covers them all."""

import copy
from collections.abc import Mapping
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from ..errors import InputError, UnsupportedError
from .layers import Dynamics, Membrane, Step
from .neurons import Neuron
from .surrogates import Kind, Spike, Surrogate

Reset = Literal["zero", "subtract", "subtract_later", "zero_later", "none"]
CONSTANTS = ("keep", "gain", "rest", "threshold", "reset_to", "start", "current", "current_gain")
"""The numbers of a population, each one for all, one a channel or one a neuron."""
DEFAULTS = {"keep": 1.0, "gain": 1.0, "rest": 0.0, "threshold": 1.0, "reset_to": 0.0, "start": 0.0}


class _Charged(Membrane):
    """Membranes that charge: u(t) = current u(t-1) + current_gain I(t),  v(t) = keep v(t-1) + gain u(t) + rest."""

    keep: Tensor
    gain: Tensor
    rest: Tensor
    start: Tensor
    current: Tensor | None
    current_gain: Tensor

    def _take(self, values: Mapping[str, Tensor | float | None], learned: frozenset[str]) -> None:
        unknown = sorted(set(values) - set(CONSTANTS))
        if unknown:
            raise InputError(f"population: unknown constants {unknown}; known are {', '.join(CONSTANTS)}")
        current = values.get("current")
        known = {**DEFAULTS, "current_gain": None if current is None else 1.0, **values}
        for name in CONSTANTS:
            value = known.get(name)
            # A tensor keeps its type, so that a network in float64 has constants in float64.
            own = value.dtype if isinstance(value, Tensor) and value.is_floating_point() else torch.get_default_dtype()
            tensor = None if value is None else torch.as_tensor(value, dtype=own).clone()
            if tensor is not None and not tensor.is_meta and not bool(torch.isfinite(tensor).all()):
                raise InputError(f"population: {name} holds NaN or infinity")
            if tensor is not None and name in learned:
                self.register_parameter(name, nn.Parameter(tensor.detach()))
            else:
                self.register_buffer(name, None if tensor is None else tensor.detach())

    def shapes(self) -> dict[str, list[int]]:
        """Return the shape of every constant that there is, by name."""
        found = {name: getattr(self, name) for name in CONSTANTS}
        return {name: list(value.shape) for name, value in found.items() if value is not None}

    def learned(self) -> list[str]:
        """Return the names of the constants that training changes."""
        return [name for name in CONSTANTS if isinstance(getattr(self, name), nn.Parameter)]

    def _charge(self, v: Tensor, u: Tensor | None, x: Tensor) -> tuple[Tensor, Tensor | None]:
        if self.current is not None:
            x = u = self.current_gain * x if u is None else self.current * u + self.current_gain * x
        return self.keep * v + self.gain * x + self.rest, u

    def _unlike(self, name: str, value: float) -> bool:
        return bool((getattr(self, name) != value).any())

    def _one(self, name: str) -> "float | Tensor":
        """Return a constant as one number where it is the same for all."""
        value: Tensor = getattr(self, name).detach().double()
        return float(value.flatten()[0]) if bool((value == value.flatten()[0]).all()) else value


class LeakyIntegrator(_Charged):
    """Neurons that do not fire and are read by their membrane: v(t) = keep v(t-1) + gain u(t) + rest.

    Args:
        values: the constants that are not as in :data:`DEFAULTS`, each a number, (channels, 1, 1) or (neurons,).
        learned: which of them training changes.

    Raises:
        InputError: an unknown constant, or NaN.
    """

    def __init__(self, values: Mapping[str, Tensor | float | None], learned: frozenset[str] = frozenset()) -> None:
        super().__init__()
        self._take({**values, "threshold": None, "reset_to": None}, learned)

    def dynamics(self) -> Dynamics:
        """Return a plain integrator.

        Raises:
            UnsupportedError: it leaks, or its current has a memory.
        """
        usual = {"keep": 1.0, "rest": 0.0, "start": 0.0, "gain": 1.0}
        if self.current is not None or any(self._unlike(name, value) for name, value in usual.items()):
            raise UnsupportedError(
                "a read-out membrane that leaks, or starts elsewhere than at 0, has no exact form; 'adapt' makes it a "
                "plain integrator"
            )
        return Dynamics(1.0, None)

    def stepper(self) -> Step:
        """Return a function of the input (batch, ...) of one step that gives the membrane."""
        v: Tensor | None = None
        u: Tensor | None = None

        def step(x: Tensor) -> Tensor:
            nonlocal u, v
            v, u = self._charge(self.start if v is None else v, u, x)
            return v

        return step


class _Cell(nn.Module):
    """One step of a population as a module, for those who watch modules: networks with loops run step by step."""

    def forward(self, x: Tensor, step: Step) -> Tensor:
        """Return ``step(x)``."""
        return step(x)


class Population(Neuron, _Charged):
    """Spiking neurons as other frameworks have them, trainable and attackable.

    u(t) = current u(t-1) + current_gain I(t)  (u = I without a current),  v(t) = keep v(t-1) + gain u(t) + rest,
    s(t) = 1 where v(t) > threshold.  A spike then changes v as ``reset`` says: ``zero``: to reset_to, at once;
    ``subtract``: minus the threshold, at once; ``subtract_later``: minus the threshold after the leak of the next
    step; ``zero_later``: to reset_to instead of the next step, whose input is lost; ``none``. The backward pass takes
    a surrogate for ds/dv and does not go through the reset. These are the equations of snnTorch, SpikingJelly, norse,
    sinabs and NIR after a step in time (docs/nir.md).

    Args:
        values: the constants that are not as in :data:`DEFAULTS`, each a number, (channels, 1, 1) or (neurons,).
        reset: what a spike does.
        at_threshold: a membrane exactly at the threshold fires, too.
        several: a membrane n thresholds high sends n spikes in one step.
        surrogate: shape of the derivative, see :class:`.surrogates.Surrogate`.
        alpha: its sharpness.
        learned: the constants that training changes.

    Raises:
        InputError: an unknown constant or reset, NaN, or several spikes with a threshold of 0 or less.
    """

    threshold: Tensor
    reset_to: Tensor

    def __init__(
        self,
        values: Mapping[str, Tensor | float | None],
        *,
        reset: Reset = "zero",
        at_threshold: bool = False,
        several: bool = False,
        surrogate: Kind = "arctan",
        alpha: float = 2.0,
        learned: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__()
        if reset not in get_args(Reset):
            raise InputError(f"population: reset {reset!r}, expected one of {', '.join(get_args(Reset))}")
        self._take(values, learned)
        if several and not self.threshold.is_meta and bool((self.threshold <= 0).any()):
            raise InputError("population: several spikes a step need a threshold above 0")
        self.reset: Reset = reset
        self.at_threshold, self.several, self.surrogate, self.alpha = at_threshold, several, surrogate, alpha
        self.spike_grad = Spike(Surrogate(surrogate, alpha))
        self.cell = _Cell()

    def _fired(self, v: Tensor) -> Tensor:
        x = v - self.threshold
        if self.at_threshold:
            x = x + (x == 0).to(x.dtype) * torch.finfo(x.dtype).tiny
        if not self.several:
            return self.spike_grad(x)
        # The n-th spike comes at n thresholds: what is nearest has the derivative, also from below the first.
        thresholds = self.threshold * torch.round(v / self.threshold).clamp(min=1).detach()
        spikes = self.spike_grad(v - thresholds)
        counts = (x > 0).to(x.dtype) * torch.trunc(v / self.threshold)
        return spikes + (counts - spikes).detach()

    def _steps(self, told: list[Tensor] | None = None) -> Step:
        v: Tensor | None = None
        u: Tensor | None = None
        owed: Tensor | None = None

        def step(x: Tensor) -> Tensor:
            nonlocal u, v, owed
            v, u = self._charge(self.start if v is None else v, u, x)
            if owed is not None:
                v = torch.where(owed > 0, self.reset_to, v) if self.reset == "zero_later" else v - owed
            spikes = self._fired(v)
            fired = spikes.detach()
            if self.reset == "zero":
                v = torch.where(fired > 0, self.reset_to, v)
            elif self.reset == "subtract":
                v = v - fired * self.threshold
            elif self.reset == "subtract_later":
                owed = fired * self.threshold
            elif self.reset == "zero_later":
                owed = fired
            if told is not None:
                told.append(v)
            return spikes

        return step

    def stepper(self) -> Step:
        """Return a function of the input (batch, ...) of one step; its state starts at ``start``."""
        step = self._steps()
        return lambda x: self.cell(x, step)

    def forward(self, x: Tensor) -> Tensor:
        """Return spikes (time, batch, ...) for what arrives (time, batch, ...); the state starts at ``start``."""
        step = self._steps()
        return torch.stack([step(now) for now in x])

    def integrate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the membrane after each step's reset, and the spikes, (time, batch, ...), for what arrives."""
        told: list[Tensor] = []
        step = self._steps(told)
        spikes = torch.stack([step(now) for now in x])
        return torch.stack(told), spikes

    def quantized(self) -> nn.Module:
        """Return neurons that fire above the threshold only, as the chip's do."""
        made = copy.deepcopy(self)
        made.at_threshold = False
        return made

    def why_not(self) -> str | None:
        """Return why these neurons do not exist on Loihi, None if they do."""
        kinds = {
            "subtract": "a reset by subtraction",
            "subtract_later": "a reset by subtraction",
            "zero_later": "a reset that swallows the next step's input",
            "none": "a spike without a reset",
        }
        if self.reset in kinds:
            return f"{kinds[self.reset]} does not exist on Loihi, which resets to zero at once; 'adapt' changes it"
        if self.several:
            return "Loihi's neurons send one spike a step, these several; 'adapt' changes it"
        if bool((self.start != self.reset_to).any()):
            return "membranes that start elsewhere than where they reset to; 'adapt' starts them there"
        if bool((self.gain <= 0).any()) or bool((self.threshold <= self.reset_to).any()):
            return "needs a gain above 0 and a threshold above the reset"
        return None

    def dynamics(self) -> Dynamics:
        """Return what they compute, with the membrane counted from its reset and in units of its gain.

        Raises:
            UnsupportedError: Loihi's neurons cannot compute it.
        """
        reason = self.why_not()
        if reason is not None:
            raise UnsupportedError(reason)
        keep, reset = self._one("keep"), self._one("reset_to")
        scale = self._one("gain") if self.current is None else self._one("gain") * self._one("current_gain")
        threshold = (self._one("threshold") - reset) / scale
        rest = (self._one("rest") - (1 - keep) * reset) / scale
        given = torch.as_tensor(rest, dtype=torch.float64)
        bias = given.reshape(-1) if bool((given != 0).any()) else None
        return Dynamics(keep, threshold, None if self.current is None else self._one("current"), bias)

    def take_bias(self, bias: Tensor) -> bool:
        """Make a bias b of the current, where it has a memory, one of the voltage, as :class:`.neurons.CUBA` does."""
        if self.current is None:
            return False
        settled = self.gain * self.current_gain / (1 - self.current) * bias
        rest = (self.rest + settled).detach()
        self.rest = nn.Parameter(rest) if isinstance(self.rest, nn.Parameter) else rest
        return True


def stepped(layer: nn.Module) -> nn.Module:
    """Return the module that a network with loops calls at each step for a layer."""
    if isinstance(layer, Population):
        return layer.cell
    inner = getattr(layer, "neuron", None)
    return inner if isinstance(inner, nn.Module) else layer
