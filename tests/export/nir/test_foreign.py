"""Other frameworks' networks, exported by their own exporters: our execution fires the spikes of the origin.

Every network is run in its framework on random input, exported, written, read by our reader and executed. Where the
framework can compute in float64, all spikes are equal; in float32 at most 3 in 1000 may differ, where a membrane lies
within rounding of its threshold. A wrong reset, gain or time step changes percents (the last test shows it).
"""

import itertools
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nir
import pytest
import torch
from torch import Tensor, nn

from spikeproof.export.nir.dynamics import Settings, settings_of
from spikeproof.export.nir.execute import run_graph
from spikeproof.export.nir.graph import Graph, flatten
from spikeproof.export.nir.read import read_graph
from spikeproof.toolkit.errors import FileError

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # nirtorch deprecates what the frameworks call
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

STEPS, BATCH, TOLERANCE = 30, 4, 3e-3


def framework(name: str) -> Any:
    """Import a module of a framework, or skip: they are installed by 'make setup', without their dependencies."""
    top = name.partition(".")[0]
    pytest.importorskip(top, reason=f"{top} is not installed; run 'make setup'")
    return import_module(name)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def spikes(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return (torch.rand(STEPS, BATCH, *shape) > 0.5).to(dtype)


def through_a_file(graph: nir.NIRGraph, folder: Path, compression: str | None = "gzip") -> Graph:
    nir.write(str(folder / "foreign.nir"), graph, compression=compression)
    return flatten(read_graph(folder / "foreign.nir"), "foreign.nir")


def differ(graph: Graph, x: Tensor, settings: Settings, expected: Tensor) -> float:
    """Return the share of output values that differ from the origin's, which must fire, but not always."""
    assert 0 < (expected > 0).double().mean() < 1
    assert graph.shapes["output"] == tuple(expected.shape[2:])
    found = run_graph(graph, x, settings, x.dtype)["output"]
    return float((found != expected).double().mean())


def louder(net: nn.Module, factor: float = 3.0) -> nn.Module:
    """Scale all weights, so that the network fires."""
    with torch.no_grad():
        for layer in net.modules():
            if isinstance(layer, nn.Linear | nn.Conv2d | nn.Conv1d):
                layer.weight *= factor
    return net


# --- snnTorch 1.0.0: Euler, dt 1e-4, R = tau/dt, w_in = tau_syn/dt, all three resets written as v_reset = 0


def snn_layer(kind: str, shape: tuple[int, ...], **options: Any) -> nn.Module:
    snn = framework("snntorch")
    options = {"init_hidden": True, "threshold": torch.full(shape, 0.5), "beta": torch.full(shape, 0.8)} | options
    if kind in ("Synaptic", "RSynaptic"):
        options["alpha"] = torch.full(shape, 0.6)
    if kind in ("RLeaky", "RSynaptic") and "V" not in options:
        options["linear_features"] = shape[0]
    layer: nn.Module = getattr(snn, kind)(**options)
    return layer


def snn_run(net: nn.Module, x: Tensor) -> tuple[nir.NIRGraph, Tensor]:
    export = framework("snntorch.export_nir").export_to_nir
    graph = export(net, x[0, :1], ignore_dims=[0])
    for layer in net.modules():
        if hasattr(layer, "reset_mem"):
            layer.reset_mem()
    with torch.no_grad():
        return graph, torch.stack([net(now) for now in x])


SNN_RESETS = {  # (mechanism, reset_delay): our name of it for (Leaky, the other layers)
    ("zero", True): ("zero", "zero_later"),
    ("zero", False): ("zero", "zero"),
    ("subtract", True): ("subtract_later", "subtract_later"),
    ("none", True): ("none", "none"),
}


@pytest.mark.parametrize("kind", ["Leaky", "Synaptic", "RLeaky", "RSynaptic"])
@pytest.mark.parametrize("reset", SNN_RESETS)
def test_snntorch_layers(kind: str, reset: tuple[str, bool], tmp_path: Path) -> None:
    options = {"reset_mechanism": reset[0], "reset_delay": reset[1]}
    net = louder(
        nn.Sequential(
            nn.Linear(12, 20), snn_layer(kind, (20,), **options), nn.Linear(20, 6), snn_layer(kind, (6,), **options)
        )
    )
    x = spikes(12)
    if (kind, reset) == ("RSynaptic", ("zero", False)):
        with pytest.raises(ValueError, match="empty graph"):  # a layer that snnTorch 1.0.0 cannot export
            snn_run(net, x)
        return
    graph, expected = snn_run(net, x)
    flat = through_a_file(graph, tmp_path)
    settings = replace(settings_of("snntorch"), reset=SNN_RESETS[reset][kind != "Leaky"])
    assert bool(flat.feedback) == kind.startswith("R")
    assert differ(flat, x, settings, expected) <= TOLERANCE


@pytest.mark.parametrize(("factor", "equal"), [(2.0, True), (5.0, False)])
def test_snntorch_subtracting_at_once_is_subtract_while_membranes_are_low(
    factor: float, equal: bool, tmp_path: Path
) -> None:
    def leaky(size: int) -> nn.Module:
        return snn_layer(
            "Leaky", (size,), reset_mechanism="subtract", reset_delay=False, threshold=torch.full((size,), 1.5)
        )

    net = louder(nn.Sequential(nn.Linear(12, 20), leaky(20), nn.Linear(20, 6), leaky(6)), factor)
    x = spikes(12)
    graph, expected = snn_run(net, x)
    share = differ(through_a_file(graph, tmp_path), x, replace(settings_of("snntorch"), reset="subtract"), expected)
    assert share <= TOLERANCE if equal else share > 3 * TOLERANCE


def test_snntorch_recurrence_one_to_one(tmp_path: Path) -> None:
    layer = snn_layer("RLeaky", (20,), all_to_all=False, V=torch.randn(20), reset_mechanism="zero", reset_delay=False)
    net = louder(
        nn.Sequential(nn.Linear(12, 20), layer, nn.Linear(20, 6), snn_layer("Leaky", (6,), reset_mechanism="zero"))
    )
    x = spikes(12)
    graph, expected = snn_run(net, x)
    assert differ(through_a_file(graph, tmp_path), x, settings_of("snntorch"), expected) <= TOLERANCE


@pytest.mark.parametrize("options", [{"kernel_size": 3, "padding": 1}, {"kernel_size": 2, "groups": 2, "stride": 2}])
def test_snntorch_convolutions(options: dict[str, Any], tmp_path: Path) -> None:
    conv = nn.Conv2d(2, 4, **options)
    shape = tuple(conv(torch.zeros(1, 2, 8, 8)).shape[1:])
    pooled = 4 * (shape[1] // 2) ** 2
    net = nn.Sequential(
        conv,
        snn_layer("Leaky", shape, reset_mechanism="zero"),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(pooled, 6),
        snn_layer("Leaky", (6,), reset_mechanism="zero"),
    )
    x = spikes(2, 8, 8)
    graph, expected = snn_run(louder(net, 2.0), x)
    assert differ(through_a_file(graph, tmp_path), x, settings_of("snntorch"), expected) <= TOLERANCE


def test_snntorch_cannot_export_what_is_documented_nor_kernels_that_are_not_square() -> None:
    beta = nn.Sequential(nn.Linear(12, 6), framework("snntorch").Leaky(beta=0.8, init_hidden=True))
    with pytest.raises(ValueError, match="type mismatch"):
        snn_run(beta, spikes(12))
    wide = nn.Sequential(nn.Conv2d(2, 4, (3, 5)), snn_layer("Leaky", (4, 6, 4)))
    with pytest.raises(ValueError, match="type mismatch"):
        snn_run(wide, spikes(2, 8, 8))


# --- SpikingJelly 2.0.0: Euler, dt 1e-4 or as given, fires at the threshold, refuses soft reset itself


JELLIES = ["IFNode", "LIFNode", "ParametricLIFNode", "CUBALIFNode"]


def jelly_run(net: nn.Module, x: Tensor, **options: Any) -> tuple[nir.NIRGraph, Tensor]:
    functional = framework("spikingjelly.activation_based.functional")
    export = framework("spikingjelly.activation_based.nir_exchange").export_to_nir
    functional.set_step_mode(net, "m")
    graph = export(net, x, **options)
    functional.reset_net(net)
    with torch.no_grad():
        return graph, net(x)


def jelly_mlp(kind: str, **options: Any) -> nn.Module:
    neuron = getattr(framework("spikingjelly.activation_based.neuron"), kind)
    layer = framework("spikingjelly.activation_based.layer")
    net = nn.Sequential(layer.Linear(12, 20), neuron(**options), layer.Linear(20, 6, bias=False), neuron(**options))
    return louder(net, 5.0).double()


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        *itertools.product(JELLIES, [{}, {"v_reset": -0.3, "v_threshold": 0.5}]),
        *itertools.product(JELLIES[1:3], [{"decay_input": False}]),
    ],
)
def test_spikingjelly_neurons(kind: str, options: dict[str, Any], tmp_path: Path) -> None:
    x = spikes(12, dtype=torch.float64)
    graph, expected = jelly_run(jelly_mlp(kind, **options), x)
    assert differ(through_a_file(graph, tmp_path), x, settings_of("spikingjelly"), expected) == 0


