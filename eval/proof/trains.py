"""What a neuron may send over all steps: sets of spike trains, and intervals of messages."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import ceil, floor

import numpy as np
from numpy.typing import NDArray

from .layers import Int

Mask = NDArray[np.bool_]
STEPS = 8
"""Up to here a set is kept train by train, 2^steps of them; above it, step by step."""


@lru_cache
def trains(steps: int) -> Mask:
    """Return all trains (2^steps, steps); bit t of a train's number is its spike at step t."""
    return (np.arange(2**steps)[:, None] >> np.arange(steps) & 1).astype(bool)


@dataclass(frozen=True)
class Levels:
    """Messages between two ends at each step.

    Attributes:
        low: (time, neurons), 0 or more.
        high: the same.
    """

    low: Int
    high: Int

    @property
    def steps(self) -> int:
        """Time steps."""
        return len(self.low)

    def span(self, low: Int, high: Int) -> tuple[Int, Int]:
        """Return the least sum of ``low`` and the largest of ``high`` times messages, (neurons,).

        Args:
            low: factors, one a step, 0 or more.
            high: the same.
        """
        return low @ self.low, high @ self.high


@dataclass(frozen=True)
class Trains:
    """Sets of spike trains.

    Attributes:
        low: (time, neurons), 1 where every train has a spike.
        high: 1 where any has one.
        mask: (neurons, 2^time), which trains are possible; None for more than :data:`STEPS` steps.
    """

    low: Int
    high: Int
    mask: Mask | None = None

    @classmethod
    def of_mask(cls, mask: Mask, steps: int) -> "Trains":
        """Return the sets that ``mask`` (neurons, 2^steps) holds."""
        bits = trains(steps)
        # Whether any train of the set has a spike, and any has none.
        some, none = mask @ bits, mask @ ~bits
        return cls((some & ~none).T.astype(np.int64), some.T.astype(np.int64), mask)

    @property
    def steps(self) -> int:
        """Time steps."""
        return len(self.low)

    def span(self, low: Int, high: Int) -> tuple[Int, Int]:
        """Return the least sum of ``low`` and the largest of ``high`` over spikes, (neurons,); see :class:`Levels`."""
        if self.mask is None:
            return low @ self.low, high @ self.high
        bits = trains(self.steps).astype(np.int64)
        top = np.where(self.mask, bits @ high, -1).max(1)
        bottom = np.where(self.mask, bits @ low, np.iinfo(np.int64).max).min(1)
        return bottom, top

    def counts(self) -> tuple[Int, Int]:
        """Return least and most spikes, (neurons,)."""
        ones = np.ones(self.steps, dtype=np.int64)
        return self.span(ones, ones)

    def first(self) -> tuple[Int, Int]:
        """Return least and most of steps minus the step of the first spike, 0 if there is none, (neurons,)."""
        left = self.steps - np.arange(self.steps)
        # The earliest possible spike, and the latest that is certain to have come.
        return (self.low * left[:, None]).max(0), (self.high * left[:, None]).max(0)

    def both(self, other: "Trains") -> "Trains":
        """Return the trains that are in both sets."""
        if self.mask is not None and other.mask is not None:
            return Trains.of_mask(self.mask & other.mask, self.steps)
        return Trains(np.maximum(self.low, other.low), np.minimum(self.high, other.high))


Sent = Trains | Levels


def scaled(factors: Sequence[Fraction], lag: int, scale: int) -> tuple[Int, Int]:
    """Return factors of arrivals as those of what was sent ``lag`` steps before, in fixed point, below and above.

    Args:
        factors: one a step of the target.
        lag: between the two.
        scale: of the fixed point.
    """
    moved = [*factors[lag:], *[Fraction(0)] * min(lag, len(factors))]
    low, high = [floor(factor * scale) for factor in moved], [ceil(factor * scale) for factor in moved]
    return np.array(low, dtype=np.int64), np.array(high, dtype=np.int64)


def late(sent: Int, lag: int) -> Int:
    """Return what arrives at each step of what was sent (time, neurons), ``lag`` steps later."""
    if not lag:
        return sent
    zeros = np.zeros_like(sent[:lag])
    return np.concatenate([zeros, sent[: len(sent) - lag]])


def any_of(sources: Trains, lag: int, groups: Int) -> Trains:
    """Return the sets of trains of ORs.

    Args:
        sources: what their sources send.
        lag: in steps.
        groups: (neurons, sources), indices of sources; -1 is nobody.
    """
    steps = sources.steps
    silent = groups < 0
    if sources.mask is None:
        low, high = (np.where(silent, 0, late(part, lag)[:, groups]).max(2) for part in (sources.low, sources.high))
        return Trains(low, high)
    mask = _late_mask(sources.mask, lag, steps)
    nobody = np.zeros(2**steps, dtype=bool)
    nobody[0] = True
    found = np.broadcast_to(nobody, (len(groups), len(nobody)))
    for column in range(groups.shape[1]):
        found = _or(found, np.where(silent[:, column, None], nobody, mask[groups[:, column]]), steps)
    return Trains.of_mask(found, steps)


def _late_mask(mask: Mask, lag: int, steps: int) -> Mask:
    if not lag:
        return mask
    if lag >= steps:
        return np.broadcast_to(np.arange(2**steps) == 0, mask.shape)
    found = np.zeros_like(mask)
    for number in range(2**steps):
        found[:, (number << lag) % 2**steps] |= mask[:, number]
    return found


def _or(one: Mask, other: Mask, steps: int) -> Mask:
    """Return the sets of a | b for a of one set and b of the other: sums over subsets, multiplied, undone."""
    product = _subsets(one.astype(np.int64), steps, 1) * _subsets(other.astype(np.int64), steps, 1)
    found: Mask = _subsets(product, steps, -1) > 0
    return found


def _subsets(counts: Int, steps: int, sign: int) -> Int:
    counts = counts.copy()
    for t in range(steps):
        view = counts.reshape(len(counts), -1, 2, 2**t)
        view[:, :, 1] += sign * view[:, :, 0]
    return counts
