"""Sets of spike trains of every neuron, population after population: sound, and fast."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import ceil, floor

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from ...export.program import Program
from .layers import BITS, Int, Layer, Window, Wire, kept, layers_of
from .region import Region
from .table import Table, table_of
from .trains import STEPS, Levels, Sent, Trains, any_of, scaled

FINEST = 20
"""Bits behind the point in fixed-point sums, at most."""
ROUNDS = 2
"""How often the populations of a recurrent Program are gone through; the first time a loop may carry anything."""


@dataclass
class Voltages:
    """A spiking population's bounds.

    Attributes:
        last: voltage after the last step, low and high (neurons,).
        windows: for each last reset s and step t: whether neurons can come to step t without a spike since s, the
            ends of the voltage before the threshold, (neurons,) each.
    """

    last: tuple[Int, Int]
    windows: dict[Window, tuple[NDArray[np.bool_], Int, Int]] = field(default_factory=dict)


@dataclass
class Bounds:
    """What all neurons may do on a region.

    Attributes:
        sent: by name of the input or population.
        voltages: by name of a spiking population.
        rivals: classes that no bound excludes.
    """

    sent: dict[str, Sent]
    voltages: dict[str, Voltages] = field(default_factory=dict)
    rivals: list[int] = field(default_factory=list)


class Prepared:
    """A Program with all that does not depend on the sample.

    Args:
        program: covered by proofs, see :func:`.layers.unsupported`.

    Raises:
        UnsupportedError: something of it is not covered.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.layers = layers_of(program)
        self.named = {layer.name: layer for layer in self.layers}
        self.groups = {layer.name: _sources(layer) for layer in self.layers if layer.either}
        self._tables: dict[str, Table] = {}
        self._against: dict[int, tuple[Wire, ...]] = {}

    def against(self, label: int) -> tuple[Wire, ...]:
        """Return the wires of the read-out with weights less those of class ``label``."""
        if label not in self._against:
            wires = self.named[self.program.readout.population].wires
            self._against[label] = tuple(
                replace(wire, weight=csr_array(wire.weight.toarray() - wire.weight[[label]].toarray()))
                for wire in wires
            )
        return self._against[label]

    def table(self, layer: Layer, region: Region) -> Table | None:
        """Return the layer's table if what arrives is one integer, the same at every step."""
        if layer.graded or not region.constant:
            return None
        source = self.program.input.name
        alone = len(layer.wires) == 1 and layer.drive is None and layer.wires[0].source == source
        driven = not layer.wires and layer.drive is not None
        if not (alone or driven):
            return None
        if layer.name not in self._tables:
            low, high = (0, self.program.input.peak)
            if alone:
                low, high = int(layer.wires[0].reach[0].min()), int(layer.wires[0].reach[1].max())
            self._tables[layer.name] = table_of(layer, low, high)
        return self._tables[layer.name]


def bound(prepared: Prepared, region: Region, label: int) -> Bounds:
    """Return bounds of every neuron, and which classes may win instead of ``label``."""
    program = prepared.program
    found = Bounds({program.input.name: region.sent})
    for layer in prepared.layers:
        found.sent[layer.name] = _anything(layer, program.peak(layer.name))
    for _ in range(ROUNDS if program.recurrent else 1):
        for layer in prepared.layers:
            if layer.graded:
                found.sent[layer.name] = _graded(prepared, layer, region, found.sent)
                continue
            sent, found.voltages[layer.name] = _spiking(prepared, layer, region, found.sent)
            before = found.sent[layer.name]
            assert isinstance(before, Trains)
            found.sent[layer.name] = sent.both(before) if program.recurrent else sent
    found.rivals = _rivals(prepared, region, found, label)
    return found


def _anything(layer: Layer, peak: int) -> Sent:
    shape = (layer.steps, layer.size)
    low, high = np.zeros(shape, dtype=np.int64), np.full(shape, peak, dtype=np.int64)
    if layer.graded:
        return Levels(low, high)
    mask = np.ones((layer.size, 2**layer.steps), dtype=bool) if layer.steps <= STEPS else None
    return Trains(low, high, mask)


