"""Flips by chance: accuracy against their number over many seeds, and what each layer, field and bit position costs."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...hw_targets.target import Counts, get_target
from ...toolkit.progress import Track
from ..records.faults import FlipCost, Group, RandomFlips
from .memory import KINDS, Addresses, Memory

POINTS = 0.05
"""The loss of accuracy whose price in flips is looked for."""


class Judge:
    """The accuracy of a Program with flipped bits on the same samples, on target ``loihi``.

    Args:
        memory: of the Program without faults.
        messages: input (time, batch, ...).
        labels: (batch,).
    """

    def __init__(self, memory: Memory, messages: NDArray[np.int32], labels: NDArray[np.integer]) -> None:
        self.memory, self.messages, self.labels = memory, messages, labels

    def outputs(self, flips: Sequence[int] | Addresses) -> Counts:
        """Return the read-out (batch, classes) with these bits flipped."""
        compiled = get_target("loihi").compile(self.memory.flipped(flips))
        return compiled.run(self.messages).output

    def right(self, flips: Sequence[int] | Addresses) -> int:
        """Return how many samples are answered rightly with these bits flipped."""
        return int((self.outputs(flips).argmax(1) == self.labels).sum())

    def accuracy(self, flips: Sequence[int] | Addresses) -> float:
        """Return the share of samples that are answered rightly with these bits flipped."""
        return self.right(flips) / len(self.labels)


def counts(most: int) -> list[int]:
    """Return 1, 2, 4, ... up to ``most``."""
    return [2**power for power in range(most.bit_length())]


def random_flips(
    judge: Judge, among: Addresses, most: int, seeds: int, clean: float, track: Track
) -> list[RandomFlips]:
    """Return accuracy against the number of flips; each seed draws an order of bits, and its first n are flipped.

    Args:
        judge: of the Program.
        among: bits that may flip.
        most: the largest number of flips, capped at the number of bits.
        seeds: of the generators, from 0.
        clean: accuracy without flips.
        track: progress.
    """
    sizes = counts(min(most, len(among)))
    orders = [np.random.default_rng(seed).permutation(among)[: sizes[-1]] for seed in range(seeds)]
    jobs = [(size, order) for size in sizes for order in orders]
    found = [judge.accuracy(order[:size]) for size, order in track(jobs, "random flips", len(jobs))]
    curves = np.array(found).reshape(len(sizes), seeds)
    return [
        RandomFlips(
            flips=size,
            accuracies=row.tolist(),
            mean=float(row.mean()),
            deviation=float(row.std(ddof=1)) if seeds > 1 else None,
            least=float(row.min()),
            most=float(row.max()),
            lost=float(clean - row.mean()),
        )
        for size, row in zip(sizes, curves, strict=True)
    ]


def crossing(sizes: Sequence[int], accuracies: Sequence[float], clean: float, points: float) -> float | None:
    """Return the number of flips at which ``points`` are lost first, on lines between what was measured.

    Args:
        sizes: numbers of flips, increasing from above 0.
        accuracies: at each of them.
        clean: at 0 flips.
        points: of accuracy, a share.

    Returns:
        None if so much was never lost.
    """
    level = clean - points
    before, at = 0.0, clean
    for size, accuracy in zip(sizes, accuracies, strict=True):
        # Accuracies are multiples of 1 / samples; what is equal must not depend on their binary fractions.
        if accuracy <= level + 1e-12:
            return before + (size - before) * (at - level) / (at - accuracy)
        before, at = float(size), accuracy
    return None


def price(flips: Sequence[RandomFlips], clean: float, points: float = POINTS) -> FlipCost:
    """Return how many random flips cost so much accuracy: of the mean over seeds, and of each seed."""
    sizes = [one.flips for one in flips]
    each = [
        crossing(sizes, [one.accuracies[seed] for one in flips], clean, points)
        for seed in range(len(flips[0].accuracies))
    ]
    reached = [one for one in each if one is not None]
    return FlipCost(
        points=points,
        flips=crossing(sizes, [one.mean for one in flips], clean, points),
        seeds=each,
        least=min(reached, default=None),
        most=max(reached) if len(reached) == len(each) else None,
    )


def groups(judge: Judge, flips: int, seeds: int, clean: float, track: Track) -> list[Group]:
    """Return what flips of one layer and field cost, at any bit position and at each of them.

    Args:
        judge: of the Program.
        flips: in a group, or all of its bits if there are fewer.
        seeds: random choices a group; one where all its bits flip.
        clean: accuracy without flips.
        track: progress.
    """
    memory = judge.memory
    found = []
    kinds = {(f.layer, f.kind): f.bits for f in memory.fields}
    several = {(f.layer, f.kind) for f in memory.fields if f.words > 1}
    wanted = [
        (layer, kind, bit)
        for layer, kind in sorted(kinds, key=lambda key: KINDS.index(key[1]))
        for bit in (*([None] if (layer, kind) in several else []), *range(kinds[layer, kind]))
    ]
    for layer, kind, bit in track(wanted, "layer by layer, bit by bit", len(wanted)):
        among = memory.select(layer, kind, bit)
        size = min(flips, len(among))
        draws = 1 if size == len(among) else seeds
        accuracies = [judge.accuracy(np.random.default_rng(seed).permutation(among)[:size]) for seed in range(draws)]
        found.append(
            Group(
                layer=layer,
                field=kind,
                bit=bit,
                bits=len(among),
                flips=size,
                accuracies=accuracies,
                lost=clean - float(np.mean(accuracies)),
            )
        )
    return found