def test_spikingjelly_fires_at_the_threshold_where_nir_does_not(tmp_path: Path) -> None:
    neuron = framework("spikingjelly.activation_based.neuron").IFNode
    net = nn.Sequential(nn.Linear(2, 1, bias=False), neuron()).double()
    net[0].weight.data.fill_(0.5)
    x = torch.ones(STEPS, BATCH, 2, dtype=torch.float64)
    x[::2] = 0
    graph, expected = jelly_run(net, x)
    flat = through_a_file(graph, tmp_path)
    assert differ(flat, x, settings_of("spikingjelly"), expected) == 0
    assert differ(flat, x, replace(settings_of("spikingjelly"), at_threshold=False), expected) > 0.2


@pytest.mark.parametrize("dt", [1e-4, 1e-3])
def test_spikingjelly_convolutions_at_the_time_step_they_were_exported_with(dt: float, tmp_path: Path) -> None:
    layer = framework("spikingjelly.activation_based.layer")
    neuron = framework("spikingjelly.activation_based.neuron")
    net = nn.Sequential(
        layer.Conv2d(2, 4, 3, stride=2, padding=1),
        neuron.LIFNode(),
        layer.AvgPool2d(2),
        layer.Flatten(),
        layer.Linear(16, 6),
        neuron.IFNode(),
    )
    x = spikes(2, 8, 8, dtype=torch.float64)
    graph, expected = jelly_run(louder(net, 4.0).double(), x, dt=dt)
    flat = through_a_file(graph, tmp_path)
    assert differ(flat, x, settings_of("spikingjelly", dt), expected) == 0
    assert differ(flat, x, settings_of("spikingjelly", 2 * dt), expected) > 0.01


