"""A label at every step: outputs are the logits of each step, judged by the share of labelled steps that are right."""

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .base import Quality, Scores, Task

if TYPE_CHECKING:
    from torch import Tensor  # Names of data sets are listed without loading PyTorch.

UNLABELLED = -1
"""In the place of a class where a step has no label."""


class Steps(Task):
    """One class a time step: cross-entropy averaged over the labelled steps of a sample, the others left out.

    Outputs are (batch, time classes), the classes of a step side by side; targets (batch, time), :data:`UNLABELLED`
    where there is no label. A class is right where its output is the largest of its step, ties to the lowest index.

    Args:
        classes: of a step.

    Raises:
        InputError: there are fewer than two classes.
    """

    name: ClassVar[str] = "steps"
    by_step: ClassVar[bool] = True

    def __init__(self, classes: int) -> None:
        if classes < 2:
            raise InputError(f"task 'steps': {classes} classes, expected 2 or more")
        self.classes = classes

    @property
    def quality(self) -> Quality:
        """Share of a sample's labelled steps that are right; two steps of a hundred more or less are as good."""
        return Quality("accuracy a step", "share of labelled steps", higher_is_better=True, close=0.02)

    def neurons(self, targets: NDArray[Any]) -> int:
        """Return the number of classes: each is one neuron, read at every step."""
        return self.classes

    def check(self, targets: NDArray[Any], source: str, samples: int) -> NDArray[Any]:
        """Return labels (samples, time) as int64.

        Raises:
            InputError: wrong type or shape, a label out of range, or a sample without a label.
        """
        if targets.ndim != 2 or targets.dtype.kind not in "iu" or len(targets) != samples or not targets.size:
            raise InputError(
                f"{source}: {targets.dtype} of shape {targets.shape}, expected integers ({samples}, time): the class "
                f"of each step, {UNLABELLED} where there is none"
            )
        found = targets.astype(np.int64)
        wrong = np.argwhere((found < UNLABELLED) | (found >= self.classes))
        if len(wrong):
            sample, step = wrong[0]
            raise InputError(
                f"{source}: label {found[sample, step]} of sample {sample} at step {step}, expected 0 to "
                f"{self.classes - 1}, or {UNLABELLED} for none"
            )
        empty = np.flatnonzero((found == UNLABELLED).all(1))
        if empty.size:
            raise InputError(f"{source}: sample {empty[0]} has no label at any step; leave it out")
        return found

    def _check_width(self, outputs: tuple[int, ...], targets: tuple[int, ...]) -> None:
        if len(outputs) != 2 or outputs[1] != targets[1] * self.classes:
            once = len(outputs) == 2 and outputs[1] == self.classes
            raise InputError(
                f"outputs: shape {tuple(outputs)}, the data's labels {tuple(targets)} of {self.classes} classes need "
                f"{targets[1] * self.classes} a sample"
                + ("; this network answers once: build it with every_step = true" if once else "")
            )

    def apart(self, outputs: NDArray[Any]) -> NDArray[Any]:
        """Return outputs (batch, time, classes) of outputs (batch, time classes)."""
        return outputs.reshape(len(outputs), -1, self.classes)

    def losses(self, outputs: "Tensor", targets: "Tensor") -> "Tensor":
        """Return the mean cross-entropy of the labelled steps of every sample, (batch,)."""
        from torch import nn

        self._check_width(tuple(outputs.shape), tuple(targets.shape))
        logits = outputs.reshape(-1, self.classes)
        wanted = targets.long()
        each = nn.functional.cross_entropy(logits, wanted.flatten(), ignore_index=UNLABELLED, reduction="none")
        return each.view(targets.shape).sum(1) / (wanted != UNLABELLED).sum(1).clamp(min=1)

    def right(self, outputs: NDArray[Any], targets: NDArray[Any]) -> NDArray[np.bool_]:
        """Return which labelled steps are right, (batch, time)."""
        self._check_width(outputs.shape, targets.shape)
        return np.asarray((self.apart(outputs).argmax(2) == targets) & (targets != UNLABELLED))

    def scores(self, outputs: NDArray[Any], targets: NDArray[Any]) -> Scores:
        """Return the share of the labelled steps of every sample that are right, (batch,)."""
        labelled = (targets != UNLABELLED).sum(1)
        return np.asarray(self.right(outputs, targets).sum(1) / np.maximum(labelled, 1))

    def trained_by(self, loss: str | None) -> Task:
        """Return this task.

        Raises:
            InputError: a loss is named.
        """
        if loss is not None:
            raise InputError(f"train.loss: {loss!r} is of targets that are numbers; steps have cross-entropy, leave it")
        return self
