"""Files and graphs of other frameworks as networks: named, read out, attacked, fine-tuned, lowered, or refused."""

import itertools
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch
from torch import nn

import spikeproof as sp
from spikeproof.export.nir.adopt import adopt_nir, adopt_nir_proven
from spikeproof.export.nir.dynamics import Settings
from spikeproof.export.nir.execute import run_graph
from spikeproof.export.nir.graph import flatten
from spikeproof.export.nir.roundtrip import run_nir
from spikeproof.export.nir.write import read_nir, write_nir
from spikeproof.toolkit.config import parse_recipe
from spikeproof.toolkit.data import Dataset
from spikeproof.toolkit.errors import DisagreementError, InputError, UnsupportedError
from spikeproof.toolkit.models.layers import described
from spikeproof.toolkit.network.network import SpikingNetwork

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # nirtorch deprecates what the frameworks call
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
DT = 1e-4


# --- names, read-outs, what is refused


def lif(size: int, **changes: Any) -> nir.LIF:
    values = {"tau": 2e-4, "r": 2.0, "v_leak": 0.0, "v_threshold": 1.0, "v_reset": 0.0, **changes}
    return nir.LIF(**{name: np.full(size, value) for name, value in values.items()})


def drawn(edges: str, shape: tuple[int, ...] = (3,), **nodes: Any) -> nir.NIRGraph:
    ends = {"i": nir.Input({"input": np.array(shape)}), "o": nir.Output({"output": np.array([3])})}
    pairs = [tuple(edge.split(">")) for edge in edges.split()]
    return nir.NIRGraph({**ends, **nodes}, pairs, type_check=False)


def test_names_that_a_layer_cannot_have_are_made_so() -> None:
    names = ["forward", "a b", "a_b", "input", "ä" * 150]
    nodes = {name: lif(3) for name in names}
    edges = list(itertools.pairwise(["i", *names, "o"]))
    full = {**drawn("").nodes, **nodes}
    network, _ = adopt_nir(nir.NIRGraph(full, edges, type_check=False), 2)
    layers = [row["name"] for row in described(network)]
    assert layers[1:4] == ["forward_2", "a_b", "a_b_2"]
    parse_recipe({"model": {"kind": "layers", "layers": described(network)}}, "test")


def test_the_read_out_is_the_graphs_own_also_where_it_feeds_back() -> None:
    rng = np.random.default_rng(0)
    graph = drawn("i>a a>b b>w w>b b>o", a=nir.Linear(rng.normal(size=(3, 3))), b=lif(3), w=nir.Linear(np.eye(3)))
    network, shape = adopt_nir(graph, 4)
    assert network.readout == "b"
    assert network.recurrent
    assert network.hidden() == []
    x = torch.rand(5, *shape)
    found: dict[str, torch.Tensor] = {}
    logits = network.logits(network.spikes(x, lambda name, signal: found.update({name: signal})))
    assert torch.equal(logits, 10 * found["b"].mean(0))
    program = sp.lower(sp.quantize(network), shape, check=x.numpy())
    assert program.readout.population == "b"


def test_a_membrane_that_is_read_gives_its_last_value() -> None:
    graph = drawn("i>a a>b b>o", a=nir.Linear(np.eye(3)), b=nir.I(np.full(3, 1e4)))
    network, shape = adopt_nir(graph, 4)
    x = torch.rand(5, *shape)
    torch.testing.assert_close(network(x), 10 * x.flatten(1))


def test_a_bias_of_the_current_becomes_one_of_the_voltage_channel_by_channel() -> None:
    # u settles at b / (1 - 1/2) = 2 b, w_in at 1 and R at 2: the voltage gains share of both, 1/2 x 2 x 2 b.
    bias, tau = np.array([0.25, -0.5]), np.full((2, 2, 2), 2e-4)
    conv = nir.Conv2d(None, np.ones((2, 1, 2, 2)), (1, 1), (0, 0), (1, 1), 1, bias)
    cell = nir.CubaLIF(tau, tau, 2 + 0 * tau, 0 * tau, 1 + 0 * tau, 0 * tau, 1 + 0 * tau)
    nodes = {"a": conv, "b": cell, "f": nir.Flatten({"input": None}, 0, -1), "c": nir.Linear(np.eye(8)), "d": lif(8)}
    network, shape = adopt_nir(drawn("i>a a>b b>f f>c c>d d>o", (1, 3, 3), **nodes), 4)
    quantized = sp.quantize(network)
    cells = quantized.layers.get_submodule("b")
    assert cells.rest.flatten().tolist() == [0.25, -0.5]
    assert spikes(quantized, np.ones((1, *shape), np.float32)).keys() == {"b", "d"}


