"""Graphs of other frameworks, measured: every figure against the framework itself or NumPy."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from spikeproof.eval.agreement import foreign
from spikeproof.eval.agreement.foreign import Told, load_graph, lowered, measure
from spikeproof.eval.agreement.samples import load_samples
from spikeproof.eval.records.foreign import Foreign
from spikeproof.export.lowering.lower import Deployment, Lowered
from spikeproof.export.nir.graph import Graph
from spikeproof.export.program import Program
from spikeproof.hw_targets.loihi.simulator import LoihiTarget
from spikeproof.hw_targets.onnx import OnnxTarget
from spikeproof.hw_targets.target import CompiledProgram, Raster, Target, Trace, get_target
from spikeproof.toolkit.errors import FileError, InputError, UnsupportedError

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # nirtorch deprecates what the frameworks call
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

STEPS, TEST = 16, 500


def framework(name: str) -> Any:
    top = name.partition(".")[0]
    pytest.importorskip(top, reason=f"{top} is not installed; run 'make setup'")
    return import_module(name)


@dataclass(frozen=True)
class Origin:
    """A network in its own framework: what it fires, and its file."""

    path: Path
    told: Told
    spikes: list[np.ndarray]
    real: np.ndarray

    @property
    def classes(self) -> np.ndarray:
        return self.spikes[-1].sum(0).argmax(1)


def watched(net: nn.Module, layers: list[nn.Module], x: Tensor, fold: bool = False) -> list[np.ndarray]:
    """Return what some layers send, (time, batch, ...), while the network runs step by step, or on all steps folded."""
    sent: list[list[Tensor]] = [[] for _ in layers]
    hooks = [
        layer.register_forward_hook(
            lambda _m, _i, out, kept=kept: kept.append(out[0] if isinstance(out, tuple) else out)
        )
        for layer, kept in zip(layers, sent, strict=True)
    ]
    with torch.no_grad():
        if fold:
            net(x.transpose(0, 1).flatten(0, 1))
        else:
            state = None
            for now in x:
                out = net(now, state) if state is not None else net(now)
                state = out[1] if isinstance(out, tuple) else None
    for hook in hooks:
        hook.remove()
    steps, batch = x.shape[:2]
    parts = [kept[0].unflatten(0, (batch, steps)).transpose(0, 1) if fold else torch.stack(kept) for kept in sent]
    return [part.numpy() for part in parts]


def samples_of(origin: Origin, graph: Graph, labels: np.ndarray | None = None, **options: Any) -> Any:
    path = origin.path.with_suffix(".npz")
    np.savez(path, x=origin.real, **({} if labels is None else {"y": labels}))
    shapes = list(graph.shapes.values())
    return load_samples(path, shapes[0], shapes[-1], **options)


def snn_leaky(size: int, **options: Any) -> nn.Module:
    snn = framework("snntorch")
    options = {"reset_mechanism": "zero", "spike_grad": snn.surrogate.atan(alpha=2.0)} | options
    layer: nn.Module = snn.Leaky(
        beta=torch.full((size,), 0.8), threshold=torch.full((size,), 1.0), init_hidden=True, **options
    )
    return layer


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> tuple[Origin, np.ndarray]:
    """An MLP trained by snnTorch on handwritten digits, shown for 16 steps, and the labels of its test images."""
    framework("snntorch")
    torch.manual_seed(0)
    data = load_digits()
    images, labels = (data.images / 16).astype(np.float32).reshape(-1, 64), data.target
    neurons = [snn_leaky(64), snn_leaky(10)]
    net = nn.Sequential(nn.Linear(64, 64), neurons[0], nn.Linear(64, 10), neurons[1])

    def forget() -> None:
        for neuron in neurons:
            neuron.reset_mem()

    optimizer = torch.optim.Adam(net.parameters(), 5e-3)
    x, y = torch.from_numpy(images[:-TEST]), torch.from_numpy(labels[:-TEST])
    for _ in range(6):
        for part in torch.randperm(len(x)).split(64):
            forget()
            logits = torch.stack([net(x[part]) for _ in range(STEPS)]).mean(0) * 10
            optimizer.zero_grad()
            nn.functional.cross_entropy(logits, y[part]).backward()
            optimizer.step()
    real = images[-TEST:]
    forget()
    spikes = watched(net, neurons, torch.from_numpy(real).expand(STEPS, *real.shape))
    forget()
    graph = framework("snntorch.export_nir").export_to_nir(net, x[:1], ignore_dims=[0])
    path = tmp_path_factory.mktemp("digits") / "digits.nir"
    nir.write(str(path), graph)
    return Origin(path, Told("snntorch", reset="zero"), spikes, real), labels[-TEST:]


@dataclass(frozen=True)
class Ready:
    origin: Origin
    graph: Graph
    made: Lowered
    samples: Any
    labels: np.ndarray

    @property
    def program(self) -> Program:
        return self.made.program

    def measure(self, *targets: str) -> Foreign:
        return measure(self.graph, self.made, self.origin.told.settings(), self.samples, list(targets))


@pytest.fixture(scope="module")
def ready(digits: tuple[Origin, np.ndarray]) -> Ready:
    origin, labels = digits
    graph, _ = load_graph(origin.path, origin.told)
    samples = samples_of(origin, graph, labels, steps=STEPS)
    made = lowered(graph, Deployment(STEPS, samples.input_bits, origin.told.settings()), "digits.nir")
    return Ready(origin, graph, made, samples, labels)


def test_a_network_of_snntorch_keeps_its_accuracy_as_integers(ready: Ready) -> None:
    found = ready.measure("loihi", "twin", "onnx")
    trained = (ready.origin.classes == ready.labels).mean()
    assert trained > 0.85, "a network that knows nothing proves nothing"
    # What counts as float accuracy is snnTorch's own, up to membranes within rounding of the threshold.
    assert found.float_accuracy is not None
    assert abs(found.float_accuracy.value - trained) <= 2 / TEST
    messages = np.broadcast_to(np.rint(255 * ready.origin.real).astype(np.int32), (STEPS, TEST, 64))
    trace = LoihiTarget().compile(ready.program).run(messages, rasters=True)
    assert [one.target for one in found.targets] == ["loihi", "twin", "onnx"]
    for one in found.targets:
        assert one.accuracy is not None
        assert one.accuracy.correct == (trace.classes == ready.labels).sum()
        assert one.accuracy.value >= found.float_accuracy.value - 0.03
    assert found.equal
    places = STEPS * TEST * (64 + 10)
    assert [one.compared for one in found.targets] == [0, 3 * places, 3 * places]
    assert abs(found.same_class.correct - (trace.classes == ready.origin.classes).sum()) <= 2
    for row, expected, raster in zip(found.spikes, ready.origin.spikes, trace.rasters.values(), strict=True):
        assert row.compared == expected.size
        assert row.float_rate == pytest.approx(expected.mean(), abs=1e-4)
        assert row.program_rate == raster.spikes.mean()
        assert row.share == pytest.approx((expected.astype(bool) != raster.spikes).mean(), abs=2e-4)
        assert 0 < row.share < 0.02


def test_batches_add_up(ready: Ready, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ready.measure("loihi", "onnx")
    monkeypatch.setattr(foreign, "BATCH", 37)
    assert ready.measure("loihi", "onnx") == whole


def test_fewer_weight_bits_change_more_spikes(ready: Ready) -> None:
    settings = ready.origin.told.settings()
    shares = []
    for bits in (8, 5, 3):
        program = lowered(ready.graph, Deployment(STEPS, 8, settings, bits=bits), "digits.nir")
        found = measure(ready.graph, program, settings, ready.samples, ["loihi"])
        shares.append(found.spikes[0].share)
        assert {synapse.bits for synapse in program.program.synapses} == {bits}
    assert shares == sorted(shares)
    assert shares[-1] > 3 * shares[0]


class Liar(Target[Program]):
    """ONNX Runtime, with one spike of the second batch turned."""

    name, summary = "liar", "wrong"

    def __init__(self) -> None:
        self.runs = 0

    def unsupported(self, network: Program) -> list[str]:
        return []

    def _compile(self, network: Program) -> Any:
        compiled = OnnxTarget().compile(network)
        assert isinstance(compiled, CompiledProgram)
        honest = compiled._run

        def lie(inputs: np.ndarray, rasters: bool, track: Any) -> Trace:
            trace = honest(inputs, rasters, track)
            self.runs += 1
            if self.runs != 2:
                return trace
            name = network.populations[0].name
            spikes = trace.rasters[name].spikes.copy()
            spikes[3, 5, 7] ^= True
            return replace(trace, rasters={**trace.rasters, name: replace(trace.rasters[name], spikes=spikes)})

        compiled._run = lie  # type: ignore[method-assign]
        return compiled


class Refuses(Target[Program]):
    name, summary = "refuses", "nothing runs here"

    def unsupported(self, network: Program) -> list[str]:
        return ["the moon is full", "and high"]

    def _compile(self, network: Program) -> Any:
        raise AssertionError("refused Programs are not compiled")


@pytest.fixture
def more_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    made = {"liar": Liar, "refuses": Refuses}
    monkeypatch.setattr(foreign, "get_target", lambda name: made[name]() if name in made else get_target(name))


def test_one_wrong_spike_is_found_and_placed(ready: Ready, more_targets: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign, "BATCH", 100)
    found = ready.measure("loihi", "liar")
    assert not found.equal
    name = ready.program.populations[0].name
    assert (found.targets[1].different, found.targets[1].first) == (1, ("spikes", name, (3, 105, 7)))
    assert f"first spikes of population {name!r} at step 3, sample 105, neuron (7,)" in found.first_difference()


def test_a_target_that_refuses_is_told_and_the_others_run(ready: Ready, more_targets: None) -> None:
    found = ready.measure("refuses", "onnx", "loihi")
    assert found.refused == {"refuses": ["the moon is full", "and high"]}
    assert [one.target for one in found.targets] == ["onnx", "loihi"]
    with pytest.raises(UnsupportedError, match=r"no target can run the Program: target 'refuses': the moon is full"):
        ready.measure("refuses")
    with pytest.raises(InputError, match="target 'torch': runs no Programs"):
        ready.measure("loihi", "torch")


# --- other frameworks, deployed as they can be: hard reset, one spike a step


def jelly() -> tuple[nir.NIRGraph, Told, Callable[[Tensor], list[np.ndarray]], dict[str, Any]]:
    neuron = framework("spikingjelly.activation_based.neuron")
    functional = framework("spikingjelly.activation_based.functional")
    layers = [neuron.LIFNode(tau=3.0), neuron.IFNode()]
    net = nn.Sequential(nn.Linear(12, 20), layers[0], nn.Linear(20, 6), layers[1])

    def run(x: Tensor) -> list[np.ndarray]:
        functional.reset_net(net)
        return watched(net, layers, x)

    export = framework("spikingjelly.activation_based.nir_exchange").export_to_nir
    louder(net, 5.0)
    functional.set_step_mode(net, "s")
    return export(net, torch.zeros(1, 12)), Told("spikingjelly"), run, {}


def norse() -> tuple[nir.NIRGraph, Told, Callable[[Tensor], list[np.ndarray]], dict[str, Any]]:
    cell = framework("norse.torch.module.lif_box").LIFBoxCell
    parameters = framework("norse.torch.functional.lif_box").LIFBoxParameters
    layers = [cell(parameters(v_th=torch.as_tensor(0.3)), dt=1e-3) for _ in range(2)]
    net = framework("norse.torch").SequentialState(nn.Linear(12, 20), layers[0], nn.Linear(20, 6), layers[1])
    louder(net, 8.0)
    graph = framework("norse.torch.utils.export_nir").to_nir(net, torch.zeros(12), dt=1e-3)
    return graph, Told("norse"), lambda x: watched(net, layers, x), {"compression": None}


def sinabs(**options: Any) -> tuple[nir.NIRGraph, Told, Callable[[Tensor], list[np.ndarray]], dict[str, Any]]:
    activation = framework("sinabs.activation")
    options = {"spike_fn": activation.SingleSpike, "reset_fn": activation.MembraneReset()} | options
    layer = framework("sinabs.layers").LIFSqueeze
    layers = [layer(tau_mem=5.0, num_timesteps=STEPS, norm_input=True, **options) for _ in range(2)]
    net = nn.Sequential(nn.Linear(12, 20), layers[0], nn.Linear(20, 6), layers[1])
    louder(net, 15.0)

    def run(x: Tensor) -> list[np.ndarray]:
        for neuron in layers:
            neuron.reset_states()
        return watched(net, layers, x, fold=True)

    graph = framework("sinabs.nir").to_nir(net, torch.zeros(STEPS, 12))
    return graph, Told("sinabs", reset="zero", one_spike=True), run, {"compression": None}


def louder(net: nn.Module, factor: float) -> None:
    with torch.no_grad():
        for layer in net.modules():
            if isinstance(layer, nn.Linear):
                layer.weight *= factor


@pytest.mark.parametrize("make", [jelly, norse, sinabs])
def test_other_frameworks_run_through_to_integers(make: Callable[[], Any], tmp_path: Path) -> None:
    torch.manual_seed(0)
    made, told, run, options = make()
    nir.write(str(tmp_path / "net.nir"), made, **options)
    real = (np.random.default_rng(0).random((STEPS, 100, 12)) > 0.5).astype(np.float32)
    origin = Origin(tmp_path / "net.nir", told, run(torch.from_numpy(real)), real)
    graph, _ = load_graph(origin.path, told)
    samples = samples_of(origin, graph)
    assert (samples.input_bits, samples.labels) == (0, None)
    made_of_it = lowered(graph, Deployment(STEPS, 0, told.settings()), "net.nir")
    program = made_of_it.program
    assert program.input.message_bits == 0
    found = measure(graph, made_of_it, told.settings(), samples, ["loihi", "twin", "onnx"])
    assert found.equal
    assert found.float_accuracy is None
    assert all(one.accuracy is None for one in found.targets)
    trace = LoihiTarget().compile(program).run(real.astype(np.int32), rasters=True)
    for row, expected, raster in zip(found.spikes, origin.spikes, trace.rasters.values(), strict=True):
        assert 0.02 < row.float_rate < 0.9
        assert row.float_rate == pytest.approx(expected.mean(), abs=1e-3)
        assert row.share == pytest.approx((expected.astype(bool) != raster.spikes).mean(), abs=3e-3)
        assert row.share < 0.05
    assert found.same_class.value > 0.85


# --- refused, each with one line that says what to do


def written(tmp_path: Path, v_reset: float = 0.0, threshold: float = 1.0) -> Path:
    ones = np.ones(3)
    nodes = {
        "input": nir.Input({"input": np.array([2])}),
        "fc": nir.Affine(np.arange(6.0).reshape(3, 2), np.zeros(3)),
        "lif": nir.LIF(4e-4 * ones, 4 * ones, 0 * ones, threshold * ones, v_reset * ones),
        "output": nir.Output({"output": np.array([3])}),
    }
    nir.write(str(tmp_path / "g.nir"), nir.NIRGraph(nodes, [("input", "fc"), ("fc", "lif"), ("lif", "output")]))
    return tmp_path / "g.nir"


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        (Told(), "needs a time step"),
        (Told(dt=1e-4), "say it with --reset"),
        (Told("snntorch"), "say it with --reset"),
        (Told("snntorch", reset="subtract_later"), "reset by 'subtract_later', which Loihi does not have"),
        (Told("sinabs", dt=1e-4), "reset by 'subtract', which Loihi does not have"),
        (Told("sinabs", dt=1e-4, reset="zero"), "sends several spikes a step"),
    ],
)
def test_what_a_file_leaves_open_is_asked_for(told: Told, reason: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=reason) as caught:
        load_graph(written(tmp_path), told)
    assert str(caught.value).startswith(f"{tmp_path / 'g.nir'}: ")
    assert "\n" not in str(caught.value)


def test_a_graph_by_the_word_of_nir_needs_only_its_time_step(tmp_path: Path) -> None:
    graph, warnings = load_graph(written(tmp_path), Told("nir", dt=1e-4))
    assert [*graph.nodes] == ["input", "fc", "lif", "output"]
    assert any("v_reset = 0 of 'lif' may have been a soft reset" in text for text in warnings)


def test_a_network_of_sinabs_as_it_comes_is_refused(tmp_path: Path) -> None:
    activation = framework("sinabs.activation")
    graph, _, _, options = sinabs(spike_fn=activation.MultiSpike, reset_fn=activation.MembraneSubtract())
    nir.write(str(tmp_path / "net.nir"), graph, **options)
    with pytest.raises(UnsupportedError, match=r"net\.nir: .*reset by 'subtract', which Loihi does not have.*1 more"):
        load_graph(tmp_path / "net.nir", Told("sinabs"))


def test_what_cannot_be_read_or_lowered_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.nir").write_bytes(b"no")
    with pytest.raises(FileError, match=r"bad\.nir: not a readable NIR file"):
        load_graph(tmp_path / "bad.nir", Told("nir"))
    told = Told("nir", dt=1e-4)
    graph, _ = load_graph(written(tmp_path, v_reset=0.5), told)
    with pytest.raises(UnsupportedError, match=r"^g\.nir: node 'lif': starts at 0 and resets to v_reset = 0\.5"):
        lowered(graph, Deployment(4, 8, told.settings()), "g.nir")
    graph, _ = load_graph(written(tmp_path, threshold=1e6), told)
    with pytest.raises(UnsupportedError, match=r"^g\.nir: node 'lif': threshold"):
        lowered(graph, Deployment(4, 8, told.settings()), "g.nir")
    graph, _ = load_graph(written(tmp_path), told)
    with pytest.raises(UnsupportedError, match=r"^g\.nir: does not fit a Program: steps: "):
        lowered(graph, Deployment(2**20, 8, told.settings()), "g.nir")


def test_rasters_that_are_read_are_of_the_windows(ready: Ready) -> None:
    # The last population's window starts a step later; were it read on the clock, all its spikes would be shifted.
    trace = LoihiTarget().compile(ready.program).run(ready.samples.messages(slice(0, 50)), rasters=True)
    raster: Raster = trace.rasters[ready.program.populations[-1].name]
    shifted = np.concatenate([np.zeros_like(raster.spikes[:1]), raster.spikes[:-1]])
    expected = ready.origin.spikes[-1][:, :50].astype(bool)
    assert (shifted != expected).mean() > 3 * (raster.spikes != expected).mean()
