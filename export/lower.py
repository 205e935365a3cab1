"""Lowering: from a NIR graph with its side-car to the integer Program."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import nir
import numpy as np

from ..toolkit.errors import UnsupportedError
from .dynamics import Settings, dynamics
from .fit import Wanted, fit, fit_input_bias
from .graph import Graph, flatten
from .latency import MEMORYLESS, balanced
from .nir import Grid, SideCar
from .nodes import PARAMETERS, parameter
from .parts import Convolution, Dense, Input, Population, Readout, Sparse, Synapse
from .paths import NEURONS, Floats, Path, Signal, Walk
from .program import Program
from .wires import Wire, quantized, wire

_SPIKING = (nir.IF, nir.LIF, nir.CubaLIF, nir.Threshold)


@dataclass(frozen=True)
class Deployment:
    """What a NIR file leaves open.

    Attributes:
        steps: time steps a sample.
        input_bits: bits of an input message; 0 means binary spikes.
        settings: time step, integration and reset.
        grids: weight grid a node; None: weights are real, and quantized here to ``bits``.
        bits: of weights without a grid.
        relays: balance paths with relay populations instead of delays.
        bias_exponent: the smallest that is used.
        input_levels: the message that stands for 1.0; None means the largest.
    """

    steps: int
    input_bits: int
    settings: Settings
    grids: Mapping[str, Grid] | None = None
    bits: int = 8
    relays: bool = False
    bias_exponent: int = 0
    input_levels: int | None = None

    @property
    def peak(self) -> int:
        """The largest input message."""
        return int(2**self.input_bits) - 1 if self.input_bits else 1

    @property
    def levels(self) -> int:
        """The input message that stands for 1.0."""
        return self.input_levels or self.peak


@dataclass(frozen=True)
class Neuron:
    """A whole population's :class:`.dynamics.Dynamics`, with the membrane counted from its reset."""

    keep: float
    gain: float
    rest: float
    threshold: float | None
    current: float | None = None


@dataclass(frozen=True)
class Meaning:
    """A population in real numbers: what its node asks for, before integers are chosen.

    Attributes:
        neuron: its difference equation, with one number each for the whole population.
        shape: of the population.
        bias: what the membrane gains in each step, of ``shape``.
        wires: into it, with weights on their grids, or real where there are none.
        message: what the membrane gains from a bias-coded message of 1; None where the input has synapses.
    """

    neuron: Neuron
    shape: tuple[int, ...]
    bias: Floats
    wires: tuple[Wire, ...] = ()
    message: float | None = None


def _neuron(name: str, node: nir.NIRNode, shape: tuple[int, ...], settings: Settings) -> Neuron:
    def one(what: str, values: Floats) -> float:
        found = np.unique(values)
        if found.size != 1:
            raise UnsupportedError(
                f"node {name!r}: {what} must be one number for the whole population, as on Loihi; "
                f"it goes from {found[0]:g} to {found[-1]:g}"
            )
        return float(found[0])

    for what in PARAMETERS[type(node)]:
        one(what, parameter(name, node, what, shape))
    if isinstance(node, nir.Threshold):
        return Neuron(0.0, 1.0, 0.0, one("threshold", parameter(name, node, "threshold", shape)))
    found = dynamics(name, node, shape, settings)
    keep, gain, rest, start = (one("it", part) for part in (found.keep, found.gain, found.rest, found.start))
    current, threshold, reset = None, None, start
    if found.threshold is not None and found.reset is not None:
        threshold, reset = one("v_threshold", found.threshold), one("v_reset", found.reset)
        if settings.reset != "zero" or settings.several:
            what = "several spikes a step" if settings.several else f"reset {settings.reset!r}"
            raise UnsupportedError(f"node {name!r}: {what} does not exist on Loihi's LIF; train with a hard reset")
        if start != reset:
            raise UnsupportedError(
                f"node {name!r}: starts at {start:g} and resets to v_reset = {reset:g}; on Loihi both are the same"
            )
    if found.current is not None:
        current, share = one("it", found.current[0]), one("it", found.current[1])
        gain *= share
    for what, kept in (("tau", keep), ("tau_syn", current)):
        if kept is not None and not 0 <= kept <= 1:
            raise UnsupportedError(f"node {name!r}: needs 0 < dt/{what} <= 1, is {1 - kept:g}")
    if not gain > 0 or (threshold is not None and not threshold > reset):
        raise UnsupportedError(f"node {name!r}: needs R > 0 and threshold > 0; got gain {gain:g}, {threshold}")
    # v' = v - reset:  v' <- keep v' + gain i + rest - (1 - keep) reset.
    return Neuron(keep, gain, rest - (1 - keep) * reset, None if threshold is None else threshold - reset, current)


