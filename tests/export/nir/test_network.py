"""Networks of NIR graphs: any graph gives what NumPy gives, step by step, and a recipe holds it."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import nir
import numpy as np
import torch
from torch.nn import functional

from spikeproof.export.nir.dynamics import Settings
from spikeproof.export.nir.execute import run_graph
from spikeproof.export.nir.graph import Graph, flatten
from spikeproof.export.nir.network import from_nir, image_shape
from spikeproof.export.nir.nodes import geometry, output_shape
from spikeproof.toolkit.config import parse_recipe
from spikeproof.toolkit.errors import UnsupportedError
from spikeproof.toolkit.models import build_network
from spikeproof.toolkit.models.layers import described

DT = 1e-4
RESETS = ("zero", "subtract", "subtract_later", "zero_later", "none")


# --- random graphs


class Maker:
    """A random graph: a way from the input, with branches, sums, delays and ways back."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        rank = int(self.rng.choice([1, 1, 2, 3, 3, 4]))
        self.shape = tuple(int(size) for size in self.rng.integers(3, 7, rank))
        self.nodes: dict[str, Any] = {"in": nir.Input({"input": np.array(self.shape)})}
        self.shapes = {"in": self.shape}
        self.edges: list[tuple[str, str]] = []

    def values(self, low: float, high: float, shape: tuple[int, ...]) -> np.ndarray:
        """Return one number for all, one a channel, or one a neuron."""
        kept = [(1,) * len(shape), (shape[0], *[1] * (len(shape) - 1)), shape][self.rng.integers(3)]
        return np.broadcast_to(self.rng.uniform(low, high, kept), shape).copy()

    def neuron(self, shape: tuple[int, ...]) -> Any:
        ends = ((3e-4, 1e-3), (2e-4, 9e-4), (0.5, 3), (0.5, 3))
        tau, tau_syn, r, w = (self.values(low, high, shape) for low, high in ends)
        leak = self.values(-0.2, 0.2, shape) * self.rng.integers(2)
        threshold, reset = self.values(0.4, 1.1, shape), self.values(-0.3, 0.1, shape)
        choices: list[Callable[[], Any]] = [
            lambda: nir.IF(r * 1e4, threshold, reset),
            lambda: nir.LIF(tau, r, leak, threshold, reset),
            lambda: nir.CubaLIF(tau_syn, tau, r, leak, threshold, reset, w),
            lambda: nir.I(r * 1e4),
            lambda: nir.LI(tau, r, leak),
            lambda: nir.CubaLI(tau_syn, tau, r, leak, w),
        ]
        return choices[self.rng.choice(6, p=[0.25, 0.35, 0.25, 0.05, 0.05, 0.05])]()

    def other(self, shape: tuple[int, ...]) -> Any:
        rng = self.rng
        weights: dict[int, Callable[[], Any]] = {1: lambda: self.dense(shape[0]), 2: lambda: self.kernel(shape, 1)}
        weights[3] = lambda: self.kernel(shape, 2)
        start = int(rng.integers(len(shape)))
        choices: list[Callable[[], Any]] = [
            lambda: nir.Scale(rng.uniform(-2, 2, shape)),
            lambda: nir.Threshold(self.values(0, 1, shape)),
            lambda: nir.Delay(rng.integers(0, 4, shape) * DT),
            lambda: nir.Delay(np.full(shape, 2 * DT)),
            lambda: nir.Flatten({"input": None}, start, -1),
            lambda: nir.Flatten({"input": None}, 0, -1),
            lambda: nir.AvgPool2d(rng.integers(2, 4, 2), rng.integers(1, 3, 2), np.array([1, 0])),
            lambda: nir.SumPool2d(np.array([2, 2]), np.array([2, 1]), np.array([0, 1])),
            *[weights.get(len(shape), lambda: nir.Scale(np.ones(shape)))] * 6,
        ]
        return choices[rng.integers(len(choices))]()

    def dense(self, inputs: int) -> Any:
        weight = self.rng.normal(size=(self.rng.integers(2, 8), inputs)) * 1.5 / np.sqrt(inputs) + 0.2
        return (
            nir.Affine(weight, self.rng.normal(size=len(weight)) * 0.3) if self.rng.integers(2) else nir.Linear(weight)
        )

    def kernel(self, shape: tuple[int, ...], axes: int) -> Any:
        rng = self.rng
        groups = 1 if shape[0] % 2 else int(rng.integers(1, 3))
        outputs, size = groups * int(rng.integers(1, 4)), rng.integers(1, 5, axes)
        weight, same = rng.normal(size=(outputs, shape[0] // groups, *size)) * 0.5 + 0.1, rng.integers(3) == 0
        stride: Any
        padding: Any
        dilation: Any
        stride, padding, dilation = (rng.integers(low, 3, axes) for low in (1, 0, 1))
        if same:
            stride, padding = np.ones(axes, int), "same"
        kind = nir.Conv1d if axes == 1 else nir.Conv2d
        given = [part if isinstance(part, str) or axes == 2 else int(part[0]) for part in (stride, padding, dilation)]
        return kind(None, weight, *given, groups, rng.normal(size=outputs) * 0.3)

    def add(self, name: str, source: str, node: Any) -> None:
        self.shapes[name] = output_shape(name, node, self.shapes[source])
        self.nodes[name] = node
        self.edges.append((source, name))

    def graph(self) -> Graph:
        rng, last = self.rng, "in"
        for index in range(int(rng.integers(3, 9))):
            inner = [name for name in self.nodes if name != "in"]
            source = last if rng.random() < 0.85 or not inner else inner[rng.integers(len(inner))]
            shape, name = self.shapes[source], f"{'zyxabc'[rng.integers(6)]}.{index}"
            try:
                self.add(name, source, self.neuron(shape) if rng.random() < 0.45 else self.other(shape))
            except (UnsupportedError, AssertionError, ValueError):
                continue  # a kernel larger than its image, or a pool of features
            same = [one for one in inner if self.shapes[one] == shape and one != source]
            if same and rng.random() < 0.3:
                self.edges.append((same[rng.integers(len(same))], name))
            last = name
        inner = [name for name in self.nodes if name != "in"]
        for index in range(int(rng.integers(0, 3)) if inner else 0):
            start, end = (inner[rng.integers(len(inner))] for _ in range(2))
            into = self.shapes[next(a for a, b in self.edges if b == end)]
            if self.shapes[start] == into and (start, end) not in self.edges:
                self.edges.append((start, end))
            elif len(self.shapes[start]) == len(into) == 1:
                weight = rng.normal(size=(into[0], self.shapes[start][0]))
                self.nodes[f"w{index}"] = nir.Affine(weight, rng.normal(size=len(weight)) * 0.4)
                self.edges += [(start, f"w{index}"), (f"w{index}", end)]
        ends = [name for name in inner if self.shapes[name] == self.shapes[last] and name != last]
        self.nodes["out"] = nir.Output({"output": np.array(self.shapes[last])})
        self.edges += [(last, "out")] + [(name, "out") for name in ends[:1] if rng.random() < 0.15]
        while dead := [name for name in self.nodes if name != "out" and all(start != name for start, _ in self.edges)]:
            self.nodes = {name: node for name, node in self.nodes.items() if name not in dead}
            self.edges = [edge for edge in self.edges if not set(edge) & set(dead)]
        return flatten(nir.NIRGraph(self.nodes, self.edges, type_check=False), "g")

    def settings(self) -> Settings:
        rng = self.rng
        added = frozenset({"LIF", "CubaLIF", "IF", "LI"} if rng.integers(2) else ())
        integration, start = rng.choice(["euler", "exponential"]), rng.choice(["v_leak", "v_reset"])
        several = bool(rng.integers(4) == 0)
        return Settings(DT, integration, str(rng.choice(RESETS)), start, bool(rng.integers(2)), several, added)  # type: ignore[arg-type]

    def signal(self) -> np.ndarray:
        return self.rng.uniform(-0.5, 1.5, (int(self.rng.integers(1, 13)), 2, *self.shape))


def graphs(count: int) -> Iterator[tuple[int, Maker, Graph]]:
    for seed in itertools.count():
        if not count:
            return
        maker = Maker(seed)
        try:
            graph = maker.graph()
        except UnsupportedError:
            continue  # a loop that no neuron breaks, or a sum of different shapes
        count -= 1
        yield seed, maker, graph


# --- the reference: NumPy, one node and one step after another


class Neurons:
    def __init__(self, node: Any, s: Settings, shape: tuple[int, ...]) -> None:
        kind = type(node).__name__
        self.node, self.s, self.added = node, s, kind in s.added
        self.leaky, self.fires = kind not in ("I", "IF"), kind.endswith("IF")
        self.tau = getattr(node, "tau_mem", getattr(node, "tau", None))
        starts_reset = self.fires and s.start == "v_reset"
        self.v = np.zeros((2, *shape)) + (node.v_reset if starts_reset else node.v_leak if self.leaky else 0)
        self.i, self.before = np.zeros((2, *shape)), np.zeros((2, *shape))

    def share(self, tau: np.ndarray) -> np.ndarray:
        return self.s.dt / tau if self.s.integration == "euler" else 1 - np.exp(-self.s.dt / tau)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        node, s, added = self.node, self.s, self.added
        if hasattr(node, "tau_syn"):
            drawn = self.share(node.tau_syn)
            self.i = self.i * (1 - drawn) + (x if added else drawn * node.w_in * x)
            x, added = self.i, False
        if self.leaky:
            share = self.share(self.tau)
            self.v = self.v + share * (node.v_leak - self.v) + (x if added else share * node.r * x)
        else:
            self.v = self.v + (x if added else s.dt * node.r * x)
        if not self.fires:
            return self.v
        if s.reset == "subtract_later":
            self.v = self.v - self.before * node.v_threshold
        if s.reset == "zero_later":
            self.v = np.where(self.before > 0, node.v_reset, self.v)
        fired = (self.v >= node.v_threshold if s.at_threshold else self.v > node.v_threshold).astype(float)
        if s.several:
            fired = fired * np.floor(self.v / node.v_threshold)
        self.before = fired
        if s.reset == "zero":
            self.v = np.where(fired > 0, node.v_reset, self.v)
        if s.reset == "subtract":
            self.v = self.v - fired * node.v_threshold
        return fired


def stateless(name: str, node: Any, x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if isinstance(node, nir.Linear | nir.Affine):
        return x @ np.asarray(node.weight).T + getattr(node, "bias", 0)
    if isinstance(node, nir.Conv1d | nir.Conv2d | nir.AvgPool2d | nir.SumPool2d):
        moves = geometry(name, node)
        padded = np.pad(x, [(0, 0), (0, 0), *moves.padding])
        given = torch.from_numpy(padded)
        if isinstance(node, nir.AvgPool2d | nir.SumPool2d):
            divisor = 1 if isinstance(node, nir.SumPool2d) else None
            return functional.avg_pool2d(given, moves.kernel, moves.stride, divisor_override=divisor).numpy()
        apply = functional.conv1d if isinstance(node, nir.Conv1d) else functional.conv2d
        weight, bias = torch.from_numpy(node.weight), torch.from_numpy(np.asarray(node.bias))
        return apply(given, weight, bias, moves.stride, 0, moves.dilation, moves.groups).numpy()  # type: ignore[operator]
    if isinstance(node, nir.Threshold):
        return (x > node.threshold).astype(float)
    return x * node.scale if isinstance(node, nir.Scale) else x.reshape(len(x), *shape)


def reference(graph: Graph, x: np.ndarray, s: Settings) -> dict[str, np.ndarray]:
    """Return what all nodes send. Before the first step neurons, delays and thresholds sent nothing."""
    neurons = {n: Neurons(node, s, graph.shapes[n]) for n, node in graph.nodes.items() if hasattr(node, "r")}
    empty = {name: np.zeros((2, *shape)) for name, shape in graph.shapes.items()}
    quiet = {
        n for n, node in graph.nodes.items() if n in neurons or isinstance(node, nir.Delay | nir.Threshold | nir.Input)
    }
    earlier = dict(empty)
    for _ in graph.nodes:  # more than enough for biases to reach all that neurons do not hold back
        for name in graph.nodes:
            if name not in quiet:
                before: Any = sum(earlier[start] for start in graph.before(name))
                earlier[name] = stateless(name, graph.nodes[name], before, graph.shapes[name])
    past: list[dict[str, np.ndarray]] = []
    found: list[dict[str, np.ndarray]] = []
    for now in x:
        sent: dict[str, np.ndarray] = {}
        past.append({})
        for name, node in graph.nodes.items():
            parts = [(earlier if (start, name) in graph.feedback else sent)[start] for start in graph.before(name)]
            arrived: Any = sum(parts) if parts else now
            past[-1][name] = arrived
            if name in neurons:
                sent[name] = neurons[name](arrived)
            elif isinstance(node, nir.Delay):
                lags = np.rint(node.delay / s.dt).astype(int)
                sent[name] = np.zeros_like(arrived)
                for lag in np.unique(lags[lags < len(past)]):
                    sent[name] = np.where(lags == lag, past[-1 - lag][name], sent[name])
            else:
                sent[name] = stateless(name, node, arrived, graph.shapes[name])
        found.append(sent)
        earlier = sent
    return {name: np.stack([sent[name] for sent in found]) for name in graph.nodes}


def test_any_graph_runs_as_numpy_runs_it(share: float) -> None:
    kinds, loops, fired = set(), 0, 0
    for seed, maker, graph in graphs(int(400 * share)):
        settings, x = maker.settings(), maker.signal()
        expected = reference(graph, x, settings)
        found = run_graph(graph, torch.from_numpy(x), settings, torch.float64)
        for name, signal in found.items():
            np.testing.assert_allclose(signal.numpy(), expected[name], rtol=1e-9, atol=1e-9, err_msg=f"{seed}: {name}")
            fired += int((signal != 0).sum())
        kinds |= {type(node) for node in graph.nodes.values()}
        loops += bool(graph.feedback)
    assert len(kinds) == 18, kinds
    assert loops > 40 * share
    assert fired


def test_float32_differs_by_rounding_only(share: float) -> None:
    spikes = different = 0
    for _, maker, graph in graphs(int(200 * share)):
        settings, x = maker.settings(), torch.from_numpy(maker.signal())
        exact = run_graph(graph, x, settings, torch.float64)
        for name, signal in run_graph(graph, x, settings).items():
            if name != "out":
                spikes, different = spikes + signal.numel(), different + int((signal != exact[name]).sum())
    assert different <= 1e-3 * spikes


def test_a_recipe_holds_the_network_of_any_graph(share: float) -> None:
    held = 0
    for seed, maker, graph in graphs(int(200 * share)):
        output = graph.shapes["out"]
        steps, settings = int(maker.rng.integers(1, 6)), maker.settings()
        network = from_nir(graph, settings, steps)
        if len(output) != 1:
            continue
        layers = described(network)
        recipe = parse_recipe({"model": {"kind": "layers", "layers": layers}, "coding": {"steps": steps}}, "test")
        again = build_network(recipe, image_shape(graph), output[0]).eval()
        again.load_state_dict(network.state_dict())
        x = torch.rand(2, *image_shape(graph))
        with torch.no_grad():
            assert torch.equal(again(x), network(x)), seed
        held += 1
    assert held > 50 * share
