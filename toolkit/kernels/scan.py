"""Leaky integrate-and-fire over all time steps in one node of the graph, its backward pass in closed form."""

import math
from collections.abc import Callable
from ctypes import c_float, c_int64, c_void_p
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..network.surrogates import Surrogate
from . import native

Derivative = Callable[[Tensor], Tensor]
"""What stands for ds/dv, from v - threshold (batch, ...) of one time step."""
CACHE = 2**19
"""Numbers that stay in the cache between two loops over them."""


def integrate(current: Tensor, beta: float, threshold: float, keep: bool = True) -> tuple[Tensor | None, Tensor]:
    """Return membranes before their reset (or None), and spikes, both (time, batch, ...); see :func:`scan`."""
    like = current[0].contiguous()
    spikes = like.new_empty(current.shape)
    membranes = torch.empty_like(spikes) if keep else None
    library = native.library_for(like)
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


def one_step(x: Tensor) -> Tensor | None:
    """Return the step (batch, ...) that x (time, batch, ...) repeats; None if each has its own."""
    if x.stride(0) != 0:
        return None
    # What was expanded, if it is there: a gradient to one of many equal steps is a gradient to each of them.
    base = x._base
    whole = base is not None and base.shape == x.shape[1:] and base.stride() == x.stride()[1:]
    return base if whole else x[0]


def _rows(x: Tensor) -> tuple[Tensor, int]:
    """Return memory that holds x (time, ...) step by step, and how far apart steps are: 0 where all are the same."""
    if x.stride(0) == 0:
        return x[0].contiguous(), 0
    return x.contiguous(), x[0].numel()


def to_current(
    membranes: Tensor,
    to_spikes: Tensor,
    beta: float,
    threshold: float,
    surrogate: Derivative,
    unit: float = 1.0,
    gain: float = 1.0,
    summed: torch.dtype | None = None,
) -> Tensor:
    """Return dL/dI (time, batch, ...) from dL/ds, see :func:`scan`, for membranes I(t) gain + ... counted in ``unit``.

    dL/dI(t) = gain d(t) surrogate((v(t) - threshold) / unit) / unit + beta (1 - s(t)) dL/dI(t+1); or its sum over time
    (batch, ...), added up in ``summed``.
    """
    library = compiled(membranes, surrogate)
    if library is not None:
        # The mean over time sends the same gradient to every step.
        (source, row), (sent, sent_row) = _rows(membranes), _rows(to_spikes)
        begin = [native.at(source), c_int64(row), native.at(sent), c_int64(sent_row), c_int64(len(membranes))]
        numbers = _numbers(beta, threshold, surrogate, unit, gain)
        return _collect(membranes, lambda *rest: library.lif_backward(*begin, *rest, *numbers), 1, summed)
    found = torch.empty_like(membranes)
    above, kept = torch.empty_like(membranes[0]), torch.empty_like(membranes[0])
    last = len(found) - 1
    for t in range(last, -1, -1):
        torch.sub(membranes[t], threshold, out=above)
        slope = surrogate(above if unit == 1 else above.div_(unit))
        torch.mul(slope if unit == gain == 1 else slope * (gain / unit), to_spikes[t], out=found[t])
        if t < last:
            torch.le(membranes[t], threshold, out=kept)
            found[t] += torch.mul(found[t + 1], beta, out=above).mul_(kept)
    return found if summed is None else found.to(summed).sum(0)


