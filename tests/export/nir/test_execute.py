"""Executing graphs; expected values come from NumPy loops over the equations, SciPy's exact solution, or PyTorch."""

import itertools
from dataclasses import replace
from typing import Any

import nir
import numpy as np
import pytest
import torch
from scipy.linalg import expm
from torch import Tensor, nn

from spikeproof.export.nir.dynamics import ORIGINS, Settings, settings_of
from spikeproof.export.nir.execute import run_graph
from spikeproof.export.nir.graph import Graph, flatten
from spikeproof.toolkit.errors import UnsupportedError

RNG = np.random.default_rng(0)
STEPS, BATCH, SIZE = 40, 3, 5


def made(nodes: dict[str, Any], edges: str, shape: tuple[int, ...] = (SIZE,)) -> Graph:
    ends = {"i": nir.Input({"input": np.array(shape)}), "o": nir.Output({"output": np.array(shape)})}
    pairs = [tuple(edge.split(">")) for edge in edges.split()]
    return flatten(nir.NIRGraph({**ends, **nodes}, pairs, type_check=False), "g")


def chain(shape: tuple[int, ...], *nodes: Any) -> Graph:
    named = {f"n{index}": node for index, node in enumerate(nodes)}
    order = ["i", *named, "o"]
    return made(named, " ".join(f"{a}>{b}" for a, b in itertools.pairwise(order)), shape)


def values(low: float, high: float, shape: tuple[int, ...] = (SIZE,)) -> np.ndarray:
    return RNG.uniform(low, high, shape)


def signal(*shape: int) -> Tensor:
    return torch.from_numpy(RNG.uniform(-1, 3, (STEPS, BATCH, *(shape or (SIZE,)))))


def run(graph: Graph, x: Tensor, settings: Settings) -> np.ndarray:
    return run_graph(graph, x, settings, torch.float64)["o"].numpy()


def neuron(kind: str) -> Any:
    tau, tau_syn, r, leak = values(4e-4, 1e-3), values(2e-4, 9e-4), values(0.5, 2), values(-0.2, 0.2)
    threshold, reset, w_in = values(0.6, 1.2), values(-0.3, 0.1), values(0.5, 2)
    return {
        "I": lambda: nir.I(r * 1e4),
        "IF": lambda: nir.IF(r * 1e4, threshold, reset),
        "LI": lambda: nir.LI(tau, r, leak),
        "LIF": lambda: nir.LIF(tau, r, leak, threshold, reset),
        "CubaLI": lambda: nir.CubaLI(tau_syn, tau, r, leak, w_in),
        "CubaLIF": lambda: nir.CubaLIF(tau_syn, tau, r, leak, threshold, reset, w_in),
    }[kind]()


def reference(node: Any, x: np.ndarray, s: Settings) -> tuple[np.ndarray, np.ndarray]:
    """Step through the equations of nir.* with NumPy; return what is sent, and the largest membrane in thresholds."""
    kind = type(node).__name__
    leaky, current = kind not in ("I", "IF"), kind.startswith("Cuba")
    spiking = kind.endswith("IF")
    tau = node.tau_mem if current else getattr(node, "tau", None)

    def share(tau: np.ndarray) -> np.ndarray:
        return s.dt / tau if s.integration == "euler" else 1 - np.exp(-s.dt / tau)

    v = np.zeros(x.shape[1:]) + (node.v_reset if spiking and s.start == "v_reset" else node.v_leak if leaky else 0)
    i = np.zeros(x.shape[1:])
    fired = np.zeros(x.shape[1:])
    sent, high = [], []
    for now in x:
        drive = now
        if current:
            i = (
                i + share(node.tau_syn) * (node.w_in * now - i)
                if kind not in s.added
                else i - share(node.tau_syn) * i + now
            )
            drive = i
        if leaky:
            pushed = drive if kind in s.added and not current else share(tau) * node.r * drive
            v = v + share(tau) * (node.v_leak - v) + pushed
        else:
            v = v + (drive if kind in s.added else s.dt * node.r * drive)
        if not spiking:
            sent.append(v)
            continue
        if s.reset == "subtract_later":
            v = v - fired * node.v_threshold
        if s.reset == "zero_later":
            v = np.where(fired > 0, node.v_reset, v)
        fired = (v >= node.v_threshold if s.at_threshold else v > node.v_threshold).astype(float)
        high.append(v / node.v_threshold)
        if s.several:
            fired = fired * np.floor(v / node.v_threshold)
        sent.append(fired)
        if s.reset == "zero":
            v = np.where(fired > 0, node.v_reset, v)
        if s.reset == "subtract":
            v = v - fired * node.v_threshold
    return np.stack(sent), np.array(high)