def arrivals(prepared: Prepared, layer: Layer, region: Region, sent: Mapping[str, Sent], t: int) -> tuple[Int, Int]:
    """Return the ends of the synaptic input at step ``t``, (neurons,) each."""
    low, high = np.zeros(layer.size, dtype=np.int64), np.zeros(layer.size, dtype=np.int64)
    one = np.eye(layer.steps, dtype=np.int64)
    for wire in layer.wires:
        if t < wire.lag:
            continue
        factors = one[t - wire.lag]
        bottom, top = _spans(prepared, wire.source, sent, region)(wire, factors, factors)
        low, high = low + wire.shifted(bottom), high + wire.shifted(top)
    return low, high


Spans = Callable[[Wire, Int, Int], tuple[Int, Int]]


def _spans(prepared: Prepared, source: str, sent: Mapping[str, Sent], region: Region) -> Spans:
    """Return what finds the ends of W (sum over steps of factors times messages) for wires of a source."""
    if source == prepared.program.input.name:
        return region.spans

    def spans(wire: Wire, low: Int, high: Int) -> tuple[Int, Int]:
        bottom, top = sent[source].span(low, high)
        return wire.excitatory @ bottom + wire.inhibitory @ top, wire.excitatory @ top + wire.inhibitory @ bottom

    return spans


def _sources(layer: Layer) -> Int:
    """Return the sources of each neuron of an OR, -1 for nobody."""
    columns, weights = layer.wires[0].padded
    return np.where(weights > 0, columns, -1)


def _graded(prepared: Prepared, layer: Layer, region: Region, sent: Mapping[str, Sent]) -> Levels:
    ends = [arrivals(prepared, layer, region, sent, t) for t in range(layer.steps)]
    low, high = (np.stack([end[side] for end in ends]) for side in (0, 1))
    return Levels(np.where(low > layer.threshold, low, 0), np.where(high > layer.threshold, high, 0))


def _scale(layer: Layer, most: Fraction) -> int:
    """Return a power of two for fixed point in which no sum of this layer leaves :data:`BITS`."""
    rows = [int((abs(wire.weight) @ np.full(wire.weight.shape[1], wire.peak)).max(initial=0)) for wire in layer.wires]
    total = sum(rows) + int(np.abs(layer.bias).max(initial=0)) + (2**24 if layer.drive is not None else 0) + 1
    room = BITS - (total * ceil(most * 128 + 1)).bit_length()
    return int(2 ** min(FINEST, room))


