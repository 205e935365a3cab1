"""Two forms on the same images, batch by batch: where they part, how often, and what that does to the classes."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from ..records.base import Share, share_of
from ..records.explanation import Effect, Place
from ..records.sensitivity import Paired
from .judge import Judge
from .model import Outcome


def mcnemar(lost: int, won: int) -> float:
    """Return the p of McNemar's exact test: of ``lost`` against ``won`` in a fair toss; 1 for no tosses."""
    return float(binomtest(lost, lost + won).pvalue) if lost + won else 1.0


def paired(samples: int, changed: int, lost: int, won: int) -> Paired:
    """Return two forms on the same samples, with McNemar's exact test."""
    return Paired(samples=samples, classes_changed=changed, lost=lost, won=won, p=mcnemar(lost, won))


class Tally:
    """Counts what differs between two forms.

    Args:
        order: populations in the order of computation, with the shape that places are named in.
        by_step: whether the earliest step comes before the earliest population: in recurrent networks, where a
            population may differ because a later one did, a step earlier.
        judge: what says which answers are right.
    """

    def __init__(self, order: dict[str, tuple[int, ...]], by_step: bool, judge: Judge | None = None) -> None:
        self.order, self.by_step, self.judge = order, by_step, judge or Judge()
        self.by_population = dict.fromkeys(order, 0)
        self.compared = 0
        self.first: tuple[tuple[int, ...], Place] | None = None
        self.samples = self.changed = self.lost = self.won = self.right = 0

    def update(self, before: Outcome, after: Outcome, labels: NDArray[Any]) -> None:
        """Count a batch; of the longer outcome the first samples."""
        batch = min(len(before.classes), len(after.classes))
        for number, (name, shape) in enumerate(self.order.items()):
            a, b = (one.spikes[name][:, :batch].reshape(-1, batch, *shape) for one in (before, after))
            wrong = a != b
            self.compared += wrong.size
            count = int(wrong.sum())
            self.by_population[name] += count
            if count:
                self._keep(number, name, wrong, a)
        known, answers = labels[:batch], (before.classes[:batch], after.classes[:batch])
        right = [self.judge.right(one, known) for one in answers]
        self.changed += self.judge.changed(*answers, known)
        self.lost += int((right[0] & ~right[1]).sum())
        self.won += int((right[1] & ~right[0]).sum())
        self.right += int(right[1].sum())
        self.samples += batch

    def _keep(self, number: int, name: str, wrong: NDArray[np.bool_], before: NDArray[np.bool_]) -> None:
        # Row-major: the earliest step, then the first sample, then the first neuron.
        step, sample, *neuron = (int(i) for i in np.unravel_index(int(wrong.argmax()), wrong.shape))
        rank = ((step, number) if self.by_step else (number, step)) + (self.samples + sample,)
        if self.first is None or rank < self.first[0]:
            place = Place(
                population=name,
                step=step,
                neuron=tuple(neuron),
                sample=self.samples + sample,
                fires="before" if before[(step, sample, *neuron)] else "after",
            )
            self.first = rank, place

    @property
    def different(self) -> int:
        """How many spike values differ."""
        return sum(self.by_population.values())

    def effect(self) -> Effect:
        """Return what was counted."""
        return Effect(
            different=self.different,
            compared=self.compared,
            paired=paired(self.samples, self.changed, self.lost, self.won),
            accuracy=self.accuracy(),
            first=None if self.first is None else self.first[1],
        )

    def accuracy(self) -> Share:
        """Return the accuracy of the second form, with its Wilson interval."""
        return share_of(self.right, self.samples)


def tallies(
    names: Iterable[str], order: dict[str, tuple[int, ...]], by_step: bool, judge: Judge | None = None
) -> dict[str, Tally]:
    """Return a Tally for each name."""
    return {name: Tally(order, by_step, judge) for name in names}
