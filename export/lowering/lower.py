"""Lowering: from a NIR graph with its side-car to the integer Program."""

import math
import re
from typing import Any

import nir
import numpy as np

from ...toolkit.errors import UnsupportedError
from ..nir.graph import Graph, flatten
from ..nir.nodes import geometry
from ..nir.write import SideCar
from ..program import Program
from ..program.parts import Convolution, Dense, Graded, Input, Neurons, Population, Readout, Sparse, Synapse
from .exponents import Wanted, choose, choose_input_bias
from .latency import MEMORYLESS, balanced
from .meaning import Deployment, Meaning, Neuron, neuron_of
from .paths import NEURONS, Floats, Path, Signal, Walk
from .wires import Wire, matched, quantized, wire

__all__ = ["Deployment", "Meaning", "lower", "lower_graph", "meanings"]

_SPIKING = (nir.IF, nir.LIF, nir.CubaLIF, nir.Threshold)


class _Lowering:
    def __init__(self, graph: Graph, deployment: Deployment) -> None:
        self.graph = graph
        self.deployment = deployment
        self.walk = Walk(graph, deployment.settings.dt)
        self.input = next(iter(graph.nodes))
        self.shapes = {self.input: graph.shapes[self.input]}
        self.worth = {self.input: 1 / deployment.levels}
        self.peak = {self.input: deployment.peak}
        # Names of other tools may hold anything; those of a Program are letters, digits and '_.-'.
        self.names: dict[str, str] = {}
        for name in graph.nodes:
            self._name(name)
        self.populations: list[Neurons] = []
        self.units: dict[str, float] = {}
        self.synapses: list[Synapse] = []

    def _name(self, name: str) -> str:
        """Choose what ``name`` is called in the Program."""
        clean = re.sub(r"[^A-Za-z0-9_.-]", "_", name)
        while clean in self.names.values():
            clean += "_"
        self.names[name] = clean
        return clean

    def meaning(self, name: str, node: nir.NIRNode) -> Meaning:
        """Return what a population is in real numbers; those before it must have been asked for."""
        shape = self.graph.shapes[name]
        neuron = neuron_of(name, node, shape, self.deployment.settings)
        signal = self.walk.arriving(name)
        self.sums(signal.paths)
        if any(path.source in self.graph.nodes and self._silent(path.source) for path in signal.paths):
            raise UnsupportedError(f"node {name!r}: receives from a node that does not spike; put LIF between")
        if all(path.source == self.input and path.weights is None and path.pool is None for path in signal.paths):
            bias = self._bias(name, neuron, signal, shape)
            self.shapes[name] = shape
            return Meaning(neuron, shape, bias, message=self._message(name, neuron, signal, shape))
        wires = tuple(self._wire(path, neuron) for path in signal.paths)
        shape = next((one.shape for one in wires if one.shape and math.prod(one.shape) == math.prod(shape)), shape)
        self.shapes[name] = shape
        sources = tuple(self.names[path.source] for path in signal.paths)
        return Meaning(neuron, shape, self._bias(name, neuron, signal, shape), wires, sources)

    def neurons(self, name: str, node: nir.NIRNode) -> None:
        """Append a population and the synapses into it."""
        meaning = self.meaning(name, node)
        if meaning.message is not None:
            self._bias_coded(name, meaning, meaning.message)
            return
        neuron, shape = meaning.neuron, meaning.shape
        wires = matched(quantized(list(meaning.wires), self.deployment.bits))
        wanted = self._wanted(name, meaning)
        peaks = [self.peak.get(one.path.source, 1) for one in wires]
        ones = [round(1 / self.worth.get(one.path.source, 1.0)) for one in wires]
        found = choose(wanted, wires, peaks, self.deployment.bias_exponent)
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
        self.units[name] = wires[0].unit * 2.0 ** -found.exponents[0]
        for one, exponent in zip(wires, found.exponents, strict=True):
            self.synapses.append(self._synapse(one, name, exponent, recurrent=one.path.source in later))

    def pool(self, name: str, node: nir.NIRNode) -> None:
        """Append a pool that no synapse can hold: graded units that send the sum of each window (Loihi 2)."""
        paths, moves, shape = self.walk.pooled(name).paths, geometry(name, node), self.graph.shapes[name]
        self.sums(paths)
        size = math.prod(moves.kernel)
        (worth, *others) = {self.worth.get(path.source, 1.0) for path in paths}
        if others:
            raise UnsupportedError(f"node {name!r}: pools the input and spikes together; pool them apart")
        bits = (size * sum(self.peak.get(path.source, 1) for path in paths)).bit_length()
        self.shapes[name], self.peak[name] = shape, 2**bits - 1
        self.worth[name] = worth / size if isinstance(node, nir.AvgPool2d) else worth
        self.populations.append(Graded(name=self.names[name], shape=shape, vth=0, message_bits=bits))
        for path in paths:
            synapse = Convolution(
                source=self.names[path.source],
                target=self.names[name],
                sign="excitatory",
                delay=path.lag,
                weight=np.ones((shape[0], 1, *moves.kernel), dtype=np.int64),
                stride=(moves.stride[0], moves.stride[1]),
                padding=(moves.padding[0][0], moves.padding[1][0]),
                groups=shape[0],
            )
            self.synapses.append(synapse)

    def sums(self, paths: tuple[Path, ...]) -> None:
        """Append the sums that paths start at and that are not there yet: graded units (Loihi 2), weights 1 : k^2."""
        for name in {path.source: None for path in paths if path.source in self.walk.sums}:
            if name in self.shapes:
                continue
            parts = self.walk.sums[name]
            worths = [self.worth.get(part.source, 1.0) for part in parts]
            counts = [round(1 / worth) for worth in worths]
            each = math.lcm(*counts)
            weights = [each // count for count in counts]
            shape = self.shapes[parts[0].source]
            if max(weights) > 255 or any(abs(n * worth - 1) > 1e-6 for n, worth in zip(counts, worths, strict=True)):
                raise UnsupportedError(f"node {name!r}: signals whose units differ by up to {max(weights)} are added")
            most = sum(weight * self.peak.get(part.source, 1) for weight, part in zip(weights, parts, strict=True))
            bits = most.bit_length()
            self.shapes[name], self.peak[name], self.worth[name] = shape, 2**bits - 1, 1 / each
            self.populations.append(Graded(name=self._name(name), shape=shape, vth=0, message_bits=bits))
            size = np.arange(math.prod(shape))
            for part, weight in zip(parts, weights, strict=True):
                synapse = Sparse(
                    source=self.names[part.source],
                    target=self.names[name],
                    shape=(len(size), len(size)),
                    weight=np.full(len(size), weight),
                    rows=size,
                    columns=size,
                    sign="excitatory",
                    delay=part.lag,
                )
                self.synapses.append(synapse)

    def _silent(self, name: str) -> bool:
        node = self.graph.nodes.get(name)
        return isinstance(node, NEURONS) and not isinstance(node, _SPIKING)

    def _wire(self, path: Path, neuron: Neuron) -> Wire:
        worth = self.worth.get(path.source, 1.0)
        shape = self.shapes[path.source] if path.source in self.shapes else self.graph.shapes[path.source]
        return wire(path, shape, neuron.gain * worth, self.deployment.grids)

    def _bias(self, name: str, neuron: Neuron, signal: Signal, shape: tuple[int, ...]) -> Floats:
        bias: Floats = np.zeros(shape) if signal.bias is None else signal.bias.reshape(shape).astype(np.float64)
        if neuron.current is not None and bias.any():
            raise UnsupportedError(
                f"node {name!r}: a bias through a synaptic current builds up over time; Loihi's bias enters the voltage"
            )
        rest = np.broadcast_to(neuron.rest, self.graph.shapes[name]).reshape(shape)
        total: Floats = bias * neuron.gain + rest
        return total

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
        found = choose_input_bias(self._wanted(name, meaning), message, self.deployment.peak)
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
        population = self.names[path.source]
        if not self._silent(path.source):
            return Readout(population=population)
        unit = self.units.get(path.source)
        return Readout(kind="membrane", population=population, scale=None if unit is None else unit / 64)


def meanings(graph: Graph, deployment: Deployment) -> tuple[dict[str, Meaning], tuple[Synapse, ...]]:
    """Return what each population of a flat graph is in real numbers, by its name in the Program.

    And the synapses of graded units, which hold integers as they are; their delays are those that the graph means.

    Raises:
        UnsupportedError: see :func:`lower_graph`; whether integers fit their fields is not asked here.
    """
    lowering = _Lowering(graph, deployment)
    found = {}
    for name, node in graph.nodes.items():
        if isinstance(node, NEURONS):
            found[lowering.names[name]] = lowering.meaning(name, node)
        elif name in lowering.walk.pools:
            lowering.pool(name, node)
    return found, tuple(lowering.synapses)


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
        elif name in lowering.walk.pools:
            lowering.pool(name, node)
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
    deployment = Deployment(
        sidecar.steps,
        sidecar.input_bits,
        sidecar.settings,
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
