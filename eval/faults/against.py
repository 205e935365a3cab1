"""Flips of the read-out layer that do change a class: the other end of what is proved, judged by target ``loihi``."""

import numpy as np
import torch
from numpy.typing import NDArray

from ...hw_targets.loihi.arithmetic import step
from ...hw_targets.target import Trace, get_target
from ...toolkit.progress import Track
from .memory import Memory
from .readout import FINE, Ints, Layer


def _outputs(found: Layer, arriving: Ints, bias: Ints) -> Ints:
    """Return what neurons give for synaptic input (time, ...) and biases (...)."""
    population = found.population
    u = v = torch.zeros(bias.shape, dtype=torch.int64)
    spikes, voltages = [], v
    for a in torch.from_numpy(arriving):
        options = {"du": population.du, "dv": population.dv, "vth": population.vth}
        done = step(u, v, a, bias=torch.from_numpy(bias), **options)
        u, v, voltages = done.u, done.v, done.v
        spikes.append(done.spikes.numpy())
    flat = np.stack(spikes).reshape(len(spikes), 1, -1)
    return found.program.readout.output(flat, voltages.numpy().reshape(1, 1, -1)).reshape(bias.shape)


def _for_sample(found: Layer, sample: int, outputs: Ints, flips: int) -> list[tuple[int, list[int]]]:
    """Return (number, addresses) of flips that should change the class of one sample, fewest first."""
    neurons, steps = len(outputs), len(found.sent)
    own = int(outputs.argmax())
    sent = found.sent[:, sample]
    effects = (found.effect * sent[:, None, :, None]).reshape(steps, neurons, -1)
    total = np.concatenate([effects.sum(0) * 64 / 2**FINE, found.bias * steps], 1)
    address = np.concatenate([found.address.reshape(neurons, -1), found.bias_address], 1)
    weights = effects.shape[2]
    rest = [neuron for neuron in range(neurons) if neuron != own]
    arriving = np.zeros((steps, len(rest), flips, 2), dtype=np.int64)
    bias = np.zeros((len(rest), flips, 2), dtype=np.int64)
    chosen: list[list[int]] = []
    base = found.population.bias.reshape(-1).astype(np.int64) << found.population.bias_exponent
    for row, other in enumerate(rest):
        gains = np.concatenate([total[other], -total[own]])
        best = np.argsort(-gains, kind="stable")[:flips]
        best = best[gains[best] > 0]
        chosen.append(
            [int(address[own if place >= total.shape[1] else other, place % total.shape[1]]) for place in best]
        )
        for side, neuron in enumerate((other, own)):
            mine = (best >= total.shape[1]) == bool(side)
            place = best % total.shape[1]
            is_weight = mine & (place < weights)
            added = np.zeros((steps, flips), dtype=np.int64)
            added[:, : len(best)] = np.where(is_weight, effects[:, neuron, np.minimum(place, weights - 1)], 0)
            arriving[:, row, :, side] = found.arriving[:, sample, neuron, None] + (added.cumsum(1) >> FINE)
            moved = np.zeros(flips, dtype=np.int64)
            is_bias = mine & (place >= weights)
            moved[: len(best)][is_bias] = found.bias[neuron, place[is_bias] - weights]
            bias[row, :, side] = base[neuron] + moved.cumsum()
    made = _outputs(found, arriving, bias)
    changed = np.broadcast_to(outputs, (len(rest), flips, neurons)).copy()
    changed[np.arange(len(rest)), :, rest] = made[..., 0]
    changed[..., own] = made[..., 1]
    hits = np.argwhere(changed.argmax(2) != own)
    options = {(int(number) + 1, row): chosen[row][: number + 1] for row, number in hits if number < len(chosen[row])}
    return [(number, options[number, row]) for number, row in sorted(options)]


def broken(
    found: Layer, messages: NDArray[np.int32], trace: Trace, flips: int, track: Track
) -> list[tuple[int, list[int]] | None]:
    """Return flips of the read-out layer that change each sample's class, run on ``loihi``; None where none were found.

    For every other class, the flips with the largest effect over all steps on the two neurons are taken, most first.

    Args:
        found: the read-out layer.
        messages: input (time, samples, ...).
        trace: of them.
        flips: the largest number that is tried.
        track: progress.
    """
    memory = Memory(found.program)
    result: list[tuple[int, list[int]] | None] = []
    for sample in track(range(len(trace.output)), "flips of the read-out layer", len(trace.output)):
        single = messages[:, sample : sample + 1]
        options = _for_sample(found, sample, trace.output[sample], flips)
        result.append(
            next(
                (
                    (number, addresses)
                    for number, addresses in options
                    if get_target("loihi").compile(memory.flipped(addresses)).run(single).classes[0]
                    != trace.classes[sample]
                ),
                None,
            )
        )
    return result