class _Lowering:
    def __init__(self, graph: Graph, deployment: Deployment) -> None:
        self.graph = graph
        self.deployment = deployment
        self.walk = Walk(graph, deployment.settings.dt)
        self.input = next(iter(graph.nodes))
        self.shapes = {self.input: graph.shapes[self.input]}
        # Names of other tools may hold anything; those of a Program are letters, digits and '_.-'.
        safe = {name: re.sub(r"[^A-Za-z0-9_.-]", "_", name) for name in graph.nodes}
        taken: set[str] = set()
        self.names: dict[str, str] = {}
        for name, clean in safe.items():
            while clean in taken:
                clean += "_"
            taken.add(clean)
            self.names[name] = clean
        self.populations: list[Population] = []
        self.synapses: list[Synapse] = []

    def meaning(self, name: str, node: nir.NIRNode) -> Meaning:
        """Return what a population is in real numbers; those before it must have been asked for."""
        shape = self.graph.shapes[name]
        neuron = _neuron(name, node, shape, self.deployment.settings)
        signal = self.walk.arriving(name)
        if any(path.source in self.graph.nodes and self._silent(path.source) for path in signal.paths):
            raise UnsupportedError(f"node {name!r}: receives from a node that does not spike; put LIF between")
        coded = all(path.source == self.input and path.weights is None and path.pool is None for path in signal.paths)
        wires = () if coded else tuple(self._wire(path, neuron) for path in signal.paths)
        shape = next((one.shape for one in wires if one.shape and math.prod(one.shape) == math.prod(shape)), shape)
        self.shapes[name] = shape
        bias = self._bias(name, neuron, signal, shape)
        return Meaning(neuron, shape, bias, wires, self._message(name, neuron, signal, shape) if coded else None)

    def neurons(self, name: str, node: nir.NIRNode) -> None:
        """Append a population and the synapses into it."""
        meaning = self.meaning(name, node)
        if meaning.message is not None:
            self._bias_coded(name, meaning, meaning.message)
            return
        neuron, shape = meaning.neuron, meaning.shape
        wires = quantized(list(meaning.wires), self.deployment.bits)
        wanted = self._wanted(name, meaning)
        peaks = [self.deployment.peak if one.path.source == self.input else 1 for one in wires]
        ones = [self.deployment.levels if one.path.source == self.input else 1 for one in wires]
        found = fit(wanted, wires, peaks, self.deployment.bias_exponent)
        vth = found.vth
        alike = len({(one.unit, level) for one, level in zip(wires, ones, strict=True)}) == 1
        exact = isinstance(node, nir.Threshold) and alike and wires[0].counts and not meaning.bias.any()
        if exact:
            # Sums are multiples of 2 units; this is between two of them: exact for any threshold.
            assert neuron.threshold is not None
            if neuron.threshold < 0:
                raise UnsupportedError(f"node {name!r}: threshold {neuron.threshold} is always exceeded")
            vth = 2 * math.floor(neuron.threshold * ones[0]) + 1
        forgets = isinstance(node, nir.Threshold)
        self.populations.append(
            Population(
                name=self.names[name],
                shape=shape,
                du=MEMORYLESS if neuron.current is None else round((1 - neuron.current) * 4096) - 1,
                dv=(MEMORYLESS if exact else 4096) if forgets else round((1 - neuron.keep) * 4096),
                vth=vth,
                bias_exponent=found.bias_exponent,
                bias=found.mantissa,
            )
        )
        later = set(list(self.graph.nodes)[list(self.graph.nodes).index(name) :])
        for one, exponent in zip(wires, found.exponents, strict=True):
            self.synapses.append(self._synapse(one, name, exponent, recurrent=one.path.source in later))

    def _silent(self, name: str) -> bool:
        node = self.graph.nodes[name]
        return isinstance(node, NEURONS) and not isinstance(node, _SPIKING)

    def _wire(self, path: Path, neuron: Neuron) -> Wire:
        worth = 1 / self.deployment.levels if path.source == self.input else 1.0
        shape = self.shapes.get(path.source, self.graph.shapes[path.source])
        return wire(path, shape, neuron.gain * worth, self.deployment.grids)

    def _bias(self, name: str, neuron: Neuron, signal: Signal, shape: tuple[int, ...]) -> Floats:
        bias: Floats = np.zeros(shape) if signal.bias is None else signal.bias.reshape(shape).astype(np.float64)
        if neuron.current is not None and bias.any():
            raise UnsupportedError(
                f"node {name!r}: a bias through a synaptic current builds up over time; Loihi's bias enters the voltage"
            )
        return bias * neuron.gain + neuron.rest

    def _wanted(self, name: str, meaning: Meaning) -> Wanted:
        neuron = meaning.neuron
        sums = 1.0 if neuron.current is None else min(1 / (1 - neuron.current), self.deployment.steps)
        holds = min(1 / (1 - neuron.keep), self.deployment.steps) if neuron.keep < 1 else self.deployment.steps
        return Wanted(name, neuron.threshold, meaning.bias, sums, holds)

    def _message(self, name: str, neuron: Neuron, signal: Signal, shape: tuple[int, ...]) -> float:
        """Return what the membrane gains from a message of 1 where the input reaches it without weights."""
        (path, *others) = signal.paths
        if others or path.lag or neuron.current is not None or (path.scale is not None and path.scale.ndim):
            raise UnsupportedError(
                f"node {name!r}: input without weights is bias-coded: it must reach the node once, undelayed, scaled "
                "by one number, and enters the voltage"
            )
        gain = neuron.gain / self.deployment.levels * (1.0 if path.scale is None else float(path.scale))
        if shape != self.shapes[self.input] or gain <= 0:
            raise UnsupportedError(f"node {name!r}: bias-coded input must keep its shape and be scaled up from 0")
        return gain

    def _bias_coded(self, name: str, meaning: Meaning, message: float) -> None:
        """Append a population that the input drives without weights: the host adds it to the bias."""
        found = fit_input_bias(self._wanted(name, meaning), message, self.deployment.peak)
        forgets = isinstance(self.graph.nodes[name], nir.Threshold)
        self.populations.append(
            Population(
                name=self.names[name],
                shape=meaning.shape,
                du=MEMORYLESS,
                dv=4096 if forgets else round((1 - meaning.neuron.keep) * 4096),
                vth=found.vth,
                bias_exponent=found.bias_exponent,
                bias=found.mantissa,
                input_bias=True,
            )
        )

    def _synapse(self, one: Wire, name: str, exponent: int, recurrent: bool) -> Synapse:
        path = one.path
        common: dict[str, Any] = {
            "source": self.names[path.source],
            "target": self.names[name],
            "bits": one.bits,
            "exponent": exponent,
            # A recurrent synapse of a Program feeds back a step late by itself.
            "delay": path.lag - recurrent,
            "weight": one.weight,
            "sign": "excitatory" if one.counts else "mixed",
        }
        if one.kind == "convolution":
            assert one.moves is not None
            return Convolution(**common, **one.moves)
        if one.kind == "dense":
            return Dense(**common)
        size = len(one.weight)
        return Sparse(**common, shape=(size, size), rows=np.arange(size), columns=np.arange(size))

    def read(self) -> Readout:
        """Return the read-out: of what the output node receives."""
        output = list(self.graph.nodes)[-1]
        signal = self.walk.arriving(output)
        (path, *others) = signal.paths
        plain = path.weights is None and path.pool is None and path.scale is None and not path.lag
        if others or signal.bias is not None or not plain or path.source == self.input:
            raise UnsupportedError(
                "the last node before the output must be LIF: classes are its spike counts (or LI: its membrane)"
            )
        membrane = self._silent(path.source)
        return Readout(kind="membrane" if membrane else "spike_count", population=self.names[path.source])


