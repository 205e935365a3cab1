"""Executing a NIR graph by itself, with the time step, integration and reset that its origin meant."""

from collections import deque
from collections.abc import Callable
from typing import Any

import nir
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ...toolkit.errors import UnsupportedError
from .dynamics import Dynamics, Settings, dynamics
from .graph import Graph
from .loops import forward_order
from .nodes import SPIKING, Shape, Slice, bias_of, geometry, parameter, weight_of

Step = Callable[[Tensor], Tensor]
DELAY_LIMIT = 4096
"""Longest delay in steps: bounds the memory that a file can ask for."""


class _Run:
    """One execution: makes of each node a function of one step, or of all steps folded into the batch."""

    def __init__(self, settings: Settings, dtype: torch.dtype) -> None:
        self.settings = settings
        self.dtype = dtype

    def tensor(self, values: NDArray[Any] | float) -> Tensor:
        return torch.from_numpy(np.array(values, dtype=np.float64)).to(self.dtype)

    def neuron(self, name: str, node: nir.NIRNode, shape: Shape) -> Step:
        found = dynamics(name, node, shape, self.settings)
        keep, gain, rest = self.tensor(found.keep), self.tensor(found.gain), self.tensor(found.rest)
        current = None if found.current is None else tuple(self.tensor(part) for part in found.current)
        fire = None if found.threshold is None else self.firing(name, found)
        v = self.tensor(found.start)
        i = torch.zeros((), dtype=self.dtype)

        def step(x: Tensor) -> Tensor:
            nonlocal v, i
            if current is not None:
                x = i = current[0] * i + current[1] * x
            v = keep * v + gain * x + rest
            if fire is None:
                return v
            v, spikes = fire(v)
            return spikes

        return step

    def firing(self, name: str, found: Dynamics) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
        """Return the function from a membrane to (membrane after the reset, spikes)."""
        settings = self.settings
        assert found.threshold is not None
        assert found.reset is not None
        threshold, reset = self.tensor(found.threshold), self.tensor(found.reset)
        if settings.several and threshold.min() <= 0:
            raise UnsupportedError(f"node {name!r}: several spikes a step need a threshold above 0")
        owed = torch.zeros((), dtype=self.dtype)

        def fire(v: Tensor) -> tuple[Tensor, Tensor]:
            nonlocal owed
            v = torch.where(owed > 0, reset, v) if settings.reset == "zero_later" else v - owed
            spikes = (v >= threshold if settings.at_threshold else v > threshold).to(self.dtype)
            if settings.several:
                spikes = spikes * torch.trunc(v / threshold)
            if settings.reset == "zero":
                v = torch.where(spikes > 0, reset, v)
            elif settings.reset == "subtract":
                v = v - spikes * threshold
            elif settings.reset == "subtract_later":
                owed = spikes * threshold
            elif settings.reset == "zero_later":
                owed = spikes
            return v, spikes

        return fire

    def delay(self, name: str, node: nir.Delay, shape: Shape) -> Step:
        real = parameter(name, node, "delay", shape) / self.settings.dt
        steps = np.rint(real)
        if np.abs(real - steps).max() > 1e-3 or steps.min() < 0 or steps.max() > DELAY_LIMIT:
            raise UnsupportedError(
                f"node {name!r}: delays of {real.min():g} to {real.max():g} steps of {self.settings.dt:g} s; expected "
                f"whole numbers up to {DELAY_LIMIT}; give the time step of the origin"
            )
        where = {int(d): torch.from_numpy(steps == d) for d in np.unique(steps)}
        past: deque[Tensor] = deque(maxlen=max(where) + 1)

        def step(x: Tensor) -> Tensor:
            past.appendleft(x)
            found = torch.zeros_like(x)
            for lag, mask in where.items():
                if lag < len(past):
                    found = torch.where(mask, past[lag], found)
            return found

        return step

    def stateless(self, name: str, node: nir.NIRNode, shape: Shape) -> Step:
        if isinstance(node, nir.Linear | nir.Affine | nir.Conv1d | nir.Conv2d):
            bias = bias_of(name, node)
            w, b = self.tensor(weight_of(name, node)), None if bias is None else self.tensor(bias)
            if isinstance(node, nir.Linear | nir.Affine):
                return lambda x: functional.linear(x, w, b)
        if isinstance(node, nir.Conv1d | nir.Conv2d):
            moves = geometry(name, node)
            sides = [side for pair in reversed(moves.padding) for side in pair]
            if isinstance(node, nir.Conv1d):
                one = (moves.stride[0], 0, moves.dilation[0], moves.groups)
                return lambda x: functional.conv1d(functional.pad(x, sides), w, b, *one)
            two = (moves.stride, 0, moves.dilation, moves.groups)
            return lambda x: functional.conv2d(functional.pad(x, sides), w, b, *two)
        if isinstance(node, nir.AvgPool2d | nir.SumPool2d):
            moves = geometry(name, node)
            kernel, stride, padding = moves.kernel, moves.stride, tuple(p for p, _ in moves.padding)
            divisor = 1 if isinstance(node, nir.SumPool2d) else None
            return lambda x: functional.avg_pool2d(x, kernel, stride, padding, divisor_override=divisor)
        if isinstance(node, nir.Threshold):
            threshold = self.tensor(parameter(name, node, "threshold", shape))
            return lambda x: (x > threshold).to(self.dtype)
        if isinstance(node, nir.Scale):
            scale = self.tensor(parameter(name, node, "scale", shape))
            return lambda x: x * scale
        if isinstance(node, nir.Flatten):
            return lambda x: x.reshape(len(x), *shape)
        if isinstance(node, Slice):
            return node.of
        return lambda x: x


