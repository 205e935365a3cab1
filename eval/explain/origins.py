"""What each integer of a Program stands for in the network it was made from, and where it stands for something else."""

import copy
import re
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from ...export.lowering.latency import balance
from ...export.lowering.lower import Deployment, Meaning, meanings
from ...export.lowering.wires import Wire, matched
from ...export.nir.dynamics import ORIGINS
from ...export.nir.graph import flatten
from ...export.nir.write import to_nir
from ...export.program import Neurons, Program
from ...export.program.parts import BIAS_MANTISSA, Population, Sparse
from ...toolkit.errors import UnsupportedError
from ...toolkit.network.layers import Membrane
from ...toolkit.network.network import SpikingNetwork
from ...toolkit.network.neurons import LIF
from .limits import as_it_is, decays, floors, in_sums, limits, tensor
from .model import Cells, Field, Model, Reset
from .weights import same, what_happened

Numbers = NDArray[Any]
Evidence = dict[str, list[str]]
ROUNDED = 0.5 + 1e-6
"""How far, in units of its field, an integer may be from what was meant to count as rounded."""


def relayed(name: str) -> str:
    """Return the population whose spikes the relay called ``name`` passes on; the name itself if it is none."""
    return re.sub(r"\.relay\d+$", "", name)


def _resets(network: SpikingNetwork) -> dict[str, Reset]:
    """Return the reset rule of each LIF layer by name."""
    found: dict[str, Reset] = {}
    for name, layer in network.named_layers():
        if isinstance(layer, LIF):
            rule = layer.neuron.reset_mechanism
            found[name] = "subtract_now" if rule == "subtract" and not layer.neuron.reset_delay else rule
    return found


def _graphs(network: SpikingNetwork, quantized: SpikingNetwork, shape: tuple[int, ...]) -> tuple[Any, Any, Any]:
    """Return the quantized network's graph, the same with weights before rounding, and its grids."""
    c, h, w = shape
    neurons = dict(network.named_layers())
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for name, layer in quantized.named_layers():
        own = neurons.get(name)
        reason = own.unlike() if isinstance(own, LIF) else None
        if reason is not None:
            raise UnsupportedError(f"layer {name!r}: {reason}")
        # The float network says what a neuron is; NIR holds hard resets alone, the rule is kept beside it.
        if isinstance(own, LIF):
            layers[name] = LIF(own.beta, own.threshold, own.alpha)
        else:
            layers[name] = own if isinstance(own, Membrane) else layer
    graph, grids = to_nir(SpikingNetwork(layers, quantized.coder, quantized.gain, quantized.wiring), (c, h, w))
    real = copy.copy(graph)
    real.nodes = dict(graph.nodes)
    for name in grids:
        weight = layers[name].weight
        assert isinstance(weight, Tensor)
        real.nodes[name] = copy.copy(graph.nodes[name])
        real.nodes[name].weight = weight.detach().numpy()
    return graph, real, grids


