"""How many steps are right where every step has a label: of all, and of each class."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ...toolkit.errors import InputError
from ...toolkit.task import Task
from ...toolkit.task.steps import UNLABELLED, Steps
from .metrics import Answered, FormMetric


class _OfSteps(FormMetric):
    """Counts labelled steps and right ones, class by class."""

    higher_is_better: ClassVar[bool | None] = True

    @classmethod
    def measures(cls, task: Task) -> bool:
        """Return whether every step has a label."""
        return isinstance(task, Steps)

    def __init__(self) -> None:
        self.right: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self.all: NDArray[np.int64] = np.zeros(0, dtype=np.int64)

    def see(self, batch: Answered) -> None:
        """Count a batch."""
        if batch.outputs is None or not isinstance(batch.task, Steps):
            raise InputError(f"metric {self.name!r}: the answers at every step are not known")
        self.update(batch.outputs, batch.labels, batch.task)

    def update(self, outputs: NDArray[np.float64], targets: NDArray[np.int64], task: Steps) -> None:
        """Count a batch.

        Args:
            outputs: (batch, time classes).
            targets: (batch, time), :data:`...toolkit.task.steps.UNLABELLED` where there is no label.
            task: of all batches.

        Raises:
            InputError: the shapes do not fit together.
        """
        right = task.right(outputs, targets)
        counted = [np.bincount(targets[where], minlength=task.classes) for where in (right, targets != UNLABELLED)]
        if not self.all.size:
            self.right, self.all = (np.zeros(task.classes, dtype=np.int64) for _ in range(2))
        self.right, self.all = self.right + counted[0], self.all + counted[1]


class StepAccuracy(_OfSteps):
    """Share of all labelled steps that are right: long sequences count for more than short ones."""

    name: ClassVar[str] = "accuracy of all steps"
    unit: ClassVar[str] = "share of labelled steps"

    def compute(self) -> float:
        """Return the share."""
        self._need(int(self.all.sum()))
        return float(self.right.sum() / self.all.sum())


class BalancedAccuracy(_OfSteps):
    """Mean over classes of the share of their steps that are right; classes without a step are left out."""

    name: ClassVar[str] = "balanced accuracy"
    unit: ClassVar[str] = "share of a class's steps"

    def compute(self) -> dict[str, float]:
        """Return the mean, and the share of each class."""
        self._need(int(self.all.sum()))
        shares = {f"class {one}": float(self.right[one] / self.all[one]) for one in np.flatnonzero(self.all)}
        return {"mean": float(np.mean(list(shares.values()))), **shares}
