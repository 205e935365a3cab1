"""What a mapped Program asks of each core.

Counted exactly, for the encoding that is said here; what a compiler of the maker's would do is not public.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from ..program import Neurons, Program, Synapse
from ..program.connections import connections
from ..program.parts import Convolution, Dense, Population, Sparse
from .mapping import Index, Mapping, routes

WORD = 64
"""Bits of a word of synaptic memory (Davies et al. 2018)."""
STORED_BITS = (1, 2, 3, 4, 5, 6, 8, 9)
INDEX_BITS = (0, 6, 7, 8, 9, 10, 11, 12)
"""Widths that a stored weight and a stored index may have (NengoLoihi 1.1.0, ``SynapseConfig``; 9: Davies et al.)."""
HEADER = 10
"""Bits before each run of at most 64 weights: format and length (NengoLoihi 1.1.0, ``bits_per_axon``)."""
RUN = 64


@dataclass(frozen=True)
class Demand:
    """What a core must hold.

    A *connection* is a weight that is not 0. Messages travel by axons:

    Attributes:
        neurons: that lie on it.
        axons_in: one for each synapse and source neuron with at least one connection to a neuron on this core; a
            convolution needs one for each source *position* (Loihi's population axons: the channel travels along).
        axons_out: one for each neuron on this core, synapse, and core that it has a connection to, its own included;
            two for a convolution of several source channels (a population axon of 32 bits takes two slots).
        connections: that end on it.
        synapse_bits: memory for their weights, an estimate by NengoLoihi's count for Loihi 1: each axon's weights in
            runs of at most 64, each run of 10 bits and its weights, rounded up to words of 64 bits. A weight takes its
            stored bits, the bits of its delay, and, unless the synapse is dense, those of its target's index. A dense
            synapse stores its zeros; a convolution stores what source positions share (same weights, same targets
            relative to the first) once.
        configurations: distinct decays (du, dv).
        thresholds: distinct vth.
        formats: distinct ways to store weights: bits, sign mode, exponent, bits of delay and index.
        delay: the longest, in steps, of the synapses that end on it.
    """

    neurons: int
    axons_in: int
    axons_out: int
    connections: int
    synapse_bits: int
    configurations: int
    thresholds: int
    formats: int
    delay: int


Format = tuple[int, str, int, int, int]


@dataclass(frozen=True)
class Arriving:
    """What the synapses into some neurons of one population ask of the core that these lie on."""

    axons: int
    connections: int
    bits: int
    formats: frozenset[Format]


def _wide(widths: Sequence[int], needed: int) -> int:
    return next((width for width in widths if width >= needed), needed)


def axon_bits(weights: int, bits: int) -> int:
    """Return the memory of one axon: runs of at most 64 weights of ``bits`` each, see :class:`Demand`."""
    full, rest = divmod(weights, RUN)
    return WORD * (full * -(-(RUN * bits + HEADER) // WORD) + (-(-(rest * bits + HEADER) // WORD) if rest else 0))


def _stored(synapse: Synapse, block: csr_array) -> tuple[list[int], int]:
    """Return how many weights each stored axon has, and the largest index that is stored with one.

    Args:
        synapse: whose encoding.
        block: its connections, (neurons on the core, source neurons).
    """
    if isinstance(synapse, Dense):
        return [block.shape[0]] * _used(block.indices, block.shape[1]), 0
    columns = block.tocsc()
    if isinstance(synapse, Sparse):
        counts = np.diff(columns.indptr)
        return [int(count) for count in counts[counts > 0]], block.shape[0] - 1
    channels = _channels(synapse)
    positions = block.shape[1] // channels
    columns = columns[:, np.arange(block.shape[1]).reshape(channels, positions).T.ravel()]
    ends = columns.indptr[::channels]
    shared: dict[tuple[bytes, ...], int] = {}
    largest = 0
    for position in np.flatnonzero(np.diff(ends)):
        own = slice(ends[position], ends[position + 1])
        rows = columns.indices[own] - columns.indices[own].min()
        each = np.diff(columns.indptr[position * channels : (position + 1) * channels + 1])
        shared[rows.tobytes(), columns.data[own].tobytes(), each.tobytes()] = len(rows)
        largest = max(largest, int(rows.max()))
    return list(shared.values()), largest


def _used(indices: Index, size: int) -> int:
    """Return how many different indices below ``size`` there are."""
    return int(np.count_nonzero(np.bincount(indices, minlength=size)))


def _channels(synapse: Synapse) -> int:
    """Return how many source neurons share an axon in: those of a position, for a convolution."""
    return synapse.weight.shape[1] * synapse.groups if isinstance(synapse, Convolution) else 1


def arriving(program: Program, matrices: Sequence[csr_array], population: str, neurons: Index) -> Arriving:
    """Return what the synapses into ``neurons`` of a population ask of a core that holds all of these.

    Args:
        program: the network.
        matrices: the connections of its synapses, in order.
        population: which.
        neurons: flattened as (C, H, W), in the order in which the core holds them.
    """
    axons = count = bits = 0
    formats = set()
    for synapse, matrix in zip(program.synapses, matrices, strict=True):
        if synapse.target != population:
            continue
        block = matrix[neurons]
        block.sort_indices()
        if not block.nnz:
            continue
        sizes, largest = _stored(synapse, block)
        index = _wide(INDEX_BITS, largest.bit_length())
        stored = _wide(STORED_BITS, synapse.bits)
        late = synapse.delay.bit_length()
        positions = block.shape[1] // _channels(synapse)
        axons += _used(block.indices % positions, positions)
        count += block.nnz
        bits += sum(axon_bits(size, stored + late + index) for size in sizes)
        formats.add((stored, synapse.sign, synapse.exponent, late, index))
    return Arriving(axons, count, bits, frozenset(formats))


def _decays(population: Neurons) -> tuple[int, int] | None:
    return (population.du, population.dv) if isinstance(population, Population) else None


def axons_out(program: Program, mapping: Mapping) -> dict[int, int]:
    """Return the axons out of each used core, by its number; see :class:`Demand`."""
    found = dict.fromkeys((core.number for core in mapping.cores), 0)
    for route in routes(program, mapping):
        if route.synapse.source != program.input.name:
            where = mapping.core_of(program, route.synapse.source)[route.reached.nonzero()[1]]
            for core, count in zip(*np.unique(where, return_counts=True), strict=True):
                found[int(core)] += int(count) * (2 if _channels(route.synapse) > 1 else 1)
    return found


def demand(program: Program, mapping: Mapping) -> dict[int, Demand]:
    """Return what each used core must hold, by its number.

    Raises:
        InputError: the mapping does not place every neuron once.
    """
    mapping.check(program)
    matrices = [connections(program, synapse) for synapse in program.synapses]
    out = axons_out(program, mapping)
    found = {}
    for core in mapping.cores:
        names = list(dict.fromkeys(part.population for part in core.slices))
        rows = {
            name: np.concatenate([part.neurons(program) for part in core.slices if part.population == name])
            for name in names
        }
        arrives = [arriving(program, matrices, name, neurons) for name, neurons in rows.items()]
        populations = [program.population(name) for name in names]
        found[core.number] = Demand(
            neurons=sum(map(len, rows.values())),
            axons_in=sum(one.axons for one in arrives),
            axons_out=out[core.number],
            connections=sum(one.connections for one in arrives),
            synapse_bits=sum(one.bits for one in arrives),
            configurations=len(set(map(_decays, populations))),
            thresholds=len({population.vth for population in populations}),
            formats=len(frozenset().union(*(one.formats for one in arrives))),
            delay=max((synapse.delay for name in names for synapse in program.incoming(name)), default=0),
        )
    return found
