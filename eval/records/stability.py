"""The record of a stability study: one row a network, sample size and seed; slopes, bounds and means made from it."""

import itertools
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .base import Data, Part, Record, read_model
from .study import Mean


class Point(Part):
    """What was seen after so many steps of training.

    Attributes:
        step: steps of gradient descent, or epochs.
        distances: of each twin: the Euclidean distance of its parameters from those of the sample's own training.
        replaced: of each twin: the loss on the example that it has not, after its training minus after the other.
        moved: distance of the parameters from the initial ones.
        train_loss: mean loss on the sample.
        test_loss: mean loss on the test set.
        train_accuracy: on the sample.
        test_accuracy: on the test set.
        curvature: what no eigenvalue of the Hessian of the training loss lies below; None where nothing is known.
        density: share of entries of the input gradient that are not exactly zero.
        large: share of its entries of at least a thousandth of the largest one of their sample.
        gradient_l1: mean L1 norm of the input gradient.
    """

    step: int
    distances: tuple[float, ...]
    replaced: tuple[float, ...]
    moved: float
    train_loss: float
    test_loss: float
    train_accuracy: float
    test_accuracy: float
    curvature: float | None
    density: float
    large: float
    gradient_l1: float

    @property
    def distance(self) -> float:
        """Root of the mean square of the twins' distances."""
        return math.sqrt(statistics.fmean(one * one for one in self.distances))

    @property
    def gap(self) -> float:
        """Test loss minus training loss."""
        return self.test_loss - self.train_loss


class Row(Part):
    """One cell: a network, trained on one sample and on its twins'.

    Attributes:
        name: of the cell.
        network: "tanh:M" or "lif:M", shallow networks of width M; or "recipe", the recipe's own.
        samples: n, trained on.
        seed: of sample, initial weights and order.
        key: of the cell.
        unit: what ``step`` counts: "step" or "epoch".
        parameters: how many are trained.
        smoothness: L of the loss in the parameters, proved; None where there is none.
        points: in order; the first one is before training.
    """

    name: str
    network: str
    samples: int
    seed: int
    key: str
    unit: str
    parameters: int
    smoothness: float | None
    points: tuple[Point, ...]

    def at(self, step: int) -> Point:
        """Return what was seen after so many steps."""
        return next(point for point in self.points if point.step == step)

    @property
    def steps(self) -> list[int]:
        """All steps at which something was seen, but the start."""
        return [point.step for point in self.points if point.step]


class Stability(Record):
    """A stability study on one data set.

    Attributes:
        plan: twins, rate, batch, scale and targets of shallow networks.
        rows: one a cell.
    """

    data: Data
    recipe: dict[str, Any]
    plan: dict[str, Any]
    rows: tuple[Row, ...]


def networks(record: Stability) -> list[str]:
    """Return the names of all networks, in order."""
    return list(dict.fromkeys(row.network for row in record.rows))


def sizes(record: Stability, network: str) -> list[int]:
    """Return the sample sizes of a network, ascending."""
    return sorted({row.samples for row in record.rows if row.network == network})


def rows_of(record: Stability, network: str, samples: int) -> list[Row]:
    """Return the rows of a network and sample size, one a seed."""
    return [row for row in record.rows if (row.network, row.samples) == (network, samples)]


def mean_of(values: Sequence[float]) -> Mean:
    """Return mean and sample standard deviation."""
    return Mean(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, tuple(values))


def mean_at(rows: Sequence[Row], step: int, quantity: Callable[[Point], float]) -> Mean:
    """Return a quantity at a step, over the seeds."""
    return mean_of([quantity(row.at(step)) for row in rows])


def grown_gap(row: Row, step: int) -> float:
    """Return the gap at a step less that of the initial weights, which know nothing of the sample: its mean is 0."""
    return row.at(step).gap - row.points[0].gap


