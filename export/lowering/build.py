"""A Program in the making: each node of a graph becomes populations, each path a synapse."""

import math
import re
from dataclasses import replace
from typing import Any

import nir
import numpy as np

from ...toolkit.errors import UnsupportedError
from ..nir.graph import Graph
from ..nir.nodes import Slice, geometry
from ..program import Neurons
from ..program.parts import Convolution, Dense, Graded, Population, Readout, Sparse
from ..program.parts import LoihiSynapse as Synapse
from .divide import Part, Places, collector, cut, driver, listed, part_of, widened
from .exponents import Wanted, choose, choose_input_bias
from .latency import MEMORYLESS
from .meaning import Deployment, Meaning, Neuron, neurons_of
from .paths import NEURONS, Floats, Path, Signal, Walk
from .planes import as_planes
from .wires import Wire, constant, matched, quantized, wire

_SPIKING = (nir.IF, nir.LIF, nir.CubaLIF, nir.Threshold)


class Lowering:
    """What is known so far of a Program in the making: populations in the order of the nodes, and synapses."""

    def __init__(self, graph: Graph, deployment: Deployment) -> None:
        self.graph = as_planes(graph)
        self.deployment = deployment
        self.walk = Walk(self.graph, deployment.settings.dt)
        self.input = next(iter(graph.nodes))
        self.shapes = {self.input: self.graph.shapes[self.input]}
        self.worth = {self.input: 1 / deployment.levels}
        self.peak = {self.input: deployment.peak}
        # Names of other tools may hold anything; those of a Program are letters, digits and '_.-'.
        self.names: dict[str, str] = {}
        for name, node in self.graph.nodes.items():
            self._name(name)
            if isinstance(node, Slice):
                self.shapes[name], self.worth[name] = self.graph.shapes[name], self.worth[self.input]
                self.peak[name] = deployment.peak
        self.populations: list[Neurons] = []
        self.units: dict[str, float] = {}
        # Each ends in one population, and starts at a whole node: what that is cut into, later nodes decide.
        self.synapses: list[tuple[Synapse, str, str]] = []
        self.parts: dict[str, tuple[Part, ...]] = {}
        self.collected: list[Synapse] = []
        self.driver: str | None = None

    def _name(self, name: str) -> str:
        """Choose what ``name`` is called in the Program."""
        clean = re.sub(r"[^A-Za-z0-9_.-]", "_", name)
        while clean in self.names.values():
            clean += "_"
        self.names[name] = clean
        return clean

    def meanings(self, name: str, node: nir.NIRNode) -> list[tuple[Meaning, Places | None]]:
        """Return what a node's populations are in real numbers; those before it must have been asked for.

        Each has the shape, the biases and the wires of the whole node, beside the places in it that are its own.
        """
        shape = self.graph.shapes[name]
        groups = neurons_of(name, node, shape, self.deployment.settings)
        signal = self.walk.arriving(name)
        self.sums(signal.paths)
        if any(path.source in self.graph.nodes and self._silent(path.source) for path in signal.paths):
            raise UnsupportedError(f"node {name!r}: receives from a node that does not spike; put LIF between")
        found = []
        first: tuple[Wire, ...] | None = None
        for group in groups:
            neuron = group.neuron
            message = self._message(name, neuron, signal, shape) if group.members is None else None
            if message is not None:
                self.shapes[name] = shape
                meaning = Meaning(neuron, shape, self._bias(neuron, signal, shape), message=message)
            else:
                if first is None:
                    first = tuple(self._wire(path, neuron) for path in signal.paths)
                # What differs between the groups is how much a membrane gains from the same weights.
                share = neuron.gain / groups[0].neuron.gain
                wires = first if share == 1 else tuple(replace(one, unit=one.unit * share) for one in first)
                sized = (one.shape for one in wires if one.shape and math.prod(one.shape) == math.prod(shape))
                self.shapes[name] = target = next(sized, shape)
                if neuron.current is not None and signal.bias is not None and signal.bias.any():
                    wires += (constant(Path(self._driver()), signal.bias, neuron.gain),)
                    if self.deployment.grids is not None:
                        # What is quantized already says all that a synapse holds.
                        wires = tuple(quantized(list(wires), self.deployment.bits_of()))
                sources = tuple(self.names[one.path.source] for one in wires)
                meaning = Meaning(neuron, target, self._bias(neuron, signal, target), wires, sources)
            found.append((meaning, group.members))
        return found

    def neurons(self, name: str, node: nir.NIRNode) -> None:
        """Append the populations of a node and the synapses into them."""
        found = self.meanings(name, node)
        parts = []
        for index, (meaning, members) in enumerate(found):
            part = self.names[name] if members is None else self._name(f"{name}.{index}")
            parts.append(part_of(part, members, meaning.shape))
            if meaning.message is not None:
                self._bias_coded(name, meaning, meaning.message)
            else:
                self._population(name, node, meaning, parts[-1])
        self.parts[name] = tuple(parts)

    def _population(self, name: str, node: nir.NIRNode, meaning: Meaning, part: Part) -> None:
        neuron = meaning.neuron
        wires = matched(quantized(list(meaning.wires), self.deployment.bits_of()))
        bias = meaning.bias if part.members is None else meaning.bias.reshape(-1)[part.members]
        peaks = [self.peak.get(one.path.source, 1) for one in wires]
        ones = [round(1 / self.worth.get(one.path.source, 1.0)) for one in wires]
        found = choose(self._wanted(name, neuron, bias), wires, peaks, self.deployment.bias_exponent)
        vth = found.vth
        alike = len({(one.unit, level) for one, level in zip(wires, ones, strict=True)}) == 1
        exact = isinstance(node, nir.Threshold) and alike and wires[0].counts and not bias.any()
        if exact:
            # Sums are multiples of 2 units; this is between two of them: exact for any threshold.
            assert neuron.threshold is not None
            if neuron.threshold < 0:
                raise UnsupportedError(f"node {name!r}: threshold {neuron.threshold} is always exceeded")
            vth = 2 * math.floor(neuron.threshold * ones[0]) + 1
        forgets = isinstance(node, nir.Threshold)
        self.populations.append(
            Population(
                name=part.name,
                shape=part.shape,
                du=MEMORYLESS if neuron.current is None else round((1 - neuron.current) * 4096) - 1,
                dv=(MEMORYLESS if exact else 4096) if forgets else round((1 - neuron.keep) * 4096),
                vth=vth,
                bias_exponent=found.bias_exponent,
                bias=found.mantissa.reshape(part.shape),
            )
        )
        later = set(list(self.graph.nodes)[list(self.graph.nodes).index(name) :])
        self.units[name] = wires[0].unit * 2.0 ** -found.exponents[0]
        for one, exponent in zip(wires, found.exponents, strict=True):
            recurrent = one.path.source in later
            synapse = self._synapse(one, part.name, meaning.shape, exponent, recurrent=recurrent)
            self.synapses.append((synapse, one.path.source, name))

    def _driver(self) -> str:
        """Return the neuron that fires at each step, made when it is first asked for."""
        if self.driver is None:
            self.driver = "always"
            while self.driver in self.graph.nodes:
                self.driver += "_"
            size = math.prod(self.shapes[self.input])
            made = driver(self._name(self.driver), self.names[self.input], size, self.deployment.bias_exponent)
            self.shapes[self.driver] = (1,)
            self.parts[self.driver] = (Part(made[0].name, None, (1,)),)
            self.populations.append(made[0])
            self.synapses.append((made[1], self.input, self.driver))
        return self.driver

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
            self.synapses.append((synapse, path.source, name))

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
                self.synapses.append((synapse, part.source, name))

    def _silent(self, name: str) -> bool:
        node = self.graph.nodes.get(name)
        return isinstance(node, NEURONS) and not isinstance(node, _SPIKING)

    def _wire(self, path: Path, neuron: Neuron) -> Wire:
        worth = self.worth.get(path.source, 1.0)
        shape = self.shapes[path.source] if path.source in self.shapes else self.graph.shapes[path.source]
        bits = self.deployment.bits_of(path.weights[0] if path.weights else "default")
        return wire(path, shape, neuron.gain * worth, self.deployment.grids, bits)

    def _bias(self, neuron: Neuron, signal: Signal, shape: tuple[int, ...]) -> Floats:
        """Return what the membrane gains in each step; what gains it through a current comes over a synapse."""
        direct = signal.bias is not None and neuron.current is None
        bias: Floats = signal.bias.reshape(shape).astype(np.float64) if direct else np.zeros(shape)  # type: ignore[union-attr]
        total: Floats = bias * neuron.gain + neuron.rest.reshape(shape)
        return total

    def _wanted(self, name: str, neuron: Neuron, bias: Floats) -> Wanted:
        sums = 1.0 if neuron.current is None else min(1 / (1 - neuron.current), self.deployment.steps)
        holds = min(1 / (1 - neuron.keep), self.deployment.steps) if neuron.keep < 1 else self.deployment.steps
        return Wanted(name, neuron.threshold, bias, sums, holds)

    def _message(self, name: str, neuron: Neuron, signal: Signal, shape: tuple[int, ...]) -> float | None:
        """Return what the membrane gains from a message of 1 where the input reaches it without weights.

        None where it comes over synapses: through weights, a current, a delay, on two ways, or scaled neuron by neuron.
        """
        (path, *others) = signal.paths
        coded = path.source == self.input and path.weights is None and path.pool is None
        if (
            not coded
            or others
            or path.lag
            or neuron.current is not None
            or (path.scale is not None and path.scale.ndim)
        ):
            return None
        gain = neuron.gain / self.deployment.levels * (1.0 if path.scale is None else float(path.scale))
        return gain if shape == self.shapes[self.input] and gain > 0 else None

    def _bias_coded(self, name: str, meaning: Meaning, message: float) -> None:
        """Append a population that the input drives without weights: the host adds it to the bias."""
        found = choose_input_bias(self._wanted(name, meaning.neuron, meaning.bias), message, self.deployment.peak)
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

    def _synapse(self, one: Wire, target: str, shape: tuple[int, ...], exponent: int, recurrent: bool) -> Synapse:
        path = one.path
        common: dict[str, Any] = {
            "source": self.names[path.source],
            "target": target,
            "bits": one.bits,
            "exponent": exponent,
            # A recurrent synapse of a Program feeds back a step late by itself.
            "delay": path.lag - recurrent,
            "weight": one.weight,
            "sign": "excitatory" if one.counts else one.sign,
        }
        if one.kind == "convolution":
            assert one.moves is not None
            return Convolution(**common, **one.moves)
        if one.kind == "dense":
            return Dense(**common)
        size = math.prod(shape)
        if one.kind == "one":
            return Sparse(**common, shape=(size, size), rows=np.arange(size), columns=np.arange(size))
        outputs, inputs = one.weight.shape
        listed(f"node {path.weights[0] if path.weights else path.source!r}", one.times * outputs * inputs)
        time, row, column = (grid.ravel() for grid in np.indices((one.times, outputs, inputs)))
        common["weight"] = np.tile(one.weight.ravel(), one.times)
        where = {"rows": time * outputs + row, "columns": time * inputs + column}
        return Sparse(**common, shape=(size, one.times * inputs), **where)

    def joined(self) -> list[Synapse]:
        """Return the synapses between populations: cut where nodes are several, or slices of the input."""
        made: list[Synapse] = []
        for synapse, source, target in self.synapses:
            node = self.graph.nodes.get(source)
            ends = self.shapes[source], self.shapes[target]
            into = next(
                (p for p in self.parts.get(target, ()) if p.name == synapse.target), Part(synapse.target, None, ())
            )
            if isinstance(node, Slice):
                whole = Part(self.names[self.input], None, self.shapes[self.input])
                synapse, ends = widened(synapse, *ends, whole, node.start), (whole.shape, ends[1])
                starts: tuple[Part, ...] = (whole,)
            else:
                starts = self.parts.get(source) or (Part(synapse.source, None, ends[0]),)
            made += [cut(synapse, ends, start, into) for start in starts]
        return made

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
        population, parts = self.names[path.source], self.parts.get(path.source, ())
        if not self._silent(path.source):
            if len(parts) > 1:
                gathered, synapses = collector(population, self.shapes[path.source], parts)
                self.populations.append(gathered)
                self.collected = synapses
            return Readout(population=population, every_step=self.deployment.every_step)
        if len(parts) > 1:
            raise UnsupportedError(
                f"node {path.source!r}: its membranes are read, and its neurons differ in their parameters; on Loihi "
                "they are several populations, of which one can be read: train them shared"
            )
        unit = self.units.get(path.source)
        return Readout(
            kind="membrane",
            population=population,
            scale=None if unit is None else unit / 64,
            every_step=self.deployment.every_step,
        )
