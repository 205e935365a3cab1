"""Neurons in the ONNX form: what depends on the input alone, one step of what has a memory, and what is seen of both.

Where a proof by their bounds allows it, states are float32 (the products of a leak float64), and neurons that remember
nothing have no step at all; else they are int64.
"""

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from ..program import Graded, Neurons, Population, Program, SigmaDelta
from .onnx_graph import BOOL, DOUBLE, EXACT, FLOAT, INT32, INT64, Graph, Tensor

LIMIT = 2**23
"""The current wraps beyond it, the voltage is clipped before it."""
ONE_WRAP = 2**18
"""Input up to here, times 64, is no more than one wrap takes away, so that the current stays within the limit."""

Tensors = Mapping[str, Tensor]


class Cells(Protocol):
    """A population of the graph."""

    states: dict[str, int]
    """Types of what it remembers from step to step, by name."""

    uses: tuple[str, ...]
    """What a step uses of :meth:`drive`."""

    def drive(self, graph: Graph, a: Tensor, message: Tensor | None) -> Tensors:
        """Return what depends on the input alone: synaptic ``a``, and the bias-coded message if there is one."""

    def step(self, graph: Graph, given: Tensors, states: Tensors) -> tuple[Tensors, Tensors]:
        """Return states after a step, and what :meth:`sent` and :meth:`seen` need of it beside the drive."""

    def sent(self, graph: Graph, seen: Tensors) -> Tensor:
        """Return the messages, as in the output ``spikes/P``."""

    def seen(self, graph: Graph, seen: Tensors) -> Tensors:
        """Return u and v, int64, where the population has them."""


def cells(program: Program, population: Neurons, bound: int) -> Cells:
    """Return ``population`` ready to be written, for synaptic input up to ``bound``."""
    if isinstance(population, Graded):
        return _Units(population, FLOAT if bound < EXACT else INT64)
    if isinstance(population, SigmaDelta):
        return _Changes(population)
    assert isinstance(population, Population)
    narrow = bound < (EXACT if population.du == 4095 else ONE_WRAP + 1)
    return _Spiking(program, population, bound) if narrow else _Wide(population)