def test_a_read_out_that_leaks_neuron_by_neuron_is_refused_for_the_chip_only() -> None:
    tau = np.array([2e-4, 3e-4, 4e-4])
    graph = drawn("i>a a>b b>o", a=nir.Linear(np.eye(3)), b=nir.LI(tau, np.ones(3), np.zeros(3)))
    network, shape = adopt_nir(graph, 4)
    assert network(torch.rand(2, *shape)).shape == (2, 3)
    with pytest.raises(UnsupportedError, match="layer 'b': a read-out membrane that leaks"):
        sp.lower(sp.quantize(network), shape)


def test_a_tie_in_float64_fires_where_the_origin_does() -> None:
    graph = flatten(drawn("i>a a>o", a=nir.IF(*(np.full(3, value) for value in (1e4, 0.5, 0.0)))), "g")
    x = torch.full((1, 1, 3), 0.5, dtype=torch.float64)
    for at in (False, True):
        assert run_graph(graph, x, Settings(DT, at_threshold=at), torch.float64)["a"].sum() == 3 * at


@pytest.mark.parametrize(
    ("graph", "options", "why"),
    [
        (drawn("i>a a>o", a=lif(3)), {"settings": "snntorch"}, "say how the network was trained: reset ="),
        (drawn("i>a a>o", (3, 4, 4), a=lif(1)), {}, r"output has shape \(3, 4, 4\), expected \(classes,\)"),
        (drawn("i>a a>o", a=lif(3, tau=-1.0)), {}, "graph: node 'a': tau must be above 0"),
        (drawn("i>a a>o", a=lif(3, tau=1e-45)), {}, "graph: node 'a': population: keep holds NaN or infinity"),
    ],
)
def test_what_cannot_be_adopted_is_refused_with_the_reason(graph: Any, options: dict[str, Any], why: str) -> None:
    with pytest.raises(UnsupportedError, match=why):
        adopt_nir(graph, 4, **options)


def test_settings_are_said_once() -> None:
    with pytest.raises(InputError, match="settings say all of dt, reset"):
        adopt_nir(drawn("i>a a>o", a=lif(3)), 4, Settings(DT), reset="zero")


@pytest.mark.parametrize("reset", ["subtract_later", "zero"])
def test_the_origins_own_output_shows_how_its_neurons_reset(reset: str) -> None:
    snn, export = framework("snntorch"), framework("snntorch.export_nir").export_to_nir
    beta, threshold = torch.full((6,), 0.8), torch.full((6,), 0.5)
    layer = snn.Leaky(beta, threshold, init_hidden=True, reset_mechanism="subtract")
    dense = nn.Linear(12, 6)
    net = nn.Sequential(dense, layer)
    with torch.no_grad():
        dense.weight *= 4
    graph = export(net, torch.rand(1, 12), ignore_dims=[0])
    images = torch.rand(20, 12)
    layer.reset_mem()
    with torch.no_grad():
        origin = torch.stack([net(images) for _ in range(8)]).numpy()
    assert 0 < origin.mean() < 1
    if reset == "zero":
        with pytest.raises(DisagreementError, match=r"output 'output': \d+ of 960 values differ, first at step \d"):
            adopt_nir_proven(graph, images, 8, "snntorch", reset=reset, reference=origin)
        return
    found = adopt_nir_proven(graph, images, 8, "snntorch", reset=reset, reference=origin)
    assert found.shape == (12, 1, 1)
    assert found.images.shape == (20, 12, 1, 1)
    ((layer_name, (_, compared)),) = found.proof.spikes.items()
    assert compared == origin.size
    assert "reset by subtraction" in found.reasons[layer_name]
    with torch.no_grad():
        expected = 10 * torch.from_numpy(origin).mean(0)
        assert (found.network(found.images) - expected).abs().max() <= 10 / 8 * (found.proof.differing > 0) + 1e-5


@pytest.mark.parametrize(
    ("sample", "reference", "why"),
    [
        (np.zeros((2, 4)), None, r"sample of shape \(2, 4\), expected \(samples, 3, 1, 1\)"),
        (np.zeros((2, 3)), np.zeros((4, 3, 3)), r"reference of shape \(4, 3, 3\), expected \(4, 2, 3\)"),
    ],
)
def test_a_sample_of_another_shape_is_refused(sample: np.ndarray, reference: Any, why: str) -> None:
    with pytest.raises(InputError, match=why):
        adopt_nir_proven(drawn("i>a a>o", a=lif(3)), sample, 4, reference=reference)


# --- a file of each framework walks the whole road

STEPS = 5
SHAPE = (64, 1, 1)


def framework(name: str) -> Any:
    top = name.partition(".")[0]
    pytest.importorskip(top, reason=f"{top} is not installed; run 'make setup'")
    return import_module(name)


def weights() -> tuple[nn.Linear, nn.Linear]:
    first, last = nn.Linear(64, 24, bias=False), nn.Linear(24, 10, bias=False)
    with torch.no_grad():
        first.weight *= 4
        last.weight *= 4
    return first, last


