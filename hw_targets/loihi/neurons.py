"""A population of the ``lava`` profile over all its steps at once, by the compiled loops of native.c."""

import ctypes
import sys
from ctypes import POINTER, c_int32, c_int64
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...export.program import Population
from ...toolkit.kernels import native
from ...toolkit.kernels.native import I, P
from ..target import Overflow

SOURCE = Path(__file__).resolve().with_name("native.c")
NARROW = 2**18
"""Input up to here keeps u and v, wrapped or clipped, in 32 bits: 64 times it is no more than one wrap takes away."""


class Done(NamedTuple):
    """What a population did.

    Attributes:
        spikes: (time, batch, ...), bytes of 0 and 1, in whatever order in memory.
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


class Cell(ctypes.Structure):
    """``struct cell`` of native.c: what the neurons of a population share."""

    _fields_ = tuple((name, c_int32) for name in ("keep_u", "keep_v", "vth", "simple", "shift"))


FUNCTIONS: native.Functions = {
    "neurons_float": (None, (P, I, P, I, I, I, I, I, POINTER(Cell), P, P, P, P, P, P, P)),
    "neurons_double": (None, (P, I, P, I, I, I, I, I, POINTER(Cell), P, P, P, P, P, P, P)),
    "neurons_events": (None, (P, I, P, P, P, P, I, I, P, P, I, I, I, I, I, POINTER(Cell), P, P, P, P, P, P)),
    "any_events": (None, (P, I, P, P, P, I, I, I, I, I, P, P)),
}
"""Of native.c."""


@cache
def status() -> native.Status:
    """Return what became of the loops of native.c."""
    if sys.byteorder != "little":
        return native.Status(SOURCE.name, missing="for little-endian machines only")
    return native.load(SOURCE, FUNCTIONS)


def library() -> Any:
    """Return the compiled loops, or None; see :meth:`spikeproof.toolkit.kernels.native.Status.use`."""
    return status().use()


def cell(population: Population, bound: int) -> Cell:
    """Return what the neurons share, for synaptic input up to ``bound``."""
    keep_u, keep_v = 4095 - population.du, 4096 - population.dv
    most = 64 * bound + (int(np.abs(population.bias).max()) << population.bias_exponent)
    # |v| <= keep_v / 4096 |v| + most at every step.
    simple = keep_u == 0 and 4096 * most < (2**23 - 1) * population.dv
    shift = 13 - keep_v.bit_length() if keep_v.bit_count() == 1 else -1
    return Cell(keep_u, keep_v, 64 * population.vth, int(simple), shift)


def bias_of(population: Population) -> Tensor:
    """Return mantissa 2^exponent, int32 of the population's shape."""
    return torch.from_numpy(population.bias.astype(np.int32) << population.bias_exponent)


class Events:
    """Overflow counted by several threads, each for itself."""

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def own(self) -> Tensor:
        """Return where one thread counts."""
        self.seen.append(torch.zeros(3, dtype=torch.int64))
        return self.seen[-1]

    def total(self) -> Overflow:
        """Return what all of them counted."""
        return Overflow(*(int(count) for count in torch.stack(self.seen).sum(0)))


def run(a: Tensor, population: Population, bound: int, *, raw: bool = False, states: bool = False) -> Done | None:
    """Return what neurons do, from state 0; None if there is no compiled loop for them.

    The equations are those of :func:`.arithmetic.step`, in 32-bit integers where ``bound`` allows it, else in doubles,
    which hold all of their integers: the sums of some synapses of 32 bits each, times 64, and products of a state with
    13 bits.

    Args:
        a: synaptic input (time, batch, ...), integers of whatever type; on the CPU.
        population: without bias-coded input.
        bound: no input is larger in magnitude.
        raw: whether to keep the voltage before the reset.
        states: whether to keep u and v.
    """
    loaded = library() if a.device.type == "cpu" and a.numel() else None
    if loaded is None or population.input_bias:
        return None
    function, dtype = (
        (loaded.neurons_float, torch.float32) if bound <= NARROW else (loaded.neurons_double, torch.float64)
    )
    steps, shape = len(a), a.shape
    size = a[0].numel()
    same = a.stride(0) == 0
    source = (a[0] if same else a).to(dtype).contiguous()
    bias = bias_of(population)
    spikes, counts = torch.empty(shape, dtype=torch.uint8), torch.empty(shape[1:], dtype=torch.int32)
    voltages, last = torch.empty(shape) if raw else None, torch.empty(shape[1:])
    u, v = (torch.empty(shape, dtype=torch.int32) if states else None for _ in range(2))
    given = native.at(source), c_int64(0 if same else size), native.at(bias), c_int64(bias.numel())
    shared = cell(population, bound)
    made = ctypes.byref(shared), *map(native.at, (spikes, voltages, u, v, last, counts))
    events = Events()

    def part(first: c_int64, past: c_int64) -> None:
        own = events.own()
        function(*given, c_int64(steps), c_int64(size), first, past, *made, native.at(own))

    native.spread(part, size, steps)
    return Done(spikes, counts, last, events.total(), voltages, None if u is None or v is None else (u, v))
