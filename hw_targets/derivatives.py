"""Exact integers forward, derivatives that stand for theirs backward: the twin's functions, see :mod:`.twin`."""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..export.program import Population
from ..toolkit.kernels.scan import to_current
from .loihi import neurons
from .loihi.arithmetic import LIMIT, wrap_current

Surrogate = Callable[[Tensor], Tensor]
"""The derivative that stands for that of the step function, at the membrane in thresholds above the threshold."""


class Straight(torch.autograd.Function):
    """A function of integers whose derivative is taken to be ``slope``: the chip's roundings and wraps."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, function: Callable[[Tensor], Tensor], slope: float) -> Tensor:
        """Return the function of x, as it is."""
        ctx.slope = slope
        return function(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Return the slope times what arrives."""
        return grads[0] * ctx.slope, None, None


def straight(x: Tensor, function: Callable[[Tensor], Tensor], slope: float) -> Tensor:
    """Return a function of x, whose derivative is taken to be ``slope``."""
    return cast(Tensor, Straight.apply(x, function, slope))  # type: ignore[no-untyped-call]


class Fire(torch.autograd.Function):
    """One time step of neurons in float64, exact for the integers of Loihi's ranges; see :class:`Twin`."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, v: Tensor, a: Tensor, bias: Tensor, *settings: Any) -> tuple[Tensor, ...]:
        """Return current, voltage and spikes after the step, each (batch, ...)."""
        population, fits, surrogate = settings
        keep_u, keep_v = (4095 - population.du) / 4096, (4096 - population.dv) / 4096
        # Products of 24 and 13 bits are exact in float64, so this is the decay toward zero.
        current = a * 64 if keep_u == 0 else torch.trunc(u * keep_u) + a * 64
        if not fits:
            current = wrap_current(int32(current))
        raw = current + bias if keep_v == 0 else torch.trunc(v * keep_v) + current + bias
        raw.clamp_(-LIMIT + 1, LIMIT - 1)
        spikes = (raw > 64 * population.vth).to(raw.dtype)
        ctx.save_for_backward(raw)
        ctx.population, ctx.surrogate = population, surrogate
        return current, raw * (1 - spikes), spikes

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Return gradients for current, voltage, input and bias; none passes through the reset."""
        (raw,) = ctx.saved_tensors
        to_u, to_v, to_spikes = grads
        # A threshold of 0 has no scale; its neurons are scaled by one unit of synaptic input.
        threshold = 64 * max(ctx.population.vth, 1)
        # As in training, the backward pass does not go through the reset.
        passed = to_v * (raw <= 64 * ctx.population.vth)
        inner = passed + to_spikes * ctx.surrogate(raw / threshold - 1) / threshold
        outer = to_u + inner
        keep_u, keep_v = (4095 - ctx.population.du) / 4096, (4096 - ctx.population.dv) / 4096
        bias = inner if ctx.needs_input_grad[3] else None
        return outer * keep_u, inner * keep_v, outer * 64, bias, None, None, None


class Scan(torch.autograd.Function):
    """All time steps of neurons in the compiled loop: spikes, and the voltage after the last step, in float32."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, repeats: bool, done: neurons.Done, *settings: Any) -> Any:
        """Return spikes (time, batch, ...), and the voltage after the last step."""
        ctx.save_for_backward(done.raw)
        ctx.population, ctx.surrogate = settings
        ctx.summed = a.dtype if repeats else None  # over time, where a (batch, ...) arrives at every step
        ctx.set_materialize_grads(False)
        return done.spikes.to(torch.float32), done.v

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_spikes: Tensor | None, to_v: Tensor | None) -> tuple[Tensor | None, ...]:
        """Return the gradient of what arrives, step by step from the last one."""
        (raw,) = ctx.saved_tensors
        population: Population = ctx.population
        keep_u, keep_v = (4095 - population.du) / 4096, (4096 - population.dv) / 4096
        level, unit = 64 * population.vth, 64 * max(population.vth, 1)
        if to_spikes is None:
            to_spikes = torch.zeros_like(raw)
        if to_v is None and keep_u == 0 and level == unit:
            found = to_current(raw, to_spikes, keep_v, level, ctx.surrogate, unit, 64, ctx.summed)
            return found, None, None, None, None
        found, to_u = torch.empty_like(raw), torch.zeros_like(raw[0])
        to_v = torch.zeros_like(to_u) if to_v is None else to_v
        for t in range(len(raw) - 1, -1, -1):
            inner = to_v * (raw[t] <= level) + to_spikes[t] * ctx.surrogate(raw[t] / unit - 1) / unit
            outer = to_u + inner
            torch.mul(outer, 64, out=found[t])
            to_u, to_v = outer * keep_u, inner * keep_v
        return found if ctx.summed is None else found.to(ctx.summed).sum(0), None, None, None, None


def int32(x: Tensor) -> Tensor:
    """Return integers in floating point as stored in 32 bits."""
    return torch.remainder(x + 2**31, 2**32) - 2**31
