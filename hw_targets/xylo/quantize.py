"""A float network in Xylo's integers: weights of 8 bits by Brevitas, leaks as bit shifts, reset by subtraction."""

import math
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn

from ...toolkit.checkpoint import load_weights, read_geometry, to_tensors
from ...toolkit.coding import Coder, Direct
from ...toolkit.config import Recipe
from ...toolkit.defences.exact import exact
from ...toolkit.errors import FileError, UnsupportedError
from ...toolkit.files import read_arrays
from ...toolkit.models import build_network
from ...toolkit.network.fold import fold
from ...toolkit.network.layers import Membrane
from ...toolkit.network.network import INPUT, SpikingNetwork
from ...toolkit.network.neurons import CUBA, LIF, Integrator
from ...toolkit.network.population import LeakyIntegrator, Population
from ...toolkit.quantize import Bits, InputGrid, bits_by_layer, quantized_layer, steps_of, weight_layers
from .arithmetic import DASH_MAX, HIDDEN_SPIKES, HIGH, INPUT_SPIKES, OUTPUT_SPIKES
from .layers import ShiftNeurons
from .plan import Plan, Wanted, planned
from .reading import Reading


def chip_coder(coder: Coder) -> Coder:
    """Return what makes the chip's messages: an image as it is becomes up to 15 spikes a channel and step.

    Raises:
        UnsupportedError: its messages are larger.
    """
    if isinstance(coder, Direct) and coder.peak > INPUT_SPIKES:
        return Direct(coder.steps, levels=INPUT_SPIKES)
    if coder.peak > INPUT_SPIKES:
        raise UnsupportedError(
            f"{coder}: messages up to {coder.peak}; Xylo's input channels take {INPUT_SPIKES} spikes a step: use the "
            'coder "direct", "rate", "latency" or "events"'
        )
    return coder


def nearest_dash(keep: float, lowest: int = 0) -> int:
    """Return the bit shift d whose leak 1 - 2^-d is nearest to ``keep``; without a leak that is the largest."""
    return min(range(lowest, DASH_MAX + 1), key=lambda dash: abs(1 - 2.0**-dash - keep))


def wanted(name: str, layer: Membrane) -> Wanted:
    """Return what neurons ask for; what Xylo has not of it is in :attr:`.plan.Wanted.changes`.

    Raises:
        UnsupportedError: neurons that have no form there.
    """
    if isinstance(layer, Integrator):
        return _wanted(name, 1.0, None, None, None, "none")
    if isinstance(layer, LIF):
        reason = layer.unlike()
        if reason is not None:
            raise UnsupportedError(f"layer {name!r}: {reason}")
        reset = "subtract_later" if layer.neuron.reset_mechanism == "subtract" else layer.neuron.reset_mechanism
        grad = layer.neuron.spike_grad
        return _wanted(name, _one(name, layer.neuron.beta, layer.beta), layer.threshold, None, grad, reset)
    if isinstance(layer, CUBA):
        return _wanted(name, layer.beta, layer.threshold, layer.gamma, layer.spike_grad, "zero", layer.bias)
    if isinstance(layer, Population | LeakyIntegrator):
        return _population(name, layer)
    raise UnsupportedError(f"layer {name!r}: {type(layer).__name__} has no form in Xylo's neurons; use LIF or CUBA")


def _one(name: str, numbers: Any, value: float) -> float:
    if isinstance(numbers, Tensor) and numbers.numel() > 1:
        raise UnsupportedError(f"layer {name!r}: one leak a neuron is not lowered; train it shared")
    return value


