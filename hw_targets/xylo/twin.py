"""The twin of a Program of profile ``xylo``: a network of its integers, exact forward, surrogate backward."""

from collections import OrderedDict

import torch
from torch import nn

from ...export.program import Program, Shifting, Synapse
from ...toolkit.coding import Coder
from ...toolkit.errors import InputError, UnsupportedError
from ...toolkit.network.network import INPUT, SpikingNetwork
from ...toolkit.network.surrogates import Spike, Surrogate
from ...toolkit.quantize import InputGrid
from .arithmetic import HIGH
from .layers import ShiftNeurons

FLAT = "input-flat"
"""What it calls the flattened input."""


def twin(program: Program, coder: Coder, gain: float = 1.0) -> SpikingNetwork:
    """Return the network that computes what a Program does, with gradients; thresholds are 1 in its real numbers.

    Args:
        program: of profile ``xylo``, with one synaptic current a population.
        coder: of its messages.
        gain: scale of the logits.

    Raises:
        InputError: a coder of other messages.
        UnsupportedError: biases that act before their population's window, two synaptic currents, or membranes that
            are read and subtract what they sent.
    """
    if coder.peak != program.input.peak:
        raise InputError(f"{coder}: messages up to {coder.peak}, the Program takes {program.input.peak}")
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    wiring: dict[str, tuple[str, ...]] = {}
    if not coder.binary:
        layers[INPUT] = InputGrid(coder)
    layers[FLAT], wiring[FLAT] = nn.Flatten(), (INPUT,)
    depths = program.depths()
    name_of = {id(one): f"{_name(one.target)}-weights{number}" for number, one in enumerate(program.synapses)}

    def add(synapse: Synapse) -> None:
        first, name = synapse.source == program.input.name, name_of[id(synapse)]
        linear = nn.Linear(synapse.weight.shape[1], synapse.weight.shape[0], bias=False)
        with torch.no_grad():
            scale = 2**synapse.exponent * (coder.levels if first else 1)
            linear.weight.copy_(torch.from_numpy(synapse.weight.copy()) * scale)
        layers[name] = linear.requires_grad_(False)
        wiring[name] = (FLAT if first else _name(synapse.source),)

    for population in program.populations:
        assert isinstance(population, Shifting)
        reading = program.readout.population == population.name and program.readout.kind == "membrane"
        if reading and population.vth < HIGH:
            raise UnsupportedError(f"population {population.name!r}: is read by its membrane, and may fire")
        if len(population.dash_syn) > 1:
            raise UnsupportedError(f"population {population.name!r}: the twin has one synaptic current a neuron")
        if population.bias.any() and depths[population.name] > 1:
            raise UnsupportedError(f"population {population.name!r}: its bias acts before the twin's window starts")
        for synapse in program.incoming(population.name):
            if program.forward(synapse):
                add(synapse)
        worth = (program.readout.scale or 1.0) if reading else 1 / population.vth
        bias = torch.from_numpy(population.bias.copy()).to(torch.get_default_dtype()).flatten() * worth
        layers[_name(population.name)] = ShiftNeurons(
            unit=1.0,
            shift=0,
            dash_syn=population.dash_syn[0],
            dash_mem=population.dash_mem,
            vth=population.vth,
            worth=worth,
            most=0 if reading else population.most,
            bias=bias if population.bias.any() else None,
            spike_grad=Spike(Surrogate("arctan", 2.0)),
        ).requires_grad_(False)
        wiring[_name(population.name)] = tuple(name_of[id(one)] for one in program.incoming(population.name))
        # What leads back, here or further, follows the neurons that it comes from.
        for synapse in program.synapses:
            if synapse.source == population.name and not program.forward(synapse):
                add(synapse)
    return SpikingNetwork(layers, coder, gain, wiring).eval()


def _name(population: str) -> str:
    return population.replace(".", "_")
