"""Executing a NIR graph by itself, with the time step, integration and reset that its origin meant.

NIR's equations are continuous in time; files say neither how they were made discrete nor whether a spike resets or
subtracts. :class:`Settings` say it, and :data:`ORIGINS` know it of the frameworks that write such files (docs/nir.md).
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any, Literal, cast, get_args

import nir
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ..toolkit.errors import UnsupportedError
from .graph import Graph
from .loops import forward_order
from .nodes import SPIKING, Shape, bias_of, geometry, parameter, weight_of

Step = Callable[[Tensor], Tensor]
DELAY_LIMIT = 4096
"""Longest delay in steps: bounds the memory that a file can ask for."""


Reset = Literal["zero", "subtract", "subtract_later", "zero_later", "none"]


@dataclass(frozen=True)
class Settings:
    """What a NIR file leaves open.

    Attributes:
        dt: seconds a time step.
        integration: ``euler``: x += dt/tau (target - x); ``exponential``: x += (1 - exp(-dt/tau)) (target - x).
        reset: ``zero``: to v_reset, at once; ``subtract``: the threshold, at once; ``subtract_later``: the threshold,
            after the leak of the next step; ``zero_later``: to v_reset instead of the next step, whose input is lost;
            ``none``.
        start: membranes start at ``v_leak`` or at ``v_reset``, where a node has it.
        at_threshold: a membrane exactly at the threshold fires, too (NIR: only above it).
        several: a membrane n thresholds high sends n spikes in one step.
        added: node types whose input is added to their first state as it is, whatever R, w_in and dt are.
    """

    dt: float
    integration: Literal["euler", "exponential"] = "euler"
    reset: Reset = "zero"
    start: Literal["v_leak", "v_reset"] = "v_leak"
    at_threshold: bool = False
    several: bool = False
    added: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if not (isfinite(self.dt) and self.dt > 0):
            raise UnsupportedError(f"time step {self.dt} s, expected a number above 0")


ORIGINS = {
    "nir": Settings(1e-4),
    "spikeproof": Settings(1e-4),
    "snntorch": Settings(1e-4),
    "spikingjelly": Settings(1e-4, start="v_reset", at_threshold=True),
    # It writes tau as dt times the time constant in seconds, so one of its steps of 1 ms is 1e-6 s of the file.
    "norse": Settings(1e-6, added=frozenset({"CubaLIF", "IF"})),
    # It counts time in steps.
    "sinabs": Settings(1.0, "exponential", "subtract", at_threshold=True, several=True),
}
"""Defaults of the frameworks that write NIR files; ``nir`` takes the format's equations by their word."""


def settings_of(
    origin: str, dt: float | None = None, reset: str | None = None, *, one_spike: bool = False, unscaled: bool = False
) -> Settings:
    """Return the settings of a framework, changed by what is known of a network beyond that.

    Args:
        origin: a name in :data:`ORIGINS`.
        dt: seconds a time step.
        reset: see :class:`Settings`.
        one_spike: at most one spike a step (sinabs' SingleSpike).
        unscaled: the input of LIF and LI is added as it is (sinabs' norm_input=False).

    Raises:
        UnsupportedError: an unknown framework or reset, or an impossible time step.
    """
    if origin not in ORIGINS:
        raise UnsupportedError(f"origin {origin!r} is unknown; choose among {', '.join(sorted(ORIGINS))}")
    settings = ORIGINS[origin]
    if reset is not None and reset not in get_args(Reset):
        raise UnsupportedError(f"reset {reset!r} is unknown; choose among {', '.join(get_args(Reset))}")
    return replace(
        settings,
        dt=settings.dt if dt is None else dt,
        reset=cast(Reset, reset or settings.reset),
        several=settings.several and not one_spike,
        added=settings.added | (frozenset({"LIF", "LI"}) if unscaled else frozenset()),
    )


class _Run:
    """One execution: makes of each node a function of one step, or of all steps folded into the batch."""

    def __init__(self, settings: Settings, dtype: torch.dtype) -> None:
        self.settings = settings
        self.dtype = dtype

    def tensor(self, values: NDArray[Any] | float) -> Tensor:
        return torch.from_numpy(np.array(values, dtype=np.float64)).to(self.dtype)

    def decay(self, tau: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return what a step keeps of a state, and what it takes of its target."""
        rate = self.settings.dt / tau
        taken = rate if self.settings.integration == "euler" else -np.expm1(-rate)
        return 1 - taken, taken

    def neuron(self, name: str, node: nir.NIRNode, shape: Shape) -> Step:
        kind, settings = type(node).__name__, self.settings

        def field(what: str, positive: bool = False) -> NDArray[np.float64]:
            values = parameter(name, node, what, shape)
            if positive and values.min() <= 0:
                raise UnsupportedError(f"node {name!r}: {what} must be above 0, is {values.min():g}")
            return values

        current: tuple[Tensor, Tensor] | None = None
        as_it_is = np.ones(shape)
        if kind.startswith("Cuba"):
            keep, taken = self.decay(field("tau_syn", positive=True))
            gain = as_it_is if kind in settings.added else taken * field("w_in")
            current = self.tensor(keep), self.tensor(gain)
        if kind in ("I", "IF"):
            keep, taken, rest = np.ones(shape), np.full(shape, settings.dt), np.zeros(shape)
            start = rest
        else:
            keep, taken = self.decay(field("tau" if current is None else "tau_mem", positive=True))
            start = field("v_leak")
            rest = taken * start
        if settings.start == "v_reset" and isinstance(node, SPIKING):
            start = field("v_reset")
        gain = as_it_is if kind in settings.added and current is None else taken * field("r")
        v_keep, v_gain, v_rest = self.tensor(keep), self.tensor(gain), self.tensor(rest)
        fire = self.firing(name, node, shape) if isinstance(node, SPIKING) else None
        v = self.tensor(start)
        i = torch.zeros((), dtype=self.dtype)

        def step(x: Tensor) -> Tensor:
            nonlocal v, i
            if current is not None:
                x = i = current[0] * i + current[1] * x
            v = v_keep * v + v_gain * x + v_rest
            if fire is None:
                return v
            v, spikes = fire(v)
            return spikes

        return step

    def firing(self, name: str, node: nir.NIRNode, shape: Shape) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
        """Return the function from a membrane to (membrane after the reset, spikes)."""
        settings = self.settings
        threshold = self.tensor(parameter(name, node, "v_threshold", shape))
        reset = self.tensor(parameter(name, node, "v_reset", shape))
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