@torch.no_grad()
def run_graph(
    graph: Graph, inputs: Tensor, settings: Settings, dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    """Execute a graph and return what its spiking nodes and its output send, (time, batch, ...) each, by name.

    Membranes start at v_leak or v_reset (``settings.start``), currents and delayed signals at 0. An edge of
    ``graph.feedback`` delivers what was sent one step earlier; before the first step nothing fired, so that a bias
    on the way back is there from the first step on.

    Args:
        graph: from :func:`.graph.flatten`.
        inputs: (time, batch, ...).
        settings: time step, integration and reset.
        dtype: floating point type to compute in.

    Raises:
        UnsupportedError: the input has another shape, or a node's numbers make no sense at this time step.
    """
    shape = next(iter(graph.shapes.values()))
    if inputs.ndim < 2 or tuple(inputs.shape[2:]) != shape or 0 in inputs.shape:
        raise UnsupportedError(f"input of shape {tuple(inputs.shape)}, expected (time, batch, {str(shape)[1:]}")
    run = _Run(settings, dtype)
    nodes: dict[str, tuple[Step, bool]] = {}
    for name, node in graph.nodes.items():
        if isinstance(node, nir.Delay):
            nodes[name] = run.delay(name, node, graph.shapes[name]), True
        elif isinstance(node, nir.I | nir.IF | nir.LI | nir.LIF | nir.CubaLI | nir.CubaLIF):
            nodes[name] = run.neuron(name, node, graph.shapes[name]), True
        else:
            nodes[name] = run.stateless(name, node, graph.shapes[name]), False
    wanted = [name for name, node in graph.nodes.items() if isinstance(node, (*SPIKING, nir.Output))]
    signal = inputs.to(dtype)
    return _by_step(graph, nodes, signal, wanted) if graph.feedback else _by_node(graph, nodes, signal, wanted)


def _by_node(graph: Graph, nodes: dict[str, tuple[Step, bool]], inputs: Tensor, wanted: list[str]) -> dict[str, Tensor]:
    """Run one node after the other over all time; what keeps no state runs on all steps at once."""
    steps, batch = inputs.shape[:2]
    sent: dict[str, Tensor] = {}
    left = {name: len(graph.after(name)) for name in graph.nodes}
    for name, (apply, keeps_state) in nodes.items():
        before = graph.before(name)
        x = sum((sent[start] for start in before[1:]), sent[before[0]]) if before else inputs
        if keeps_state:
            sent[name] = torch.stack([apply(now) for now in x])
        else:
            sent[name] = apply(x.flatten(0, 1)).unflatten(0, (steps, batch))
        for start in before:
            left[start] -= 1
            if not left[start] and start not in wanted:
                del sent[start]
    return {name: sent[name] for name in wanted}


def _silent(graph: Graph, nodes: dict[str, tuple[Step, bool]], now: Tensor) -> dict[str, Tensor]:
    """Return what every node sends while nothing comes in and nothing fires."""
    found: dict[str, Tensor] = {}
    quiet = {n for n, (_, state) in nodes.items() if state or isinstance(graph.nodes[n], (*SPIKING, nir.Input))}
    # Every loop has a spiking node, so that none is left without the edges into them.
    for name in forward_order(nodes, [edge for edge in graph.edges if edge[1] not in quiet]):
        if name in quiet:
            found[name] = torch.zeros((len(now), *graph.shapes[name]), dtype=now.dtype)
        else:
            parts = [found[start] for start in graph.before(name)]
            found[name] = nodes[name][0](sum(parts[1:], parts[0]))
    return found


def _by_step(graph: Graph, nodes: dict[str, tuple[Step, bool]], inputs: Tensor, wanted: list[str]) -> dict[str, Tensor]:
    """Run all nodes step by step, as loops need it."""
    found: dict[str, list[Tensor]] = {name: [] for name in wanted}
    before = {name: graph.before(name) for name in nodes}
    earlier = _silent(graph, nodes, inputs[0])
    for now in inputs:
        sent: dict[str, Tensor] = {}
        for name, (apply, _) in nodes.items():
            parts = [(earlier if (start, name) in graph.feedback else sent)[start] for start in before[name]]
            sent[name] = apply(sum(parts[1:], parts[0]) if parts else now)
        for name in wanted:
            found[name].append(sent[name])
        earlier = sent
    return {name: torch.stack(signals) for name, signals in found.items()}
