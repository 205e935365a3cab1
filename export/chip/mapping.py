"""Which neurons lie on which core, and what their messages travel.

A mapping changes no integer: on the chip every core adds up what arrives for its own neurons, wherever it comes from.
:func:`.split.split` turns it into a Program that shows so.
"""

from collections.abc import Iterator
from collections.abc import Mapping as Dictionary
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from ...toolkit.errors import InputError
from ..program import Program, Synapse
from ..program.connections import connections
from .limits import load_limits

Index = NDArray[np.int64]


def order(shape: tuple[int, ...]) -> Index:
    """Return the neurons of a population, flattened as (C, H, W), in the order in which slices are cut.

    Maps are cut position by position, row after row, all channels of a position together: a slice then needs only the
    sources of a band of the image.
    """
    neurons = np.arange(int(np.prod(shape)), dtype=np.int64)
    return neurons.reshape(shape[0], -1).T.ravel() if len(shape) == 3 else neurons


@dataclass(frozen=True)
class Slice:
    """A run of a population's neurons, ``start`` to ``stop`` (exclusive) in :func:`order`."""

    population: str
    start: int
    stop: int

    def neurons(self, program: Program) -> Index:
        """Return its neurons, flattened as (C, H, W)."""
        return order(program.shape_of(self.population))[self.start : self.stop]


@dataclass(frozen=True)
class Core:
    """A core that is used.

    Attributes:
        number: which of the chip's, from 0; four neighbours share a tile.
        slices: what lies on it.
    """

    number: int
    slices: tuple[Slice, ...]


@dataclass(frozen=True)
class Mapping:
    """A Program placed on a chip."""

    chip: str
    cores: tuple[Core, ...]

    def slices(self, population: str) -> list[Slice]:
        """Return the slices of a population, in order."""
        found = [part for core in self.cores for part in core.slices if part.population == population]
        return sorted(found, key=lambda part: part.start)

    def core_of(self, program: Program, population: str) -> Index:
        """Return the number of the core that each neuron of a population lies on, flattened as (C, H, W)."""
        where = np.full(int(np.prod(program.shape_of(population))), -1, dtype=np.int64)
        for core in self.cores:
            for part in core.slices:
                if part.population == population:
                    where[part.neurons(program)] = core.number
        return where

    def check(self, program: Program) -> None:
        """Check that every neuron lies on exactly one core.

        Raises:
            InputError: names the population that does not, or the core that is named twice.
        """
        numbers = [core.number for core in self.cores]
        if len(set(numbers)) < len(numbers):
            raise InputError(f"mapping: a core is named twice: {sorted(numbers)}; put its slices together")
        names = {population.name for population in program.populations}
        strangers = sorted({part.population for core in self.cores for part in core.slices} - names)
        if strangers:
            raise InputError(f"mapping: no population named {strangers[0]!r}; there are {sorted(names)}")
        for population in program.populations:
            ends = [0]
            for part in self.slices(population.name):
                ends += [part.start, part.stop]
            ends.append(int(np.prod(population.shape)))
            if any(stop <= start for start, stop in zip(ends[1:-1:2], ends[2:-1:2], strict=True)) or any(
                before != after for before, after in zip(ends[::2], ends[1::2], strict=True)
            ):
                raise InputError(
                    f"mapping: population {population.name!r} of {ends[-1]} neurons is cut into {ends[1:-1]}; "
                    "every neuron must lie on one core"
                )


@dataclass(frozen=True)
class Route:
    """The axons of one synapse.

    Attributes:
        synapse: which.
        reached: (chip's cores, source neurons), True where at least one weight that is not 0 ends in the core.
    """

    synapse: Synapse
    reached: csr_array


def routes(program: Program, mapping: Mapping) -> Iterator[Route]:
    """Yield the axons of every synapse, in the Program's order."""
    count = 1 + max(core.number for core in mapping.cores)
    for synapse in program.synapses:
        matrix = connections(program, synapse)
        there = mapping.core_of(program, synapse.target)
        neurons = np.arange(len(there))
        onto = csr_array((np.ones(len(there), dtype=np.int64), (there, neurons)), shape=(count, len(there)))
        yield Route(synapse, (onto @ (matrix != 0).astype(np.int64)) > 0)


@dataclass(frozen=True)
class Hops:
    """What one spike of each neuron of a population costs in messages; all (neurons,), flattened as (C, H, W).

    Attributes:
        packets: messages sent: one a synapse and core that it reaches, the neuron's own core included.
        east_west: tile hops along the rows, all packets together.
        north_south: tile hops along the columns.
    """

    packets: Index
    east_west: Index
    north_south: Index


def hops(program: Program, mapping: Mapping) -> Dictionary[str, Hops]:
    """Return what a spike of each population's neurons travels, by population.

    Packets go from tile to tile along a row and a column, so a packet from tile (x, y) to (x', y') makes |x - x'| hops
    east or west and |y - y'| north or south: the shortest way, an estimate. What comes from outside the chip (the
    input) is not counted. Spikes times these are the network's traffic.
    """
    mesh = load_limits(mapping.chip).mesh
    tiles = np.array([mesh.tile(core) for core in range(1 + max(core.number for core in mapping.cores))])
    found = {
        population.name: Hops(*(np.zeros(int(np.prod(population.shape)), dtype=np.int64) for _ in range(3)))
        for population in program.populations
    }
    for route in routes(program, mapping):
        name = route.synapse.source
        if name == program.input.name:
            continue
        core, neuron = route.reached.nonzero()
        distance = np.abs(tiles[core] - tiles[mapping.core_of(program, name)[neuron]])
        sizes = len(found[name].packets)
        for total, amount in zip(
            (found[name].packets, found[name].east_west, found[name].north_south),
            (np.ones(len(core)), distance[:, 0], distance[:, 1]),
            strict=True,
        ):
            total += np.bincount(neuron, amount, minlength=sizes).astype(np.int64)
    return found
