"""The contract of every task."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import UnsupportedError

if TYPE_CHECKING:
    from torch import Tensor

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Quality:
    """What an answer is judged by, a sample.

    Attributes:
        name: as "accuracy" or "PSNR".
        unit: of a sample's value.
        higher_is_better: which way is better.
        close: by how much a sample may be worse to be about as good: in units where higher is better, else as a share.
    """

    name: str
    unit: str
    higher_is_better: bool
    close: float = 0.0


class Task(ABC):
    """What outputs (batch, outputs) are for: the loss that training lowers and attacks raise, and the quality.

    Attributes:
        name: in records and messages.
        classed: whether outputs are classes, of which the largest is the answer.
        by_step: whether an answer is wanted at every time step, so that outputs are (batch, time neurons).
    """

    name: ClassVar[str]
    classed: ClassVar[bool] = False
    by_step: ClassVar[bool] = False

    @property
    @abstractmethod
    def quality(self) -> Quality:
        """What answers are judged by."""

    @abstractmethod
    def check(self, targets: NDArray[Any], source: str, samples: int) -> NDArray[Any]:
        """Return the targets of so many samples, checked and in their own type; raises :class:`..errors.InputError`."""

    @abstractmethod
    def losses(self, outputs: "Tensor", targets: "Tensor") -> "Tensor":
        """Return what training lowers and an attack raises, a sample (batch,)."""

    @abstractmethod
    def scores(self, outputs: NDArray[Any], targets: NDArray[Any]) -> Scores:
        """Return the quality of every sample (batch,) for outputs (batch, outputs)."""

    def neurons(self, targets: NDArray[Any]) -> int:
        """Return how many neurons are read for checked targets (samples, outputs)."""
        return int(targets.shape[1])

    def loss(self, outputs: "Tensor", targets: "Tensor") -> "Tensor":
        """Return what training lowers: the mean of :meth:`losses`."""
        return self.losses(outputs, targets).mean()

    def harm(self, outputs: "Tensor", targets: "Tensor") -> "Tensor":
        """Return what an attack raises, a sample (batch,): all that :meth:`losses` is, unless quality is another."""
        return self.losses(outputs, targets)

    def total(self, outputs: "Tensor", targets: "Tensor") -> "Tensor":
        """Return :meth:`harm` summed over samples."""
        return self.harm(outputs, targets).sum()

    @abstractmethod
    def trained_by(self, loss: str | None) -> "Task":
        """Return the same task with the loss of a recipe, or its own; raises :class:`..errors.InputError`."""

    def needs_classes(self, what: str) -> None:
        """Refuse what has a meaning for classes only.

        Raises:
            UnsupportedError: outputs are no classes.
        """
        if not self.classed:
            raise UnsupportedError(
                f"{what}: is about classes, and the task of these data is {self.name}; 'robustness' measures how much "
                "of its quality an attack takes"
            )
