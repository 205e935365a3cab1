"""Batch norm whose statistics and backward pass come from the compiled loops of norm.c."""

from ctypes import c_double, c_float, c_int64
from functools import cache
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from . import native
from .native import D, F, I, P

SOURCE = Path(__file__).resolve().with_name("norm.c")
FUNCTIONS: native.Functions = {
    "norm_statistics": (None, (P, P, P, P, P, P, I, I, I, I, I, F, D)),
    "norm_apply": (None, (P, P, P, P, I, I, I, I, I)),
    "norm_backward": (None, (P, P, P, P, P, P, P, P, P, I, I, I, I, I)),
}
"""Of norm.c."""


def statistics(library: Any, x: Tensor, running: tuple[Tensor, Tensor], momentum: float, eps: float) -> list[Tensor]:
    """Return mean and 1 / sqrt(variance + eps) of every channel, and bring the running statistics up to date."""
    samples, channels, height, width = x.shape
    found, total = [torch.empty(channels), torch.empty(channels)], torch.empty(channels, dtype=torch.float64)
    begin = *map(native.at, (x, *found, *running, total)), *map(c_int64, (samples, channels, height * width))
    end = c_float(momentum), c_double(eps)
    native.spread(lambda *part: library.norm_statistics(*begin, *part, *end), channels, samples * height * width)
    return found


def affine(mean: Tensor, inverse: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Return scale and shift of each channel (channels,): y = x scale + shift, rounded once.

    The shift is what PyTorch makes of 0 in evaluation, which has the same loop as training.
    """
    scale, nothing = inverse * weight, mean.new_zeros(1, len(mean), 1, 2)
    shift = nn.functional.batch_norm(nothing, mean, torch.ones_like(mean), scale, bias, False, 0.0, 0.0)
    return scale, shift[0, :, 0, 0].contiguous()


def _applied(library: Any, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Return x scale + shift of each channel."""
    (samples, channels, height, width), y = x.shape, torch.empty_like(x)
    begin = *map(native.at, (x, y, scale, shift)), *map(c_int64, (samples, channels, height * width))
    native.spread(lambda *part: library.norm_apply(*begin, *part), channels, samples * height * width)
    return y


def backward(
    library: Any, to: Tensor, x: Tensor, weight: Tensor, mean: Tensor, inverse: Tensor, into: Tensor | None = None
) -> list[Tensor]:
    """Return the gradients of x, weight and bias for that of the output, ``to``; ``into`` may be ``to``."""
    samples, channels, height, width = x.shape
    found = [torch.empty_like(x) if into is None else into, torch.empty_like(weight), torch.empty_like(weight)]
    sums = torch.empty(channels, 2, dtype=torch.float64)
    tensors = x, to, found[0], mean, inverse, weight, *found[1:], sums
    begin = *map(native.at, tensors), *map(c_int64, (samples, channels, height * width))
    native.spread(lambda *part: library.norm_backward(*begin, *part), channels, samples * height * width)
    return found


def _pytorchs(to: Tensor, x: Tensor, weight: Tensor, mean: Tensor, inverse: Tensor, eps: float) -> list[Tensor]:
    """Return what :func:`backward` does, by PyTorch's operator."""
    wanted = [True, True, True]
    return list(torch.ops.aten.native_batch_norm_backward(to, x, weight, None, None, mean, inverse, True, eps, wanted))


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, layer: "Norm", library: Any) -> Tensor:
        mean, inverse = layer.seen(x, library)
        ctx.save_for_backward(x, weight, mean, inverse)
        ctx.library, ctx.eps = library, layer.eps
        return _applied(library, x, *affine(mean, inverse, weight, bias))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, inverse = ctx.saved_tensors
        found = (
            backward(ctx.library, grads[0], x, weight, mean, inverse)
            if grads[0].is_contiguous()  # PyTorch has another order for other strides
            else _pytorchs(grads[0], x, weight, mean, inverse, ctx.eps)
        )
        return *found, None, None


class Norm(nn.BatchNorm2d):
    """PyTorch's ``BatchNorm2d``, bit for bit: y = (x - E[x]) / sqrt(Var[x] + eps) weight + bias for every channel."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, channels, height, width) for x of that shape."""
        library = self.loops(x)
        if library is None:
            found: Tensor = super().forward(x)
            return found
        normed: Tensor = _Norm.apply(x, self.weight, self.bias, self, library)  # type: ignore[no-untyped-call]
        return normed

    def loops(self, x: Tensor) -> Any:
        """Return the compiled loops if they have what this layer does with x, in training; else None."""
        library = _library() if self.training and native.library_for(x) is not None else None
        parts = self.weight, self.bias, self.running_mean, self.running_var
        usual = all(part is not None and part.dtype == torch.float32 and part.is_contiguous() for part in parts)
        # PyTorch runs 1 x 1 images, and a single channel, in another order.
        rows = x.dim() == 4 and x.is_contiguous() and not x.is_contiguous(memory_format=torch.channels_last)
        fits = rows and x.shape[1] == self.num_features and x[:, 0].numel() > 1
        return library if usual and fits and self.momentum is not None and self.eps > 0 else None

    def seen(self, x: Tensor, library: Any) -> list[Tensor]:
        """Return mean and 1 / sqrt(variance + eps) of every channel of a batch, which counts in the running ones."""
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        running = cast(tuple[Tensor, Tensor], (self.running_mean, self.running_var))
        return statistics(library, x, running, cast(float, self.momentum), self.eps)


@cache
def status() -> native.Status:
    """Return what became of the loops of norm.c, which must give the bits of the PyTorch that runs here."""
    return native.load(SOURCE, FUNCTIONS, _wrong)


def _library() -> Any:
    """Return the compiled loops, or None; see :meth:`.native.Status.use`."""
    return status().use()


def _wrong(library: Any) -> str:
    """Return the loops that do not give PyTorch's bits, or ""."""
    # Without autograd: whoever runs a network for the first time may be listening to what its graph keeps.
    with torch.no_grad():
        x = torch.linspace(-300, 500, 2 * 131 * 5 * 7).sin().view(2, 131, 5, 7)
        weight, bias, to = torch.linspace(0.5, 2, 131), torch.linspace(-1, 1, 131), x.flip(0).square()
        own, theirs = ((torch.linspace(-1, 1, 131), torch.linspace(0.5, 3, 131)) for _ in range(2))
        y, mean, inverse = torch.ops.aten.native_batch_norm(x, weight, bias, *theirs, True, 0.1, 1e-5)
        given = mean, inverse
        mean, inverse = statistics(library, x, own, 0.1, 1e-5)
        normed = _applied(library, x, *affine(*given, weight, bias))
        back = backward(library, to, x, weight, *given)
        parts = {
            "norm_statistics": ([mean, inverse, *own], [*given, *theirs]),
            "norm_apply": ([normed], [y]),
            "norm_backward": (back, _pytorchs(to, x, weight, *given, 1e-5)),
        }
    return ", ".join(name for name, both in parts.items() if not all(map(torch.equal, *both)))
