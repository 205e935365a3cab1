"""When what runs: population after population, or all on one clock; shared by the simulator and the twin.

Both give the same values in each population's window (docs/program.md, "Time").
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from ...export.program import Program, Synapse


class Wires(Protocol):
    """A synapse ready to run."""

    synapse: Synapse
    shape: tuple[int, ...]
    """Of the target."""

    def __call__(self, x: Tensor) -> Tensor:
        """Return what arrives at the target, (batch, ...), for messages x (batch, ...)."""


class Neurons(Protocol):
    """A population with its state."""

    silence: Tensor
    """Zeros of (batch, ...): nothing arrives."""

    takes_input: bool
    """Whether the input is bias-coded here."""

    sent: list[Tensor]
    """What it sent so far, a step each."""

    def advance(self, a: Tensor, drive: Tensor | None) -> Tensor:
        """Advance one step with synaptic input ``a`` and bias-coded input ``drive``; return what is sent."""

    def run(self, a: Tensor) -> Tensor | None:
        """Advance all steps with synaptic input ``a`` (time, batch, ...) and return what is sent, or do nothing."""


def by_layer(
    program: Program,
    signal: Tensor,
    wires: Mapping[str, Sequence[Wires]],
    neurons: Mapping[str, Neurons],
    fed: Callable[[str, Mapping[str, Tensor]], Tensor | None] = lambda name, sent: None,
) -> None:
    """Run population after population, all steps of a synapse at once; a lag moves what arrives to later steps.

    Args:
        program: without recurrent synapses.
        signal: input messages (time, batch, ...).
        wires: incoming synapses by population.
        neurons: by population, at the start of a sample.
        fed: runs a population on what all before it sent, (time, batch, ...), its synapses too, and returns what it
            sends; or returns None.
    """
    sent = {program.input.name: signal}
    for name, state in neurons.items():
        if (whole := fed(name, sent)) is not None:
            sent[name] = whole
            continue
        total: Tensor | None = None
        for wire in wires[name]:
            x = sent[wire.synapse.source]
            if x.stride(0) == 0:
                # The same messages at every step, as direct coding sends them, are summed once.
                a = wire(x[0]).expand(len(x), -1, *[-1] * len(wire.shape))
            else:
                a = wire(x.flatten(0, 1)).unflatten(0, signal.shape[:2])
            lag = min(program.lag(wire.synapse), program.steps)
            if lag:
                a = torch.cat([torch.zeros_like(a[:lag]), a[: len(a) - lag]])
            total = a if total is None else added(total, a)
        done = None if total is None else state.run(total)
        if done is not None:
            sent[name] = done
            continue
        for t in range(program.steps):
            state.advance(state.silence if total is None else total[t], signal[t] if state.takes_input else None)
        sent[name] = torch.stack(state.sent)


def by_clock(
    program: Program, signal: Tensor, wires: Mapping[str, Sequence[Wires]], neurons: Mapping[str, Neurons]
) -> None:
    """Run step by step on one clock; each synapse delivers a step, and its delay, late.

    A population is silent, with state 0, outside its window: the sample has not arrived yet, or has passed. The
    arguments are those of :func:`by_layer`, but ``program`` may be recurrent.
    """
    depths = program.depths()
    steps = program.steps
    under_way: dict[int, dict[str, Tensor]] = {}
    for clock in range(steps + max(depths.values())):
        arriving = under_way.pop(clock, {})
        sent = {program.input.name: signal[clock]} if clock < steps else {}
        for name, state in neurons.items():
            t = clock - depths[name]
            if 0 <= t < steps:
                drive = signal[t] if state.takes_input else None
                sent[name] = state.advance(arriving.get(name, state.silence), drive)
        for name, incoming in wires.items():
            for wire in incoming:
                if wire.synapse.source in sent:
                    later = under_way.setdefault(clock + 1 + wire.synapse.delay, {})
                    a = wire(sent[wire.synapse.source])
                    later[name] = added(later[name], a) if name in later else a


def added(one: Tensor, other: Tensor) -> Tensor:
    """Return the sum of what two synapses deliver; each fits float32, both together need not."""
    return one + other if one.dtype == other.dtype == torch.int64 else one.to(torch.float64) + other.to(torch.float64)
