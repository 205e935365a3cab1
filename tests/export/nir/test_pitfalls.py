"""The ways in which NIR files go wrong, one test each (docs/nir.md lists them).

Where a released package has the fault, the test shows it there first: the day it is mended, we want to know.
"""

import itertools
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nir
import nirtorch
import numpy as np
import pytest
import snntorch
import torch
from scipy.signal import correlate
from snntorch.export_nir import export_to_nir
from snntorch.import_nir import import_from_nir
from torch import Tensor, nn

from spikeproof.export.lint import check
from spikeproof.export.lowering.lower import lower
from spikeproof.export.nir.dynamics import Settings, settings_of
from spikeproof.export.nir.execute import run_graph
from spikeproof.export.nir.graph import Graph, flatten
from spikeproof.export.nir.nodes import KINDS
from spikeproof.export.nir.read import read_graph
from spikeproof.export.nir.write import read_nir, to_nir, write_nir
from spikeproof.hw_targets.loihi.simulator import LoihiTarget
from spikeproof.toolkit.coding import direct_integers
from spikeproof.toolkit.errors import UnsupportedError
from spikeproof.toolkit.network.network import SpikingNetwork
from spikeproof.toolkit.network.neurons import LIF
from spikeproof.toolkit.quantize import quantized_network

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
Make = Callable[..., SpikingNetwork]
DT = 1e-4
RNG = np.random.default_rng(0)


def neuron(*shape: int, r: float = 4.0) -> nir.LIF:
    return nir.LIF(*(np.full(shape, value) for value in (4 * DT, r, 0.0, 1.0, 0.0)))


def raw(shape: tuple[int, ...], *nodes: Any) -> nir.NIRGraph:
    full = {"input": nir.Input({"input": np.array(shape)}), **{f"n{i}": node for i, node in enumerate(nodes)}}
    full["output"] = nir.Output({"output": np.array(shape)})
    return nir.NIRGraph(full, list(itertools.pairwise(full)), type_check=False)


def chain(shape: tuple[int, ...], *nodes: Any) -> Graph:
    return flatten(raw(shape, *nodes), "g")


def run(graph: Graph, x: np.ndarray | Tensor, settings: Settings) -> np.ndarray:
    return run_graph(graph, torch.as_tensor(x), settings, torch.float64)["output"].numpy()


def findings(folder: Path, graph: nir.NIRGraph, **options: Any) -> dict[str, str]:
    nir.write(str(folder / "g.nir"), graph, compression=None)
    return {finding.code: finding.severity for finding in check(folder / "g.nir", **options).findings}


def snn_mlp(reset: str) -> nn.Module:
    torch.manual_seed(0)

    def leaky(size: int) -> nn.Module:
        beta, threshold = torch.full((size,), 0.9), torch.full((size,), 0.5)
        layer: nn.Module = snntorch.Leaky(beta, threshold, init_hidden=True, reset_mechanism=reset)
        return layer

    return nn.Sequential(nn.Linear(12, 20), leaky(20), nn.Linear(20, 6), leaky(6))


def snn_run(net: nn.Module, x: Tensor) -> Tensor:
    for layer in net.modules():
        if hasattr(layer, "reset_mem"):
            layer.reset_mem()
    with torch.no_grad():
        return torch.stack([net(now) for now in x])


def test_1_the_bias_of_the_file_is_the_one_that_is_used(tmp_path: Path) -> None:
    weight, bias = RNG.normal(size=(3, 4)).astype(np.float32), np.array([5, 6, 7], dtype=np.float32)
    graph = raw((4,), nir.Affine(weight, bias))
    x = RNG.normal(size=(1, 2, 4)).astype(np.float32)
    expected = x @ weight.T + bias
    theirs = nirtorch.nir_to_torch(graph, {})(torch.from_numpy(x[0]))
    theirs = (theirs[0] if isinstance(theirs, tuple) else theirs).detach().numpy()
    assert not np.allclose(theirs, expected[0], atol=1), "nirtorch reads the bias now"
    nir.write(str(tmp_path / "g.nir"), graph)
    found = run_graph(flatten(read_graph(tmp_path / "g.nir"), "g"), torch.from_numpy(x), Settings(DT))["output"]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)
    assert findings(tmp_path, graph)["bias-elsewhere"] == "note"


