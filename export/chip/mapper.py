"""Placing a Program on a chip: slices that fit a core, cores filled in turn, and put near to whom they talk to."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Literal

import networkx
from scipy.sparse import csr_array

from ...toolkit.errors import UnsupportedError
from ..program import Program
from ..program.connections import connections
from .demand import Arriving, arriving, axons_out, demand
from .limits import Limit, Limits, load_limits
from .mapping import Core, Mapping, Slice, order, routes
from .split import whole

Mapper = Literal["greedy", "partition"]
MAPPERS: tuple[Mapper, ...] = ("greedy", "partition")
NAMES = {
    "cores": "cores",
    "chip_neurons": "neurons on the chip",
    "chip_connections": "connections on the chip",
    "neurons": "neurons",
    "axons_in": "axons in",
    "axons_out": "axons out",
    "synapse_bits": "bits of synaptic memory",
    "configurations": "distinct decays",
    "thresholds": "distinct thresholds",
    "formats": "distinct synapse formats",
    "delay": "steps of delay",
    "connections": "connections",
    "channels": "input channels",
    "hidden": "hidden neurons",
    "outputs": "read-out neurons",
    "synapses": "synaptic currents a neuron",
    "fan_out": "targets of a neuron",
    "fan_in": "sources of a neuron",
    "input_projection": "neurons with input",
    "output_projection": "neurons read out",
}


class _Slicer:
    """Cuts populations into slices that fit a core, and counts what arrives at a slice only once."""

    def __init__(self, program: Program, limits: Limits) -> None:
        self.program = program
        self.limits = limits.limits
        self.matrices: Sequence[csr_array] = [connections(program, synapse) for synapse in program.synapses]
        self.orders = {population.name: order(population.shape) for population in program.populations}
        self.whole = whole(program)
        self.known: dict[Slice, Arriving] = {}

    def arriving(self, part: Slice) -> Arriving:
        """Return what arrives at a slice."""
        if part not in self.known:
            neurons = self.orders[part.population][part.start : part.stop]
            self.known[part] = arriving(self.program, self.matrices, part.population, neurons)
        return self.known[part]

    def needs(self, parts: Sequence[Slice]) -> dict[str, int]:
        """Return what slices of different populations need on one core, without their axons out."""
        arrives = [self.arriving(part) for part in parts]
        populations = [self.program.population(part.population) for part in parts]
        return {
            "neurons": sum(part.stop - part.start for part in parts),
            "axons_in": sum(one.axons for one in arrives),
            "synapse_bits": sum(one.bits for one in arrives),
            "configurations": len({(getattr(p, "du", None), getattr(p, "dv", None)) for p in populations}),
            "thresholds": len({p.vth for p in populations}),
            "formats": len(frozenset().union(*(one.formats for one in arrives))),
        }

    def over(self, parts: Sequence[Slice]) -> dict[str, int]:
        """Return what is above the lower end of its limit on a core of these slices."""
        return {key: count for key, count in self.needs(parts).items() if above(self.limits[key], count)}

    def cut(self, name: str, least: int) -> list[Slice]:
        """Return the fewest slices of equal length, at least ``least``, that fit a core each; else the best there is.

        A population that must stay whole is one slice, whether it fits or not.
        """
        size = len(self.orders[name])

        def slices(count: int) -> list[Slice]:
            ends = [size * i // count for i in range(count + 1)]
            return [Slice(name, a, b) for a, b in pairwise(ends)]

        if name in self.whole:
            return slices(1)
        neurons = self.limits["neurons"].low or size
        first = min(max(least, -(-size // neurons)), size)
        ignored: set[str] = set()

        def excess(count: int) -> set[str]:
            return next(filter(None, (set(self.over([part])) - ignored for part in slices(count))), set())

        while True:
            low = high = first
            while excess(high) and high < size:
                low, high = high + 1, min(2 * high, size)
            hopeless = excess(high)
            if not hopeless:
                break
            # Too much for a single neuron. What other limits ask for is still found; the excess is told later.
            ignored |= hopeless
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if not excess(middle) else (middle + 1, high)
        return slices(low)


def above(limit: Limit, count: int) -> bool:
    """Return whether a count is above the end of a limit up to which all sources agree."""
    return limit.low is not None and count > limit.low


def place(program: Program, chip: str, mapper: Mapper = "partition") -> Mapping:
    """Return a mapping of ``program`` on ``chip``.

    Both mappers cut every population into the fewest equal slices that fit a core, and fill core after core with slices
    in the order of populations. Where a core then has too many axons out, its populations get cores of their own, or
    are cut into twice as many slices. ``greedy`` numbers the cores in that order, along the rows of the mesh;
    ``partition`` gives each half of the mesh one side of a small cut between the cores (weights: axons), and so on down
    to a tile: recursive bisection by Kernighan and Lin 1970, as networkx has it.

    Args:
        program: what to place.
        chip: where.
        mapper: how.

    Raises:
        UnsupportedError: it does not fit, by a hard limit: the message names population, count and limit.
    """
    limits = load_limits(chip)
    mapping = _filled(program, chip, limits)
    reasons = [text for text, hard in excesses(program, mapping) if hard]
    if reasons:
        raise UnsupportedError("; ".join(reasons))
    return _bisected(program, mapping, limits) if mapper == "partition" else mapping


def _filled(program: Program, chip: str, limits: Limits) -> Mapping:
    slicer = _Slicer(program, limits)
    least = dict.fromkeys(slicer.orders, 1)
    alone: set[str] = set()
    room = limits.limits["axons_out"].low
    while True:
        cores: list[list[Slice]] = []
        for name in slicer.orders:
            for part in slicer.cut(name, least[name]):
                last = cores[-1] if cores else []
                shared = last and not alone & {name, *(one.population for one in last)}
                # Slices of one population were cut because they did not fit together.
                if shared and last[-1].population != name and not slicer.over([*last, part]):
                    last.append(part)
                else:
                    cores.append([part])
        mapping = Mapping(chip, tuple(Core(number, tuple(parts)) for number, parts in enumerate(cores)))
        sent = axons_out(program, mapping)
        crowded = [core.slices for core in mapping.cores if room and sent[core.number] > room]
        before = (dict(least), set(alone))
        for parts in crowded:
            for part in parts:
                if len(parts) > 1:
                    alone.add(part.population)
                elif part.population not in slicer.whole and part.stop - part.start > 1:
                    cuts = len(mapping.slices(part.population))
                    least[part.population] = min(2 * cuts, len(slicer.orders[part.population]))
        if before == (least, alone):
            return mapping


def excesses(program: Program, mapping: Mapping) -> list[tuple[str, bool]]:
    """Return what is above a limit, worst core of each population first, and whether the limit is hard and passed.

    A count between the two ends of a limit, or above one that is not hard, is only to be warned of.
    """
    limits = load_limits(mapping.chip)
    needed = demand(program, mapping)
    uncut = whole(program)
    worst: dict[tuple[str, str], tuple[int, str]] = {}
    for core in mapping.cores:
        for key, count in asdict(needed[core.number]).items():
            limit = limits.limits.get(key)
            if limit is None or not above(limit, count):
                continue
            names = " and ".join(f"population {part.population!r}" for part in core.slices)
            neurons = needed[core.number].neurons
            text = f"{names}: {neurons:,} neurons on a core need {count:,} {NAMES[key]}"
            whys = [uncut[part.population] for part in core.slices if part.population in uncut]
            more = f" (it must stay on one core: {whys[0]})" if whys else ""
            if count > worst.get((names, key), (0, ""))[0]:
                worst[names, key] = (count, text + more)
    found = [_told(limits, key, count, text) for (_, key), (count, text) in worst.items()]
    totals = {
        "cores": len(mapping.cores),
        "chip_neurons": sum(one.neurons for one in needed.values()),
        "chip_connections": sum(one.connections for one in needed.values()),
    }
    found += [
        _told(limits, key, count, f"the Program: needs {count:,} {NAMES[key]}")
        for key, count in totals.items()
        if above(limits.limits[key], count)
    ]
    return found + [(text, False) for text in _outside(program, limits)]


def _outside(program: Program, limits: Limits) -> Iterator[str]:
    """Yield which integers of the Program are outside of their documented range.

    All but the width of messages, which the kind of the population says: see :func:`.chips.unsupported`.
    """
    for population in program.spiking:
        values = {key: getattr(population, key) for key in ("vth", "du", "dv", "bias_exponent")}
        values["bias_mantissa"] = max(population.bias.ravel().tolist(), key=abs)
        yield from _told_outside(limits, f"population {population.name!r}", values)
    for synapse in program.synapses:
        values = {"weight_bits": synapse.bits, "weight_exponent": synapse.exponent}
        yield from _told_outside(limits, synapse.label, values)


def _told_outside(limits: Limits, who: str, values: dict[str, int]) -> Iterator[str]:
    for key, value in values.items():
        field = limits.fields[key]
        if not field.low <= value <= field.high:
            yield (
                f"{who}: {key} {value} is outside of {limits.title}'s documented {field.low:,} to {field.high:,} "
                f"({field.confidence} confidence)"
            )


def _told(limits: Limits, key: str, count: int, text: str) -> tuple[str, bool]:
    limit = limits.limits[key]
    assert limit.low is not None
    assert limit.high is not None
    ends = f"{limit.high:,}" if limit.low == limit.high else f"{limit.low:,} to {limit.high:,}"
    return f"{text}; {limits.title} has {ends} ({limit.confidence} confidence)", limit.hard and count > limit.high


def _bisected(program: Program, mapping: Mapping, limits: Limits) -> Mapping:
    """Return the mapping with its cores moved to where recursive bisection of the mesh puts them."""
    mesh = limits.mesh
    if len(mapping.cores) > mesh.cores:
        return mapping
    graph = networkx.Graph()
    graph.add_nodes_from(range(mesh.cores))  # Those that are not used yet are empty, and free to lie anywhere.
    for route in routes(program, mapping):
        if route.synapse.source == program.input.name:
            continue
        core, neuron = route.reached.nonzero()
        start = mapping.core_of(program, route.synapse.source)[neuron]
        for (one, other), count in Counter(zip(start.tolist(), core.tolist(), strict=True)).items():
            if one != other:
                known = graph.get_edge_data(one, other, {"weight": 0})["weight"]
                graph.add_edge(one, other, weight=known + count)
    numbers: dict[int, int] = {}

    def bisect(nodes: list[int], columns: range, rows: range) -> None:
        if len(columns) == len(rows) == 1:
            first = (rows[0] * mesh.columns + columns[0]) * mesh.cores_a_tile
            numbers.update({node: first + place for place, node in enumerate(sorted(nodes))})
            return
        wide = len(columns) >= len(rows)
        cut = len(columns if wide else rows) // 2
        near, far = (
            ((columns[:cut], rows), (columns[cut:], rows)) if wide else ((columns, rows[:cut]), (columns, rows[cut:]))
        )
        size = len(near[0]) * len(near[1]) * mesh.cores_a_tile
        sides = (set(nodes[:size]), set(nodes[size:]))
        halves = networkx.community.kernighan_lin_bisection(graph.subgraph(nodes), sides, seed=0)
        one, other = sorted(map(sorted, halves))  # Which half is near is free: the one with the first core.
        bisect(one, *near)
        bisect(other, *far)

    bisect(list(range(mesh.cores)), range(mesh.columns), range(mesh.rows))
    moved = (Core(numbers[core.number], core.slices) for core in mapping.cores)
    return Mapping(mapping.chip, tuple(sorted(moved, key=lambda core: core.number)))