def _population(name: str, layer: Population | LeakyIntegrator) -> Wanted:
    def number(what: str) -> float:
        value = layer._one(what)
        if isinstance(value, Tensor):
            raise UnsupportedError(f"layer {name!r}: {what} differs between neurons; train it shared")
        return value

    fires = isinstance(layer, Population)
    scale = number("gain") * (1.0 if layer.current is None else number("current_gain"))
    if scale <= 0 or number("start") != 0 or (fires and number("reset_to") != 0):
        raise UnsupportedError(f"layer {name!r}: Xylo's membranes start and rest at 0, and need a gain above 0")
    rest = layer.rest.detach() / scale
    reset = layer.reset if isinstance(layer, Population) else "none"
    if reset == "none" and fires:
        raise UnsupportedError(f"layer {name!r}: a spike without a reset has no form on Xylo, which subtracts")
    return _wanted(
        name,
        number("keep"),
        number("threshold") / scale if fires else None,
        None if layer.current is None else number("current"),
        layer.spike_grad if isinstance(layer, Population) else None,
        reset,
        rest if bool(rest.any()) else None,
        several=isinstance(layer, Population) and layer.several,
    )


def _wanted(
    name: str,
    keep: float,
    threshold: float | None,
    current: float | None,
    grad: Any,
    reset: str,
    bias: Tensor | None = None,
    several: bool = False,
) -> Wanted:
    dash_mem = nearest_dash(keep)
    # By 0 bits a current would be gone before it reached the membrane.
    dash_syn = 1 if current is None else nearest_dash(current, 1)
    changes = []
    if current is None:
        changes.append("weights arrive over a synaptic current that halves each step, the shortest that Xylo has")
    elif 1 - 2.0**-dash_syn != current:
        changes.append(f"the current keeps {1 - 2.0**-dash_syn:g} a step in place of {current:g}")
    if dash_mem == DASH_MAX:
        changes.append("the membrane loses 1 a step, the smallest leak that Xylo has")
    elif 1 - 2.0**-dash_mem != keep:
        changes.append(f"the membrane keeps {1 - 2.0**-dash_mem:g} a step in place of {keep:g}")
    if threshold is not None and reset == "zero":
        changes.append("a spike subtracts the threshold in place of resetting to zero")
    elif threshold is not None and reset != "subtract":
        changes.append(f"a spike subtracts the threshold at once (was {reset!r})")
    if threshold is not None and not several:
        changes.append(f"up to {HIDDEN_SPIKES} spikes a step (a read-out neuron: {OUTPUT_SPIKES})")
    # What 1 that arrives adds to the membrane in all: there 2^dash - 1, here 1 / (1 - current).
    charge = (2.0**dash_syn - 1) * (1 - (current or 0.0))
    return Wanted(dash_syn, dash_mem, charge, threshold, bias, grad, tuple(changes))


def quantized_network(network: SpikingNetwork, bits: Bits, steps: dict[str, float] | None = None) -> SpikingNetwork:
    """Return the copy of a float network that computes in Xylo's integers, ready to be fine-tuned or lowered.

    Args:
        network: linear layers, norms after them, neurons, flatten; loops are welcome.
        bits: bits a weight: of all layers, or by layer.
        steps: weight step a layer; chosen from the weights when absent.

    Raises:
        UnsupportedError: a layer that has no form there, by name and with the reason.
        InputError: bits of a layer that there is not.
    """
    folded = exact(fold(network))
    # Steps depend on what a message is worth.
    folded.coder = coder = chip_coder(network.coder)
    reading = Reading(folded)
    reading.check()
    widths = bits_by_layer(bits, weight_layers(folded))
    plan = _plan(reading, coder, steps_of(folded, bits) if steps is None else steps)
    layers: OrderedDict[str, nn.Module] = OrderedDict() if coder.binary else OrderedDict({INPUT: InputGrid(coder)})
    for name, layer in reading.layers.items():
        if isinstance(layer, nn.Linear):
            bare = nn.Linear(layer.in_features, layer.out_features, bias=False)
            bare.weight = layer.weight
            layers[name] = quantized_layer(name, bare, widths[name], plan.steps[name])
        elif isinstance(layer, Membrane):
            layers[name] = _neurons(reading, name, plan)
        else:
            layers[name] = layer
    return SpikingNetwork(layers, coder, network.gain, folded.wiring).eval()