SETTINGS = {
    "plain": Settings(1e-4),
    "exact": Settings(1e-4, "exponential"),
    "other step": Settings(2e-4),
    "subtract": Settings(1e-4, reset="subtract"),
    "subtract later": Settings(1e-4, reset="subtract_later"),
    "zero later": Settings(1e-4, reset="zero_later"),
    "no reset": Settings(1e-4, reset="none"),
    "from v_reset": Settings(1e-4, start="v_reset"),
    "several": Settings(1e-4, "exponential", reset="subtract", at_threshold=True, several=True),
    "added": Settings(1e-4, added=frozenset({"CubaLIF", "CubaLI", "IF", "LIF", "LI"})),
}


@pytest.mark.parametrize("kind", ["I", "IF", "LI", "LIF", "CubaLI", "CubaLIF"])
@pytest.mark.parametrize("name", SETTINGS)
def test_neurons_follow_their_equations(kind: str, name: str) -> None:
    node, settings, x = neuron(kind), SETTINGS[name], signal()
    found = run(chain((SIZE,), node), x, settings)
    expected, high = reference(node, x.numpy(), settings)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    assert found.any()
    if kind.endswith("IF"):
        assert np.abs(high - np.rint(high)).min() > 1e-9, "a tie would make the comparison meaningless"
        assert 0 < (found > 0).mean() < 1 or name == "no reset"


def test_the_settings_differ_from_one_another() -> None:
    # Otherwise the comparison above could not tell them apart.
    node, x = neuron("CubaLIF"), signal()
    rasters = [run(chain((SIZE,), node), x, settings) for settings in SETTINGS.values()]
    assert all((a != b).any() for a, b in itertools.combinations(rasters, 2))


def test_exponential_integration_is_exact_where_the_input_is_constant() -> None:
    node, x = neuron("LI"), torch.ones(STEPS, 1, SIZE, dtype=torch.float64)
    found = run(chain((SIZE,), node), x, Settings(3e-4, "exponential"))[:, 0]
    for neuron_, (tau, r, leak) in enumerate(zip(node.tau, node.r, node.v_leak, strict=True)):
        # dv/dt = (leak - v + R) / tau as a linear system of (v, 1).
        matrix = np.array([[-1 / tau, (leak + r) / tau], [0, 0]])
        exact = [(expm(matrix * 3e-4 * (k + 1)) @ [leak, 1])[0] for k in range(STEPS)]
        np.testing.assert_allclose(found[:, neuron_], exact, rtol=1e-10)


@pytest.mark.parametrize(("at_threshold", "fires"), [(False, 0), (True, 1)])
def test_a_membrane_at_its_threshold_fires_only_where_the_origin_does(at_threshold: bool, fires: int) -> None:
    node = nir.IF(np.array([1.0]), np.array([0.5]), np.array([0.0]))
    x = torch.full((1, 1, 1), 0.5)
    assert run_graph(chain((1,), node), x, Settings(1.0, at_threshold=at_threshold))["n0"].sum() == fires


LAYERS: dict[str, tuple[tuple[int, ...], nn.Module]] = {
    "convolution": ((2, 9, 8), nn.Conv2d(2, 4, (3, 5), stride=(1, 2), padding=(2, 1), dilation=(2, 1))),
    "grouped": ((4, 9, 8), nn.Conv2d(4, 6, 3, groups=2)),
    "same": ((2, 9, 8), nn.Conv2d(2, 4, (3, 4), padding="same", dilation=2)),
    "one dimension": ((2, 9), nn.Conv1d(2, 4, 3, stride=2, padding=1)),
    "one dimension, same": ((2, 9), nn.Conv1d(2, 4, 4, padding="same", dilation=2)),
    "average": ((2, 9, 8), nn.AvgPool2d((3, 2), stride=2, padding=(1, 0))),
    "sum": ((2, 9, 8), nn.AvgPool2d(2, divisor_override=1)),
    "flatten": ((2, 9, 8), nn.Flatten(2, -1)),
    "linear": ((5,), nn.Linear(5, 3)),
    "no bias": ((5,), nn.Linear(5, 3, bias=False)),
}


