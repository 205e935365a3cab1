"""Lowering: from a NIR graph with its side-car to the integer Program."""

from collections.abc import Mapping
from dataclasses import dataclass

import nir

from ...toolkit.errors import UnsupportedError
from ..nir.graph import Graph, flatten
from ..nir.write import SideCar
from ..program import Program
from ..program.parts import Input
from ..program.parts import LoihiSynapse as Synapse
from .build import Lowering
from .divide import Part
from .latency import balanced
from .meaning import Deployment, Meaning
from .paths import NEURONS

__all__ = ["Deployment", "Lowered", "Meaning", "lower", "lower_graph", "lower_parts", "meanings"]


@dataclass(frozen=True)
class Lowered:
    """A Program, and where it came from.

    Attributes:
        program: the integers.
        parts: the populations of each spiking or read node of the graph, with their places in it.
        names: what such a node is called in the Program, where it is one population.
    """

    program: Program
    parts: Mapping[str, tuple[Part, ...]]
    names: Mapping[str, str]


def meanings(graph: Graph, deployment: Deployment) -> tuple[dict[str, Meaning], tuple[Synapse, ...]]:
    """Return what each population of a flat graph is in real numbers, by its name in the Program.

    And the synapses of graded units, which hold integers as they are; their delays are those that the graph means.

    Raises:
        UnsupportedError: see :func:`lower_graph`, or a node becomes several populations; whether integers fit their
            fields is not asked here.
    """
    lowering = Lowering(graph, deployment)
    found = {}
    for name, node in lowering.graph.nodes.items():
        if isinstance(node, NEURONS):
            (meaning, members), *others = lowering.meanings(name, node)
            if others or members is not None:
                raise UnsupportedError(f"node {name!r}: its neurons differ, and become several populations")
            found[lowering.names[name]] = meaning
        elif name in lowering.walk.pools:
            lowering.pool(name, node)
    return found, tuple(synapse for synapse, _, _ in lowering.synapses)


def lower_parts(graph: Graph, deployment: Deployment) -> Lowered:
    """Return the Program of a flat graph, as :func:`lower_graph`, and the populations that its nodes became.

    A node whose neurons differ in their parameters becomes a population for each set of them.

    Raises:
        UnsupportedError: a node that has no exact form; named with the reason.
    """
    lowering = Lowering(graph, deployment)
    for name, node in lowering.graph.nodes.items():
        if isinstance(node, NEURONS):
            lowering.neurons(name, node)
        elif name in lowering.walk.pools:
            lowering.pool(name, node)
    readout = lowering.read()
    source = Input(
        name=lowering.names[lowering.input],
        shape=lowering.shapes[lowering.input],
        message_bits=deployment.input_bits,
        scale=1 / deployment.levels,
    )
    nodes = {name: parts for name, parts in lowering.parts.items() if name in graph.nodes}
    # No population is called so: what collects the parts has the node's own name.
    alike = {part.name: f"parts of {name}" for name, parts in nodes.items() if len(parts) > 1 for part in parts}
    synapses = [*lowering.joined(), *lowering.collected]
    populations, timed = balanced(source, lowering.populations, synapses, relays=deployment.relays, parts=alike)
    made = Program(input=source, populations=populations, synapses=timed, readout=readout, steps=deployment.steps)
    return Lowered(made, nodes, lowering.names)


def lower_graph(graph: Graph, deployment: Deployment) -> Program:
    """Return the integer Program of a flat graph.

    dv = round(4096 (1 - keep)); du = round(4096 (1 - keep of the current)) - 1, 4095 without one; vth =
    round(threshold / unit); bias mantissa 2^exponent = round(64 bias / unit), where ``unit`` is the real value of one
    unit of the synaptic sum (docs/program.md). Paths of unequal depth are balanced (:mod:`.latency`).

    Raises:
        UnsupportedError: a node that has no exact form; named with the reason.
    """
    return lower_parts(graph, deployment).program


def lower(
    graph: nir.NIRGraph, sidecar: SideCar, source: str = "graph", *, relays: bool = False, bias_exponent: int = 0
) -> Program:
    """Return the integer Program of a NIR graph that spikeproof wrote, see :func:`lower_graph`.

    Args:
        graph: convolution, linear, pooling, flatten, delay, neuron and threshold nodes.
        sidecar: what the file cannot hold.
        source: the file's name, for messages.
        relays: see :class:`Deployment`.
        bias_exponent: see :class:`Deployment`.

    Raises:
        UnsupportedError: a node that has no exact form; named with the reason.
    """
    deployment = Deployment(
        sidecar.steps,
        sidecar.input_bits,
        sidecar.settings,
        sidecar.grids,
        relays=relays,
        bias_exponent=bias_exponent,
        input_levels=sidecar.levels,
        every_step=sidecar.every_step,
    )
    try:
        return lower_graph(flatten(graph, source), deployment)
    except UnsupportedError as error:
        text = str(error)
        raise UnsupportedError(text if text.startswith(f"{source}: ") else f"{source}: {text}") from error
