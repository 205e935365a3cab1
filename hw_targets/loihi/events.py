"""A population fed by one synapse whose spikes are added one by one, all time steps at once: cost follows activity."""

import ctypes
from ctypes import c_int64
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...export.program import Convolution, Population, Program, Synapse
from ...toolkit.kernels import native
from . import neurons
from .neurons import Done
from .sums import delivered, largest_sum

DENSITY = {"dense": 0.5, "sparse": 0.5, "convolution": 0.15}
"""Share of source neurons that spike in a step, above which a product of matrices is faster (measured on one CPU)."""
LARGEST = 2**28
"""Weights, in numbers, above which no table is made."""
Table = NDArray[np.int32]


class Feed:
    """A synapse and its target, ready to run on spikes; binary input, no lag, weights that meet as they are.

    Args:
        program: that both belong to.
        synapse: the only one that ends in ``population``.
        population: its target.

    Attributes:
        usable: whether sums are proven to be small enough.
    """

    def __init__(self, program: Program, synapse: Synapse, population: Population) -> None:
        self.synapse, self.population = synapse, population
        self.source = program.shape_of(synapse.source)
        matrix = synapse.weight if isinstance(synapse, Convolution) else synapse.matrix()
        bound = largest_sum(torch.from_numpy(matrix.astype(np.int64)), 1)
        self.bound = delivered(bound, synapse.exponent)
        self.conv = isinstance(synapse, Convolution)
        weights, self.width = _spread(synapse) if isinstance(synapse, Convolution) else _columns(matrix)
        self.weights = torch.from_numpy(weights)
        self.usable = (
            program.peak(synapse.source) == 1
            and program.lag(synapse) == 0
            and not population.input_bias
            and self.bound <= neurons.NARROW
            and self.weights.numel() < LARGEST
        )
        self.either = self.usable and self._either()
        self.tables: dict[bool, tuple[Tensor | None, ...]] = {}

    def _either(self) -> bool:
        """Return whether the population is the OR of the spikes that reach it: any one fires it, nothing is left."""
        synapse, population = self.synapse, self.population
        return (
            isinstance(synapse, Convolution)
            and synapse.groups == synapse.weight.shape[0]
            and synapse.exponent == 0
            and population.du == 4095
            and not population.bias.any()
            and int(synapse.weight.min()) > population.vth
            and 64 * self.bound < 2**23 - 1
        )

    def run(self, x: Tensor, states: bool) -> Done | None:
        """Return what the neurons do, or None: no compiled loop, or so many spikes that a product is faster.

        Args:
            x: spikes (time, batch, ...), bytes of 0 and 1.
            states: whether to keep u and v.
        """
        usable = x.device.type == "cpu" and x.dtype in (torch.uint8, torch.bool) and x.numel() and x.stride(0)
        loaded = neurons.library() if usable else None
        if loaded is None:
            return None
        last = not x.is_contiguous() and x.dim() == 5 and x.movedim(2, -1).is_contiguous()
        x = x.movedim(2, -1) if last else x.contiguous()
        if np.count_nonzero(x.numpy().view(np.bool_)) > DENSITY[self.synapse.kind] * x.numel():
            return None
        steps, batch = x.shape[:2]
        # Channels come last, so that the weights of one tap lie side by side.
        shape = self.population.shape[1:] + self.population.shape[:1] if self.conv else self.population.shape
        size, inputs = int(np.prod(shape)), int(np.prod(self.source))
        fans, hops, taps, rows = self._table(last)
        spikes = torch.empty((steps, batch, *shape), dtype=torch.uint8)
        counts = torch.empty((batch, *shape), dtype=torch.int32)
        ends = c_int64(steps), c_int64(batch), c_int64(size)
        begin = native.at(x), c_int64(inputs), native.at(fans), native.at(hops)
        events = neurons.Events()
        if self.either and not states:

            def any_of(first: c_int64, past: c_int64) -> None:
                events.own()
                places = torch.empty(inputs + 4, dtype=torch.int32)
                into = native.at(spikes), native.at(counts)
                loaded.any_events(*begin, native.at(places), *ends, first, past, *into)

            native.spread(any_of, batch, steps * size)
            return Done(
                self._shaped(spikes),
                self._shaped(counts),
                self._shaped(torch.zeros(counts.shape)),
                events.total(),
                None,
                None,
            )
        v_last = torch.empty((batch, *shape))
        u, v = (torch.empty((steps, batch, *shape), dtype=torch.int32) if states else None for _ in range(2))
        bias = neurons.bias_of(self.population)
        bias = bias.movedim(0, -1).contiguous() if self.conv else bias
        shared = neurons.cell(self.population, self.bound)
        synapse = native.at(taps), native.at(rows), c_int64(self.width), c_int64(self.synapse.exponent)
        made = ctypes.byref(shared), *map(native.at, (spikes, u, v, v_last, counts))

        def fed(first: c_int64, past: c_int64) -> None:
            own, spare = events.own(), torch.empty(4 * size + inputs + 256, dtype=torch.int32)
            loaded.neurons_events(
                *begin, *synapse, native.at(spare), native.at(bias), *ends, first, past, *made, native.at(own)
            )

        native.spread(fed, batch, steps * size)
        kept = None if u is None or v is None else (self._shaped(u), self._shaped(v))
        return Done(self._shaped(spikes), self._shaped(counts), self._shaped(v_last), events.total(), None, kept)

    def _shaped(self, x: Tensor) -> Tensor:
        """Return (..., channels, height, width) of what lies in memory as (..., height, width, channels)."""
        return x.movedim(-1, -3) if self.conv else x

    def _table(self, last: bool) -> tuple[Tensor | None, ...]:
        """Return native.c's fans, hops, weights and dense, for a source whose channels come last in memory or not."""
        if last not in self.tables:
            table: tuple[Tensor | None, ...]
            if isinstance(self.synapse, Convolution):
                fans, hops = self._fans(self.synapse)
                fans = np.moveaxis(fans, 0, 1) if last else fans
                table = torch.from_numpy(np.ascontiguousarray(fans)), torch.from_numpy(hops), self.weights, None
            else:
                rows = self.weights.unflatten(0, self.source).movedim(0, 2) if last else self.weights
                table = None, None, None, rows.contiguous()
            self.tables[last] = table
        return self.tables[last]

    def _fans(self, conv: Convolution) -> tuple[Table, Table]:
        """Return where spikes of (channel, pixel) arrive, and the hops that this points to."""
        channels, height, width = self.source
        out, rows, columns = self.population.shape
        taps = conv.weight.shape[2] * conv.weight.shape[3]
        reached, places = np.zeros((height * width, taps), bool), np.zeros((height * width, taps), np.int32)
        for tap, (ky, kx) in enumerate(product(*map(range, conv.weight.shape[2:]))):
            y, fits_y = _targets(height, ky, conv.padding[0], conv.stride[0], conv.dilation[0], rows)
            x, fits_x = _targets(width, kx, conv.padding[1], conv.stride[1], conv.dilation[1], columns)
            reached[:, tap] = (fits_y[:, None] & fits_x).ravel()
            places[:, tap] = (y[:, None] * columns + x).ravel()
        pixel, tap_of = np.nonzero(reached)
        hops = np.stack([places[pixel, tap_of] * out, tap_of * self.width], 1).astype(np.int32)
        edges = np.searchsorted(pixel, np.arange(height * width + 1))
        made = np.zeros((channels, height * width, 4), np.int32)
        made[..., 0], made[..., 1] = edges[:-1], edges[1:]
        made[..., 2] = (taps * self.width * np.arange(channels))[:, None]
        made[..., 3] = (np.arange(channels) // (channels // conv.groups) * (out // conv.groups))[:, None]
        return made, hops


def _targets(
    size: int, tap: int, padding: int, stride: int, dilation: int, most: int
) -> tuple[Table, NDArray[np.bool_]]:
    """Return where ``tap`` takes each of ``size`` places along one axis, and whether that is one of ``most``."""
    reached = np.arange(size, dtype=np.int32) + padding - dilation * tap
    place = reached // stride
    return place, (reached % stride == 0) & (place >= 0) & (place < most)


def _columns(matrix: Table) -> tuple[NDArray[np.int16], int]:
    """Return the weights from each source neuron, (source, width), and the width: a multiple of 32."""
    width = -(-len(matrix) // 32) * 32
    padded = np.pad(matrix.T.astype(np.int16), ((0, 0), (0, width - len(matrix))))
    return np.ascontiguousarray(padded), width


def _spread(conv: Convolution) -> tuple[Table, int]:
    """Return the weights from each source channel, (source channels, taps, width), and the width: 8 or 16 n."""
    out, per, height, wide = conv.weight.shape
    width = 8 if out <= 8 * conv.groups else -(-out // (16 * conv.groups)) * 16
    # (groups, out of a group, in of a group, taps) -> (groups, in of a group, taps, out of a group)
    split = conv.weight.reshape(conv.groups, out // conv.groups, per, height * wide).transpose(0, 2, 3, 1)
    flat = split.reshape(conv.groups * per, height * wide, -1)
    return np.ascontiguousarray(np.pad(flat, ((0, 0), (0, 0), (0, width - flat.shape[2])))), width
