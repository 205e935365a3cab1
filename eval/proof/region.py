"""The inputs that a proof is about: integer messages of a ball around one sample."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

from ...toolkit.errors import InputError
from .layers import Int, Wire
from .trains import Levels

Messages = NDArray[np.int32]
"""(time, samples, neurons): what a Program receives, flattened."""


class Region(ABC):
    """A finite set of inputs.

    Attributes:
        clean: the sample itself, (time, neurons).
        constant: whether each input is the same at every step.
    """

    clean: Int
    constant: bool = False

    @property
    @abstractmethod
    def sent(self) -> Levels:
        """Each message's ends."""

    def spans(self, wire: Wire, low: Int, high: Int) -> tuple[Int, Int]:
        """Return the ends of W (sum over steps of factors times messages), a target neuron; see :meth:`Levels.span`."""
        bottom, top = self.sent.span(low, high)
        return wire.excitatory @ bottom + wire.inhibitory @ top, wire.excitatory @ top + wire.inhibitory @ bottom

    @abstractmethod
    def draw(self, random: np.random.Generator, count: int, corners: bool = False) -> Messages:
        """Return random inputs of the set (time, count, neurons), or such of its boundary."""

    @abstractmethod
    def holds(self, messages: Messages) -> NDArray[np.bool_]:
        """Return which inputs (time, samples, neurons) belong to the set."""

    @abstractmethod
    def every(self) -> Iterator[Messages]:
        """Yield all inputs, (time, 1, neurons) each: for tests of small ones."""


@dataclass(frozen=True)
class Ball(Region):
    """Levels within ``radius`` of the sample, the same at every step.

    Args:
        levels: of the sample, (neurons,).
        radius: in levels.
        steps: of time.
        peak: the largest message.
    """

    levels: Int
    radius: int
    steps: int
    peak: int
    constant = True

    @property
    def clean(self) -> Int:  # type: ignore[override]
        """The sample at every step."""
        return np.broadcast_to(self.levels, (self.steps, len(self.levels)))

    @cached_property
    def low(self) -> Int:
        """Least level of each input."""
        return np.maximum(self.levels - self.radius, 0)

    @cached_property
    def high(self) -> Int:
        """Largest level of each."""
        return np.minimum(self.levels + self.radius, self.peak)

    @property
    def sent(self) -> Levels:
        """Each message's ends."""
        shape = (self.steps, len(self.levels))
        return Levels(np.broadcast_to(self.low, shape), np.broadcast_to(self.high, shape))

    def draw(self, random: np.random.Generator, count: int, corners: bool = False) -> Messages:
        """Return random inputs, or corners."""
        shape = (count, len(self.levels))
        if corners:
            found = np.where(random.integers(0, 2, shape, dtype=bool), self.high, self.low)
        else:
            found = random.integers(self.low, self.high + 1, shape)
        return self.repeated(found)

    def repeated(self, levels: Int) -> Messages:
        """Return levels (samples, neurons) at every step."""
        return np.broadcast_to(levels.astype(np.int32), (self.steps, *levels.shape))

    def holds(self, messages: Messages) -> NDArray[np.bool_]:
        """Return which inputs are constant and inside."""
        same = (messages == messages[0]).all((0, 2))
        found: NDArray[np.bool_] = same & ((messages[0] >= self.low) & (messages[0] <= self.high)).all(1)
        return found

    def every(self) -> Iterator[Messages]:
        """Yield all of them."""
        ranges = [range(low, high + 1) for low, high in zip(self.low.tolist(), self.high.tolist(), strict=True)]
        for levels in product(*ranges):
            yield self.repeated(np.array([levels]))


