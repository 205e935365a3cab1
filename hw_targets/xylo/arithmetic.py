"""The integer arithmetic of Xylo's core, as xylosim 0.1.3 (``v2``) computes it, on a batch of samples at once.

One step: weights that meet spikes are added to the synaptic currents one by one, input channels first, then hidden
neurons, each sum clipped to 16 bits; then every neuron

    i <- i - decay(i, dash)  of each of its one or two synapses
    v <- clip(v + clip(clip(-decay(v, dash) + i_1 + i_2) + bias))
    n = number of thresholds in v, at most 31 (hidden) or 1 (output);  v <- v - n threshold

with decay(x, d) = floor(x / 2^d), or the sign of x where that is 0. Hidden neurons see input of the same step; spikes
of hidden neurons arrive in the next one. Written from these rules, which tests compare with xylosim itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...toolkit.errors import UnsupportedError

LOW, HIGH = -(2**15), 2**15 - 1
"""Range of a state: 16 bits."""
INPUT_SPIKES, HIDDEN_SPIKES, OUTPUT_SPIKES = 15, 31, 1
"""Most spikes a step of an input channel, a hidden and an output neuron."""
WEIGHT = (-128, 127)
SHIFT_MAX = 7
DASH_MAX = 15

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Core:
    """A configuration of the core; arrays of integers.

    Attributes:
        weights_in: (channels, hidden, synapses), -128...127; one or two synapses a hidden neuron.
        weights_rec: (hidden, hidden, synapses), from the first to the second.
        weights_out: (hidden, outputs).
        shifts: bits by which input, recurrent and output weights are shifted to the left, 0...7.
        dash_syn: (hidden, synapses), 0...15.
        dash_mem: (hidden,).
        threshold: (hidden,), 1...32767.
        bias: (hidden,), 16 bits.
        dash_syn_out: (outputs,).
        dash_mem_out: (outputs,).
        threshold_out: (outputs,).
        bias_out: (outputs,).
        aliases: (hidden,): the hidden neuron that a neuron's spikes are copied to, -1 for none.
    """

    weights_in: Numbers
    weights_rec: Numbers
    weights_out: Numbers
    shifts: tuple[int, int, int]
    dash_syn: Numbers
    dash_mem: Numbers
    threshold: Numbers
    bias: Numbers
    dash_syn_out: Numbers
    dash_mem_out: Numbers
    threshold_out: Numbers
    bias_out: Numbers
    aliases: Numbers

    def __post_init__(self) -> None:
        channels, hidden, synapses = self.weights_in.shape
        outputs = self.weights_out.shape[1]
        expected: dict[str, tuple[tuple[int, ...], int, int]] = {
            "weights_in": ((channels, hidden, synapses), *WEIGHT),
            "weights_rec": ((hidden, hidden, synapses), *WEIGHT),
            "weights_out": ((hidden, outputs), *WEIGHT),
            "dash_syn": ((hidden, synapses), 0, DASH_MAX),
            "dash_mem": ((hidden,), 0, DASH_MAX),
            "threshold": ((hidden,), 1, HIGH),
            "bias": ((hidden,), LOW, HIGH),
            "dash_syn_out": ((outputs,), 0, DASH_MAX),
            "dash_mem_out": ((outputs,), 0, DASH_MAX),
            "threshold_out": ((outputs,), 1, HIGH),
            "bias_out": ((outputs,), LOW, HIGH),
            "aliases": ((hidden,), -1, hidden - 1),
        }
        for name, (shape, low, high) in expected.items():
            found = getattr(self, name)
            if found.shape != shape or (found.size and (found.min() < low or found.max() > high)):
                raise UnsupportedError(f"Xylo core: {name} must be {shape} in {low}...{high}, got {found.shape}")
        if synapses not in (1, 2) or not all(0 <= shift <= SHIFT_MAX for shift in self.shifts):
            raise UnsupportedError(f"Xylo core: {synapses} synapses a neuron, shifts {self.shifts}")


def decay(x: Tensor, dash: Tensor | int) -> Tensor:
    """Return what a state loses in a step: floor(x / 2^dash), or the sign of x where that is 0.

    Args:
        x: state, int64.
        dash: broadcastable.
    """
    lost = x >> dash
    return torch.where(lost == 0, torch.sign(x), lost)


def clip(x: Tensor) -> Tensor:
    """Return x in 16 bits: what leaves them stays at their end."""
    return x.clamp(LOW, HIGH)


def charged(v: Tensor, i: Tensor, dash: Tensor | int, bias: Tensor | int) -> Tensor:
    """Return the membrane after leak, current and bias, before it fires."""
    # The change is kept in 16 bits before it is added; 32768, the decay of -32768 by 0 bits, wraps there.
    lost = -decay(v, dash)
    change = clip(torch.where(lost > HIGH, LOW, lost) + i)
    return clip(v + clip(change + bias))


def fired(v: Tensor, threshold: Tensor | int, room: Tensor | int) -> tuple[Tensor, Tensor]:
    """Return how many spikes a membrane sends, at most ``room``, and what is left of it."""
    count = torch.minimum(torch.clamp(v // threshold, min=0), torch.as_tensor(room, device=v.device))
    return count, v - count * threshold


class Arrived(NamedTuple):
    """Currents after all that arrives, and how many of them were clipped on the way."""

    i: Tensor
    clipped: int


def deliver(i: Tensor, parts: Sequence[tuple[Tensor, Tensor]]) -> Arrived:
    """Return currents (batch, neurons) after spikes arrived one by one, each sum in 16 bits.

    Where no order of the spikes can leave 16 bits, the sum is taken at once; else one by one, in order.

    Args:
        i: currents before, int64.
        parts: (spikes (batch, sources), weights (sources, neurons)), in the order of delivery.
    """
    total = i + sum(_product(x, weight) for x, weight in parts)
    reach = i.abs() + sum(_product(x, weight.abs()) for x, weight in parts)
    risky = reach > HIGH
    if not bool(risky.any()):
        return Arrived(total, 0)
    rows = risky.any(1).nonzero().flatten()
    slow = i[rows]
    touched = torch.zeros_like(slow, dtype=torch.bool)
    for x, weight in parts:
        few = x[rows]
        for source in few.any(0).nonzero().flatten().tolist():
            exact = slow + few[:, source : source + 1] * weight[source]
            slow = clip(exact)
            touched |= slow != exact
    return Arrived(total.index_copy(0, rows, slow), int(touched.sum()))


def _product(x: Tensor, weight: Tensor) -> Tensor:
    # Exact: sums stay far below 2^53.
    return (x.to(torch.float64) @ weight.to(torch.float64)).to(torch.int64)


@dataclass(frozen=True)
class Recording:
    """All that a core did, after each step; the sample is the second axis.

    Attributes:
        spikes: (time, batch, hidden).
        i: (time, batch, hidden, synapses).
        v: (time, batch, hidden).
        spikes_out: (time, batch, outputs).
        i_out: (time, batch, outputs).
        v_out: (time, batch, outputs).
        clipped: (currents, membranes) of hidden neurons and (currents, membranes) of outputs that left 16 bits.
    """

    spikes: Numbers
    i: Numbers
    v: Numbers
    spikes_out: Numbers
    i_out: Numbers
    v_out: Numbers
    clipped: tuple[int, ...]


def simulate(core: Core, inputs: NDArray[Any], device: str = "cpu") -> Recording:
    """Return what a core does from state 0.

    Args:
        core: its configuration.
        inputs: spikes (time, batch, channels); more than 15 a step count as 15.
        device: a torch device.
    """
    given = torch.as_tensor(np.minimum(inputs, INPUT_SPIKES).astype(np.int64), device=device)

    def tensor(name: str) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(getattr(core, name), dtype=np.int64)).to(device)

    into, rec, out = (
        tensor(name) << shift
        for name, shift in zip(("weights_in", "weights_rec", "weights_out"), core.shifts, strict=True)
    )
    dash_syn, dash_mem, threshold, bias = map(tensor, ("dash_syn", "dash_mem", "threshold", "bias"))
    synapses, (hidden, outputs), batch = into.shape[2], core.weights_out.shape, given.shape[1]
    own = [tensor(f"{name}_out") for name in ("dash_syn", "dash_mem", "threshold", "bias")]
    i = [torch.zeros((batch, hidden), dtype=torch.int64, device=device) for _ in range(synapses)]
    v = spikes = torch.zeros_like(i[0])
    i_out = v_out = torch.zeros((batch, outputs), dtype=torch.int64, device=device)
    clipped = [0, 0, 0, 0]
    kept: list[tuple[Tensor, ...]] = []
    for now in given:
        for port in range(synapses):
            i[port], count = deliver(i[port], [(now, into[:, :, port]), (spikes, rec[:, :, port])])
            clipped[0] += count
            i[port] = i[port] - decay(i[port], dash_syn[:, port])
        i_out, count = deliver(i_out, [(spikes, out)])
        clipped[2] += count
        i_out = i_out - decay(i_out, own[0])
        v = charged(v, sum(i[1:], i[0]), dash_mem, bias)
        clipped[1] += int(((v == HIGH) | (v == LOW)).sum())
        spikes, v = _fire(v, threshold, core.aliases)
        v_out = charged(v_out, i_out, own[1], own[3])
        clipped[3] += int(((v_out == HIGH) | (v_out == LOW)).sum())
        sent, v_out = fired(v_out, own[2], OUTPUT_SPIKES)
        kept.append((spikes, torch.stack(i, -1), v, sent, i_out, v_out))
    spikes_of, i_of, v_of, sent_of, i_out_of, v_out_of = (
        torch.stack(part).cpu().numpy() for part in zip(*kept, strict=True)
    )
    return Recording(spikes_of, i_of, v_of, sent_of, i_out_of, v_out_of, tuple(clipped))


def _fire(v: Tensor, threshold: Tensor, aliases: Numbers) -> tuple[Tensor, Tensor]:
    """Return spikes and membranes after them, aliases copied in the order of the neurons."""
    spikes, rest = fired(v, threshold, HIDDEN_SPIKES)
    pairs = {int(source): int(aliases[source]) for source in np.flatnonzero(aliases >= 0)}
    if not pairs:
        return spikes, rest
    spikes, rest = spikes.clone(), rest.clone()
    involved = sorted({*pairs, *pairs.values()})
    spikes[:, involved] = 0
    for neuron in involved:
        # What an earlier neuron has copied here leaves so much less room for spikes of its own.
        own, rest[:, neuron] = fired(v[:, neuron], threshold[neuron], HIDDEN_SPIKES - spikes[:, neuron])
        spikes[:, neuron] += own
        if neuron in pairs:
            spikes[:, pairs[neuron]] = (spikes[:, pairs[neuron]] + spikes[:, neuron]).clamp(max=HIDDEN_SPIKES)
    return spikes, rest
