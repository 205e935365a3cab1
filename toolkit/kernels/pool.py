"""Pools by 2 x 2 in the compiled loops of training.c: max pooling that keeps one byte a window, and sums of windows."""

from ctypes import c_float, c_int64
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from . import native

BLOCK = 1024
"""Of training.c."""


def halves(layer: nn.MaxPool2d, planes: Tensor) -> bool:
    """Return whether a pool of ``planes`` (..., height, width) is the one that is compiled: 2 x 2, of even sides."""
    height, width = planes.shape[-2:]
    return (
        height % 2 == width % 2 == 0
        and width <= BLOCK
        and all(value in (2, (2, 2)) for value in (layer.kernel_size, layer.stride))
        and layer.padding in (0, (0, 0))
        and layer.dilation in (1, (1, 1))
        and not layer.return_indices
    )


class _MaxPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, library: Any) -> Tensor:
        source, (*planes, height, width) = x.contiguous(), x.shape
        out = x.new_empty((*planes, height // 2, width // 2))
        winner = torch.empty(out.shape, dtype=torch.uint8)
        into = native.at(source), native.at(out), native.at(winner), c_int64(width)
        native.spread(lambda *part: library.pool_forward(*into, *part), x.numel() // (2 * width), 2 * width)
        ctx.save_for_backward(winner)
        ctx.library, ctx.shape = library, x.shape
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (winner,), width = ctx.saved_tensors, ctx.shape[-1]
        given, back = grads[0].contiguous(), torch.empty(ctx.shape)
        into = native.at(given), native.at(winner), native.at(back), c_int64(width)
        native.spread(lambda *part: ctx.library.pool_backward(*into, *part), back.numel() // (2 * width), 2 * width)
        return back, None


class _Windows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: float, library: Any) -> Tensor:
        source, (*planes, height, width) = x.contiguous(), x.shape
        out = x.new_empty((*planes, height // 2, width // 2))
        into = native.at(source), native.at(out), c_float(weight), c_int64(width)
        native.spread(lambda *part: library.window_forward(*into, *part), x.numel() // (2 * width), 2 * width)
        ctx.weight, ctx.library, ctx.shape = weight, library, x.shape
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        given, back, width = grads[0].contiguous(), torch.empty(ctx.shape), ctx.shape[-1]
        into = native.at(given), native.at(back), c_float(ctx.weight), c_int64(width)
        native.spread(lambda *part: ctx.library.window_backward(*into, *part), back.numel() // (2 * width), 2 * width)
        return back, None, None


def window_sums(x: Tensor, weight: float) -> Tensor | None:
    """Return weight times the sums of 2 x 2 windows, stride 2, (batch, channels, height / 2, width / 2).

    Exact where all sums are integers below 2^24; None where there is no compiled loop, or a side of x is odd.

    Args:
        x: integers in float32, (batch, channels, height, width).
        weight: an integer.
    """
    library = native.library_for(x)
    if library is None or x.shape[-2] % 2 or x.shape[-1] % 2 or x.shape[-1] > BLOCK:
        return None
    sums: Tensor = _Windows.apply(x, weight, library)  # type: ignore[no-untyped-call]
    return sums


class MaxPool(nn.MaxPool2d):
    """PyTorch's ``MaxPool2d``, bit for bit: y = max of a window; its gradient goes to the first of the largest."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, channels, out height, out width) for x (batch, channels, height, width)."""
        library = native.library_for(x)
        if library is None or not halves(self, x):
            found: Tensor = super().forward(x)
            return found
        pooled: Tensor = _MaxPool.apply(x, library)  # type: ignore[no-untyped-call]
        return pooled