class _Matching:
    """Collects fields and evidence, population by population."""

    def __init__(self, program: Program, resets: dict[str, Reset], moved: Mapping[str, Tensor]) -> None:
        self.program, self.resets, self.moved = program, resets, moved
        self.evidence: Evidence = {}
        self.weights: dict[int, Field] = {}
        self.cells: dict[str, Cells] = {}
        self.lags: dict[int, int] = {}

    def note(self, code: str, text: str) -> None:
        self.evidence.setdefault(code, []).append(text)

    def as_is(self, population: Neurons, lags: dict[tuple[str, str], int]) -> None:
        """Take a population that holds integers in the network, too: sums of graded spikes, and relays.

        Args:
            population: of the Program.
            lags: that the network means, by source and target; 0 for relays.
        """
        if isinstance(population, Population):
            self.cells[population.name] = as_it_is(population)
        for index, synapse in enumerate(self.program.synapses):
            if synapse.target == population.name:
                self.weights[index] = Field(tensor(in_sums(synapse)))
                self._lag(index, lags.get((relayed(synapse.source), synapse.target), 0))

    def population(self, population: Population, meaning: Meaning, real: Meaning) -> None:
        """Take a population and the synapses into it, beside what they mean.

        Args:
            population: of the Program.
            meaning: of the quantized network.
            real: of the same network before its weights were rounded.
        """
        name = population.name
        incoming = [i for i, synapse in enumerate(self.program.synapses) if synapse.target == name]
        wires = matched(list(meaning.wires))
        pairs = self._pairs(name, incoming, wires, meaning.sources)
        threshold = meaning.neuron.threshold
        if (meaning.message is None) == population.input_bias:
            raise UnsupportedError(f"population {name!r}: its kind differs between network and Program")
        if meaning.message is None:
            # Each synapse says what a unit of the sum is worth; they agree, or the threshold tells who is wrong.
            units = [wire.unit * 2.0 ** -self.program.synapses[i].exponent for i, wire in pairs]
            unit = min(units, key=lambda one: abs(population.vth * one / threshold - 1) if threshold else 0)
        else:
            unit = 64 * meaning.message / 2.0**population.bias_exponent
        for (index, wire), latent in zip(pairs, real.wires, strict=True):
            self._synapse(index, wire, latent, unit)
        self.cells[name] = Cells(
            self._leak(name, "du", meaning.neuron.current or 0.0, population.du + 1),
            # A pool's neurons forget in one step: below its threshold of less than a spike nothing is left to decay.
            as_it_is(population).keep_v
            if pairs and all(wire.counts for _, wire in pairs)
            else self._leak(name, "dv", meaning.neuron.keep, population.dv),
            self._threshold(name, threshold, unit, population.vth),
            self._bias(population, meaning.bias.reshape(population.shape) * 64 / unit),
            self.resets.get(name, "zero"),
            2.0**population.bias_exponent if population.input_bias else 0.0,
            self._moved(population, 64 / unit, meaning.neuron.current or 0.0),
        )
        if self.cells[name].reset != "zero":
            rule = "subtracts the threshold" if self.cells[name].reset != "none" else "does not reset"
            self.note("reset_rule", f"population {name!r}: the network {rule} after a spike, the Program resets to 0")

    def _pairs(
        self, name: str, incoming: list[int], wires: list[Wire], sources: tuple[str, ...]
    ) -> list[tuple[int, Wire]]:
        """Return (index of a synapse, its wire), matched by source and shape, in the order of the wires."""
        pairs, left = [], list(incoming)
        for wire, source in zip(wires, sources, strict=True):
            fits = [
                i
                for i in left
                if relayed(self.program.synapses[i].source) == source
                and self.program.synapses[i].weight.shape == wire.weight.shape
            ]
            if not fits:
                raise UnsupportedError(
                    f"population {name!r}: no synapse from {source!r} with weights of shape "
                    f"{wire.weight.shape}; the Program was made from another network"
                )
            pairs.append((fits[0], wire))
            left.remove(fits[0])
        if left:
            raise UnsupportedError(
                f"{self.program.synapses[left[0]].label}: the network has no such connection; the Program was made "
                "from another network"
            )
        return pairs

    def _synapse(self, index: int, wire: Wire, latent: Wire, unit: float) -> None:
        synapse = self.program.synapses[index]
        if isinstance(synapse, Sparse) and not np.array_equal(synapse.rows, synapse.columns):
            raise UnsupportedError(f"{synapse.label}: sparse synapses that are not one to one cannot be compared")
        found = in_sums(synapse)
        expected, real = (one.weight * (one.unit / unit) for one in (wire, latent))
        steps: list[tuple[str, Tensor]] = []
        if not same(real, expected):
            steps.append(("weight_rounding", tensor(expected)))
            largest = float(np.abs(real - expected).max() / (wire.unit / unit * 2 ** (9 - wire.bits)))
            self.note(
                "weight_rounding",
                f"{synapse.label}: {int((np.abs(real - expected) > 1e-9).sum()):,} of {real.size:,} weights moved, by "
                f"up to {largest:.3g} steps of {wire.bits} bits",
            )
        if same(found, expected):
            # The integers themselves: products of real units may miss them in the last bit.
            steps = [(code, tensor(found)) for code, _ in steps]
            real = real if steps else found
        else:
            shape = self.program.shape_of(synapse.source)
            code, text = what_happened(synapse, found, expected, shape)
            steps.append((code, tensor(found)))
            self.note(code, f"{synapse.label}: {text}")
        self.weights[index] = Field(tensor(real), tuple(steps))
        self._lag(index, wire.path.lag)
        for text in floors(synapse):
            self.note("sum_rounding", text)

    def _lag(self, index: int, meant: int) -> None:
        synapse = self.program.synapses[index]
        self.lags[index] = meant
        if self.program.lag(synapse) != meant:
            self.note(
                "latency",
                f"{synapse.label}: arrives {self.program.lag(synapse)} steps late in its target's window, the network "
                f"means {meant}",
            )

    def _leak(self, name: str, field: str, keep: float, decay: int) -> Field:
        found = (4096 - decay) / 4096
        exact = 4096 * (1 - keep)
        for text in decays(name, field, decay):
            self.note("state_rounding", text)
        if abs(exact - decay) <= 1e-6:
            return Field(tensor(found))
        code = "leak_rounding" if abs(exact - decay) <= ROUNDED else "wrong_leak"
        shown = decay - (field == "du")
        self.note(code, f"population {name!r}: {field} {shown} keeps {found:.6g} a step, the network {keep:.6g}")
        return Field(tensor(keep), ((code, tensor(found)),))

    def _threshold(self, name: str, threshold: float | None, unit: float, vth: int) -> Field:
        if threshold is None:  # Only its membrane is read.
            return Field(tensor(64.0 * vth))
        exact = threshold / unit
        if abs(exact - vth) <= 1e-9 * max(vth, 1):
            return Field(tensor(64.0 * vth))
        code = "threshold_rounding" if abs(exact - vth) <= ROUNDED else "wrong_threshold"
        self.note(code, f"population {name!r}: vth {vth} stands for {vth * unit:.6g}, the network's is {threshold:.6g}")
        return Field(tensor(64 * exact), ((code, tensor(64.0 * vth)),))

    def _bias(self, population: Population, meant: Numbers) -> Field:
        mantissa, exponent = population.bias, population.bias_exponent
        found = (mantissa.astype(np.int64) << exponent).astype(np.float64)
        off = (meant - found) / 2.0**exponent
        rounded = np.abs(off) <= ROUNDED
        after = np.where(rounded, found, meant)
        steps: list[tuple[str, Tensor]] = []
        if not same(meant, after):
            steps.append(("bias_rounding", tensor(after)))
            largest = np.abs(off[rounded]).max() * 2.0**exponent / 64
            self.note("bias_rounding", f"population {population.name!r}: off by up to {largest:.3g} units of the sum")
        if not rounded.all():
            low, high = BIAS_MANTISSA
            wanted = meant / 2.0**exponent
            beyond = ~rounded & ((wanted > high) | (wanted < low))
            code = "bias_saturation" if (beyond == ~rounded).all() else "wrong_bias"
            worst = np.unravel_index(np.abs(off).argmax(), off.shape)
            self.note(
                code,
                f"population {population.name!r}: {int((~rounded).sum()):,} of {rounded.size:,} biases; neuron "
                f"{tuple(int(i) for i in worst)} has mantissa {mantissa[worst]} where {wanted[worst]:,.1f} is meant, "
                f"allowed are {low} to {high}",
            )
            steps.append((code, tensor(found)))
        return Field(tensor(meant), tuple(steps))

    def _moved(self, population: Population, scale: float, keep: float) -> Tensor | None:
        """Return the part of the bias that the network has in the current, in units of the voltage."""
        name, part = population.name, self.moved.get(population.name)
        if part is None:
            return None
        self.note(
            "moved_bias",
            f"population {name!r}: {int(part.count_nonzero()):,} of {part.numel():,} biases enter a current that keeps "
            f"{keep:.6g} of itself a step; the first step has {1 - keep:.3g} of what the Program adds to the voltage",
        )
        each = part.double().reshape(-1, *[1] * (len(population.shape) - 1))
        return each.expand(population.shape) * scale


