"""The twin: forward the Program, backward the surrogate; the quantized float network is its independent reference."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch.nn import functional

from spikeproof.eval.agreement.targets import difference
from spikeproof.export.lowering.lower import Deployment, lower_graph
from spikeproof.export.nir.dynamics import ORIGINS, Settings
from spikeproof.export.nir.graph import flatten
from spikeproof.export.nir.write import to_nir
from spikeproof.export.program import Dense, Graded, Input, Population, Program, Readout
from spikeproof.hw_targets.loihi.simulator import LoihiTarget
from spikeproof.hw_targets.twin import Twin, TwinTarget
from spikeproof.toolkit.attacks.victim import fitted
from spikeproof.toolkit.coding import direct_integers
from spikeproof.toolkit.config import CodingSettings, ModelSettings, Recipe
from spikeproof.toolkit.errors import InputError, UnsupportedError
from spikeproof.toolkit.models import build_network
from spikeproof.toolkit.network.backward import POOLS, Backward, attack_gradient
from spikeproof.toolkit.network.network import SpikingNetwork
from spikeproof.toolkit.network.neurons import LIF, Delay
from spikeproof.toolkit.network.surrogates import AdaptiveSharpness, Surrogate
from spikeproof.toolkit.quantize import quantized_network

STEPS, SHAPE = 5, (2, 4, 4)


def test_the_forward_pass_is_the_program(programs: Any, messages: Any, share: float) -> None:
    @settings(max_examples=int(500 * share))
    @given(programs(), st.integers(0, 999))
    def law(program: Program, seed: int) -> None:
        sent = messages(program, batch=3, seed=seed)
        expected = LoihiTarget().compile(program).run(sent, rasters=True)
        found = TwinTarget().compile(program).run(sent, rasters=True)
        assert [bits for bits in difference("twin", expected, found) if bits.different] == []
        np.testing.assert_array_equal(found.output, expected.output)

    law()


def network(kind: str, seed: int, beta: float = 0.5) -> SpikingNetwork:
    """A quantized network of small dyadic numbers and thresholds of 1, which fires the Program's own spikes."""
    generator = torch.Generator().manual_seed(seed)
    layers: dict[str, torch.nn.Module] = {
        "conv": torch.nn.Conv2d(2, 3, 3, padding=1, bias=False),
        "lif": LIF(beta, 1.0, 2.0),
        "next": torch.nn.Conv2d(3, 3, 3, padding=1),
        "cell": LIF(beta, 1.0, 2.0),
        "flatten": torch.nn.Flatten(),
        "linear": torch.nn.Linear(48, 4),
        "last": LIF(beta, 1.0, 2.0),
    }
    wiring: dict[str, tuple[str, ...]] = {}
    if kind == "join":
        wiring["flatten"] = ("lif", "cell")
    if kind == "loop":
        layers = {**layers, "loop": torch.nn.Conv2d(3, 3, 1, bias=False)}
        order = ["conv", "lif", "next", "cell", "loop", "flatten", "linear", "last"]
        layers = {name: layers[name] for name in order}
        wiring = {"cell": ("next", "loop"), "loop": ("cell",), "flatten": ("cell",)}
    if kind == "delay":
        layers = {"conv": layers["conv"], "lif": layers["lif"], "delay": Delay(1), **layers}
        order = ["conv", "lif", "delay", "next", "cell", "flatten", "linear", "last"]
        layers = {name: layers[name] for name in order}
    if kind == "pool":
        layers = {name: layers[name] for name in ("conv", "lif", "next", "cell")} | {
            "pool": torch.nn.AvgPool2d(2),
            "flatten": torch.nn.Flatten(),
            "linear": torch.nn.Linear(12, 4),
            "last": LIF(beta, 1.0, 2.0),
        }
    if kind in ("max pool", "max pool behind a loop"):
        layers = {name: layers[name] for name in ("conv", "lif", "next", "cell")} | {
            "pool": torch.nn.MaxPool2d(2),
            "overlapping": torch.nn.Conv2d(3, 3, 1),
            "again": LIF(beta, 1.0, 2.0),
            "second": torch.nn.MaxPool2d(3, 1, 1),
            "flatten": torch.nn.Flatten(),
            "linear": torch.nn.Linear(12, 4),
            "last": LIF(beta, 1.0, 2.0),
        }
    if kind == "max pool behind a loop":
        order = [*layers][:4]
        layers |= {"loop": torch.nn.Conv2d(3, 3, 1, bias=False)}
        layers = {name: layers[name] for name in [*order, "loop", *(name for name in layers if name not in order)]}
        wiring = {"cell": ("next", "loop"), "loop": ("cell",), "pool": ("cell",)}
    for layer in layers.values():
        if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
            layer.weight.data = torch.randint(-3, 7, layer.weight.shape, generator=generator) / 8
            layer.weight.data.view(-1)[0] = 7 / 8
            if layer.bias is not None:
                layer.bias.data = torch.randint(-2, 3, layer.bias.shape, generator=generator) / 8
    return quantized_network(SpikingNetwork(OrderedDict(layers), STEPS, 10.0, wiring), 4)