def _collect(like: Tensor, function: Callable[..., int], unit: int, summed: torch.dtype | None) -> Tensor:
    """Return what a loop makes of all neurons, (time, batch, ...) as ``like``, or its sum over time in ``summed``.

    Args:
        like: (time, batch, ...).
        function: called with where steps go and how far apart they lie, and the first and past the last group.
        unit: neurons of a group.
        summed: None for no sum.
    """
    steps, size = len(like), like[0].numel()

    def run(found: Tensor, first: int, last: int) -> None:
        """Write what the neurons from first to last get into the columns of ``found``."""
        into = c_void_p(found.data_ptr() - first * found.element_size()), c_int64(found.stride(0))

        def part(start: c_int64, stop: c_int64) -> None:
            native.enough(function(*into, c_int64(first // unit + start.value), c_int64(first // unit + stop.value)))

        native.spread(part, (last - first) // unit, unit * steps)

    if summed is None:
        found = like.new_empty(like.shape)
        run(found, 0, size)
        return found
    # Some neurons at a time, so that what is added up is still in the cache; PyTorch adds up 64 columns at once.
    many = max(CACHE // (64 * unit * steps), 1) * 64 * unit
    part, sums = like.new_empty(steps, min(many, size)), torch.empty(size, dtype=summed)
    for first in range(0, size, many):
        last = min(first + many, size)
        run(part, first, last)
        torch.sum(part[:, : last - first].to(summed), 0, out=sums[first:last])
    return sums.view(like.shape[1:])


def compiled(tensor: Tensor, surrogate: Derivative) -> Any:
    """Return the compiled loops if they have the backward pass of a surrogate, else None."""
    known = isinstance(surrogate, Surrogate) and surrogate.kind == "arctan"
    return native.library_for(tensor) if known else None


def _numbers(beta: float, threshold: float, surrogate: Any, unit: float = 1, gain: float = 1) -> list[c_float]:
    half, slope = surrogate.sharpness / 2 * gain / unit, math.pi / 2 * surrogate.sharpness / unit
    return [c_float(number) for number in (beta, threshold, half, slope)]


class _Scan(torch.autograd.Function):
    """Of ``current`` (time, batch, ...), or of the same (batch, ...) at each of ``steps``; perhaps pooled.

    Where the loops are compiled, the current is kept and its membranes are computed again; else the membranes.
    """

    @staticmethod
    def forward(
        ctx: Any,
        given: Tensor,
        steps: int | None,
        beta: float,
        threshold: float,
        surrogate: Derivative,
        library: Any,
        pool: bool,
    ) -> Tensor:
        current = given if steps is None else given.expand(steps, *given.shape)
        if pool:
            membranes, sent = None, pooled(current, beta, threshold, library)
        else:
            membranes, sent = integrate(current, beta, threshold, keep=library is None)
        ctx.save_for_backward(given if membranes is None else membranes)
        ctx.steps, ctx.library, ctx.pool, ctx.settings = steps, library, pool, (beta, threshold, surrogate)
        return sent

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (given,) = ctx.saved_tensors
        if ctx.library is None:
            found = to_current(given, grads[0], *ctx.settings)
        else:
            current = given if ctx.steps is None else given.expand(ctx.steps, *given.shape)
            found = again(current, grads[0], ctx.library, ctx.pool, ctx.settings, ctx.steps is not None)
        return found, None, None, None, None, None, None


Affine = tuple[Tensor, Tensor]
"""Scale and shift of each channel, (channels,): what batch norm does to its input."""


def _affine(current: Tensor, affine: Affine | None) -> list[Any]:
    """Return what the loops with a pool take of ``affine``, for current (time, batch, channels, height, width)."""
    scale, shift = affine or (None, None)
    return [native.at(scale), native.at(shift), c_int64(current.shape[2]), c_int64(current.shape[-2] // 2)]


def pooled(current: Tensor, beta: float, threshold: float, library: Any, affine: Affine | None = None) -> Tensor:
    """Return the spikes of :func:`integrate` after max pooling by 2 x 2, for ``affine`` of the current."""
    (steps, *planes, height, width), (source, stride) = current.shape, _rows(current)
    found = current.new_empty((steps, *planes, height // 2, width // 2))
    pairs, unit = current[0].numel() // (2 * width), 2 * width
    begin = [native.at(source), c_int64(stride), *_affine(current, affine), native.at(found)]
    begin += map(c_int64, (steps, pairs, width))
    end = c_float(beta), c_float(threshold)
    native.spread(lambda *part: native.enough(library.lif_pool_forward(*begin, *part, *end)), pairs, unit * steps)
    return found


def again(
    current: Tensor,
    to_sent: Tensor,
    library: Any,
    pool: bool,
    settings: tuple[float, float, Derivative],
    total: bool = False,
    affine: Affine | None = None,
) -> Tensor:
    """Return dL/dI (time, batch, ...) from dL/ds, or from dL/d of pooled spikes; or its sum over time (batch, ...).

    Args:
        current: of which, with a pool, I is perhaps ``affine``.
        to_sent: the gradient that came.
        library: the compiled loops.
        pool: whether the spikes were pooled.
        settings: beta, threshold, surrogate.
        total: whether to add up over time.
        affine: scale and shift.
    """
    (source, row), (sent, sent_row), width = _rows(current), _rows(to_sent), current.shape[-1]
    begin, numbers = [native.at(source), c_int64(row)], _numbers(*settings)
    begin += _affine(current, affine) if pool else []
    begin += [native.at(sent), c_int64(sent_row), c_int64(len(current))]
    begin += [c_int64(width)] if pool else []
    unit, loop = (2 * width, library.lif_pool_backward) if pool else (1, library.lif_again)
    return _collect(current, lambda *rest: loop(*begin, *rest, *numbers), unit, current.dtype if total else None)


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
        return _apply(current, beta, threshold, surrogate, compiled(current, surrogate), False)
    return integrate(current, beta, threshold, keep=False)[1]


def scan_pooled(current: Tensor, beta: float, threshold: float, surrogate: Derivative) -> Tensor | None:
    """Return the spikes of :func:`scan`, max pooled by 2 x 2, (time, batch, channels, height / 2, width / 2).

    Spikes are never written at full size, and computed again in the backward pass; all bits are those of the one after
    the other. None where there is no compiled loop for that.

    Args:
        current: I, (time, batch, channels, height, width), see :func:`.pool.halves`.
        beta: as of :func:`scan`.
        threshold: as of :func:`scan`.
        surrogate: as of :func:`scan`.
    """
    library = compiled(current, surrogate)
    return None if library is None else _apply(current, beta, threshold, surrogate, library, True)


def _apply(current: Tensor, beta: float, threshold: float, surrogate: Derivative, library: Any, pool: bool) -> Tensor:
    step = one_step(current) if library is not None else None
    given, steps = (current, None) if step is None else (step, len(current))
    sent: Tensor = _Scan.apply(given, steps, beta, threshold, surrogate, library, pool)  # type: ignore[no-untyped-call]
    return sent
