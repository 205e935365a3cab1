"""The networks that ran on the board, as Programs of the same sizes with weights at random.

What an inference costs depends on sizes, places and rates, not on what the weights are; rates are given, not simulated.
"""

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ...export.program import Dense, Input, Population, Program, Readout, Synapse
from ..cost.energy import Events, Traffic, count_events
from ..measure.metrics import fan_out

STEPS = 10
"""Time steps an inference: of the scaling family by its logs; of the keyword spotter by NengoLoihi's example."""
INPUTS, HIDDEN, OUTPUTS = 390, 256, 29
SPLIT = 8
"""Cores of the first and the last layer of the scaling family (``n_sub_ens_inp``, ``n_sub_ens_out`` in its logs)."""
LAYERS = 10


def _lif(name: str, neurons: int) -> Population:
    return Population(name=name, shape=(neurons,), du=4095, dv=200, vth=1000, bias=np.zeros(neurons, dtype=int))


def _dense(source: tuple[str, int], target: tuple[str, int], random: np.random.Generator) -> Dense:
    """Return a synapse of 8 bits without a zero: even weights in -254 to 254."""
    weight = random.integers(1, 128, (target[1], source[1])) * 2 * random.choice([-1, 1], (target[1], source[1]))
    return Dense(source=source[0], target=target[0], weight=weight, sign="mixed")


def keyword_spotter() -> Program:
    """Return 390 inputs, two hidden layers of 256, 29 outputs."""
    random = np.random.default_rng(0)
    sizes = {"input": INPUTS, "hidden1": HIDDEN, "hidden2": HIDDEN, "output": OUTPUTS}
    ends = list(sizes.items())
    return Program(
        input=Input(shape=(INPUTS,), message_bits=0),
        populations=tuple(_lif(name, size) for name, size in ends[1:]),
        synapses=tuple(_dense(one, other, random) for one, other in pairwise(ends)),
        readout=Readout(population="output"),
        steps=STEPS,
    )


def scaled(copies: int, layers: int = LAYERS, hidden: int = HIDDEN) -> Program:
    """Return the scaling family's network: a first layer, ``copies`` branches of ``layers`` layers, and a last layer.

    First and last layer lie on 8 cores each, so they are 8 populations. Without copies one goes to the other.

    Args:
        copies: of the branch.
        layers: of a branch.
        hidden: neurons a layer.
    """
    random = np.random.default_rng(copies)
    part = hidden // SPLIT
    first = [(f"first{i}", part) for i in range(SPLIT)]
    last = [(f"last{i}", part) for i in range(SPLIT)]
    branches = [[(f"copy{c}.{i}", hidden) for i in range(layers)] for c in range(copies)]
    given = ("input", INPUTS)
    synapses: list[Synapse] = [_dense(given, one, random) for one in first]
    for branch in branches:
        synapses += [_dense(one, branch[0], random) for one in first]
        synapses += [_dense(one, other, random) for one, other in pairwise(branch)]
    ends = [branch[-1] for branch in branches] or first
    synapses += [_dense(one, other, random) for one in ends for other in last]
    names = [*first, *(one for branch in branches for one in branch), *last]
    return Program(
        input=Input(shape=(INPUTS,), message_bits=0),
        populations=tuple(_lif(*name) for name in names),
        synapses=tuple(synapses),
        readout=Readout(population=last[0][0]),
        steps=STEPS,
    )


def events_at(program: Program, rate: float, traffic: Traffic, *, busy: bool) -> Events:
    """Return the events of one inference in a stream of them, every neuron and input sending at the same rate.

    Args:
        program: what runs; inferences follow each other, so that only its own steps count.
        rate: messages a neuron and step.
        traffic: where it lies.
        busy: whether every update counts as active; else only those of neurons that fire.
    """
    sent: Mapping[str, NDArray[np.float64]] = {
        part.name: np.full(int(np.prod(part.shape)), rate * program.steps)
        for part in (program.input, *program.populations)
    }
    operations: dict[str, float] = {}
    for synapse in program.synapses:
        key = f"{synapse.source} -> {synapse.target}"
        operations[key] = operations.get(key, 0.0) + float(fan_out(program, synapse).sum()) * rate * program.steps
    active = {
        part.name: float(np.prod(part.shape)) * program.steps * (1.0 if busy else rate) for part in program.populations
    }
    return count_events(program, sent, operations, active, traffic, steps=program.steps)
