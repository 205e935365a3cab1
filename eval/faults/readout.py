"""What is proved of the read-out layer: so many flips of its weights and biases, whichever they are, change no class.

Flips there change no spike before the layer, and a row of weights reaches one neuron only, so neurons part: class c
stands against every other class j if, for all m + n = k, the least that c can give with m flips in its row wins against
the most that j can give with n in its own. These ends follow from intervals of current and voltage: in every step the
flips that are worst for that step, which is at least as bad as any choice for all steps; and one interval of the
voltage for each step at which the neuron may have fired last, as it is 0 then.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ...export.program import Convolution, Population, Program, Sparse
from ...hw_targets.loihi.arithmetic import LIMIT, decay
from ...hw_targets.target import Trace
from .memory import Memory
from .search import changes

Ints = NDArray[np.int64]
FINE = 8
"""Effects of flips are counted in units of 2^-8, so that every weight exponent leaves integers."""


def absent(program: Program) -> str | None:
    """Return why nothing can be said about the read-out layer; None if it can."""
    population = program.population(program.readout.population)
    if not isinstance(population, Population):
        return "sigma-delta neurons are read, whose state no interval is known of here"
    if population.input_bias:
        return "the input is bias-coded in the read-out population"
    if any(synapse.source == population.name for synapse in program.synapses):
        return "the read-out population sends to others, so what reaches it is not fixed"
    for synapse in program.incoming(population.name):
        if isinstance(synapse, Convolution):
            return "a kernel of the read-out layer is shared by several neurons"
        widest = 256 * int(np.prod(program.shape_of(synapse.source))) * program.peak(synapse.source)
        if widest << max(synapse.exponent, 0) >= 2**31:
            return f"{synapse.label}: sums with flips could wrap at 32 bits"
    return None


@dataclass(frozen=True)
class Layer:
    """The read-out layer, and what reaches it.

    Attributes:
        program: whose.
        population: the read-out's.
        arriving: synaptic input (time, samples, neurons) without flips.
        sent: what each source sends (time, samples, inputs), in steps of the layer; sources side by side.
        effect: of each flip of a weight on its neuron's input a unit of message, (neurons, inputs, bits), in units of
            2^-8; 0 where there is no such bit.
        address: of each of these bits, (neurons, inputs, bits); -1 where there is none.
        bias: effect of each flip of a bias on the voltage, (neurons, 13).
        bias_address: of each of these bits.
        rounded: how many synapses round their sums.
    """

    program: Program
    population: Population
    arriving: Ints
    sent: Ints
    effect: Ints
    address: Ints
    bias: Ints
    bias_address: Ints
    rounded: int


def layer(program: Program, messages: NDArray[np.int32], trace: Trace) -> Layer:
    """Return the read-out layer of a Program that :func:`absent` has nothing against, on samples that were run.

    Args:
        program: whose.
        messages: input (time, samples, ...).
        trace: of them, with rasters.
    """
    memory = Memory(program)
    population = program.population(program.readout.population)
    assert isinstance(population, Population)
    steps, samples = messages.shape[:2]
    neurons = int(np.prod(population.shape))
    total = np.zeros((steps, samples, neurons), dtype=np.int64)
    sent, effects, addresses = [], [], []
    biases: Ints = np.zeros((neurons, 0), dtype=np.int64)
    bias_addresses: Ints = biases
    rounded = 0
    synapses = list(program.incoming(population.name))
    widest = max((synapse.bits for synapse in synapses), default=1)
    for field in memory.fields:
        if field.layer != population.name or field.kind not in ("weight", "bias"):
            continue
        change = changes(memory, field)
        place = field.first + np.arange(change.size, dtype=np.int64).reshape(change.shape)
        if field.kind == "bias":
            biases, bias_addresses = change << population.bias_exponent, place
            continue
        synapse = program.synapses[field.part]
        source = messages if synapse.source == program.input.name else trace.rasters[synapse.source].spikes
        x = np.asarray(source, dtype=np.int64).reshape(steps, samples, -1)
        x = x if program.message_bits(synapse.source) else (x != 0).astype(np.int64)
        lag = min(program.lag(synapse), steps)
        x = np.concatenate([np.zeros_like(x[:lag]), x[: steps - lag]])
        sums = x @ synapse.matrix().T.astype(np.int64)
        total += sums << synapse.exponent if synapse.exponent >= 0 else sums >> -synapse.exponent
        rounded += synapse.exponent < 0
        there = (neurons, x.shape[2], widest)
        effect, address = np.zeros(there, dtype=np.int64), np.full(there, -1, dtype=np.int64)
        if isinstance(synapse, Sparse):
            effect[synapse.rows, synapse.columns, : field.bits] = change
            address[synapse.rows, synapse.columns, : field.bits] = place
        else:
            effect[..., : field.bits] = change.reshape(*there[:2], field.bits)
            address[..., : field.bits] = place.reshape(*there[:2], field.bits)
        sent.append(x)
        effects.append(effect << (FINE + synapse.exponent))
        addresses.append(address)
    return Layer(
        program,
        population,
        total,
        np.concatenate(sent, 2),
        np.concatenate(effects, 1),
        np.concatenate(addresses, 1),
        biases,
        bias_addresses,
        rounded,
    )


def _most(effects: Ints, flips: int) -> Ints:
    """Return the largest sums of 0 to ``flips`` of the last axis' entries, none of them negative: (..., flips + 1)."""
    count = min(flips, effects.shape[-1])
    best = np.partition(effects, effects.shape[-1] - count, axis=-1)[..., effects.shape[-1] - count :]
    best = np.maximum(np.sort(best, axis=-1)[..., ::-1], 0)
    best = np.concatenate([best, np.zeros((*best.shape[:-1], flips - count), dtype=np.int64)], -1)
    return np.concatenate([np.zeros((*best.shape[:-1], 1), dtype=np.int64), best.cumsum(-1)], -1)