def of_snntorch() -> tuple[nir.NIRGraph, dict[str, Any], str | None]:
    snn, export = framework("snntorch"), framework("snntorch.export_nir").export_to_nir
    a, b = weights()

    def leaky(size: int) -> nn.Module:
        beta, threshold = torch.full((size,), 0.5), torch.full((size,), 1.0)
        layer: nn.Module = snn.Leaky(beta, threshold, init_hidden=True, reset_mechanism="zero")
        return layer

    return (
        export(nn.Sequential(a, leaky(24), b, leaky(10)), torch.rand(1, 64), ignore_dims=[0]),
        {"settings": "snntorch", "reset": "zero"},
        "gzip",
    )


def of_spikingjelly() -> tuple[nir.NIRGraph, dict[str, Any], str | None]:
    neuron = framework("spikingjelly.activation_based.neuron")
    functional_ = framework("spikingjelly.activation_based.functional")
    export = framework("spikingjelly.activation_based.nir_exchange").export_to_nir
    a, b = weights()
    net = nn.Sequential(a, neuron.LIFNode(), b, neuron.IFNode())
    functional_.set_step_mode(net, "m")
    return export(net, torch.rand(STEPS, 2, 64)), {"settings": "spikingjelly"}, "gzip"


def of_sinabs() -> tuple[nir.NIRGraph, dict[str, Any], str | None]:
    layers, activation = framework("sinabs.layers"), framework("sinabs.activation")
    a, b = weights()
    options = {"spike_fn": activation.SingleSpike, "reset_fn": activation.MembraneReset(), "num_timesteps": STEPS}
    net = nn.Sequential(a, layers.IAFSqueeze(**options), b, layers.IAFSqueeze(**options))
    with torch.no_grad():
        net(torch.rand(STEPS, 64))
    how = {"settings": "sinabs", "reset": "zero", "one_spike": True}
    return framework("sinabs.nir").to_nir(net, torch.rand(STEPS, 64)), how, None


def of_norse() -> tuple[nir.NIRGraph, dict[str, Any], str | None]:
    norse, export = framework("norse.torch"), framework("norse.torch.utils.export_nir").to_nir
    a, b = weights()
    lif_, iaf = norse.LIFBoxCell, framework("norse.torch.module.iaf").IAFCell
    slow = norse.LIFBoxParameters(tau_mem_inv=torch.tensor(500.0))
    net = norse.SequentialState(a, lif_(p=slow), b, iaf())
    return export(net, torch.rand(64)), {"settings": "norse"}, None


@pytest.fixture(scope="module")
def digits() -> Dataset:
    data = sp.load_data("digits", train_samples=300, test_samples=40)
    parts = [images.reshape(-1, *SHAPE) for images in (data.train_images, data.test_images)]
    return sp.load_data("features", arrays=(parts[0], data.train_labels, parts[1], data.test_labels))


@pytest.mark.parametrize("make", [of_snntorch, of_spikingjelly, of_sinabs, of_norse])
def test_a_file_of_each_framework_is_attacked_fine_tuned_lowered_and_run(
    make: Callable[[], tuple[nir.NIRGraph, dict[str, Any], str | None]], digits: Dataset, tmp_path: Path
) -> None:
    graph, how, compression = make()
    nir.write(str(tmp_path / "theirs.nir"), graph, compression=compression)
    network, shape = adopt_nir(tmp_path / "theirs.nir", STEPS, **how)
    assert shape == SHAPE
    images, labels = digits.test_images, digits.test_labels
    attacked = sp.attack(network, (images, labels), "pgd", epsilon=16 / 255, steps=3)
    assert (attacked.images != images).any()
    before = [part.clone() for part in network.parameters()]
    quantized = sp.quantize(network, digits, epochs=1)
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
    program = sp.lower(quantized, shape, check=images)
    # Sums of binary input are exact in any arithmetic, so that all three must agree on every spike.
    binary = (images > 0.5).astype(np.float32)
    write_nir(tmp_path / "ours.nir", quantized, shape)
    executed = run_nir(*read_nir(tmp_path / "ours.nir"), binary)
    trace = sp.get_target("loihi").compile(program).run(quantized.coder.integers(binary), rasters=True)
    expected = spikes(quantized, binary)
    assert expected
    for name, raster in expected.items():
        assert 0 < raster.mean() < 1, name
        np.testing.assert_array_equal(executed[name].numpy(), raster, err_msg=f"NIR, {name}")
        np.testing.assert_array_equal(trace.rasters[name].spikes, raster != 0, err_msg=f"loihi, {name}")


def spikes(network: SpikingNetwork, images: np.ndarray) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    with torch.no_grad():
        network.spikes(torch.from_numpy(images), lambda name, signal: found.update({name: signal.numpy()}))
    return {name: found[name] for name in network.populations()}


def test_three_frameworks_at_least_are_here() -> None:
    names = ("snntorch", "spikingjelly", "sinabs", "norse")
    assert sum(find_spec(name) is not None for name in names) >= 3, "run 'make setup'"
