"""A Program in real numbers, in which every rounding, limit and fault is a switch of its own.

With all switches on it computes the Program's integers; with none, the network that they were made from.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ...export.program import Convolution, Dense, Graded, Program, Sparse, Synapse
from ...hw_targets.loihi.arithmetic import LIMIT, wrap_current
from ...hw_targets.loihi.schedule import by_clock, by_layer
from .judge import Answers, Judge

Codes = frozenset[str]
Spikes = dict[str, NDArray[np.bool_]]
Reset = Literal["zero", "subtract", "subtract_now", "none"]


@dataclass(frozen=True)
class Field:
    """A quantity as the network means it, and what causes make of it, one after the other.

    Attributes:
        meant: float64.
        steps: (code of a cause, the quantity after it and all before it).
    """

    meant: Tensor
    steps: tuple[tuple[str, Tensor], ...] = ()

    def value(self, on: Codes) -> Tensor:
        """Return the quantity with the changes of the causes in ``on`` alone; exact if those are the first ones."""
        now = before = self.meant
        first = True
        for code, after in self.steps:
            if code in on:
                now = after if first else now + (after - before)
            else:
                first = False
            before = after
        return now


@dataclass(frozen=True)
class Cells:
    """A population, in the Program's units of current and voltage.

    Attributes:
        keep_u: factor of the current a step.
        keep_v: factor of the voltage a step.
        threshold: of the voltage.
        bias: a neuron.
        reset: the network's rule; ``subtract_now`` at once, ``subtract`` in the next step.
        drive: what the voltage gains from a bias-coded message of 1; 0 where the input has synapses.
        moved: the part of the bias that the network adds to the current instead, where it piles up to this.
    """

    keep_u: Field
    keep_v: Field
    threshold: Field
    bias: Field
    reset: Reset = "zero"
    drive: float = 0.0
    moved: Tensor | None = None


@dataclass(frozen=True)
class Model:
    """A Program beside the network that it stands for.

    Attributes:
        program: the integers.
        meant: the same, with the timing that the network means.
        weights: of each synapse, in units of its target's sum.
        cells: by population; graded ones have none, they send their sums as the Program does.
        evidence: the causes that can act here, by code: what shows them.
    """

    program: Program
    meant: Program
    weights: tuple[Field, ...]
    cells: Mapping[str, Cells]
    evidence: Mapping[str, tuple[str, ...]]

    @property
    def codes(self) -> Codes:
        """The causes that can act."""
        return frozenset(self.evidence)


@dataclass(frozen=True)
class Outcome:
    """What a form answered.

    Attributes:
        spikes: (time, batch, ...) a population.
        classes: (batch,); where answers are no classes the outputs in real numbers, (batch, outputs).
        events: how often the numbers' limits showed, a population, where counted.
        membranes: voltage before the reset as a share of the threshold, (time, batch, ...) a population; on request.
    """

    spikes: Spikes
    classes: Answers
    events: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    membranes: Mapping[str, NDArray[np.float64]] | None = None


def _wrapped(x: Tensor, bits: int) -> Tensor:
    """Return x in two's complement; defined for real numbers, too."""
    half = 2.0 ** (bits - 1)
    return torch.remainder(x + half, 2 * half) - half


class _Wires:
    def __init__(self, program: Program, synapse: Synapse, weight: Tensor, on: Codes) -> None:
        self.synapse, self.weight, self.on = synapse, weight, on
        self.shape = program.shape_of(synapse.target)

    def __call__(self, x: Tensor) -> Tensor:
        """Return what arrives (batch, ...) for messages x (batch, ...)."""
        total, synapse = self._sum(x), self.synapse
        wraps = "current_wrap" in self.on
        convolution = isinstance(synapse, Convolution) and synapse.exponent == 0
        if wraps and not convolution:
            total = _wrapped(total * 2.0**-synapse.exponent, 32) * 2.0**synapse.exponent
        if "sum_rounding" in self.on:
            total = torch.floor(total)
        return _wrapped(total, 24 if convolution else 32) if wraps else total

    def _sum(self, x: Tensor) -> Tensor:
        synapse = self.synapse
        if isinstance(synapse, Convolution):
            moves = synapse.stride, synapse.padding, synapse.dilation, synapse.groups
            return functional.conv2d(x, self.weight, None, *moves)
        if isinstance(synapse, Dense):
            total: Tensor = x.flatten(1) @ self.weight.T
            return cast(Tensor, total.unflatten(1, self.shape))
        assert isinstance(synapse, Sparse)
        rows, columns = (torch.from_numpy(index.astype(np.int64)) for index in (synapse.rows, synapse.columns))
        total = x.new_zeros(len(x), synapse.shape[0])
        total = total.index_add(1, rows, x.flatten(1)[:, columns] * self.weight)
        return cast(Tensor, total.unflatten(1, self.shape))