def as_node(layer: Any) -> Any:
    if isinstance(layer, nn.Conv1d | nn.Conv2d):
        kind = nir.Conv1d if isinstance(layer, nn.Conv1d) else nir.Conv2d
        weight, bias = (p.detach().numpy() for p in (layer.weight, layer.bias))
        return kind(None, weight, layer.stride, layer.padding, layer.dilation, layer.groups, bias)
    if isinstance(layer, nn.AvgPool2d):
        kind = nir.AvgPool2d if layer.divisor_override is None else nir.SumPool2d
        return kind(layer.kernel_size, layer.stride, layer.padding)
    if isinstance(layer, nn.Flatten):
        return nir.Flatten({"input": None}, layer.start_dim - 1, layer.end_dim)
    if layer.bias is None:
        return nir.Linear(layer.weight.detach().numpy())
    return nir.Affine(layer.weight.detach().numpy(), layer.bias.detach().numpy())


@pytest.mark.parametrize("name", LAYERS)
def test_layers_give_what_torch_gives(name: str) -> None:
    shape, layer = LAYERS[name]
    x = signal(*shape).float()
    with torch.no_grad():
        expected = layer(x.flatten(0, 1)).unflatten(0, (STEPS, BATCH))
    found = run_graph(chain(shape, as_node(layer)), x, Settings(1.0))["o"]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_scale_threshold_and_delay() -> None:
    x = signal()
    scale, threshold = values(-2, 2), values(0, 2)
    steps = np.array([0, 1, 2, 5, 39])
    found = run(chain((SIZE,), nir.Scale(scale), nir.Threshold(threshold), nir.Delay(steps * 1e-3)), x, Settings(1e-3))
    fired = (x.numpy() * scale > threshold).astype(float)
    expected = np.zeros_like(fired)
    for n, lag in enumerate(steps):
        expected[lag:, :, n] = fired[: STEPS - lag, :, n]
    np.testing.assert_array_equal(found, expected)
    assert found[..., -1].shape[0] == STEPS
    assert found.any()


def test_several_inputs_add_up() -> None:
    x, a, b = signal(), values(-1, 1, (3, SIZE)), values(-1, 1, (3, SIZE))
    graph = made({"a": nir.Linear(a), "b": nir.Linear(b), "s": nir.Scale(np.ones(3))}, "i>a i>b a>s b>s s>o")
    np.testing.assert_allclose(run(graph, x, Settings(1.0)), x.numpy() @ (a + b).T, rtol=1e-12)


def recurrent(before: bool) -> tuple[Graph, Any, dict[str, np.ndarray]]:
    """Make a recurrent LIF layer whose loop closes at the neuron, or before the weights of its input."""
    w = {"in": values(-1, 1, (SIZE, SIZE)), "rec": values(-2, 2, (SIZE, SIZE)), "bias": values(-1, 1)}
    node = neuron("LIF")
    nodes = {"fc": nir.Linear(w["in"]), "lif": node, "rec": nir.Affine(w["rec"], w["bias"])}
    return made(nodes, f"i>fc fc>lif lif>rec rec>{'fc' if before else 'lif'} lif>o"), node, w


@pytest.mark.parametrize("before", [False, True])
def test_feedback_arrives_one_step_later_and_its_bias_is_there_from_the_start(before: bool) -> None:
    graph, node, w = recurrent(before)
    assert len(graph.feedback) == 1
    x = signal()
    rate = 1e-4 / node.tau
    v, spikes = np.zeros((BATCH, SIZE)) + node.v_leak, np.zeros((BATCH, SIZE))
    expected = []
    for now in x.numpy():
        back = spikes @ w["rec"].T + w["bias"]
        drive = (now + back) @ w["in"].T if before else now @ w["in"].T + back
        v = v + rate * (node.v_leak - v + node.r * drive)
        spikes = (v > node.v_threshold).astype(float)
        v = np.where(spikes > 0, node.v_reset, v)
        expected.append(spikes)
    found = run(graph, x, Settings(1e-4))
    np.testing.assert_array_equal(found, np.stack(expected))
    assert 0 < found.mean() < 1