def test_2_soft_reset_is_not_taken_for_hard_reset_unseen(exact: Make, tmp_path: Path) -> None:
    x = (torch.rand(50, 4, 12) > 0.3).float()
    files, shares = [], {}
    for reset, meant in (("zero", "zero"), ("subtract", "subtract_later"), ("none", "none")):
        net = snn_mlp(reset)
        graph = export_to_nir(net, x[0, :1], ignore_dims=[0])
        files.append(graph.to_dict())
        expected = snn_run(net, x).numpy()
        flat = flatten(graph, "g")
        by_its_word = run(flat, x, settings_of("snntorch"))
        told = run(flat, x, settings_of("snntorch", reset=meant))
        shares[reset] = float((by_its_word != expected).mean())
        assert (told != expected).mean() < 3e-3
        assert findings(tmp_path, graph, origin="snntorch")["reset-unknown"] == "error"
        told_codes = findings(tmp_path, graph, origin="snntorch", reset=meant)
        assert "reset-unknown" not in told_codes
        assert (told_codes.get("soft-reset") == "error") == (reset != "zero")
    for name in ("1", "3"):
        for other in files[1:]:
            for field, value in files[0]["nodes"][name].items():
                np.testing.assert_array_equal(value, other["nodes"][name][field])
    assert shares["zero"] < 3e-3 < 0.03 < min(shares["subtract"], shares["none"])
    # Ours refuses to write what NIR cannot say.
    for reset in ("subtract", "none"):
        network = exact()
        # snnTorch derives the state function from the mechanism when it is set.
        network.layers.lif2.neuron.reset_mechanism = reset
        with pytest.raises(UnsupportedError, match="layer 'lif2': reset"):
            to_nir(network, (1, 8, 8))


def test_3_shapes_of_kernels_that_are_not_square_and_of_groups_are_right(tmp_path: Path) -> None:
    conv = nn.Conv2d(2, 4, (3, 5))
    weight, bias = (p.detach().numpy() for p in (conv.weight, conv.bias))
    node = nir.Conv2d((10, 10), weight, 1, 0, 1, 1, bias)
    assert list(node.output_type["output"]) == [4, 8, 8], "nir infers from both sides now"
    assert chain((2, 10, 10), node).shapes["n0"] == tuple(conv(torch.zeros(1, 2, 10, 10)).shape[1:]) == (4, 8, 6)
    assert findings(tmp_path, raw((2, 10, 10), node))["kernel-shape"] == "warning"
    grouped = nir.Conv2d((10, 10), RNG.normal(size=(4, 1, 3, 3)), 1, 0, 1, 2, np.zeros(4))
    assert list(grouped.input_type["input"]) == [1, 10, 10], "nir counts the channels of groups now"
    assert chain((2, 10, 10), grouped).shapes["n0"] == (4, 8, 8)
    assert findings(tmp_path, raw((2, 10, 10), grouped))["groups"] == "warning"


def test_4_the_padding_of_pools_is_kept(tmp_path: Path) -> None:
    x = RNG.normal(size=(1, 1, 2, 5, 5))
    graph = raw((2, 5, 5), nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([1, 1])))
    theirs = nirtorch.nir_to_torch(graph, {})(torch.from_numpy(x[0]))
    theirs = theirs[0] if isinstance(theirs, tuple) else theirs
    assert theirs.shape[-2:] == (2, 2), "nirtorch pads pools now"
    padded = np.pad(x[0, 0], [(0, 0), (1, 1), (1, 1)])[:, :6, :6].reshape(2, 3, 2, 3, 2).sum((2, 4))
    size = (np.array([2, 2]), np.array([2, 2]), np.array([1, 1]))
    for kind, share, severity in ((nir.SumPool2d, 1, "warning"), (nir.AvgPool2d, 4, "error")):
        graph = chain((2, 5, 5), kind(*size))
        np.testing.assert_allclose(run(graph, x, Settings(DT))[0, 0], padded / share)
        assert findings(tmp_path, raw((2, 5, 5), kind(*size)))["pool-padding"] == severity
    # Ours writes it; tests/export/test_architectures.py runs such pools on every target.
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        pool=nn.AvgPool2d(2, padding=1), flatten=nn.Flatten(), linear=nn.Linear(9, 2), lif=LIF(0.5, 1.0, 2.0)
    )
    network = quantized_network(SpikingNetwork(layers, 4, 1.0), 8)
    nodes, _ = to_nir(network, (1, 4, 4))
    pool = next(node for node in nodes.nodes.values() if isinstance(node, nir.AvgPool2d))
    np.testing.assert_array_equal(pool.padding, [1, 1])


def test_5_if_neurons_do_not_leak(tmp_path: Path) -> None:
    weights = nir.Linear(np.eye(3, dtype=np.float32))
    theirs = import_from_nir(raw((3,), weights, nir.IF(np.ones(3), np.ones(3))))
    leaky = [layer for layer in theirs.modules() if isinstance(layer, snntorch.Leaky)]
    assert [float(layer.beta) for layer in leaky] == pytest.approx([0.9]), "snnTorch reads IF without a leak now"
    x = RNG.uniform(0, 0.4, size=(60, 2, 3))
    v, expected = np.zeros((2, 3)), []
    for now in x:
        v = v + now
        expected.append(v > 1)
        v = np.where(v > 1, 0, v)
    graph = raw((3,), weights, nir.IF(np.full(3, 1 / DT), np.full(3, 1.0)))
    np.testing.assert_array_equal(run(flatten(graph, "g"), x, Settings(DT)), np.array(expected, dtype=float))
    assert findings(tmp_path, graph, dt=DT)["if-elsewhere"] == "warning"