@pytest.mark.parametrize("kind", ["IFNode", "LIFNode"])
def test_spikingjelly_refuses_soft_reset_itself(kind: str) -> None:
    with pytest.raises(NotImplementedError, match="NIR does not distinguish soft reset"):
        jelly_run(jelly_mlp(kind, v_reset=None), spikes(12, dtype=torch.float64))


# --- sinabs 3.1.3: exact decay, time in steps, R = 1, subtracts, fires at the threshold, several spikes a step


def sinabs_run(net: nn.Module, x: Tensor, square: bool = False) -> tuple[nir.NIRGraph, Tensor]:
    batch_first = x.transpose(0, 1).flatten(0, 1)
    with torch.no_grad():
        expected = net(batch_first).unflatten(0, (BATCH, STEPS)).transpose(0, 1)
    graph = framework("sinabs.nir").to_nir(net, batch_first[:STEPS])
    if square:
        graph.infer_types()  # without it the package cannot write the convolution's shape
    return graph, expected


@pytest.mark.parametrize("spike_fn", ["MultiSpike", "SingleSpike"])
@pytest.mark.parametrize("reset_fn", ["MembraneSubtract", "MembraneReset"])
@pytest.mark.parametrize("kind", ["IAF", "LIF", "LIF, input as it is"])
def test_sinabs_neurons(kind: str, spike_fn: str, reset_fn: str, tmp_path: Path) -> None:
    layers, activation = framework("sinabs.layers"), framework("sinabs.activation")
    options: dict[str, Any] = {
        "spike_fn": getattr(activation, spike_fn),
        "reset_fn": getattr(activation, reset_fn)(),
        "num_timesteps": STEPS,
    }
    if kind != "IAF":
        options |= {"tau_mem": 5.0, "norm_input": kind == "LIF"}

    def neuron() -> Any:
        return layers.IAFSqueeze(**options) if kind == "IAF" else layers.LIFSqueeze(**options)

    net = louder(nn.Sequential(nn.Linear(12, 20), neuron(), nn.Linear(20, 6), neuron()), 15.0)
    x = spikes(12)
    graph, expected = sinabs_run(net, x)
    settings = settings_of(
        "sinabs",
        reset="subtract" if reset_fn == "MembraneSubtract" else "zero",
        one_spike=spike_fn == "SingleSpike",
        unscaled=kind == "LIF, input as it is",
    )
    # One number stands for a layer, which the package writes only without compression.
    flat = through_a_file(graph, tmp_path, compression=None)
    assert differ(flat, x, settings, expected) <= TOLERANCE
    assert (expected.max() > 1) == (spike_fn == "MultiSpike")