def lowered(net: SpikingNetwork) -> Program:
    nodes, grids = to_nir(net, SHAPE)
    return lower_graph(flatten(nodes, "graph"), Deployment(STEPS, 8, Settings(1e-4), grids))


@pytest.mark.parametrize("kind", ["chain", "join", "loop", "delay", "pool", "max pool", "max pool behind a loop"])
@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_the_gradient_is_that_of_the_network_where_both_fire_the_same_spikes(kind: str, beta: float) -> None:
    net = network(kind, seed=1, beta=beta)
    program = lowered(net)
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 2, (8, *SHAPE)).astype(np.float32))
    labels = torch.arange(8) % 4
    grads = []
    for model in (net, Twin(program)):
        x = images.clone().requires_grad_()
        logits = model(x)
        functional.cross_entropy(logits, labels).backward()
        assert x.grad is not None
        grads.append((logits.detach(), x.grad))
    (expected, by_network), (found, by_twin) = grads
    torch.testing.assert_close(found, expected)
    assert (by_network != 0).float().mean() > 0.5
    torch.testing.assert_close(by_twin, by_network, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("kind", ["max pool", "max pool behind a loop"])
@pytest.mark.parametrize("way", [*POOLS, "adaptive"])
def test_the_ways_through_max_pools_are_the_same_on_both_forms(kind: str, way: Any) -> None:
    net = network(kind, seed=1)
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 2, (8, *SHAPE)).astype(np.float32))
    backward = Backward(surrogate=AdaptiveSharpness(), pool="ties") if way == "adaptive" else Backward(pool=way)
    grads, plain = [], []
    for model in (net, Twin(lowered(net))):
        for found, chosen in ((grads, backward), (plain, None)):
            with attack_gradient(model, chosen):
                x = images.clone().requires_grad_()
                found.append(torch.autograd.grad(functional.cross_entropy(model(x), torch.arange(8) % 4), x)[0])
    torch.testing.assert_close(grads[1], grads[0], rtol=1e-3, atol=1e-7)
    assert torch.equal(*(one[0] for one in (grads, plain))) == (way == "first")
    own = Twin(lowered(net), or_neurons=True)
    x = images.clone().requires_grad_()
    functional.cross_entropy(own(x), torch.arange(8) % 4).backward()
    assert x.grad is not None
    if way == "neuron":
        torch.testing.assert_close(x.grad, grads[1], rtol=1e-3, atol=1e-7)