def _plan(reading: Reading, coder: Coder, steps: Mapping[str, float]) -> Plan:
    asked = {name: wanted(name, cast(Membrane, reading.layers[name])) for name in reading.populations}
    worth = 1 / coder.levels
    arriving = {
        name: {source: worth if origin == INPUT else 1.0 for source, origin in reading.weights(name).items()}
        for name in reading.populations
    }
    first = {
        source for name in reading.populations for source, origin in reading.weights(name).items() if origin == INPUT
    }
    return planned(asked, arriving, dict(steps), first=first, last=reading.populations[-1])


def _neurons(reading: Reading, name: str, plan: Plan) -> ShiftNeurons:
    asked, units = plan.wanted[name], plan.units[name]
    last = name == reading.populations[-1]
    worth = units / asked.charge
    if asked.threshold is None:
        if not last:
            raise UnsupportedError(f"layer {name!r}: neurons that never fire can only be read, as the last layer")
        vth = HIGH
    else:
        # A membrane must be above its threshold in the network, and reach it on the chip.
        vth = min(math.floor(asked.threshold / worth) + 1, HIGH)
    return ShiftNeurons(
        unit=units,
        shift=plan.shifts[name],
        dash_syn=asked.dash_syn,
        dash_mem=asked.dash_mem,
        vth=vth,
        worth=worth,
        most=0 if asked.threshold is None else OUTPUT_SPIKES if last else HIDDEN_SPIKES,
        bias=_bias(reading, name, asked) if reading.depth(name) == 1 else None,
        spike_grad=asked.grad,
    )


def _bias(reading: Reading, name: str, asked: Wanted) -> Tensor | None:
    """Return what a membrane gains in each step: biases of the weights before it, and its own."""
    given = [reading.layers[source].bias for source in reading.weights(name)]
    parts = [cast(Tensor, bias).detach() for bias in given if bias is not None]
    if asked.bias is not None:
        parts.append(asked.bias.detach().flatten().expand(_size(reading, name)))
    return sum(parts[1:], parts[0]) if parts else None


def _size(reading: Reading, name: str) -> int:
    return int(cast(nn.Linear, reading.layers[next(iter(reading.weights(name)))]).out_features)


def changes(network: SpikingNetwork) -> list[str]:
    """Return what a float network loses or gains on Xylo beside the rounding of its numbers, one sentence each."""
    reading = Reading(exact(fold(network)))
    found = []
    for name in reading.populations:
        asked = wanted(name, cast(Membrane, reading.layers[name]))
        found += [f"layer {name!r}: {text}" for text in asked.changes]
        if reading.depth(name) > 1 and _bias(reading, name, asked) is not None:
            found.append(
                f"layer {name!r}: its bias is left out; on Xylo it would act before the first spike can arrive"
            )
    coder = network.coder
    if chip_coder(coder) is not coder:
        found.append(f"pixels are rounded to {INPUT_SPIKES} levels, the spikes that a channel takes in a step")
    return found


def load_quantized(path: Path) -> tuple[SpikingNetwork, Recipe]:
    """Return the network in Xylo's integers in ``path``, in evaluation mode, with its recipe.

    Raises:
        FileError: missing, corrupt, foreign, or not matching its own recipe.
    """
    arrays, header = read_arrays(path, "quantized")
    recipe, shape, classes = read_geometry(header, path)
    network = build_network(recipe, shape, classes)
    wanted_layers, steps = weight_layers(fold(network)), header.get("steps")
    given = steps if isinstance(steps, dict) and sorted(steps) == sorted(wanted_layers) else {}
    if not given or not all(type(step) is float and 2.0**-40 <= step <= 2.0**40 for step in given.values()):
        raise FileError(f"{path}: no weight steps for {', '.join(wanted_layers)}; write it again with 'quantize'")
    try:
        quantized = quantized_network(network, recipe.quantize.bits, given)
    except UnsupportedError as error:
        raise FileError(f"{path}: {error}") from error
    load_weights(quantized, to_tensors(arrays), path)
    return quantized, recipe
