"""Every architecture: the quantized network, its executed NIR graph and its Program fire the same spikes."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from spikeproof.export.lowering.lower import Deployment, lower_graph
from spikeproof.export.nir.dynamics import ORIGINS
from spikeproof.export.nir.execute import run_graph
from spikeproof.export.nir.graph import flatten
from spikeproof.export.nir.write import to_nir
from spikeproof.export.program import Graded, Population, Program
from spikeproof.hw_targets.loihi.simulator import LoihiTarget
from spikeproof.hw_targets.onnx import OnnxTarget
from spikeproof.hw_targets.twin import TwinTarget
from spikeproof.toolkit.coding import direct_integers
from spikeproof.toolkit.coding.direct import direct
from spikeproof.toolkit.config import CodingSettings, ModelSettings, Recipe
from spikeproof.toolkit.errors import UnsupportedError
from spikeproof.toolkit.models import build_network
from spikeproof.toolkit.network.joins import Join
from spikeproof.toolkit.network.network import SpikingNetwork
from spikeproof.toolkit.network.neurons import CUBA
from spikeproof.toolkit.quantize import quantized_network

SHAPE, STEPS, BITS = (1, 8, 8), 3, 4
NEURONS = ("if", "lif", "plif", "cuba")
CASES: list[dict[str, Any]] = [
    *(
        {"kind": "sew", "residual": residual, "stem": stem, "neuron": neuron}
        for residual, stem, neuron in itertools.product(("add", "and", "iand"), ("small", "imagenet"), NEURONS)
    ),
    *(
        {"kind": "spiking-resnet", "stem": stem, "neuron": neuron}
        for stem, neuron in itertools.product(("small", "imagenet"), NEURONS)
    ),
    *({"kind": kind, "neuron": neuron} for kind in ("wrn", "vgg", "recurrent") for neuron in NEURONS),
    # Ninths are not exact in floating point: no membrane may be exactly at this threshold.
    *(
        {"kind": "sew", "pool": "avg", "stem": stem, "neuron": "if", "threshold": 0.76}
        for stem in ("small", "imagenet")
    ),
    {"kind": "spiking-resnet", "pool": "avg", "neuron": "if", "threshold": 0.76},
    {"kind": "sew", "depth": 50, "channels": [2, 2, 2, 2], "neuron": "if"},
    {"kind": "wrn", "widen": 2, "blocks": [1, 2], "neuron": "if"},
    {"kind": "vgg", "pool": "avg", "hidden": [5]},
    {"kind": "mlp", "hidden": [6, 5]},
    {"kind": "delayed", "readout": "membrane"},
    {"kind": "sew", "readout": "membrane"},
]


def exact_network(seed: int = 0, **options: Any) -> SpikingNetwork:
    """A network whose weights, biases, norms and membranes are small dyadic numbers."""
    settings = ModelSettings(**{"channels": [2, 3], "threshold": 0.75, **options})
    recipe = Recipe(model=settings, coding=CodingSettings(steps=STEPS))
    network = build_network(recipe, SHAPE, 4)
    generator = torch.Generator().manual_seed(seed)
    first = True
    for _, layer in network.named_layers():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.weight.data = torch.randint(-5, 8, layer.weight.shape, generator=generator) / 8
            layer.weight.data.view(-1)[0] = 7 / 8
            if layer.bias is not None:
                layer.bias.data = torch.randint(-2, 3, layer.bias.shape, generator=generator) / 8
                if layer.in_features == 64:  # of images: an input unit is worth 1/255
                    layer.bias.data.zero_()
        elif isinstance(layer, nn.BatchNorm2d):
            layer.eps = 0.0
            shift = torch.randint(-2, 3, layer.bias.shape, generator=generator) / 8
            layer.bias.data = shift * (not first)
            first = False
    return network.eval()


def images(count: int = 5) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 2, (count, *SHAPE)).astype(np.float32)


def lowered(network: SpikingNetwork) -> tuple[Any, Deployment, Program]:
    nodes, grids = to_nir(network, SHAPE)
    graph = flatten(nodes, "graph")
    how = Deployment(network.steps, 8, ORIGINS["spikeproof"], grids)
    return graph, how, lower_graph(graph, how)


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(str(value) for value in case.values()))
def test_torch_nir_and_every_program_target_fire_the_same_spikes(case: dict[str, Any]) -> None:
    network, x = quantized_network(exact_network(**case), BITS), images()
    expected: dict[str, np.ndarray] = {}
    with torch.no_grad():
        last = network.spikes(torch.from_numpy(x), lambda name, signal: expected.update({name: signal.numpy()}))
    graph, how, program = lowered(network)
    executed = run_graph(graph, direct(torch.from_numpy(x), STEPS), how.settings)
    messages = direct_integers(x, STEPS)
    trace = LoihiTarget().compile(program).run(messages, rasters=True)
    rates = []
    for name in network.populations():
        rates.append(expected[name].mean())
        np.testing.assert_array_equal(executed[name].numpy(), expected[name], err_msg=f"NIR, {name}")
        np.testing.assert_array_equal(trace.rasters[name].spikes, expected[name] != 0, err_msg=f"Program, {name}")
    # Silence, or a storm, would agree trivially.
    assert 0.02 < np.mean(rates) < 0.9
    if network.membrane:
        unit = trace.output / last[-1].numpy()
        np.testing.assert_allclose(unit, np.nanmean(unit), rtol=1e-5)
    for target in (TwinTarget(), OnnxTarget()):
        found = target.compile(program).run(messages, rasters=True)
        np.testing.assert_array_equal(found.output, trace.output)
        for name, raster in trace.rasters.items():
            np.testing.assert_array_equal(found.rasters[name].spikes, raster.spikes, err_msg=f"{target.name}, {name}")


def test_add_is_two_synapses_into_the_same_neurons() -> None:
    _, _, program = lowered(quantized_network(exact_network(kind="sew"), BITS))
    assert not any(isinstance(population, Graded) for population in program.populations)
    sources = {synapse.source for synapse in program.incoming("block1_2a")}
    assert sources == {"block1_1c", "stem_pool"}
    one, other = program.incoming("block1_2a")
    np.testing.assert_array_equal(one.weight, other.weight)


def test_and_and_iand_are_memoryless_thresholds_of_two_spikes() -> None:
    for residual, vth, signs in (("and", 3, {2}), ("iand", 1, {-2, 2})):
        _, _, program = lowered(quantized_network(exact_network(kind="sew", residual=residual), BITS))
        gate = program.population("block1_1")
        assert isinstance(gate, Population)
        assert (gate.du, gate.vth) == (4095, vth)
        assert gate.dv >= 4095
        assert {int(weight) for synapse in program.incoming("block1_1") for weight in synapse.weight} == signs


def test_average_pooling_that_overlaps_becomes_graded_units_that_count() -> None:
    _, _, program = lowered(quantized_network(exact_network(kind="sew", pool="avg", neuron="if"), BITS))
    graded = {p.name: p.message_bits for p in program.populations if isinstance(p, Graded)}
    # 9 spikes a window need 4 bits; 15 (what 4 bits hold) and a spike of 9 ninths 5 bits, and two such spikes 6 bits.
    assert list(graded.values()) == [4, 5, 6]


def test_the_bias_of_a_cuba_enters_its_voltage() -> None:
    network = quantized_network(exact_network(kind="vgg", neuron="cuba"), BITS)
    layers = dict(network.named_layers())
    cell = layers["cell1_2"]
    assert isinstance(cell, CUBA)
    assert layers["cell1_2_conv"].bias is None
    assert cell.bias is not None
    _, _, program = lowered(network)
    population = program.population("cell1_2")
    assert isinstance(population, Population)
    assert population.du == 2047
    in_thresholds = population.bias[:, 0, 0] * 2.0**population.bias_exponent / (64 * population.vth)
    np.testing.assert_allclose(in_thresholds, cell.bias.detach().numpy() / 0.75, rtol=1e-6)


def test_an_and_of_sums_is_refused() -> None:
    network = exact_network(kind="sew")
    for name, layer in network.named_layers():
        if name == "block1_2":
            assert isinstance(layer, Join)
            layer.kind = "and"
    with pytest.raises(UnsupportedError, match="'block1_2': joins sums, but AND and IAND are of the spikes"):
        quantized_network(network, BITS)