def test_on_the_default_recipe_gradients_are_equal_where_all_spikes_are() -> None:
    net = quantized_network(build_network(Recipe(), (1, 8, 8), 10, seed=0).eval(), 8)
    nodes, grids = to_nir(net, (1, 8, 8))
    program = lower_graph(flatten(nodes, "graph"), Deployment(4, 8, ORIGINS["spikeproof"], grids))
    twin = Twin(program)
    assert list(twin.ors) == ["pool1", "pool2"]
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (60, 1, 8, 8)).astype(np.float32) / 255)
    grads = []
    for model in (net, twin):
        x = images.clone().requires_grad_()
        functional.cross_entropy(model(x), torch.arange(60) % 10, reduction="sum").backward()
        assert x.grad is not None
        grads.append(x.grad.flatten(1))
    fired = Spikes(net)(images)
    counts = {name: torch.stack(part.sent) for name, part in twin.run(twin.messages(images)).items()}
    same = torch.stack([(fired[name] == counts[name]).transpose(0, 1).flatten(1).all(1) for name in fired]).all(0)
    assert same.float().mean() > 0.3
    cosine = functional.cosine_similarity(*grads)
    assert float(cosine[same].min()) > 0.999
    apart = functional.cosine_similarity(grads[0], _gradient(Twin(program, or_neurons=True), images))
    assert float(apart[same].median()) < 0.9  # the surrogate of a neuron is another derivative


class Spikes:
    """Every spike of a network's LIF layers, by name, (time, samples, ...)."""

    def __init__(self, net: SpikingNetwork) -> None:
        self.net = net

    @torch.no_grad()
    def __call__(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        found: dict[str, torch.Tensor] = {}
        neurons = [(name, part) for name, part in self.net.named_layers() if isinstance(part, LIF)]
        handles = [
            part.register_forward_hook(lambda _m, _i, out, name=name: found.__setitem__(name, out))
            for name, part in neurons
        ]
        self.net(images)
        for handle in handles:
            handle.remove()
        return found


def _gradient(model: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    x = images.clone().requires_grad_()
    functional.cross_entropy(model(x), torch.arange(len(x)) % 10, reduction="sum").backward()
    assert x.grad is not None
    return x.grad.flatten(1)


def test_an_attack_knows_whether_a_twin_has_max_pools() -> None:
    shared = Backward(pool="ties")
    assert fitted(shared, Twin(lowered(network("max pool", 1)))) == shared
    assert fitted(shared, Twin(lowered(network("pool", 1)))) is None


def test_sharper_surrogates_change_the_gradient_and_nothing_else() -> None:
    program = lowered(network("chain", 2))
    images = torch.rand(4, *SHAPE, generator=torch.Generator().manual_seed(0))
    found = []
    for alpha in (1.0, 8.0):
        x = images.clone().requires_grad_()
        logits = Twin(program, surrogate=Surrogate("arctan", alpha))(x)
        logits.sum().backward()
        found.append((logits.detach(), x.grad))
    assert torch.equal(found[0][0], found[1][0])
    assert not torch.allclose(found[0][1], found[1][1])


def test_images_are_rounded_as_the_coder_rounds_them(images: np.ndarray) -> None:
    program = lowered(network("chain", 3))
    pictures = np.random.default_rng(4).random((50, *SHAPE)).astype(np.float32)
    messages = Twin(program).messages(torch.from_numpy(pictures))
    np.testing.assert_array_equal(messages.numpy(), direct_integers(pictures, STEPS))


@pytest.mark.parametrize("kind", ["membrane", "first_spike"])
def test_every_read_out_has_a_gradient(kind: Any) -> None:
    weight = 2 * np.random.default_rng(0).integers(-40, 90, (3, 6))
    program = Program(
        input=Input(shape=(6,), message_bits=4),
        populations=(Population(name="p", shape=(3,), du=900, dv=300, vth=4000, bias=np.zeros(3, dtype=np.int32)),),
        synapses=(Dense(source="input", target="p", weight=weight, exponent=-1),),
        readout=Readout(population="p", kind=kind),
        steps=6,
    )
    sent = np.random.default_rng(1).integers(0, 16, (6, 5, 6))
    expected = LoihiTarget().compile(program).run(sent).output
    x = torch.from_numpy(sent).float().requires_grad_()
    logits = Twin(program, gain=1.0)(x)
    scale = 64 * 4000 if kind == "membrane" else 6
    np.testing.assert_allclose(logits.detach().numpy(), expected / scale, rtol=1e-6)
    logits.sum().backward()
    assert x.grad is not None
    assert (x.grad != 0).any()


def test_graded_messages_and_bias_coded_input_pass_gradients() -> None:
    coded = Population(
        name="coded", shape=(4,), du=4095, dv=500, vth=40, bias_exponent=3, bias=np.arange(4), input_bias=True
    )
    join = Graded(name="join", shape=(4,), vth=0, message_bits=3)
    head = Population(name="head", shape=(2,), du=4095, dv=500, vth=9, bias=np.zeros(2, dtype=np.int32))
    program = Program(
        input=Input(shape=(4,), message_bits=8, scale=1 / 255),
        populations=(coded, join, head),
        synapses=(
            Dense(source="coded", target="join", weight=np.eye(4, dtype=np.int32), sign="excitatory"),
            Dense(source="join", target="head", weight=2 * np.array([[1, -2, 3, 4], [3, 1, -1, 2]])),
        ),
        readout=Readout(population="head"),
        steps=6,
    )
    x = torch.rand(5, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    Twin(program)(x).sum().backward()
    assert x.grad is not None
    assert (x.grad != 0).float().mean() > 0.3


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: torch.zeros(2, 4, 4), "shape"),
        (lambda: torch.zeros(STEPS, 2, *SHAPE) + 0.5, "must be integers"),
        (lambda: torch.zeros(STEPS, 2, *SHAPE) + 256, "must be integers of 0 to 255"),
        (lambda: torch.zeros(2, *SHAPE) + 1.1, r"must lie in \[0, 1\]"),
        (lambda: torch.full((2, *SHAPE), float("nan")), r"must lie in \[0, 1\]"),
    ],
)
def test_wrong_input_is_refused(make: Callable[[], torch.Tensor], why: str) -> None:
    with pytest.raises(InputError, match=why):
        Twin(lowered(network("chain", 0)))(make())