def _linear(
    prepared: Prepared,
    layer: Layer,
    region: Region,
    sent: Mapping[str, Sent],
    window: Window,
    wires: tuple[Wire, ...],
    bias: Int,
    against: bool = False,
) -> tuple[Int, Int]:
    """Return the ends of a voltage as a sum over all that arrived, along the trains of each source.

    Args:
        prepared: the Program.
        layer: whose neurons.
        region: of the input.
        sent: what sources send.
        window: last reset and step.
        wires: of the layer, or such of differences of its neurons.
        bias: of the same neurons.
        against: whether they are differences of two neurons: then no bias-coded input counts, and errors twice.
    """
    facts = layer.facts(window)
    scale = _scale(layer, sum(facts.kappa, Fraction(0)) / 64 + facts.constant)
    constant = facts.constant * scale
    low = np.where(bias >= 0, bias * floor(constant), bias * ceil(constant))
    high = np.where(bias >= 0, bias * ceil(constant), bias * floor(constant))
    error, floors = facts.error, facts.floors
    above, below = (2 * error + floors, 2 * error + floors) if against else (error, error + floors)
    low, high = low - ceil(below * scale), high + ceil(above * scale)
    for wire in wires:
        factors = [factor * Fraction(2) ** wire.exponent for factor in facts.kappa]
        bottom, top = _spans(prepared, wire.source, sent, region)(wire, *scaled(factors, wire.lag, scale))
        low, high = low + bottom, high + top
    if layer.drive is not None and not against:
        bottom, top = region.sent.span(*scaled(facts.driven, 0, scale))
        low, high = low + bottom, high + top
    return -(-low // scale), high // scale


def _spiking(prepared: Prepared, layer: Layer, region: Region, sent: Mapping[str, Sent]) -> tuple[Trains, Voltages]:
    """Return the trains of a population with state, and its voltages."""
    steps, size, end = layer.steps, layer.size, layer.threshold
    u = np.zeros(size, dtype=np.int64), np.zeros(size, dtype=np.int64)
    nothing = np.zeros(size, dtype=np.int64)
    alive = {-1: np.ones(size, dtype=bool)}
    v = {-1: (nothing, nothing)}
    fires: dict[Window, NDArray[np.bool_]] = {}
    rests: dict[Window, NDArray[np.bool_]] = {}
    found = Voltages((nothing, nothing))
    for t in range(steps):
        low, high = arrivals(prepared, layer, region, sent, t)
        u = kept(u[0], layer.keep_u) + 64 * low, kept(u[1], layer.keep_u) + 64 * high
        driven = nothing, nothing
        if layer.drive is not None:
            driven = region.sent.low[t] << layer.drive, region.sent.high[t] << layer.drive
        alive[t], v[t] = np.zeros(size, dtype=bool), (nothing, nothing)
        for s in range(-1, t):
            bottom, top = (kept(v[s][side], layer.keep_v) + u[side] + layer.bias + driven[side] for side in (0, 1))
            if not layer.memoryless and (t > s + 1 or (layer.keep_u and t)):
                lower, upper = _linear(prepared, layer, region, sent, (s, t), layer.wires, layer.bias)
                bottom, top = np.maximum(bottom, lower), np.minimum(top, upper)
            found.windows[s, t] = alive[s], bottom, top
            fires[s, t], rests[s, t] = alive[s] & (top > end), alive[s] & (bottom <= end)
            alive[t] |= fires[s, t]
            alive[s] = rests[s, t]
            v[s] = bottom, np.minimum(top, end)
    trains_found = _paths(fires, rests, size, steps)
    if layer.name in prepared.groups and isinstance(sent[layer.wires[0].source], Trains):
        ored = any_of(sent[layer.wires[0].source], layer.wires[0].lag, prepared.groups[layer.name])  # type: ignore[arg-type]
        trains_found = trains_found.both(ored)
    if (table := prepared.table(layer, region)) is not None:
        ends = (
            arrivals(prepared, layer, region, sent, steps - 1)
            if layer.wires
            else (region.sent.low[0], region.sent.high[0])
        )
        trains_found = trains_found.both(table.sets(*ends))
    found.last = _last(layer, found, trains_found, alive, v)
    return trains_found, found


def _paths(
    fires: dict[Window, NDArray[np.bool_]], rests: dict[Window, NDArray[np.bool_]], size: int, steps: int
) -> Trains:
    """Return the trains that spikes and rests after each last spike allow."""
    if steps > STEPS:
        high = [np.any([fires[s, t] for s in range(-1, t)], axis=0) for t in range(steps)]
        low = [~np.any([rests[s, t] for s in range(-1, t)], axis=0) for t in range(steps)]
        return Trains(np.array(low, dtype=np.int64), np.array(high, dtype=np.int64))
    # Histories of t steps in the order of their numbers; the spike at step t is the next bit.
    possible, last = np.ones((1, size), dtype=bool), [-1]
    for t in range(steps):
        rest = np.stack([rests[s, t] for s in last])
        fire = np.stack([fires[s, t] for s in last])
        possible = np.concatenate([possible & rest, possible & fire])
        last = last + [t] * len(last)
    return Trains.of_mask(possible.T, steps)


def _last(layer, found, sets, alive, v) -> tuple[Int, Int]:  # type: ignore[no-untyped-def]
    """Return the ends of the voltage after the last step."""
    most = np.iinfo(np.int64).max
    low, high = np.full(layer.size, most), np.full(layer.size, -most)
    for s in range(-1, layer.steps):
        # After a spike at the last step it is 0.
        bottom, top = v[s] if s < layer.steps - 1 else (0, 0)
        low, high = np.where(alive[s], np.minimum(low, bottom), low), np.where(alive[s], np.maximum(high, top), high)
    return low, high


def _rivals(prepared: Prepared, region: Region, found: Bounds, label: int) -> list[int]:
    """Return the classes that may win instead of ``label``."""
    program = prepared.program
    name, kind = program.readout.population, program.readout.kind
    layer, sent = prepared.named[name], found.sent[name]
    assert isinstance(sent, Trains)
    if kind == "membrane":
        low, high = found.voltages[name].last
        margin = high - low[label]
        if not sent.high.any() and layer.drive is None:
            window = (-1, layer.steps - 1)
            bias = layer.bias - layer.bias[label]
            margin = np.minimum(
                margin,
                _linear(prepared, layer, region, found.sent, window, prepared.against(label), bias, against=True)[1],
            )
    else:
        low, high = sent.counts() if kind == "spike_count" else sent.first()
        margin = high - low[label]
    # Ties go to the lowest class.
    wins = margin >= (np.arange(layer.size) > label)
    wins[label] = False
    return [int(rival) for rival in np.flatnonzero(wins)]
