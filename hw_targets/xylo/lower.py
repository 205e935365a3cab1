"""From a network in Xylo's integers to its Program, and from that to the configuration of the core."""

from typing import Any, cast

import numpy as np
from torch import nn

from ...export.program import Input, Program, Readout, Shifted, Shifting
from ...toolkit.errors import UnsupportedError
from ...toolkit.network.network import INPUT, SpikingNetwork
from .arithmetic import OUTPUT_SPIKES, Core
from .layers import ShiftNeurons
from .plan import exponent
from .reading import Reading


def lower(network: SpikingNetwork, shape: tuple[int, int, int]) -> Program:
    """Return the Program of a network from :func:`.quantize.quantized_network`: the integers that it computes in.

    Args:
        network: in Xylo's integers.
        shape: (channels, height, width) of an image.

    Raises:
        UnsupportedError: it is not such a network.
    """
    reading, coder = Reading(network), network.coder
    populations, synapses = [], []
    for name in reading.populations:
        neurons = reading.layers[name]
        if not isinstance(neurons, ShiftNeurons):
            raise UnsupportedError(f"layer {name!r}: {type(neurons).__name__}; quantize the network for Xylo first")
        for source, origin in reading.weights(name).items():
            layer: Any = reading.layers[source]
            weight = layer.quant_weight()
            worth = 1 / coder.levels if origin == INPUT else 1.0
            synapses.append(
                Shifted(
                    source=origin,
                    target=name,
                    exponent=exponent(float(weight.scale), worth, neurons.unit),
                    weight=np.rint((weight.value / weight.scale).detach().cpu().numpy()).astype(np.int64),
                )
            )
        size = int(cast(nn.Linear, layer).out_features)
        bias = neurons.integers()
        populations.append(
            Shifting(
                name=name,
                shape=(size,),
                vth=neurons.vth,
                dash_syn=(neurons.dash_syn,),
                dash_mem=neurons.dash_mem,
                most=1 if name == reading.populations[-1] else 31,
                bias=np.zeros(size, np.int64) if bias is None else bias.detach().cpu().numpy().astype(np.int64),
            )
        )
    last = reading.layers[reading.populations[-1]]
    assert isinstance(last, ShiftNeurons)
    return Program(
        input=Input(shape=coder.encoded_shape(shape), message_bits=coder.message_bits, scale=1 / coder.levels),
        populations=tuple(populations),
        synapses=tuple(synapses),
        readout=Readout(population=reading.populations[-1])
        if last.most
        else Readout(kind="membrane", population=reading.populations[-1], scale=last.worth),
        steps=coder.steps,
        profile="xylo",
    )


def places(program: Program) -> dict[str, slice]:
    """Return where the neurons of each hidden population lie in the core."""
    found, start = {}, 0
    for population in program.populations:
        if population.name != program.readout.population:
            size = int(np.prod(population.shape))
            found[population.name] = slice(start, start + size)
            start += size
    return found


def unsupported(program: Program) -> list[str]:
    """Return the reasons why a Program has no configuration of one core; empty when it has one."""
    last, given = program.readout.population, program.input.name
    reasons = []
    for synapse in program.synapses:
        if synapse.source == last:
            reasons.append(f"{synapse.label}: Xylo's read-out neurons send to no other neuron")
        if synapse.target == last and synapse.source == given:
            reasons.append(f"{synapse.label}: Xylo's read-out neurons receive from hidden neurons only")
        if program.forward(synapse) and program.lag(synapse):
            reasons.append(f"{synapse.label}: arrives {program.lag(synapse)} steps late; Xylo has no delays")
    for population in program.populations:
        assert isinstance(population, Shifting)
        if (population.most == OUTPUT_SPIKES) != (population.name == last):
            reasons.append(
                f"population {population.name!r}: up to {population.most} spikes a step; hidden neurons send 31, those "
                "that are read 1"
            )
        if population.name == last and len(population.dash_syn) > 1:
            reasons.append(f"population {population.name!r}: Xylo's read-out neurons have one synapse")
    for kind, shifts in _shifts(program).items():
        if len(shifts) > 1:
            reasons.append(f"{kind} weights have shifts {sorted(shifts)}; Xylo has one for all of them")
    return reasons


def _shifts(program: Program) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {"input": set(), "hidden": set(), "read-out": set()}
    for synapse in program.synapses:
        last, first = synapse.target == program.readout.population, synapse.source == program.input.name
        found["read-out" if last else "input" if first else "hidden"].add(synapse.exponent)
    return found


def core(program: Program) -> Core:
    """Return the configuration of the core that runs a Program for which :func:`unsupported` has no reasons."""
    where = places(program)
    hidden = sum(place.stop - place.start for place in where.values())
    last = cast(Shifting, program.population(program.readout.population))
    channels, outputs = int(np.prod(program.input.shape)), int(np.prod(last.shape))
    inner = [cast(Shifting, program.population(name)) for name in where]
    ports = max((len(population.dash_syn) for population in inner), default=1)
    into, rec = np.zeros((channels, hidden, ports), np.int64), np.zeros((hidden, hidden, ports), np.int64)
    out = np.zeros((hidden, outputs), np.int64)
    for synapse in program.synapses:
        assert isinstance(synapse, Shifted)
        weight = synapse.weight.T
        if synapse.target == last.name:
            out[where[synapse.source]] += weight
        elif synapse.source == program.input.name:
            into[:, where[synapse.target], synapse.port] += weight
        else:
            rec[where[synapse.source], where[synapse.target], synapse.port] += weight

    sizes = [int(np.prod(population.shape)) for population in inner]

    def each(values: list[int]) -> Any:
        return np.repeat(np.array(values, dtype=np.int64), sizes)

    shifts = {kind: next(iter(found), 0) for kind, found in _shifts(program).items()}
    return Core(
        weights_in=into,
        weights_rec=rec,
        weights_out=out,
        shifts=(shifts["input"], shifts["hidden"], shifts["read-out"]),
        dash_syn=np.stack([each([(*p.dash_syn, 0)[port] for p in inner]) for port in range(ports)], -1),
        dash_mem=each([p.dash_mem for p in inner]),
        threshold=each([p.vth for p in inner]),
        bias=np.concatenate([p.bias.ravel() for p in inner]).astype(np.int64),
        dash_syn_out=np.full(outputs, last.dash_syn[0]),
        dash_mem_out=np.full(outputs, last.dash_mem),
        threshold_out=np.full(outputs, last.vth),
        bias_out=last.bias.ravel().astype(np.int64),
        aliases=np.full(hidden, -1),
    )
