"""A population of the ``lava`` profile over all its steps at once, by the compiled loop of toolkit/native.c."""

from ctypes import c_double, c_int64
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...export.program import Population
from ...toolkit import native
from ..target import Overflow


class Done(NamedTuple):
    """What a population did.

    Attributes:
        spikes: (time, batch, ...), bytes of 0 and 1.
        counts: spikes over all steps, (batch, ...) int32.
        v: voltage after the last step, (batch, ...) float32; all voltages fit.
        events: what was counted.
        raw: voltage before the reset, (time, batch, ...) float32, on request.
        states: u and v after each step, (time, batch, ...) int32, on request.
    """

    spikes: Tensor
    counts: Tensor
    v: Tensor
    events: Overflow
    raw: Tensor | None
    states: tuple[Tensor, Tensor] | None


def run(a: Tensor, population: Population, *, raw: bool = False, states: bool = False) -> Done | None:
    """Return what neurons do, from state 0; None if there is no compiled loop for them.

    The equations are those of :func:`.arithmetic.step`. Doubles hold all of their integers: the sums of some synapses
    of 32 bits each, times 64, and products of a state with 13 bits.

    Args:
        a: synaptic input (time, batch, ...), exact integers in float32 or float64; on the CPU.
        population: without bias-coded input.
        raw: whether to keep the voltage before the reset.
        states: whether to keep u and v.
    """
    library = native.library() if a.device.type == "cpu" and a.numel() else None
    if library is None or population.input_bias:
        return None
    steps, shape = len(a), a.shape
    size = a[0].numel()
    source, stride = (a[0].contiguous(), 0) if a.stride(0) == 0 else (a.contiguous(), size)
    bias = torch.from_numpy(population.bias.astype(np.float64).ravel() * 2.0**population.bias_exponent)
    spikes, counts = torch.empty(shape, dtype=torch.uint8), torch.empty(shape[1:], dtype=torch.int32)
    voltages, last = torch.empty(shape) if raw else None, torch.empty(shape[1:])
    u, v = (torch.empty(shape, dtype=torch.int32) if states else None for _ in range(2))
    begin = native.at(source), c_int64(stride), native.at(bias), c_int64(bias.numel()), c_int64(steps), c_int64(size)
    keeps = (c_double((4096 - decay) / 4096) for decay in (population.du + 1, population.dv))
    end = *keeps, c_double(64 * population.vth), *map(native.at, (spikes, voltages, u, v, last, counts))
    function = library.loihi_float if a.dtype == torch.float32 else library.loihi_double
    seen: list[Tensor] = []

    def part(first: c_int64, past: c_int64) -> None:
        # Each thread counts for itself.
        events = torch.zeros(3, dtype=torch.int64)
        seen.append(events)
        function(*begin, first, past, *end, native.at(events))

    native.spread(part, size, steps)
    total = Overflow(*(int(count) for count in torch.stack(seen).sum(0)))
    return Done(spikes, counts, last, total, voltages, None if u is None or v is None else (u, v))
