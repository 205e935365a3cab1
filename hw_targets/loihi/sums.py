"""Exact sums of weights times messages, by floating-point products whose partial sums all fit the mantissa."""

from functools import cache
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ...export.program import Convolution, Program, Synapse
from ...toolkit.kernels.pool import window_sums

LIMIT = 2**53
"""Sums from here on are not exact in float64."""


class Sums:
    """A synapse's W x, before any exponent.

    Args:
        program: that it belongs to.
        synapse: any.
        device: where the weights live.
        weight: integers to use instead of the synapse's own, of the same shape.
    """

    def __init__(self, program: Program, synapse: Synapse, device: torch.device, weight: Tensor | None = None) -> None:
        self.synapse = synapse
        self.shape = program.shape_of(synapse.target)
        matrix = torch.from_numpy(
            (synapse.weight if isinstance(synapse, Convolution) else synapse.matrix()).astype(np.int64)
        )
        if weight is not None:
            matrix = weight
        self.bound = largest_sum(matrix, program.peak(synapse.source), program.signed(synapse.source))
        # Every partial sum is an integer of at most this magnitude, so any order of additions is exact.
        self.dtype = torch.float32 if self.bound < 2**24 else torch.float64
        self.direct = isinstance(synapse, Convolution) and device.type == "cpu" and direct_is_exact()
        if isinstance(synapse, Convolution) and not self.direct:
            matrix = matrix.unflatten(0, (synapse.groups, -1)).flatten(2)
        self.weight = matrix.to(device, self.dtype)
        self.window = _window(synapse, matrix) if self.direct and self.dtype == torch.float32 else None

    def __call__(self, x: Tensor) -> Tensor:
        """Return W x (batch, ...) in floating point, exact, for messages x (batch, ...)."""
        x = x.to(self.dtype, memory_format=torch.contiguous_format)
        if not isinstance(self.synapse, Convolution):
            product: Tensor = x.flatten(1) @ self.weight.T
            return cast(Tensor, product.unflatten(1, self.shape))
        conv = self.synapse
        if self.window is not None and (sums := window_sums(x, self.window)) is not None:
            return sums
        if self.direct:
            return functional.conv2d(x, self.weight, None, conv.stride, conv.padding, conv.dilation, conv.groups)
        # An explicit matrix product: library convolutions on a GPU may use Winograd or TF32, which round.
        columns = functional.unfold(x, tuple(conv.weight.shape[2:]), conv.dilation, conv.padding, conv.stride)
        groups = columns.unflatten(1, (conv.groups, -1))
        total = torch.einsum("gok,bgkp->bgop", self.weight, groups)
        return cast(Tensor, total.flatten(1, 2).unflatten(2, self.shape[1:]))


def _window(synapse: Synapse, weight: Tensor) -> float | None:
    """Return the weight of all windows of 2 x 2 pixels that a pool adds up, None if the synapse is no such pool."""
    pool = (
        isinstance(synapse, Convolution)
        and tuple(synapse.stride) == tuple(weight.shape[2:]) == (2, 2)
        and tuple(synapse.padding) == (0, 0)
        and tuple(synapse.dilation) == (1, 1)
        and synapse.groups == len(weight)
        and weight.shape[1] == 1
        and bool((weight == weight.flatten()[0]).all())
    )
    return float(weight.flatten()[0]) if pool else None


@cache
def direct_is_exact() -> bool:
    """Return whether torch's convolution on this CPU adds products as they are, found by trying; Winograd rounds.

    The trial is of the shape and size at which libraries choose Winograd, with sums just below 2^24.
    """
    generator = torch.Generator().manual_seed(0)
    weight = torch.randint(-254, 255, (32, 32, 3, 3), generator=generator)
    x = torch.randint(0, 224, (4, 32, 32, 32), generator=generator)
    expected = torch.einsum("ok,bkp->bop", weight.flatten(1).double(), functional.unfold(x.double(), 3, padding=1))
    found = functional.conv2d(x.float(), weight.float(), padding=1).flatten(2)
    return bool(torch.equal(found.double(), expected))


def to_tensor(messages: NDArray[np.int32], device: torch.device, peak: int) -> Tensor:
    """Return messages (time, batch, ...) on a device; the same messages at every step stay one piece of memory.

    Args:
        messages: integers of 0 to ``peak``.
        device: where to.
        peak: the largest message that there can be; up to 255 they are kept as bytes.
    """
    dtype = np.uint8 if peak < 256 else np.int32
    if messages.strides[0] == 0:
        first = torch.from_numpy(np.array(messages[0], dtype)).to(device)
        return first.expand(len(messages), *first.shape)
    return torch.from_numpy(np.array(messages, dtype)).to(device)


def delivered(bound: int, exponent: int) -> int:
    """Return the largest magnitude that arrives of sums up to ``bound`` that no width cuts: |floor(x 2^exponent)|."""
    return bound << exponent if exponent >= 0 else -(-bound >> -exponent)


def largest_sum(weight: Tensor, peak: int, signed: bool = False) -> int:
    """Return the largest magnitude that a row of ``weight`` can sum up to with messages of 0, or -peak, to ``peak``."""
    rows = weight.flatten(1)
    if signed:
        return int(rows.abs().sum(1).max()) * peak
    return int(torch.maximum(rows.clamp(min=0).sum(1), (-rows).clamp(min=0).sum(1)).max()) * peak
