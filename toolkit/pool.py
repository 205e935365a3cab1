"""Max pooling by 2 x 2 that keeps one byte a window, by the compiled loop of training.c; else PyTorch's: same bits."""

from ctypes import c_int64
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from . import native

BLOCK = 1024
"""Of native.h."""


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