def test_sums_beyond_float64_are_refused() -> None:
    program = lowered(network("chain", 0)).model_copy()
    # A synapse that wide would need gigabytes.
    object.__setattr__(program, "bound", lambda synapse: 2**53)
    with pytest.raises(UnsupportedError, match=r"twin: synapse 'input' -> 'lif': sums up to 9007\d+ exceed 2\^53"):
        Twin(program)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_gpu_computes_the_same(programs: Any, messages: Any) -> None:
    program = lowered(network("join", 5))
    images = torch.rand(16, *SHAPE, generator=torch.Generator().manual_seed(0))
    assert torch.equal(Twin(program).cuda()(images.cuda()).cpu(), Twin(program)(images))


def test_logits_of_a_membrane_are_those_of_the_network() -> None:
    model = ModelSettings(channels=[2], readout="membrane", kind="delayed", gain=3.0)
    network = build_network(Recipe(model=model, coding=CodingSettings(steps=STEPS)), SHAPE, 3)
    quantized = quantized_network(network.eval(), 8)
    nodes, grids = to_nir(quantized, SHAPE)
    program = lower_graph(flatten(nodes, "graph"), Deployment(STEPS, 8, ORIGINS["spikeproof"], grids))
    x = torch.rand(4, *SHAPE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted, found = quantized(x), Twin(program, gain=3.0)(x)
    # Leaks are rounded, so a spike may differ; logits a hundred times too small would not pass.
    torch.testing.assert_close(found, wanted, atol=0.1 * float(wanted.abs().max()), rtol=0)