def test_a_long_way_back_is_no_problem() -> None:
    links = [f"s{index}" for index in range(1000)]
    nodes = {"lif": neuron("LIF"), **{name: nir.Scale(np.ones(SIZE)) for name in links}}
    loop = " ".join(f"{a}>{b}" for a, b in itertools.pairwise(["lif", *links, "lif"]))
    x = signal()[:2]
    assert run(made(nodes, f"i>lif lif>o {loop}"), x, Settings(1e-4)).shape == (2, BATCH, SIZE)


def test_step_by_step_and_node_by_node_agree() -> None:
    # A loop of weight 0 forces the other way of running.
    lif, cuba = neuron("LIF"), neuron("CubaLIF")
    w = values(-1, 2, (SIZE, SIZE))
    nodes = {"a": nir.Linear(w), "b": lif, "d": nir.Delay(np.full(SIZE, 3e-4)), "c": cuba}
    x = signal()
    plain = run_graph(made(nodes, "i>a a>b b>d d>c c>o"), x, Settings(1e-4), torch.float64)
    nodes["z"] = nir.Scale(np.zeros(SIZE))
    looped = run_graph(made(nodes, "i>a a>b b>d d>c c>o c>z z>b"), x, Settings(1e-4), torch.float64)
    assert plain.keys() == looped.keys() == {"b", "c", "o"}
    for name, raster in plain.items():
        assert torch.equal(raster, looped[name])
        assert raster.any()


def test_a_graph_can_be_run_again_from_rest() -> None:
    graph, x = chain((SIZE,), neuron("CubaLIF")), signal()
    np.testing.assert_array_equal(run(graph, x, Settings(1e-4)), run(graph, x, Settings(1e-4)))


def test_float32_is_the_default() -> None:
    assert run_graph(chain((SIZE,), neuron("LIF")), signal(), Settings(1e-4))["o"].dtype == torch.float32


@pytest.mark.parametrize(
    ("node", "settings", "why"),
    [
        (nir.Delay(np.full(SIZE, 1.5e-3)), Settings(1e-3), "delays of 1.5 to 1.5 steps of 0.001 s; expected whole"),
        (nir.Delay(np.full(SIZE, -1e-3)), Settings(1e-3), "delays of -1 to -1 steps"),
        (nir.Delay(np.full(SIZE, 10.0)), Settings(1e-3), "delays of 10000 to 10000 steps"),
        (nir.LI(np.zeros(SIZE), np.ones(SIZE), np.zeros(SIZE)), Settings(1e-3), "tau must be above 0, is 0"),
        (
            nir.CubaLI(-np.ones(SIZE), np.ones(SIZE), np.ones(SIZE), np.zeros(SIZE)),
            Settings(1e-3),
            "tau_syn must be above 0, is -1",
        ),
        (
            nir.IF(np.ones(SIZE), np.zeros(SIZE), np.zeros(SIZE)),
            Settings(1e-3, several=True),
            "several spikes a step need a threshold above 0",
        ),
    ],
)
def test_numbers_that_make_no_sense_are_refused_by_node(node: Any, settings: Settings, why: str) -> None:
    with pytest.raises(UnsupportedError, match=f"node 'n0': {why}"):
        run(chain((SIZE,), node), signal(), settings)


@pytest.mark.parametrize("shape", [(4, 2), (4, 2, 6), (0, 2, SIZE), (4, 0, SIZE), (SIZE,)])
def test_input_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UnsupportedError, match=r"expected \(time, batch, 5,\)"):
        run_graph(chain((SIZE,), neuron("LIF")), torch.zeros(shape), Settings(1e-4))


@pytest.mark.parametrize("dt", [0, -1e-4, float("nan"), float("inf")])
def test_an_impossible_time_step_is_refused(dt: float) -> None:
    with pytest.raises(UnsupportedError, match="expected a number above 0"):
        Settings(dt)


def test_origins_are_found_by_name() -> None:
    assert settings_of("snntorch") == ORIGINS["snntorch"]
    assert settings_of("norse", 2e-3) == replace(ORIGINS["norse"], dt=2e-3)
    with pytest.raises(
        UnsupportedError, match="origin 'snntroch' is unknown; choose among nir, norse, sinabs, snntorch"
    ):
        settings_of("snntroch")
