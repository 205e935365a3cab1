"""Leaky integrate-and-fire over all time steps in one node of the graph, its backward pass in closed form."""

import math
from collections.abc import Callable
from ctypes import c_float, c_int64
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from . import native
from .surrogates import Surrogate

Derivative = Callable[[Tensor], Tensor]
"""What stands for ds/dv, from v - threshold (batch, ...) of one time step."""


def integrate(current: Tensor, beta: float, threshold: float, keep: bool = True) -> tuple[Tensor | None, Tensor]:
    """Return membranes before their reset (or None), and spikes, both (time, batch, ...); see :func:`scan`."""
    like = current[0].contiguous()
    spikes = like.new_empty(current.shape)
    membranes = torch.empty_like(spikes) if keep else None
    library = _library(like)
    if library is not None:
        steps, size = len(current), like.numel()
        source, stride = _rows(current)
        into = native.at(source), c_int64(stride), native.at(membranes), native.at(spikes)
        sizes, numbers = (c_int64(steps), c_int64(size)), (c_float(beta), c_float(threshold))
        native.spread(lambda *part: library.lif_forward(*into, *sizes, *part, *numbers), size, steps)
        return membranes, spikes
    kept, state = torch.empty_like(like), torch.empty_like(like)
    for t, now in enumerate(current):
        membrane = state if membranes is None else membranes[t]
        if t == 0:
            membrane.copy_(now)
        else:
            before = state if membranes is None else membranes[t - 1]
            # Products rather than a selection, and no fused multiply-add: the roundings (and NaN) of snnTorch's Leaky.
            torch.le(before, threshold, out=kept)
            torch.add(kept.mul_(before).mul_(beta), now, out=membrane)
        torch.gt(membrane, threshold, out=spikes[t])
    return membranes, spikes


def _rows(x: Tensor) -> tuple[Tensor, int]:
    """Return memory that holds x (time, ...) step by step, and how far apart steps are: 0 where all are the same."""
    if x.stride(0) == 0:
        return x[0].contiguous(), 0
    return x.contiguous(), x[0].numel()


def _library(tensor: Tensor) -> Any:
    usable = tensor.device.type == "cpu" and tensor.dtype == torch.float32 and tensor.numel() > 0
    return native.library() if usable else None


def to_current(
    membranes: Tensor,
    to_spikes: Tensor,
    beta: float,
    threshold: float,
    surrogate: Derivative,
    unit: float = 1.0,
    gain: float = 1.0,
) -> Tensor:
    """Return dL/dI (time, batch, ...) from dL/ds, see :func:`scan`, for membranes I(t) gain + ... counted in ``unit``.

    dL/dI(t) = gain d(t) surrogate((v(t) - threshold) / unit) / unit + beta (1 - s(t)) dL/dI(t+1).
    """
    found = torch.empty_like(membranes)
    library = _library(membranes)
    if library is not None and isinstance(surrogate, Surrogate) and surrogate.kind == "arctan":
        steps, size = len(found), found[0].numel()
        # The mean over time sends the same gradient to every step.
        source, stride = _rows(to_spikes)
        begin = native.at(membranes), native.at(source), c_int64(stride), native.at(found)
        numbers = [beta, threshold, surrogate.sharpness / 2 * gain / unit, math.pi / 2 * surrogate.sharpness / unit]
        sizes = c_int64(steps), c_int64(size)
        native.spread(
            lambda *part: library.lif_backward(*begin, *sizes, *part, *(c_float(x) for x in numbers)), size, steps
        )
        return found
    above, kept = torch.empty_like(membranes[0]), torch.empty_like(membranes[0])
    last = len(found) - 1
    for t in range(last, -1, -1):
        torch.sub(membranes[t], threshold, out=above)
        slope = surrogate(above if unit == 1 else above.div_(unit))
        torch.mul(slope if unit == gain == 1 else slope * (gain / unit), to_spikes[t], out=found[t])
        if t < last:
            torch.le(membranes[t], threshold, out=kept)
            found[t] += torch.mul(found[t + 1], beta, out=above).mul_(kept)
    return found


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, current: Tensor, beta: float, threshold: float, surrogate: Derivative) -> Tensor:
        membranes, spikes = integrate(current, beta, threshold)
        ctx.save_for_backward(membranes)
        ctx.settings = beta, threshold, surrogate
        return spikes

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (membranes,) = ctx.saved_tensors
        return to_current(membranes, grads[0], *ctx.settings), None, None, None


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
    return integrate(current, beta, threshold, keep=False)[1]