def test_6_the_time_step_is_demanded_where_the_file_leaves_it_open(exact: Make, tmp_path: Path) -> None:
    graph = raw((4,), nir.Linear(RNG.normal(size=(4, 4))), neuron(4))
    assert findings(tmp_path, graph)["dt-missing"] == "error"
    assert "dt-missing" not in findings(tmp_path, graph, dt=DT)
    x = RNG.uniform(0, 3, size=(40, 4, 4))
    assert (run(flatten(graph, "g"), x, Settings(DT)) != run(flatten(graph, "g"), x, Settings(DT / 2))).mean() > 0.02
    assert findings(tmp_path, graph, dt=DT / 2)["dt-other"] == "warning"
    write_nir(tmp_path / "ours.nir", exact(), (1, 8, 8))
    _, sidecar = read_nir(tmp_path / "ours.nir")
    assert sidecar.time_step == DT


def test_7_the_same_neuron_is_read_by_the_r_of_its_origin(tmp_path: Path) -> None:
    x = RNG.uniform(0, 0.4, size=(60, 2, 3))
    # An integrator that adds its input as it is: SpikingJelly writes R = 1/dt, norse and sinabs R = 1.
    rasters = [
        run(chain((3,), nir.IF(np.full(3, r), np.ones(3))), x, replace(settings_of(origin), reset="zero"))
        for origin, r in (("spikingjelly", 1 / DT), ("norse", 1.0), ("sinabs", 1.0))
    ]
    assert rasters[0].any()
    assert all((raster == rasters[0]).all() for raster in rasters)
    # Taken by the equation, R = 1 is a hundred thousand times weaker.
    assert not run(chain((3,), nir.IF(np.ones(3), np.ones(3))), x, Settings(DT)).any()
    for node in (nir.IF(np.ones(3), np.ones(3)), neuron(3, r=1.0)):
        graph = raw((3,), nir.Linear(np.eye(3)), node)
        assert findings(tmp_path, graph, dt=DT)["r-convention"] == "warning"
        assert "r-convention" not in findings(tmp_path, graph, origin="sinabs")
    # v <- beta v + x is R = tau/dt.
    beta, v, expected = 0.75, np.zeros((2, 3)), []
    for now in x:
        v = beta * v + now
        expected.append(v > 1)
        v = np.where(v > 1, 0, v)
    found = run(chain((3,), neuron(3)), x, settings_of("snntorch"))
    np.testing.assert_array_equal(found, np.array(expected, dtype=float))


def test_8_kernels_are_not_rotated_and_flattening_keeps_the_order(tmp_path: Path) -> None:
    weight = RNG.normal(size=(2, 3, 3, 2))
    x = RNG.normal(size=(1, 1, 3, 5, 4))
    expected = np.stack([correlate(x[0, 0], kernel, "valid")[0] for kernel in weight])
    conv = nir.Conv2d(None, weight, 1, 0, 1, 1, np.zeros(2))
    found = run(chain((3, 5, 4), conv, nir.Flatten({"input": None}, 0, -1)), x, Settings(DT))[0, 0]
    np.testing.assert_allclose(found, expected.reshape(-1), rtol=1e-12)
    assert (
        np.abs(found - np.stack([correlate(x[0, 0], k[:, ::-1, ::-1], "valid")[0] for k in weight]).reshape(-1)).max()
        > 0.1
    )
    graph = raw((3, 5, 4), conv, nir.Flatten({"input": np.array([2, 3, 3])}, 0, -1))
    graph.nodes["n0"].input_shape = (5, 4)
    assert findings(tmp_path, graph)["flatten-order"] == "note"


def test_9_one_beta_a_layer_convolutions_and_size_one_work(exact: Make, tmp_path: Path) -> None:
    scalar = nn.Sequential(nn.Linear(12, 6), snntorch.Leaky(beta=0.9, init_hidden=True))
    with pytest.raises(ValueError, match="type mismatch"):
        export_to_nir(scalar, torch.zeros(1, 12), ignore_dims=[0])
    network = exact()
    assert network.layers.lif2.neuron.beta.numel() == 1
    write_nir(tmp_path / "ours.nir", network, (1, 8, 8))
    graph = nir.read(str(tmp_path / "ours.nir"), type_check=False)
    assert graph.nodes["lif2"].tau.shape == flatten(graph, "g").shapes["lif2"] == (4, 2, 2)
    assert not check(tmp_path / "ours.nir", origin="spikeproof").refused()
    # norse writes one number for a layer.
    small = chain((4,), neuron(1))
    x = RNG.uniform(0, 3, size=(20, 2, 4))
    np.testing.assert_array_equal(run(small, x, Settings(DT)), run(chain((4,), neuron(4)), x, Settings(DT)))
    counted = chain((1, 4), nir.Linear(np.ones((2, 4))), neuron(2))
    assert (counted.shapes["n1"], [name for name, _ in counted.assumed]) == ((2,), ["n0"])
    plain = chain((4,), nir.Linear(np.ones((2, 4))), neuron(2))
    np.testing.assert_array_equal(run(counted, x[:, :, None], Settings(DT)), run(plain, x, Settings(DT)))