def meanings(graph: Graph, deployment: Deployment) -> dict[str, Meaning]:
    """Return what each population of a flat graph is in real numbers, by its name in the Program.

    Raises:
        UnsupportedError: see :func:`lower_graph`; whether integers fit their fields is not asked here.
    """
    lowering = _Lowering(graph, deployment)
    return {
        lowering.names[name]: lowering.meaning(name, node)
        for name, node in graph.nodes.items()
        if isinstance(node, NEURONS)
    }


def lower_graph(graph: Graph, deployment: Deployment) -> Program:
    """Return the integer Program of a flat graph.

    dv = round(4096 (1 - keep)); du = round(4096 (1 - keep of the current)) - 1, 4095 without one; vth =
    round(threshold / unit); bias mantissa 2^exponent = round(64 bias / unit), where ``unit`` is the real value of one
    unit of the synaptic sum (docs/program.md). Paths of unequal depth are balanced (:mod:`.latency`).

    Raises:
        UnsupportedError: a node that has no exact form; named with the reason.
    """
    lowering = _Lowering(graph, deployment)
    readout = None
    for name, node in graph.nodes.items():
        if isinstance(node, NEURONS):
            lowering.neurons(name, node)
    readout = lowering.read()
    source = Input(
        name=lowering.names[lowering.input],
        shape=lowering.shapes[lowering.input],
        message_bits=deployment.input_bits,
        scale=1 / deployment.levels,
    )
    populations, synapses = balanced(source, lowering.populations, lowering.synapses, relays=deployment.relays)
    return Program(input=source, populations=populations, synapses=synapses, readout=readout, steps=deployment.steps)


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
    settings = Settings(sidecar.time_step, reset=sidecar.reset)
    deployment = Deployment(
        sidecar.steps,
        sidecar.input_bits,
        settings,
        sidecar.grids,
        relays=relays,
        bias_exponent=bias_exponent,
        input_levels=sidecar.levels,
    )
    try:
        return lower_graph(flatten(graph, source), deployment)
    except UnsupportedError as error:
        text = str(error)
        raise UnsupportedError(text if text.startswith(f"{source}: ") else f"{source}: {text}") from error
