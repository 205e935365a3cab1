"""The law: on random cores our arithmetic and xylosim agree, value by value. Random cores, and the comparison."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arithmetic import HIGH, Core, Numbers, simulate
from .oracle import Job, record

QUANTITIES = ("spikes", "i", "v", "spikes_out", "i_out", "v_out")


@dataclass(frozen=True)
class Compared:
    """What was compared.

    Attributes:
        spikes: values of spikes, hidden and read out.
        membranes: values of membranes.
        currents: values of synaptic currents.
        different: how many of all these differ.
        sent: spikes that were sent.
        clipped: how often a state left its 16 bits.
    """

    spikes: int
    membranes: int
    currents: int
    different: int
    sent: int
    clipped: int


def random_core(rng: np.random.Generator, hidden: int = 63) -> Core:
    """Return a recurrent core: any leak, shift, alias and bias, weights from sparse to dense; many leave 16 bits.

    Args:
        rng: of all choices.
        hidden: most hidden neurons.
    """
    channels, neurons, outputs = (int(rng.integers(low, high + 1)) for low, high in ((1, 16), (2, hidden), (1, 16)))
    ports = int(rng.integers(1, 3))
    wide = int(rng.choice([4, 16, 127]))

    def weights(*shape: int) -> Numbers:
        found = rng.integers(-wide, wide + 1, shape)
        found[rng.random(shape) < rng.choice([0.0, 0.5, 0.9])] = 0
        return found

    def numbers(low: int, high: int, *shape: int) -> Numbers:
        return rng.integers(low, high + 1, shape)

    aliases = np.full(neurons, -1)
    if rng.random() < 0.5:
        chosen = rng.random(neurons) < 0.2
        aliases[chosen] = rng.integers(0, neurons, chosen.sum())
    lowest, bias = int(rng.integers(0, 4)), int(rng.choice([0, 0, 20, HIGH]))
    threshold = int(rng.choice([20, 200, 2000, HIGH]))
    return Core(
        weights_in=weights(channels, neurons, ports),
        weights_rec=weights(neurons, neurons, ports),
        weights_out=weights(neurons, outputs),
        shifts=(*(int(shift) for shift in numbers(0, 7 if rng.random() < 0.3 else 1, 3)),),  # type: ignore[arg-type]
        dash_syn=numbers(lowest, int(rng.choice([4, 15])), neurons, ports),
        dash_mem=numbers(0, int(rng.choice([5, 15])), neurons),
        threshold=numbers(1, threshold, neurons),
        bias=numbers(-bias, bias, neurons),
        dash_syn_out=numbers(lowest, 5, outputs),
        dash_mem_out=numbers(0, 15, outputs),
        threshold_out=numbers(1, threshold, outputs),
        bias_out=numbers(-bias, bias, outputs),
        aliases=aliases,
    )


def random_input(rng: np.random.Generator, core: Core, steps: int, samples: int) -> NDArray[Any]:
    """Return spikes (steps, samples, channels), up to 17 a step: the core takes 15 of them."""
    return rng.integers(0, int(rng.choice([2, 8, 18])), (steps, samples, core.weights_in.shape[0]))


def compare(jobs: Sequence[Job], python: Path | None = None) -> Compared:
    """Run cores on both and count what differs.

    Args:
        jobs: cores, each with its input.
        python: interpreter with xylosim; that of the installed environment by default.

    Raises:
        TargetError: xylosim is not installed, or fails.
    """
    counts = dict.fromkeys(("spikes", "membranes", "currents", "different", "sent", "clipped"), 0)
    for job, theirs in zip(jobs, record(jobs, python=python), strict=True):
        ours = simulate(*job)
        for name in QUANTITIES:
            found, expected = getattr(ours, name), getattr(theirs, name)
            kind = {"s": "spikes", "v": "membranes", "i": "currents"}[name[0]]
            counts[kind] += found.size
            counts["different"] += int((found != expected).sum())
        counts["sent"] += int(ours.spikes.sum() + ours.spikes_out.sum())
        counts["clipped"] += sum(ours.clipped)
    return Compared(**counts)