def _inputs(found: Layer, flips: int) -> tuple[Ints, Ints]:
    """Return the least and most synaptic input with 0 to ``flips`` flips, (time, samples, neurons, flips + 1)."""
    steps, samples, neurons = found.arriving.shape
    ends = np.zeros((2, steps, samples, neurons, flips + 1), dtype=np.int64)
    for sample in range(samples):
        for step in range(steps):
            on = np.flatnonzero(found.sent[step, sample])
            effects = found.effect[:, on] * found.sent[step, sample, on][:, None]
            effects = effects.reshape(neurons, -1)
            for end, sign in enumerate((-1, 1)):
                ends[end, step, sample] = _most(sign * effects, flips)
    # Sums that are rounded one by one may be off by one more than their sum rounded once, each but one.
    slack = max(found.rounded - 1, 0) * (np.arange(flips + 1) > 0)
    whole = -(-ends >> FINE) + slack
    return found.arriving[..., None] - whole[0], found.arriving[..., None] + whole[1]


def _decayed(x: Ints, factor: int) -> Ints:
    return decay(torch.from_numpy(x), factor).numpy()


@dataclass
class _Branch:
    """Neurons that fired last at one step: where that is possible, their voltage, and their spikes so far."""

    possible: NDArray[np.bool_]
    low: Ints
    high: Ints
    fewest: Ints
    most: Ints


