"""What counts as right where answers are compared: the class, or an answer about as good as the float network's."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...toolkit.attacks.victim import answer
from ...toolkit.data import Images
from ...toolkit.network.network import SpikingNetwork
from ...toolkit.task import CLASSES, Task

Answers = NDArray[Any]
"""Of samples: classes (samples,), or outputs in real numbers (samples, outputs)."""


@dataclass(frozen=True)
class Judge:
    """Reads answers off outputs and judges them.

    Without classes an answer is right where its quality is within ``close`` (of the task's quality) of the float
    network's, so that what is "lost" are samples whose answer became clearly worse.

    Attributes:
        task: what outputs are for.
        gain: of the network.
    """

    task: Task = CLASSES
    gain: float = 1.0

    def read(self, outputs: NDArray[Any], full: float) -> Answers:
        """Return the answers of outputs (samples, outputs), of which ``full`` stands for 1."""
        if self.task.classed:
            return np.asarray(outputs.argmax(1))
        return (outputs * (self.gain / full)).astype(np.float32)

    def known(self, network: SpikingNetwork, images: Images, targets: NDArray[Any], batch: int) -> NDArray[Any]:
        """Return what answers are judged by, a row a sample: labels, or targets and the worst score that is right."""
        if self.task.classed:
            return targets
        quality = self.task.quality
        scores = self.task.scores(answer(network, images, batch), targets)
        bar = scores - quality.close if quality.higher_is_better else scores * (1 + quality.close)
        return np.concatenate([targets, bar[:, None]], 1)

    def right(self, answers: Answers, known: NDArray[Any]) -> NDArray[np.bool_]:
        """Return which answers are right, (samples,)."""
        if self.task.classed:
            return np.asarray(answers == known)
        scores = self.task.scores(answers, known[:, :-1])
        return scores >= known[:, -1] if self.task.quality.higher_is_better else scores <= known[:, -1]

    def changed(self, before: Answers, after: Answers, known: NDArray[Any]) -> int:
        """Return how many answers are another class, or right on one side only."""
        if self.task.classed:
            return int((before != after).sum())
        return int((self.right(before, known) != self.right(after, known)).sum())

    @property
    def note(self) -> str | None:
        """What a reader of a record must know; None for classes."""
        if self.task.classed:
            return None
        quality = self.task.quality
        close = f"{quality.close:g} {quality.unit}" if quality.higher_is_better else f"{quality.close:.0%}"
        return (
            f"Answers are no classes (task {self.task.name}): 'right', and so accuracy, means a {quality.name} no more "
            f"than {close} worse than the float network's; a 'class' changes where that does."
        )