def test_sinabs_convolutions(tmp_path: Path) -> None:
    layers = framework("sinabs.layers")
    first, last = (layers.IAFSqueeze(num_timesteps=STEPS) for _ in range(2))
    net = nn.Sequential(nn.Conv2d(2, 4, 3), first, layers.SumPool2d(2), nn.Flatten(), nn.Linear(36, 6), last)
    x = spikes(2, 8, 8)
    graph, expected = sinabs_run(net, x, square=True)
    assert differ(through_a_file(graph, tmp_path), x, settings_of("sinabs"), expected) <= TOLERANCE


def test_sinabs_cannot_export_average_pooling() -> None:
    net = nn.Sequential(nn.AvgPool2d(2), framework("sinabs.layers").IAFSqueeze(num_timesteps=STEPS))
    with pytest.raises(NotImplementedError, match="AvgPool2d"):
        sinabs_run(net, spikes(2, 8, 8))


# --- norse 1.1.0: Euler with its own dt of 1 ms, tau written as dt times the time constant, CubaLIF's w_in not used


def norse_neuron(kind: str, dt: float = 1e-3) -> Any:
    module, parameters = (framework(f"norse.torch.{part}.{kind}") for part in ("module", "functional"))
    name = {"lif": "LIF", "lif_box": "LIFBox", "iaf": "IAF"}[kind]
    fields = {"v_th": torch.as_tensor(0.3)} | ({} if kind == "iaf" else {"v_leak": torch.as_tensor(0.05)})
    return getattr(module, f"{name}Cell")(getattr(parameters, f"{name}Parameters")(**fields), dt=dt)


def norse_net(*layers: nn.Module) -> Any:
    return framework("norse.torch").SequentialState(*layers)


def norse_run(net: Any, x: Tensor, sample: Tensor, **options: Any) -> tuple[nir.NIRGraph, Tensor]:
    state, sent = None, []
    with torch.no_grad():
        for now in x:
            out, state = net(now, state)
            sent.append(out)
    return framework("norse.torch.utils.export_nir").to_nir(net, sample, **options), torch.stack(sent)