def ends(found: Layer, flips: int) -> tuple[Ints, Ints]:
    """Return the least and most that each neuron can give with up to so many flips of its own weights and bias.

    Returns:
        (samples, neurons, flips + 1) each, sound for every choice of flips.
    """
    population, readout = found.population, found.program.readout
    few, many = _inputs(found, flips)
    steps, samples, neurons, _ = few.shape
    own = min(flips, found.bias.shape[1])
    # Axes from here on: samples, neurons, flips of weights, flips of the bias.
    shape = (samples, neurons, flips + 1, own + 1)
    bias = population.bias.reshape(-1).astype(np.int64) << population.bias_exponent
    drive_low, drive_high = (
        (bias[:, None] - _most(-found.bias, own))[:, None],
        (bias[:, None] + _most(found.bias, own))[:, None],
    )
    wild = np.zeros(shape[:3], dtype=bool)
    u_low = u_high = np.zeros(shape[:3], dtype=np.int64)
    nothing = np.zeros(shape, dtype=np.int64)
    branches = [_Branch(np.ones(shape, dtype=bool), nothing, nothing, nothing, nothing)]
    first_low, first_high = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    level = population.vth << 6
    for step in range(steps):
        u_low = _decayed(u_low, population.du + 1) + (few[step] << 6)
        u_high = _decayed(u_high, population.du + 1) + (many[step] << 6)
        wild |= (u_low <= -LIMIT) | (u_high > LIMIT)
        u_low, u_high = u_low.clip(-LIMIT, LIMIT), u_high.clip(-LIMIT, LIMIT)
        fired = _Branch(np.zeros(shape, dtype=bool), nothing, nothing, nothing + steps, nothing)
        for number, branch in enumerate(branches):
            low = (_decayed(branch.low, population.dv) + u_low[..., None] + drive_low).clip(-LIMIT + 1, LIMIT - 1)
            high = (_decayed(branch.high, population.dv) + u_high[..., None] + drive_high).clip(-LIMIT + 1, LIMIT - 1)
            fires, stays = branch.possible & (high > level), branch.possible & (low <= level)
            if number == 0:  # The first branch has not fired yet.
                first_high = np.where((first_high == 0) & fires, steps - step, first_high)
                first_low = np.where(fires, steps - step, first_low)
            fired.possible = fired.possible | fires
            fired.fewest = np.where(fires, np.minimum(fired.fewest, branch.fewest + 1), fired.fewest)
            fired.most = np.where(fires, np.maximum(fired.most, branch.most + 1), fired.most)
            branch.possible, branch.low, branch.high = stays, low, np.minimum(high, level)
        branches.append(fired)
    # What never fires gives 0.
    first_low = np.where(branches[0].possible, 0, first_low)
    possible = np.stack([branch.possible for branch in branches])
    if readout.kind == "first_spike":
        low, high, least, largest = first_low, first_high, 0, steps
    else:
        counted = readout.kind == "spike_count"
        lows = np.stack([branch.fewest if counted else branch.low for branch in branches])
        highs = np.stack([branch.most if counted else branch.high for branch in branches])
        least, largest = (0, steps) if counted else (-LIMIT + 1, LIMIT - 1)
        low = np.where(possible, lows, largest).min(0)
        high = np.where(possible, highs, least).max(0)
    low, high = np.where(wild[..., None], least, low), np.where(wild[..., None], largest, high)
    return _together(low, np.minimum, flips), _together(high, np.maximum, flips)


def _together(end: Ints, worse: np.ufunc, flips: int) -> Ints:
    """Return the worst of all ways to part up to 0, 1, ... ``flips`` flips into weights and bias."""
    found = end[..., 0].copy()
    for bias in range(1, end.shape[-1]):
        found[..., bias:] = worse(found[..., bias:], end[..., : flips + 1 - bias, bias])
    return np.asarray(worse.accumulate(found, axis=-1), dtype=np.int64)


def proved(found: Layer, classes: Ints, flips: int) -> list[int]:
    """Return how many flips, whichever they are, provably change no class, a sample; at most ``flips``.

    Args:
        found: the read-out layer.
        classes: without flips, (samples,).
        flips: the largest number that is looked at.
    """
    low, high = ends(found, flips)
    samples, neurons, _ = low.shape
    rows, others = np.arange(samples), np.arange(neurons)
    own = low[rows, classes][:, None]
    safe = np.ones((samples, flips + 1), dtype=bool)
    # Equal outputs go to the lower index.
    wins = (others[None] > classes[:, None])[..., None]
    itself = (others[None] == classes[:, None])[..., None]
    for k in range(flips + 1):
        mine, theirs = own[..., : k + 1], high[..., k::-1]
        stands = (mine > theirs) | (wins & (mine == theirs)) | itself
        safe[:, k] = stands.all((1, 2))
    # No flip changes nothing, also where the bounds cannot see it.
    safe[:, 0] = True
    return [int(row.size if row.all() else row.argmin()) - 1 for row in safe]