class _State:
    """Neurons with their state in float64, which holds all of the chip's integers exactly."""

    def __init__(self, shape: tuple[int, ...], cells: Cells, on: Codes, membranes: bool) -> None:
        self.silence = self.u = self.v = torch.zeros(shape, dtype=torch.float64)
        self.keep_u, self.keep_v = cells.keep_u.value(on), cells.keep_v.value(on)
        self.threshold, self.bias = cells.threshold.value(on), cells.bias.value(on)
        self.reset: Reset = "zero" if "reset_rule" in on else cells.reset
        self.drive, self.takes_input, self.on = cells.drive, cells.drive != 0, on
        self.feed: Tensor | None = None
        if cells.moved is not None and "moved_bias" not in on:
            self.bias, self.feed = self.bias - cells.moved, cells.moved * (1 - cells.keep_u.meant)
        self.sent: list[Tensor] = []
        self.membranes: list[Tensor] | None = [] if membranes else None
        self.held: list[Tensor] | None = None
        """The voltage behind each step, where a list is given to be filled."""

    def _decayed(self, x: Tensor, keep: Tensor) -> Tensor:
        return torch.trunc(x * keep) if "state_rounding" in self.on else x * keep

    def run(self, a: Tensor) -> None:
        """Leave it to :meth:`advance`."""

    def advance(self, a: Tensor, drive: Tensor | None) -> Tensor:
        """Advance one step and return the spikes (batch, ...), see docs/program.md."""
        self.u = self._decayed(self.u, self.keep_u) + 64 * a
        if "current_wrap" in self.on:
            self.u = wrap_current(_wrapped(self.u, 32))
        if self.feed is not None:
            self.u = self.u + self.feed
        v = self._decayed(self.v, self.keep_v) + self.u + self.bias
        if drive is not None:
            v = v + drive * self.drive
        late = (self.v > self.threshold) * self.threshold if self.reset.startswith("subtract") else None
        v = v if late is None else v - late
        if "voltage_clip" in self.on:
            v = v.clamp(-LIMIT + 1, LIMIT - 1)
        spikes = (v > self.threshold).to(v.dtype)
        if self.membranes is not None:
            self.membranes.append(v / self.threshold)
        if self.reset == "zero":
            v = v * (1 - spikes)
        elif self.reset == "subtract_now":
            assert late is not None
            v = v - (spikes * self.threshold - late)
        self.v = v
        if self.held is not None:
            self.held.append(v)
        self.sent.append(spikes)
        return spikes


class _Units:
    """Graded units of the Program: they send what is above their threshold."""

    takes_input = False

    def __init__(self, shape: tuple[int, ...], vth: int) -> None:
        self.silence, self.vth = torch.zeros(shape, dtype=torch.float64), vth
        self.sent: list[Tensor] = []

    def run(self, a: Tensor) -> None:
        """Leave it to :meth:`advance`."""

    def advance(self, a: Tensor, drive: Tensor | None) -> Tensor:
        """Return what is sent (batch, ...)."""
        self.sent.append(a * (a > self.vth))
        return self.sent[-1]


@torch.no_grad()
def simulate(
    model: Model, messages: Field, on: Codes, judge: Judge | None = None, *, membranes: bool = False
) -> Outcome:
    """Run the network with some of its causes switched on.

    Args:
        model: network and Program.
        messages: (time, batch, ...), real, and after ``input_rounding``.
        on: codes of causes.
        judge: what reads answers off outputs; None for classes.
        membranes: whether to keep them.
    """
    program = model.program if "latency" in on else model.meant
    signal = messages.value(on)
    wires: dict[str, list[_Wires]] = {population.name: [] for population in program.populations}
    for synapse, weight in zip(program.synapses, model.weights, strict=True):
        wires[synapse.target].append(_Wires(program, synapse, weight.value(on), on))
    batch = signal.shape[1]
    neurons: dict[str, _State | _Units] = {}
    for population in program.populations:
        shape = (batch, *population.shape)
        if isinstance(population, Graded):
            neurons[population.name] = _Units(shape, population.vth)
        else:
            neurons[population.name] = _State(shape, model.cells[population.name], on, membranes)
    readout = program.readout
    read_from = readout.population
    read = neurons[read_from]
    assert isinstance(read, _State)
    read.held = [] if readout.every_step else None
    (by_clock if program.recurrent else by_layer)(program, signal, wires, neurons)
    spikes = {name: torch.stack(state.sent).bool().numpy() for name, state in neurons.items()}
    # Classes by membrane are those of the real numbers: as integers, two of them could be equal.
    membrane = read.v if read.held is None else torch.stack(read.held, 1)
    output = membrane.flatten(1).numpy() if readout.kind == "membrane" else readout.output(spikes[read_from], None)
    return Outcome(
        spikes,
        (judge or Judge()).read(output, program.largest_output),
        membranes={
            name: torch.stack(state.membranes).numpy()
            for name, state in neurons.items()
            if isinstance(state, _State) and state.membranes is not None
        }
        or None,
    )
