"""What of a defence reaches the chip: spike for spike, or refused by name."""

from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from spikeproof.export.lowering.lower import Deployment, lower_graph
from spikeproof.export.nir.dynamics import Settings
from spikeproof.export.nir.graph import flatten
from spikeproof.export.nir.write import to_nir
from spikeproof.export.program import Program
from spikeproof.hw_targets.target import get_target
from spikeproof.toolkit.coding import direct_integers
from spikeproof.toolkit.defences.base import Defence
from spikeproof.toolkit.defences.sca import SCA
from spikeproof.toolkit.defences.self_connection import Diagonal, SelfConnection
from spikeproof.toolkit.defences.slif import SLIF
from spikeproof.toolkit.defences.stochastic import Stochastic
from spikeproof.toolkit.defences.tgo import TGO
from spikeproof.toolkit.errors import UnsupportedError
from spikeproof.toolkit.network.network import SpikingNetwork
from spikeproof.toolkit.network.neurons import LIF
from spikeproof.toolkit.quantize import quantized_network

STEPS = 6


def drawn(*methods: Defence, seed: int = 0) -> SpikingNetwork:
    """Convolution, hidden dense layer and read-out, prepared; all weights, loops too, are multiples of 1/8."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv=nn.Conv2d(1, 2, 3, padding=1, bias=False),
        lif=LIF(0.5, 0.75, 2.0),
        pool=nn.MaxPool2d(2),
        flatten=nn.Flatten(),
        hidden=nn.Linear(8, 5, bias=False),
        cell=LIF(0.5, 0.5, 2.0),
        linear=nn.Linear(5, 3, bias=False),
        last=LIF(0.5, 0.5, 2.0),
    )
    network = SpikingNetwork(layers, STEPS, 10.0)
    for method in methods:
        method.prepare(network)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, layer in network.named_layers():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                layer.weight.copy_(torch.randint(-4, 8, layer.weight.shape, generator=generator) / 8)
                if isinstance(layer, Diagonal):
                    layer.weight.mul_(torch.eye(len(layer.weight)))
    return network.eval()


def lowered(network: SpikingNetwork) -> Program:
    nodes, grids = to_nir(network, (1, 4, 4))
    return lower_graph(flatten(nodes, "graph"), Deployment(STEPS, 8, Settings(1e-4), grids))


EXACT: list[tuple[str, list[Defence]]] = [
    ("full V", [SelfConnection(matrix="full")]),
    ("diagonal V", [SelfConnection(matrix="diagonal")]),
    ("p in the weights", [Stochastic(probability=0.5)]),
    ("noise off at inference", [TGO(sigma=0.4)]),
    ("g = 0", [SLIF(gain=0.0, learn=False)]),
    ("g a = 1 - a", [SLIF(gain=1.0, rate=0.5, learn=False)]),
    ("together", [SelfConnection(), TGO(), Stochastic(probability=0.5), SLIF(gain=1.0, rate=0.5, learn=False)]),
]


@pytest.mark.parametrize("methods", [case[1] for case in EXACT], ids=[case[0] for case in EXACT])
@pytest.mark.parametrize("seed", range(5))
def test_what_deploys_fires_the_same_spikes_in_torch_and_on_every_target(methods: list[Defence], seed: int) -> None:
    network = drawn(*methods, seed=seed)
    images = np.random.default_rng(seed).integers(0, 2, (6, 1, 4, 4)).astype(np.float32)
    quantized = quantized_network(network, 8)
    expected: dict[str, np.ndarray] = {}
    floats: dict[str, np.ndarray] = {}
    with torch.no_grad():
        quantized.spikes(torch.from_numpy(images), lambda name, out: expected.update({name: out.numpy()}))
        network.spikes(torch.from_numpy(images), lambda name, out: floats.update({name: out.numpy()}))
    program = lowered(quantized)
    fired = 0
    for target in ("loihi", "twin", "onnx"):
        trace = get_target(target).compile(program).run(direct_integers(images, STEPS), rasters=True)
        for name in ("lif", "cell", "last"):
            spikes = expected[name].astype(bool)
            fired += spikes.sum()
            np.testing.assert_array_equal(trace.rasters[name].spikes, spikes, err_msg=f"{target}, {name}")
            # Where images and spikes meet, the weight grid is not of eighths: several methods at once leave the floats.
            if len(methods) == 1:
                np.testing.assert_array_equal(floats[name] > 0, spikes, err_msg=f"float, {name}")
    assert fired > 100


@pytest.mark.parametrize("matrix", ["full", "diagonal"])
def test_a_self_connection_is_a_recurrent_synapse_of_one_step(matrix: str) -> None:
    program = lowered(quantized_network(drawn(SelfConnection(matrix=matrix)), 8))
    loops = [synapse for synapse in program.synapses if synapse.source == synapse.target]
    assert [(loop.source, loop.delay) for loop in loops] == [("lif", 0), ("cell", 0)]


def test_a_diagonal_stays_diagonal_in_fine_tuning() -> None:
    quantized = quantized_network(drawn(SelfConnection(matrix="diagonal")), 8)
    layer: Any = dict(quantized.named_layers())["cell_self"]
    quantized(torch.rand(4, 1, 4, 4)).sum().backward()
    grad = layer.weight.grad
    assert torch.equal(grad, torch.diag(grad.diagonal()))
    assert bool(grad.any())


REFUSED: list[tuple[Defence, str]] = [
    (SLIF(), r"layer 'lif': its prediction current .* one current for both: .* g = 0.2 and a = 0.5"),
    (SLIF(gain=1.0, rate=0.5, learn=True), "layer 'lif': its prediction current"),
    (SLIF(gain=0.9, rate=0.5, learn=False), "layer 'lif': its prediction current"),
    (TGO(inference=True), "layer 'lif': random numbers at inference"),
    (Stochastic(inference=True), "layer 'lif': random numbers at inference"),
    (SCA(), "layer 'linear': its units exchange real numbers many times within a time step"),
]


@pytest.mark.parametrize(("method", "reason"), REFUSED)
def test_what_has_no_exact_form_is_refused_by_name(method: Defence, reason: str) -> None:
    with pytest.raises(UnsupportedError, match=reason):
        quantized_network(drawn(method), 8)


def test_the_exporter_refuses_what_was_not_rewritten() -> None:
    network = drawn(Stochastic(probability=0.5))
    quantized = quantized_network(network, 8)
    quantized.layers.lif = dict(drawn(Stochastic(probability=0.5)).named_layers())["lif"]
    with pytest.raises(UnsupportedError, match=r"layer 'lif': sends spikes of 0\.5"):
        to_nir(quantized, (1, 4, 4))


def test_a_bias_before_self_prediction_comes_from_a_neuron_that_always_fires() -> None:
    network = drawn(SLIF(gain=1.0, rate=0.5, learn=False))
    dict(network.named_layers())["hidden"].bias = nn.Parameter(torch.full((5,), -0.25))
    quantized = quantized_network(network, 8)
    program = lowered(quantized)
    (synapse,) = (one for one in program.synapses if one.source == "always")
    images = np.random.default_rng(0).integers(0, 2, (40, 1, 4, 4)).astype(np.float32)
    expected: dict[str, np.ndarray] = {}
    with torch.no_grad():
        quantized.spikes(torch.from_numpy(images), lambda name, out: expected.update({name: out.numpy()}))
    trace = get_target("loihi").compile(program).run(direct_integers(images, STEPS), rasters=True)
    assert trace.rasters["always"].spikes.all()
    spikes = expected[synapse.target].astype(bool)
    assert 0.05 < spikes.mean() < 0.95
    np.testing.assert_array_equal(trace.rasters[synapse.target].spikes, spikes)


def test_averaging_refuses_spikes_of_several_sizes_in_one_sum() -> None:
    network = drawn(Stochastic(probability=0.5))
    network.wiring["linear"] = ("cell", "hidden")
    with pytest.raises(UnsupportedError, match="layer 'linear': receives spikes"):
        quantized_network(network, 8)