@dataclass(frozen=True)
class Edits(Region):
    """Spikes with at most ``budget`` edits: entries flipped, or spikes shifted by one step.

    Args:
        spikes: of the sample, (time, neurons), 0 or 1.
        budget: edits.
        edit: "flip" changes one entry; "shift" exchanges the entries of an input at a step and the next one. No entry
            is edited twice.
    """

    spikes: Int
    budget: int
    edit: str = "flip"

    def __post_init__(self) -> None:
        if self.edit not in ("flip", "shift") or self.budget < 1:
            raise InputError(f"edit, budget: {self.edit!r}, {self.budget}, expected 'flip' or 'shift', and 1 or more")
        if not np.isin(self.spikes, (0, 1)).all():
            raise InputError("spikes to edit: values other than 0 and 1; graded input has a radius instead")

    @property
    def clean(self) -> Int:  # type: ignore[override]
        """The sample."""
        return self.spikes

    @cached_property
    def editable(self) -> NDArray[np.bool_]:
        """Where an edit may start, (time, neurons)."""
        if self.edit == "flip":
            return np.ones(self.spikes.shape, dtype=bool)
        found = np.zeros(self.spikes.shape, dtype=bool)
        found[:-1] = self.spikes[:-1] != self.spikes[1:]
        return found

    @property
    def sent(self) -> Levels:
        """Each message's ends, whatever the budget."""
        free = self.editable.copy()
        if self.edit == "shift":
            free[1:] |= self.editable[:-1]
        return Levels(np.where(free, 0, self.spikes), np.where(free, 1, self.spikes))

    def spans(self, wire: Wire, low: Int, high: Int) -> tuple[Int, Int]:
        """Return the ends, of which no more than ``budget`` edits can be the cause."""
        top = self._most(wire, high, low)
        return -self._most(wire, low, high, -1), top

    def _most(self, wire: Wire, excitatory: Int, inhibitory: Int, sign: int = 1) -> Int:
        """Return the largest sum of sign times weights times factors, which differ by the sign of the weight."""
        columns, weights = wire.padded
        # The sum is largest with the larger factors where they help, and the smaller ones where they harm.
        factors = np.where(weights[..., None] > 0, excitatory, inhibitory)
        each = sign * weights[..., None] * factors  # (targets, sources, time)
        bits = self.spikes.T[columns]
        gains = np.where(bits == 1, -each, each)
        if self.edit == "shift":
            gains[..., :-1] += gains[..., 1:].copy()
            gains[..., -1] = 0
        gains = np.where(self.editable.T[columns], np.maximum(gains, 0), 0).reshape(len(gains), -1)
        count = min(self.budget, gains.shape[1])
        best = np.partition(gains, gains.shape[1] - count, axis=1)[:, gains.shape[1] - count :]
        found: Int = (each * bits).sum((1, 2)) + best.sum(1)
        return found

    def draw(self, random: np.random.Generator, count: int, corners: bool = False) -> Messages:
        """Return inputs of random edits: of any number of them, or of the whole budget."""
        places = np.flatnonzero(self.editable)
        found = np.repeat(self.spikes.astype(np.int32)[:, None], count, 1)
        for sample in range(count):
            most = min(self.budget, len(places))
            edits = most if corners else int(random.integers(0, most + 1))
            self._apply(found[:, sample], random.permutation(places)[:edits])
        return found

    def _apply(self, spikes: NDArray[np.int32], places: NDArray[np.int64]) -> bool:
        """Make edits, leave out those that meet others; return whether all were made."""
        width = self.spikes.shape[1]
        touched = np.zeros(self.spikes.shape, dtype=bool)
        whole = True
        for place in places:
            t, n = divmod(int(place), width)
            span = slice(t, t + (2 if self.edit == "shift" else 1))
            if touched[span, n].any():
                whole = False
                continue
            touched[span, n] = True
            spikes[span, n] = 1 - spikes[span, n]
        return whole

    def holds(self, messages: Messages) -> NDArray[np.bool_]:
        """Return which inputs have no more edits."""
        changed = messages != self.spikes[:, None]
        binary = np.isin(messages, (0, 1)).all((0, 2))
        if self.edit == "flip":
            return np.asarray(binary & (changed.sum((0, 2)) <= self.budget))
        # Changes are read from the first step on: each must be an exchange with the next one.
        left, edits = changed.copy(), np.zeros(messages.shape[1], dtype=np.int64)
        fits = binary.copy()
        for t in range(len(left)):
            starts = left[t]
            edits += starts.sum(1)
            if t + 1 == len(left):
                fits &= ~starts.any(1)
                break
            fits &= (~starts | (left[t + 1] & self.editable[t])).all(1)
            left[t + 1] &= ~starts
        return np.asarray(fits & (edits <= self.budget))

    def every(self) -> Iterator[Messages]:
        """Yield all of them."""
        places = np.flatnonzero(self.editable)
        for count in range(min(self.budget, len(places)) + 1):
            for chosen in combinations(places.tolist(), count):
                found = self.spikes.astype(np.int32).copy()
                if self._apply(found, np.array(chosen, dtype=np.int64)):
                    yield found[:, None]
