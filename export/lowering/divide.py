"""Nodes whose neurons differ become several populations: their synapses are cut, and one population collects them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...toolkit.errors import UnsupportedError
from ..program.connections import unrolled
from ..program.parts import Convolution, Dense, Population, Sparse
from ..program.parts import LoihiSynapse as Synapse
from .latency import MEMORYLESS

Places = NDArray[np.int64]

CONNECTION_LIMIT = 2**24
"""Most connections that are made one by one of a kernel, or of weights that hold for many rows."""


def listed(label: str, count: int) -> None:
    """Refuse to list more connections than :data:`CONNECTION_LIMIT`."""
    if count > CONNECTION_LIMIT:
        raise UnsupportedError(
            f"{label}: {count:,} connections, to be listed one by one; at most {CONNECTION_LIMIT:,} are"
        )


@dataclass(frozen=True)
class Part:
    """Some neurons of a node, or of a joint input.

    Attributes:
        name: in the Program.
        members: their places in the node, flattened; None: all of it.
        shape: of the part.
        channels: their channels, where they are whole ones.
    """

    name: str
    members: Places | None
    shape: tuple[int, ...]
    channels: Places | None = None


def part_of(name: str, members: Places | None, shape: tuple[int, ...]) -> Part:
    """Return the part of a node of ``shape`` that ``members`` are; whole channels stay (channels, height, width)."""
    if members is None:
        return Part(name, None, shape)
    if len(shape) == 3:
        size = shape[1] * shape[2]
        channels = np.unique(members // size)
        if len(members) == len(channels) * size:
            return Part(name, members, (len(channels), *shape[1:]), channels)
    return Part(name, members, (len(members),))


def cut(synapse: Synapse, shapes: tuple[tuple[int, ...], tuple[int, ...]], source: Part, target: Part) -> Synapse:
    """Return what a synapse between two whole nodes is between a part of each.

    Args:
        synapse: between the nodes.
        shapes: of the two nodes.
        source: part of the first.
        target: part of the second.
    """
    ends = {"source": source.name, "target": target.name}
    rows, columns = target.members, source.members
    if rows is None and columns is None:
        return synapse.model_copy(update=ends)
    if isinstance(synapse, Dense):
        weight = synapse.weight if rows is None else synapse.weight[rows]
        return _made(synapse, ends, weight=weight if columns is None else weight[:, columns])
    if isinstance(synapse, Convolution):
        channels = (rows is None or target.channels is not None) and (columns is None or source.channels is not None)
        if channels and synapse.groups == 1:
            weight = synapse.weight if rows is None else synapse.weight[target.channels]
            return _made(synapse, ends, weight=weight if columns is None else weight[:, source.channels])
        starts = _unrolled(synapse, *shapes)
    else:
        starts = synapse.rows, synapse.columns, synapse.weight
    return _sparse(synapse, ends, starts, tuple(math.prod(shape) for shape in shapes), rows, columns)


def widened(synapse: Synapse, shape: tuple[int, ...], target: tuple[int, ...], whole: Part, start: int) -> Synapse:
    """Return a synapse from a slice of the joint input as one from all of it.

    Args:
        synapse: from the slice.
        shape: of the slice.
        target: shape of the node where it ends.
        whole: the joint input.
        start: of the slice, in elements.
    """
    ends = {"source": whole.name, "target": synapse.target}
    size, total, outputs = math.prod(shape), math.prod(whole.shape), math.prod(target)
    if isinstance(synapse, Dense):
        weight = np.zeros((outputs, total), dtype=np.int64)
        weight[:, start : start + size] = synapse.weight
        return _made(synapse, ends, weight=weight)
    if isinstance(synapse, Convolution):
        rows, columns, weight = _unrolled(synapse, shape, target)
    else:
        rows, columns, weight = synapse.rows, synapse.columns, synapse.weight
    return _sparse(synapse, ends, (rows, columns + start, weight), (total, outputs), None, None)


def _unrolled(synapse: Convolution, source: tuple[int, ...], target: tuple[int, ...]) -> tuple[Places, Places, Places]:
    listed(synapse.label, synapse.weight.size * math.prod(target[1:]))
    return unrolled(synapse, source, target)


def _made(synapse: Synapse, ends: Mapping[str, str], **arrays: Places) -> Synapse:
    """Return the synapse with other ends and weights, which are checked."""
    return type(synapse)(**{**dict(synapse), **ends, **arrays})


def _sparse(
    synapse: Synapse,
    ends: Mapping[str, str],
    connections: tuple[Places, Places, Places],
    sizes: tuple[int, ...],
    rows: Places | None,
    columns: Places | None,
) -> Sparse:
    """Return the connections (row, column, weight) between ``rows`` and ``columns``, counted among these."""
    row, column, weight = connections
    places = []
    for given, size, chosen in ((row, sizes[1], rows), (column, sizes[0], columns)):
        index = np.arange(size) if chosen is None else np.full(size, -1)
        if chosen is not None:
            index[chosen] = np.arange(len(chosen))
        places.append(index[given])
    kept = (places[0] >= 0) & (places[1] >= 0) & (weight != 0)
    if not kept.any():
        # A synapse needs one weight; this one adds nothing.
        places, weight, kept = [np.zeros(1, dtype=np.int64)] * 2, np.zeros(1, dtype=np.int64), np.ones(1, dtype=bool)
    common: dict[str, Any] = {
        "bits": synapse.bits,
        "exponent": synapse.exponent,
        "sign": synapse.sign,
        "delay": synapse.delay,
        **ends,
    }
    return Sparse(
        **common,
        shape=(
            sizes[1] if rows is None else len(rows),
            sizes[0] if columns is None else len(columns),
        ),
        weight=weight[kept],
        rows=places[0][kept],
        columns=places[1][kept],
    )


def collector(name: str, shape: tuple[int, ...], parts: Sequence[Part]) -> tuple[Population, list[Synapse]]:
    """Return a population that fires what the parts of a node fire, in the node's order, and the synapses into it."""
    size = math.prod(shape)
    bias = np.zeros(shape, dtype=np.int32)
    population = Population(name=name, shape=shape, du=MEMORYLESS, dv=MEMORYLESS, vth=1, bias=bias)
    synapses: list[Synapse] = []
    for part in parts:
        assert part.members is not None
        count = len(part.members)
        synapses.append(
            Sparse(
                source=part.name,
                target=name,
                shape=(size, count),
                # One spike of weight 2 arrives as 128, above a threshold of 64.
                weight=np.full(count, 2),
                rows=part.members,
                columns=np.arange(count),
                sign="excitatory",
            )
        )
    return population, synapses


def driver(name: str, source: str, size: int, exponent: int) -> tuple[Population, Synapse]:
    """Return one neuron that fires at each step, its bias being above its threshold, and the synapse that starts it.

    The synapse's weight is 0: it says only when the neuron's window starts, one step after the input's.
    """
    bias = np.full(1, 128 >> exponent)
    population = Population(
        name=name, shape=(1,), du=MEMORYLESS, dv=MEMORYLESS, vth=1, bias=bias, bias_exponent=exponent
    )
    zero = np.zeros(1, dtype=np.int64)
    return population, Sparse(source=source, target=name, shape=(1, size), weight=zero, rows=zero, columns=zero)