def test_10_every_node_of_the_format_is_executed_or_refused_by_name(tmp_path: Path) -> None:
    listed = {kind for kind in vars(nir).values() if isinstance(kind, type) and issubclass(kind, nir.NIRNode)}
    assert listed - {nir.NIRNode, nir.NIRGraph} == set(KINDS)
    one = np.ones((1, 4, 4))
    nodes = [
        nir.Conv2d((4, 4), np.ones((1, 1, 1, 1)), 1, 0, 1, 1, np.zeros(1)),
        neuron(1, 4, 4),
        nir.Scale(one),
        nir.Delay(one * DT),
        nir.CubaLIF(one * DT, one * DT, one, one * 0, one * 0.5),
        nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])),
        nir.Threshold(one[:, :2, :2] / 2),
        nir.AvgPool2d(np.array([2, 2]), np.array([1, 1]), np.array([0, 0])),
        nir.IF(np.full((1, 1, 1), 1 / DT), np.full((1, 1, 1), 0.5)),
        nir.Flatten({"input": np.array([1, 1, 1])}, 0, -1),
        nir.Affine(np.ones((2, 1)), np.ones(2)),
        nir.I(np.ones(2)),
        nir.LI(np.full(2, DT), np.ones(2), np.zeros(2)),
        nir.CubaLI(np.full(2, DT), np.full(2, DT), np.ones(2), np.zeros(2)),
        nir.Linear(np.ones((3, 2))),
    ]
    rest = KINDS - {type(node) for node in nodes} - {nir.Input, nir.Output}
    assert rest == {nir.Conv1d}
    flat = chain((1, 4, 4), *nodes)
    assert run(flat, np.full((9, 2, 1, 4, 4), 2.0), Settings(DT)).shape == (9, 2, 3)
    line = chain((1, 4), nir.Conv1d(4, np.ones((1, 1, 2)), 1, 0, 1, 1, np.zeros(1)))
    assert (run(line, np.ones((1, 1, 1, 4)), Settings(DT)) == 2).all()
    codes = findings(tmp_path, raw((1, 4, 4), *nodes), dt=DT)
    assert codes["not-elsewhere"] == "note"
    assert codes["membrane-sent"] == "error"


def test_11_renaming_a_recurrent_layer_changes_nothing() -> None:
    weight = RNG.normal(size=(4, 4))

    def layer(*names: str) -> nir.NIRGraph:
        start, body, back, end = names
        nodes = {
            start: nir.Input({"input": np.array([4])}),
            body: neuron(4),
            back: nir.Linear(weight),
            end: nir.Output({"output": np.array([4])}),
        }
        return nir.NIRGraph(nodes, [(start, body), (body, back), (back, body), (body, end)])

    x = RNG.uniform(0, 3, size=(40, 2, 4))
    usual = run(chain((4,), layer("input", "lif", "w_rec", "output")), x, Settings(DT))
    renamed = run(chain((4,), layer("z", "y", "a", "b")), x, Settings(DT))
    np.testing.assert_array_equal(usual, renamed)
    assert (usual != run(chain((4,), neuron(4)), x, Settings(DT))).any()


def test_12_biases_and_thresholds_reach_loihi_without_ad_hoc_shifts(exact: Make, tmp_path: Path) -> None:
    network = exact()
    write_nir(tmp_path / "n.nir", network, (1, 8, 8))
    program = lower(*read_nir(tmp_path / "n.nir"))
    assert any(population.bias.any() for population in program.populations)
    images = np.random.default_rng(1).integers(0, 2, (10, 1, 8, 8)).astype(np.float32)
    expected: dict[str, Tensor] = {}
    with torch.no_grad():
        network.spikes(torch.from_numpy(images), lambda name, signal: expected.update({name: signal}))
    target = LoihiTarget()
    trace = target.compile(program).run(direct_integers(images, program.steps), rasters=True)
    for name in network.populations():
        np.testing.assert_array_equal(trace.rasters[name].spikes, expected[name].numpy().astype(bool))
        assert expected[name].any()