def slope(record: Stability, network: str, step: int) -> Mean | None:
    """Return the slope of log distance in log n at a step, fitted to each seed's sizes; None of fewer than two sizes.

    A distance of 0 has no logarithm: then there is none, either.
    """
    found = []
    for seed in sorted({row.seed for row in record.rows if row.network == network}):
        rows = [row for row in record.rows if (row.network, row.seed) == (network, seed)]
        places = [(row.samples, row.at(step).distance) for row in rows]
        if len({samples for samples, _ in places}) < 2 or not all(distance for _, distance in places):
            return None
        logs = [(math.log(samples), math.log(distance)) for samples, distance in places]
        found.append(statistics.linear_regression(*zip(*logs, strict=True)).slope)
    return mean_of(found)


@dataclass(frozen=True)
class Findings:
    """What the curves of a network do, each counted over its rows.

    Attributes:
        rows: how many.
        monotone: of them, where the twins' distance grew from each point to the next.
        apart: of them, where the gap at the last point is larger than at the start while the training loss is lower.
        parting: of (sizes x steps between points), where the gap, a mean over seeds, grew while the training loss fell.
        intervals: how many of these there are.
    """

    rows: int
    monotone: int
    apart: int
    parting: int
    intervals: int


def findings(record: Stability, network: str) -> Findings:
    """Return what the curves of a network do."""
    rows = [row for row in record.rows if row.network == network]
    monotone = sum(_rises([point.distance for point in row.points]) for row in rows)
    apart = sum(grown_gap(row, row.points[-1].step) > 0 > _fallen(row) for row in rows)
    parting = intervals = 0
    for samples in sizes(record, network):
        of = rows_of(record, network, samples)
        steps = [point.step for point in of[0].points]
        gaps = [statistics.fmean(row.at(step).gap for row in of) for step in steps]
        losses = [statistics.fmean(row.at(step).train_loss for row in of) for step in steps]
        intervals += len(steps) - 1
        pairs = itertools.pairwise(zip(gaps, losses, strict=True))
        parting += sum(after[0] > before[0] and after[1] < before[1] for before, after in pairs)
    return Findings(len(rows), monotone, apart, parting, intervals)


def _rises(values: Sequence[float]) -> bool:
    return all(after > before for before, after in itertools.pairwise(values))


def _fallen(row: Row) -> float:
    return row.points[-1].train_loss - row.points[0].train_loss


@dataclass(frozen=True)
class Sides:
    """Both sides of the stability inequality, means over seeds (Lei and Ying 2020; arXiv 2209.09298).

    E[F - F_S] <= (L / g) E[F_S] + (L + g) / 2 E|w - w_i|^2 for an L-smooth loss that is not negative and any g > 0.

    Attributes:
        gap: of test and training loss, less that of the initial weights; an estimate of the left side.
        replaced: loss on examples by twins that have them not minus by those that have: another estimate of it.
        right: the right side, with the g that makes it least.
    """

    gap: Mean
    replaced: Mean
    right: float


def sides(rows: Sequence[Row], step: int) -> Sides | None:
    """Return both sides at a step; None where there is no proved L: then no bound is claimed."""
    if any(row.smoothness is None for row in rows):
        return None
    smooth = max(row.smoothness or 0.0 for row in rows)
    loss = statistics.fmean(row.at(step).train_loss for row in rows)
    square = statistics.fmean(row.at(step).distance ** 2 for row in rows)
    return Sides(
        mean_of([grown_gap(row, step) for row in rows]),
        mean_of([statistics.fmean(row.at(step).replaced) for row in rows]),
        least(smooth, loss, square),
    )


def least(smooth: float, loss: float, square: float) -> float:
    """Return min over g > 0 of (L / g) F + (L + g) / 2 d^2, which is sqrt(2 L F d^2) + L d^2 / 2.

    Args:
        smooth: L.
        loss: F.
        square: d^2.
    """
    return math.sqrt(2 * smooth * loss * square) + smooth * square / 2


def read(path: Path) -> Stability:
    """Return the study in ``path``.

    Raises:
        FileError: missing, corrupt, or of another schema.
    """
    return read_model(Stability, path, "run 'spikeproof study stability'")