def _geometric(most: int, loss: int, steps: int) -> int:
    """Return the largest magnitude of a state that gets up to ``most`` a step and loses loss / 4096 of itself."""
    return most * steps if loss <= 0 else min(most * steps, -(-most * 4096 // loss))


def _reach(program: Program, population: Population, bound: int) -> int:
    return _geometric(64 * bound, population.du + 1, program.steps)


def _bias(graph: Graph, population: Population | SigmaDelta, exponent: int, message: Tensor | None, kind: int) -> str:
    """Return mantissa 2^exponent in a type, with the bias-coded message in the mantissa."""
    name = f"bias/{population.name}"
    graph.constants[name] = (population.bias.astype(np.int64) << exponent).astype(np.float32 if kind == FLOAT else int)
    if message is None:
        return name
    scaled = graph.add("Mul", graph.cast(message, kind), graph.constant(2**exponent, kind))
    return graph.add("Add", name, scaled)


class _Units:
    """Graded: a where a > vth, else 0; nothing is remembered."""

    def __init__(self, population: Graded, kind: int) -> None:
        self.population, self.kind = population, kind
        self.states: dict[str, int] = {}
        self.uses: tuple[str, ...] = ()

    def drive(self, graph: Graph, a: Tensor, message: Tensor | None) -> Tensors:
        return {"a": a}

    def step(self, graph: Graph, given: Tensors, states: Tensors) -> tuple[Tensors, Tensors]:
        return {}, {"sent": given["a"]}

    def sent(self, graph: Graph, seen: Tensors) -> Tensor:
        name, vth = graph.cast(seen["sent"], self.kind), self.population.vth
        if self.kind == FLOAT:
            return Tensor(graph.add("ThresholdedRelu", name, alpha=float(vth)), FLOAT)
        above = graph.add("Greater", name, graph.constant(vth))
        return Tensor(graph.add("Mul", name, graph.add("Cast", above, to=INT64)), INT64)

    def seen(self, graph: Graph, seen: Tensors) -> Tensors:
        return {}


class _Spiking:
    """LIF in floating point, exact: all that is not clipped anyway is below 2^24, or is a multiple of 64 below 2^30."""

    def __init__(self, program: Program, population: Population, bound: int) -> None:
        self.population = population
        keep_u, keep_v = 4095 - population.du, 4096 - population.dv
        current = 64 * bound if not keep_u else _reach(program, population, bound)
        self.wraps = current >= LIMIT
        # Less than 1 is left of what decays: nothing is remembered.
        self.keep_u = 0 if keep_u * 64 * bound < 4096 else keep_u
        current = current if self.keep_u else 64 * bound
        self.kind_u = DOUBLE if self.wraps else self._exact(current, self.keep_u)
        if self.wraps:
            current = max(LIMIT, 64 * bound - 2 * LIMIT)
        most = current + (int(np.abs(population.bias).max()) << population.bias_exponent)
        most += program.input.peak << population.bias_exponent if population.input_bias else 0
        self.keep_v = 0 if keep_v * most < 4096 else keep_v
        voltage = _geometric(most, population.dv, program.steps) if self.keep_v else most
        self.clips = voltage >= LIMIT
        self.kind_v = self._exact(min(voltage, LIMIT), self.keep_v)
        self.states: dict[str, int] = {name: kind for name, kind, keep in self._kept() if keep}
        self.uses: tuple[str, ...] = ("drive", "bias") if self.keep_u else ("drive",) if self.keep_v else ()

    def _kept(self) -> tuple[tuple[str, int, int], ...]:
        return ("u", DOUBLE if self.wraps else FLOAT, self.keep_u), ("v", FLOAT, self.keep_v)

    @staticmethod
    def _exact(bound: int, keep: int) -> int:
        """Return the type that holds the product of a state up to ``bound`` with keep / 4096."""
        odd = keep // (keep & -keep) if keep else 0
        return FLOAT if bound * odd < EXACT else DOUBLE

    @staticmethod
    def _decay(graph: Graph, x: Tensor, keep: int, kind: int) -> str:
        """Toward zero: a cast to an integer truncates, as Loihi's decay does."""
        if keep == 4096:
            return x.name
        product = graph.add("Mul", graph.cast(x, kind), graph.constant(keep / 4096, kind))
        return graph.add("Cast", graph.add("Cast", product, to=INT32), to=x.kind)

    def _wrapped(self, graph: Graph, u: str, kind: int) -> str:
        """Take 2^24 from what is above the limit, add it to what is at or below its negative."""
        high = Tensor(graph.add("Greater", u, graph.constant(LIMIT, kind)), BOOL)
        low = Tensor(graph.add("LessOrEqual", u, graph.constant(-LIMIT, kind)), BOOL)
        turns = graph.add("Sub", graph.cast(low, kind), graph.cast(high, kind))
        return graph.add("Add", u, graph.add("Mul", turns, graph.constant(2 * LIMIT, kind)))

    def drive(self, graph: Graph, a: Tensor, message: Tensor | None) -> Tensors:
        bias = Tensor(_bias(graph, self.population, self.population.bias_exponent, message, FLOAT), FLOAT)
        given = graph.cast(a, FLOAT)
        u = graph.add("Mul", given, graph.constant(64, FLOAT))
        if self.keep_u:
            return {"drive": Tensor(u, FLOAT), "bias": bias}
        if self.wraps:
            u = self._wrapped(graph, u, FLOAT)
        return {"u": Tensor(u, FLOAT), "drive": Tensor(graph.add("Add", u, bias.name), FLOAT)}

    def step(self, graph: Graph, given: Tensors, states: Tensors) -> tuple[Tensors, Tensors]:
        after: dict[str, Tensor] = {}
        seen: dict[str, Tensor] = {}
        drive = given["drive"].name
        if self.keep_u:
            kind = self.states["u"]
            u = graph.add(
                "Add", self._decay(graph, states["u"], self.keep_u, self.kind_u), graph.cast(given["drive"], kind)
            )
            after["u"] = Tensor(self._wrapped(graph, u, kind) if self.wraps else u, kind)
            seen["u"] = Tensor(graph.cast(after["u"], FLOAT), FLOAT)
            drive = graph.add("Add", seen["u"].name, given["bias"].name)
        elif "u" in given:
            seen["u"] = given["u"]
        v = drive
        if self.keep_v:
            v = graph.add("Add", self._decay(graph, states["v"], self.keep_v, self.kind_v), drive)
        if self.clips:
            v = graph.add("Clip", v, graph.constant(1 - LIMIT, FLOAT), graph.constant(LIMIT - 1, FLOAT))
        seen["v"] = Tensor(v, FLOAT)  # before the reset
        if self.keep_v:
            after["v"] = Tensor(self._reset(graph, v), FLOAT)
        return after, seen

    def _reset(self, graph: Graph, v: str) -> str:
        over = graph.add("ThresholdedRelu", v, alpha=64.0 * self.population.vth)
        return graph.add("Sub", v, over)

    def sent(self, graph: Graph, seen: Tensors) -> Tensor:
        vth = graph.constant(64 * self.population.vth, FLOAT)
        return Tensor(graph.add("Greater", seen["v"].name, vth), BOOL)

    def seen(self, graph: Graph, seen: Tensors) -> Tensors:
        v = Tensor(self._reset(graph, seen["v"].name), FLOAT)
        return {what: Tensor(graph.cast(x, INT64), INT64) for what, x in (("u", seen["u"]), ("v", v))}


class _Wide:
    """LIF in int64, the equations of docs/program.md."""

    def __init__(self, population: Population) -> None:
        self.population = population
        self.states: dict[str, int] = {"u": INT64, "v": INT64}
        self.uses: tuple[str, ...] = ("drive", "bias")

    @staticmethod
    def _decay(graph: Graph, x: str, loss: int) -> str:
        """Toward zero: ONNX's integer division truncates, as Loihi's decay does."""
        if loss == 0:
            return x
        return graph.add("Div", graph.add("Mul", x, graph.constant(4096 - loss)), graph.constant(4096))

    def drive(self, graph: Graph, a: Tensor, message: Tensor | None) -> Tensors:
        bias = _bias(graph, self.population, self.population.bias_exponent, message, INT64)
        given = graph.cast(a, INT64)
        drive = graph.wrap(graph.add("Mul", given, graph.constant(64)), 32)
        return {"drive": Tensor(drive, INT64), "bias": Tensor(bias, INT64)}

    def step(self, graph: Graph, given: Tensors, states: Tensors) -> tuple[Tensors, Tensors]:
        drive = given["drive"].name
        u = graph.wrap(graph.add("Add", self._decay(graph, states["u"].name, self.population.du + 1), drive), 32)
        high = Tensor(graph.add("Greater", u, graph.constant(LIMIT)), BOOL)
        low = Tensor(graph.add("LessOrEqual", u, graph.constant(-LIMIT)), BOOL)
        turns = graph.add("Sub", graph.cast(low, INT64), graph.cast(high, INT64))
        u = graph.add("Add", u, graph.add("Mul", turns, graph.constant(2 * LIMIT)))
        v = graph.add(
            "Add", graph.add("Add", self._decay(graph, states["v"].name, self.population.dv), u), given["bias"].name
        )
        v = graph.add("Max", graph.add("Min", v, graph.constant(LIMIT - 1)), graph.constant(1 - LIMIT))
        spikes = Tensor(graph.add("Greater", v, graph.constant(64 * self.population.vth)), BOOL)
        quiet = graph.add("Cast", graph.add("Not", spikes.name), to=INT64)
        after = {"u": Tensor(u, INT64), "v": Tensor(graph.add("Mul", v, quiet), INT64)}
        return after, {**after, "sent": spikes}

    def sent(self, graph: Graph, seen: Tensors) -> Tensor:
        return seen["sent"]

    def seen(self, graph: Graph, seen: Tensors) -> Tensors:
        return {what: seen[what] for what in "uv"}


class _Changes:
    """Sigma-delta neurons, in int64; sigma and activation are what is seen as u and v."""

    def __init__(self, population: SigmaDelta) -> None:
        self.population = population
        self.states: dict[str, int] = dict.fromkeys(("u", "v", "residue"), INT64)
        self.uses: tuple[str, ...] = ("drive",) if population.sends == "sigma" else ("drive", "bias")

    def drive(self, graph: Graph, a: Tensor, message: Tensor | None) -> Tensors:
        given = {"drive": Tensor(graph.cast(a, INT64), INT64)}
        if self.population.sends == "delta":
            bias = _bias(graph, self.population, self.population.exponent, message, INT64)
            given["bias"] = Tensor(bias, INT64)
        return given

    def step(self, graph: Graph, given: Tensors, states: Tensors) -> tuple[Tensors, Tensors]:
        population = self.population
        sigma = graph.wrap(graph.add("Add", states["u"].name, given["drive"].name), 32)
        if population.sends == "sigma":
            held = Tensor(sigma, INT64)
            return {"u": held, "v": held, "residue": states["residue"]}, {"u": held, "v": held, "sent": held}
        least = graph.constant(0 if population.activation == "relu" else -(2**31))
        new = graph.add("Max", graph.wrap(graph.add("Add", sigma, given["bias"].name), 32), least)
        delta = graph.add("Add", graph.add("Sub", new, states["v"].name), states["residue"].name)
        delta = graph.wrap(delta, 32)
        # The magnitude of -2^31 is -2^31 in 32 bits, which reaches no threshold.
        reaches = graph.add(
            "GreaterOrEqual", graph.add("Abs", delta), graph.constant(population.vth << population.exponent)
        )
        reaches = graph.add("And", reaches, graph.add("Greater", delta, graph.constant(-(2**31))))
        kept = graph.add("Mul", delta, graph.add("Cast", reaches, to=INT64))
        sent = graph.floor_shift(kept, population.state_exponent)
        after = {"u": sigma, "v": new, "residue": graph.add("Sub", delta, kept)}
        states = {name: Tensor(x, INT64) for name, x in after.items()}
        return states, {"u": states["u"], "v": states["v"], "sent": Tensor(sent, INT64)}

    def sent(self, graph: Graph, seen: Tensors) -> Tensor:
        return seen["sent"]

    def seen(self, graph: Graph, seen: Tensors) -> Tensors:
        return {what: seen[what] for what in "uv"}
