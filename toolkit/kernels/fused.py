"""Batch norm, neurons and their 2 x 2 max pooling in one pass over memory: the bits of the one after the other."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ..network.neurons import LIF
from . import norm
from .scan import again, pooled


class _Fused(torch.autograd.Function):
    """Keeps what batch norm got, not the current: it is computed again, as the membranes are."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, layer: norm.Norm, steps: int, settings: Any, libraries: Any
    ) -> Tensor:
        library, of_norm = ctx.libraries = libraries
        mean, inverse = layer.seen(x, of_norm)
        affine = norm.affine(mean, inverse, weight, bias)
        ctx.save_for_backward(x, weight, mean, inverse, *affine)
        ctx.steps, ctx.settings = steps, settings
        beta, threshold, _ = settings
        return pooled(x.unflatten(0, (steps, -1)), beta, threshold, library, affine)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, inverse, *affine = ctx.saved_tensors
        library, of_norm = ctx.libraries
        current = x.unflatten(0, (ctx.steps, -1))
        to = again(current, grads[0], library, True, ctx.settings, affine=tuple(affine)).flatten(0, 1)
        found = norm.backward(of_norm, to, x, weight, mean, inverse, into=to)
        return *found, None, None, None, None


def normed_and_pooled(x: Tensor, layer: norm.Norm, neurons: LIF, pool: nn.MaxPool2d) -> Tensor | None:
    """Return pooled spikes (time, batch, channels, height / 2, width / 2); None where there is no such pass.

    Args:
        x: what batch norm gets, (time, batch, channels, height, width).
        layer: in training.
        neurons: that read nothing else.
        pool: of their spikes.
    """
    flat = x.flatten(0, 1)
    libraries = neurons.loops(x, pool), layer.loops(flat)
    if None in libraries:
        return None
    arguments = layer.weight, layer.bias, layer, len(x), neurons.settings, libraries
    sent: Tensor = _Fused.apply(flat, *arguments)  # type: ignore[no-untyped-call]
    return sent
