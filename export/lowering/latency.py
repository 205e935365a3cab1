"""The latency pass: on the chip every synapse costs a step, so paths of unequal depth must be balanced.

A network in PyTorch adds what two paths of different depth deliver in the same step. On the chip the shorter one is
early; it is held back by synaptic delays, or by relay populations that pass on what they get.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from ...toolkit.errors import UnsupportedError
from ..program import Neurons, Program, Synapse
from ..program.parts import DELAY_MAX, Graded, Input, Population, Sparse

MEMORYLESS = 4095
"""du and dv of a neuron that forgets within a step (below threshold, its voltage is 0 anyway)."""


def _relay(name: str, source: str, shape: tuple[int, ...], bits: int) -> tuple[Neurons, Sparse]:
    """Return a population that sends what it gets, and the one-to-one synapse into it."""
    if bits:
        population: Neurons = Graded(name=name, shape=shape, vth=0, message_bits=bits)
    else:
        bias = np.zeros(shape, dtype=np.int32)
        # One spike of weight 2 arrives as 128, above a threshold of 64.
        population = Population(name=name, shape=shape, du=MEMORYLESS, dv=MEMORYLESS, vth=1, bias=bias)
    size = math.prod(shape)
    each = np.arange(size)
    weight = np.full(size, 1 if bits else 2)
    return population, Sparse(
        source=source, target=name, shape=(size, size), weight=weight, rows=each, columns=each, sign="excitatory"
    )


def balanced(
    source: Input,
    populations: Sequence[Neurons],
    synapses: Sequence[Synapse],
    *,
    relays: bool = False,
    parts: Mapping[str, str] | None = None,
) -> tuple[tuple[Neurons, ...], tuple[Synapse, ...]]:
    """Return parts whose every message arrives in the step of its target's window that the given parts mean.

    The given delays are those of a network in which only recurrent synapses cost a step. A population's window starts
    after its longest forward path, start = max(start of source + 1); a synapse from elsewhere is delayed by the rest.

    Args:
        source: the input.
        populations: in the order of computation.
        synapses: between them, with the delays that are meant.
        relays: whether relay populations, one a step, take the place of balancing delays.
        parts: populations that are one in the network, each under one name for all: they run in the same window, and
            synapses among them are recurrent.

    Raises:
        UnsupportedError: a loop is shorter than the synapses in it, or a delay exceeds 62 steps.
    """
    alike = parts or {}
    ranks = list(dict.fromkeys(alike.get(population.name, population.name) for population in populations))
    rank = {source.name: -1} | {p.name: ranks.index(alike.get(p.name, p.name)) for p in populations}
    level = {-1: 0}
    for index in range(len(ranks)):
        before = [s.source for s in synapses if rank[s.target] == index and rank[s.source] < index]
        level[index] = max((level[rank[name]] + 1 for name in before), default=0)
    start = {name: level[index] for name, index in rank.items()}
    shapes = {source.name: source.shape} | {population.name: population.shape for population in populations}
    bits = {source.name: source.message_bits} | {
        population.name: population.message_bits if isinstance(population, Graded) else 0 for population in populations
    }
    longest: dict[str, int] = {}
    made: list[Synapse] = []
    for synapse in synapses:
        rest = start[synapse.target] - start[synapse.source]
        if rank[synapse.source] < rank[synapse.target]:
            rest -= 1
            if relays and rest:
                longest[synapse.source] = max(longest.get(synapse.source, 0), rest)
                synapse = synapse.model_copy(update={"source": f"{synapse.source}.relay{rest}"})
                rest = 0
        delay = synapse.delay + rest
        if delay < 0:
            raise UnsupportedError(
                f"{synapse.label}: feeds back {synapse.delay + 1} steps late, but {1 - rest} synapses lie in the loop, "
                f"a step each; delay it by {-delay} more"
            )
        if delay > DELAY_MAX:
            raise UnsupportedError(f"{synapse.label}: a delay of {delay} steps; {DELAY_MAX} is the longest")
        made.append(synapse.model_copy(update={"delay": delay}))
    ordered: list[Neurons] = []
    known = {population.name: population for population in populations}
    for name in [source.name, *known]:
        if name in known:
            ordered.append(known[name])
        before_it = name
        for step in range(1, longest.get(name, 0) + 1):
            relay, link = _relay(f"{name}.relay{step}", before_it, shapes[name], bits[name])
            start[relay.name] = start[before_it] + 1
            before_it = relay.name
            ordered.append(relay)
            made.append(link)
    place = {source.name: 0} | {population.name: index for index, population in enumerate(ordered, start=1)}
    forward = [synapse for synapse in made if place[synapse.source] < place[synapse.target]]
    return tuple(_with_start(population, forward, start) for population in ordered), tuple(made)


def _with_start(population: Neurons, forward: list[Synapse], start: dict[str, int]) -> Neurons:
    """Return the population with its start, if that is not the shortest forward path to it."""
    name = population.name
    natural = min((start[s.source] + 1 + s.delay for s in forward if s.target == name), default=0)
    return population.model_copy(update={"start": None if natural == start[name] else start[name]})


def balance(program: Program, *, relays: bool = False) -> Program:
    """Return ``program`` with its paths balanced, see :func:`balanced`: its delays are taken as what is meant.

    Raises:
        UnsupportedError: as :func:`balanced`.
    """
    populations, synapses = balanced(program.input, program.populations, program.synapses, relays=relays)
    return Program(**{**dict(program), "populations": populations, "synapses": synapses})
