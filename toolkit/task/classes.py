"""The task that all data sets have unless they say otherwise: one class a sample."""

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .base import Quality, Scores, Task
from .labels import check_labels

if TYPE_CHECKING:
    from torch import Tensor


def _cross_entropy(outputs: "Tensor", targets: "Tensor", reduction: str) -> "Tensor":
    from torch import nn  # Names of data sets are listed without loading PyTorch.

    return nn.functional.cross_entropy(outputs, targets, reduction=reduction)


class Classes(Task):
    """One class a sample: cross-entropy on the logits, judged by whether the largest is the right one."""

    name: ClassVar[str] = "classes"
    classed: ClassVar[bool] = True

    @property
    def quality(self) -> Quality:
        """Accuracy: 1 where the class is right, else 0."""
        return Quality("accuracy", "share of samples", higher_is_better=True)

    def check(self, targets: NDArray[Any], source: str, samples: int) -> NDArray[Any]:
        """Return labels (samples,) as int64."""
        return check_labels(targets, source, samples)

    def losses(self, outputs: "Tensor", targets: "Tensor") -> "Tensor":
        """Return the cross-entropy of every sample (batch,)."""
        return _cross_entropy(outputs, targets, "none")

    def loss(self, outputs: "Tensor", targets: "Tensor") -> "Tensor":
        """Return the mean cross-entropy; targets may also be shares of classes (batch, classes)."""
        return _cross_entropy(outputs, targets, "mean")

    def total(self, outputs: "Tensor", targets: "Tensor") -> "Tensor":
        """Return the cross-entropy summed over samples, added up as PyTorch does."""
        return _cross_entropy(outputs, targets, "sum")

    def trained_by(self, loss: str | None) -> Task:
        """Return this task.

        Raises:
            InputError: a loss is named.
        """
        if loss is not None:
            raise InputError(
                f"train.loss: {loss!r} is of targets that are numbers; classes have cross-entropy, leave it"
            )
        return self

    def scores(self, outputs: NDArray[Any], targets: NDArray[Any]) -> Scores:
        """Return 1 where the largest output is the label's, ties to the lowest index; targets may be shares, too."""
        wanted = targets.argmax(1) if targets.ndim == 2 else targets
        return np.asarray(outputs.argmax(1) == wanted, dtype=np.float64)


CLASSES = Classes()