@pytest.mark.parametrize("kind", ["lif", "lif_box", "iaf"])
@pytest.mark.parametrize("dt", [1e-3, 2e-3])
def test_norse_neurons(kind: str, dt: float, tmp_path: Path) -> None:
    net = norse_net(nn.Linear(12, 20), norse_neuron(kind, dt), nn.Linear(20, 6), norse_neuron(kind, dt))
    x = spikes(12, dtype=torch.float64)
    graph, expected = norse_run(louder(net, 8.0).double(), x, x[0, 0], dt=dt)
    flat = through_a_file(graph, tmp_path, compression=None)
    assert differ(flat, x, settings_of("norse", dt * dt), expected) == 0


def test_norse_convolutions(tmp_path: Path) -> None:
    net = norse_net(
        nn.Conv2d(2, 4, (3, 5), padding=1), norse_neuron("lif"), nn.Conv2d(4, 2, 3, groups=2), norse_neuron("iaf")
    )
    x = spikes(2, 8, 8, dtype=torch.float64)
    graph, expected = norse_run(louder(net).double(), x, x[0, 0])
    for name, shape in (("0", (8, 8)), ("2", (8, 6))):
        graph.nodes[name].input_shape = shape  # without it the package cannot write the file
    flat = through_a_file(graph, tmp_path, compression=None)
    assert flat.shapes["0"] == (4, 8, 6)
    assert differ(flat, x, settings_of("norse"), expected) == 0


def test_a_batch_that_norse_counted_is_left_out_with_a_word(tmp_path: Path) -> None:
    net = norse_net(nn.Linear(12, 6), norse_neuron("lif"))
    x = spikes(12, dtype=torch.float64)
    graph, expected = norse_run(louder(net, 8.0).double(), x, x[0, :1])
    flat = through_a_file(graph, tmp_path, compression=None)
    assert flat.shapes["input"] == (1, 12)
    ((node, text),) = flat.assumed
    assert node == "0"
    assert "taken as a batch of one" in text
    assert differ(flat, x[:, :, None], settings_of("norse"), expected) == 0


def test_norse_cannot_export_recurrence(tmp_path: Path) -> None:
    net = norse_net(
        nn.Linear(12, 20), framework("norse.torch").LIFRecurrentCell(20, 20), nn.Linear(20, 6), norse_neuron("lif")
    )
    graph, _ = norse_run(net, spikes(12), spikes(12)[0, 0])
    assert graph.nodes["1"] is None
    with pytest.raises(AttributeError, match="to_dict"):
        nir.write(str(tmp_path / "n.nir"), graph, compression=None)
    with pytest.raises(FileError):
        read_graph(tmp_path / "n.nir")


# --- the comparison can fail


WRONG: list[dict[str, Any]] = [{"reset": "subtract"}, {"reset": "none"}, {"dt": 2e-4}, {"several": True}]
WRONG += [{"integration": "exponential"}, {"added": frozenset({"LIF"}), "dt": 5e-5}]


@pytest.mark.parametrize("wrong", WRONG)
def test_other_settings_than_those_of_the_origin_are_found_out(wrong: dict[str, Any], tmp_path: Path) -> None:
    first, last = (snn_layer("Leaky", (size,), reset_mechanism="zero") for size in (20, 6))
    net = nn.Sequential(nn.Linear(12, 20), first, nn.Linear(20, 6), last)
    x = spikes(12)
    graph, expected = snn_run(louder(net), x)
    flat = through_a_file(graph, tmp_path)
    assert differ(flat, x, settings_of("snntorch"), expected) <= TOLERANCE
    assert differ(flat, x, replace(settings_of("snntorch"), **wrong), expected) > 3 * TOLERANCE


def test_three_frameworks_at_least_are_here() -> None:
    # The others are skipped where they are absent; this test sees to it that they are not all skipped.
    names = ("snntorch", "spikingjelly", "sinabs", "norse")
    assert sum(find_spec(name) is not None for name in names) >= 3, "run 'make setup'"
