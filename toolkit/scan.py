"""Leaky integrate-and-fire over all time steps in one node of the graph, its backward pass in closed form."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Derivative = Callable[[Tensor], Tensor]
"""What stands for ds/dv, from v - threshold (batch, ...) of one time step."""


def integrate(current: Tensor, beta: float, threshold: float) -> tuple[Tensor, Tensor]:
    """Return membranes before their reset, and spikes, both (time, batch, ...); see :func:`scan`."""
    membranes, spikes, kept = torch.empty_like(current), torch.empty_like(current), torch.empty_like(current[0])
    _run(current, list(membranes), spikes, kept, beta, threshold)
    return membranes, spikes


def _run(current: Tensor, membranes: list[Tensor], spikes: Tensor, kept: Tensor, beta: float, threshold: float) -> None:
    """Fill ``membranes`` (one tensor a step, or the same one for all) and ``spikes``; ``kept`` is working memory."""
    for t, membrane in enumerate(membranes):
        if t == 0:
            membrane.copy_(current[0])
        else:
            before = membranes[t - 1]
            # Products rather than a selection, and no fused multiply-add: the roundings (and NaN) of snnTorch's Leaky.
            torch.le(before, threshold, out=kept)
            torch.add(kept.mul_(before).mul_(beta), current[t], out=membrane)
        torch.gt(membrane, threshold, out=spikes[t])


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, current: Tensor, beta: float, threshold: float, surrogate: Derivative) -> Tensor:
        membranes, spikes = integrate(current, beta, threshold)
        ctx.save_for_backward(membranes)
        ctx.beta, ctx.threshold, ctx.surrogate = beta, threshold, surrogate
        return spikes

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (membranes,) = ctx.saved_tensors
        to_spikes, found = grads[0], torch.empty_like(membranes)
        above, kept = torch.empty_like(membranes[0]), torch.empty_like(membranes[0])
        last = len(found) - 1
        for t in range(last, -1, -1):
            torch.sub(membranes[t], ctx.threshold, out=above)
            torch.mul(ctx.surrogate(above), to_spikes[t], out=found[t])
            if t < last:
                torch.le(membranes[t], ctx.threshold, out=kept)
                found[t] += torch.mul(found[t + 1], ctx.beta, out=above).mul_(kept)
        return found, None, None, None


def scan(current: Tensor, beta: float, threshold: float, surrogate: Derivative) -> Tensor:
    """Return the spikes of leaky integrate-and-fire neurons with hard reset; their state starts at 0.

    v(t) = beta v(t-1) (1 - s(t-1)) + I(t),  s(t) = 1 if v(t) > threshold else 0,

    bit for bit those of snnTorch's ``Leaky`` with ``reset_mechanism="zero"``. The backward pass does not go through the
    reset: with d(t) = dL/ds(t),  dL/dI(t) = d(t) surrogate(v(t) - threshold) + beta (1 - s(t)) dL/dI(t+1).

    Args:
        current: I, (time, batch, ...), floating point.
        beta: membrane factor a time step, in [0, 1].
        threshold: the comparison is strict.
        surrogate: called in the backward pass once a time step, the last one first; must not change its argument.
    """
    if torch.is_grad_enabled() and current.requires_grad:
        spikes: Tensor = _Scan.apply(current, beta, threshold, surrogate)  # type: ignore[no-untyped-call]
        return spikes
    # Nobody will ask for the membranes: one step of them is enough.
    spikes = torch.empty_like(current)
    kept, membrane = torch.empty_like(current[0]), torch.empty_like(current[0])
    _run(current, [membrane] * len(current), spikes, kept, beta, threshold)
    return spikes