def _with_lags(program: Program, lags: dict[int, int]) -> Program:
    """Return the Program with the timing that the network means."""
    if all(program.lag(synapse) == lags[index] for index, synapse in enumerate(program.synapses)):
        return program
    synapses = tuple(
        synapse.model_copy(update={"delay": lags[index] - (not program.forward(synapse))})
        for index, synapse in enumerate(program.synapses)
    )
    # Delays here are what is meant, so that windows follow from them alone.
    populations = tuple(population.model_copy(update={"start": None}) for population in program.populations)
    return balance(program.model_copy(update={"synapses": synapses, "populations": populations}))


def match(
    network: SpikingNetwork,
    quantized: SpikingNetwork,
    program: Program,
    shape: tuple[int, ...],
    moved: Mapping[str, Tensor] | None = None,
) -> Model:
    """Return the Program beside the network that it was made from, or should have been.

    Args:
        network: with batch norms folded; says what the neurons are.
        quantized: the same layers with weights on their grids; says what the weights are, before and after rounding.
        program: integers, right or wrong.
        shape: (channels, height, width) of one step of the input.
        moved: biases that the network has in its currents, by layer, as :func:`.fold.moved_biases` gives them.

    Raises:
        UnsupportedError: network and Program have other populations or connections, or no exact counterpart.
    """
    if program.steps != quantized.steps:
        raise UnsupportedError(f"Program: {program.steps} time steps, the network has {quantized.steps}; export again")
    graph, real, grids = _graphs(network, quantized, shape)
    settings, coder = ORIGINS["spikeproof"], quantized.coder
    (found, units), (before, _) = (
        meanings(
            flatten(one, "the network"),
            Deployment(program.steps, coder.message_bits, settings, given, input_levels=coder.levels),
        )
        for one, given in ((graph, grids), (real, None))
    )
    matching = _Matching(program, _resets(network), moved or {})
    names = {population.name for population in program.populations}
    lags = {(synapse.source, synapse.target): synapse.delay for synapse in units}
    graded = {synapse.target for synapse in units}
    missing = sorted((set(found) | graded) - names)
    if missing:
        raise UnsupportedError(f"population {missing[0]!r}: the Program lacks it; it was made from another network")
    for population in program.populations:
        if population.name in found:
            if not isinstance(population, Population):
                raise UnsupportedError(f"population {population.name!r}: sends graded spikes, the network's are binary")
            matching.population(population, found[population.name], before[population.name])
        elif population.name in graded or (
            relayed(population.name) in (*names, program.input.name) and relayed(population.name) != population.name
        ):
            matching.as_is(population, lags)
        else:
            raise UnsupportedError(f"population {population.name!r}: the network has no layer of this name")
    for code, text in limits(program):
        matching.note(code, text)
    return Model(
        program,
        _with_lags(program, matching.lags),
        tuple(matching.weights[index] for index in range(len(program.synapses))),
        matching.cells,
        {code: tuple(texts) for code, texts in matching.evidence.items()},
    )
