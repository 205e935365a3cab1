"""Attacks on networks whose outputs are no classes: the largest loss of quality that they find inside the ball."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from ..data import Images
from ..errors import InputError
from ..progress import Track, silent
from ..task import Task
from ..train import seeded
from .ball import BallAttack
from .base import Attack
from .blind import Noise
from .gradient import FGSM, PGD
from .iterative import AnyPGD, GradientAttack, Search, direction, into_ball
from .losses import Loss
from .spikes import SpikeFlip, SpikeNoise
from .timing import SpikeTiming, SpikeTimingNoise
from .victim import answer, encoded

Answer = Callable[[Images], NDArray[Any]]
"""From images (samples, ...) to outputs (samples, outputs) in real numbers."""


class Harmed(nn.Module):
    """A network with what an attack raises, which gradient attacks take in the place of their loss.

    Args:
        model: from input to outputs (batch, outputs).
        task: of the outputs.
    """

    def __init__(self, model: nn.Module, task: Task) -> None:
        super().__init__()
        self.model, self.task = model, task

    def forward(self, inputs: Tensor) -> Tensor:
        """Return outputs (batch, outputs)."""
        found: Tensor = self.model(inputs)
        return found

    def harm(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return what an attack raises, (batch,)."""
        return self.task.harm(outputs, targets)


@dataclass(frozen=True, kw_only=True)
class SignStep(GradientAttack):
    """FGSM on the harm of a task: x' = clip(x + epsilon sign(dL/dx)), in L2 epsilon along dL/dx; see :class:`.FGSM`."""

    name: ClassVar[str] = "fgsm"
    steps: int = 1
    loss: Loss = "harm"
    early_stop: bool = False

    @property
    def stem(self) -> str:
        """The name."""
        return self.name

    def start(self, clean: Tensor) -> Tensor:
        """Return the clean samples."""
        return clean

    def advance(self, search: Search, step: int, loss: Tensor, gradient: Tensor) -> Tensor:
        """Return the one step."""
        x = search.x + self.epsilon * direction(gradient, self.norm)
        return into_ball(x, search.clean, self.epsilon, self.norm)


@dataclass(frozen=True, kw_only=True)
class SignSteps(AnyPGD):
    """PGD on the harm of a task, from a random start, the worst point that was seen; see :class:`.gradient.PGD`."""

    name: ClassVar[str] = "pgd"
    loss: Loss = "harm"
    early_stop: bool = False


def for_harm(attack: Attack) -> Attack | None:
    """Return an attack as one that raises harm; None where it looks for another class and nothing else."""
    shared = {one.name: getattr(attack, one.name) for one in fields(BallAttack) if hasattr(attack, one.name)}
    if isinstance(attack, FGSM):
        return SignStep(**shared, draws=attack.draws)
    if isinstance(attack, PGD):
        return SignSteps(**shared, steps=attack.steps, step=attack.step, draws=attack.draws)
    if isinstance(attack, GradientAttack):
        # Margins and rivals are of classes; the harm takes the place of every loss.
        return replace(attack, loss="harm", rivals=0, early_stop=False)
    if isinstance(attack, SpikeFlip | SpikeTiming):
        return replace(attack, loss="harm")
    return attack if isinstance(attack, Noise | SpikeNoise | SpikeTimingNoise) else None


@dataclass(frozen=True)
class Harm:
    """What an attack made, and what answers to it are worth.

    Attributes:
        images: as those that were attacked, inside the ball and [0, 1].
        scores: (samples,), the quality.
        distance: largest distance to the clean images, in the attack's norm.
    """

    images: Images
    scores: NDArray[np.float64]
    distance: float


def worse(a: NDArray[np.float64], b: NDArray[np.float64], task: Task) -> NDArray[np.bool_]:
    """Return where the scores ``a`` are worse than ``b``, (samples,)."""
    found: NDArray[np.bool_] = a < b if task.quality.higher_is_better else a > b
    return found


def harm(
    attack: Attack,
    network: nn.Module,
    images: NDArray[Any],
    targets: NDArray[Any],
    task: Task,
    *,
    judge: Answer | None = None,
    track: Track = silent,
) -> Harm:
    """Check the input, attack, project into the ball, and judge the outputs; of restarts the worst, a sample.

    Args:
        attack: one that :func:`for_harm` knows.
        network: the victim, from images to outputs; put into evaluation mode.
        images: (samples, channels, height, width) in [0, 1]; for attacks on spikes (samples, time, ...), 0 or 1.
        targets: (samples, outputs).
        task: of the outputs.
        judge: what answers for the network; the network itself by default.
        track: progress.

    Raises:
        InputError: the attack is about classes, or images or targets are refused.
    """
    known = for_harm(attack)
    if known is None:
        raise InputError(
            f"attack {attack.label}: looks for another class, and the task of these data is {task.name}; fgsm, pgd and "
            "every attack that climbs a loss by gradients takes its harm instead"
        )
    clean = known.check(np.asarray(images))
    wanted = task.check(np.asarray(targets), "targets of the images to attack", len(clean))
    asked = encoded(network) if known.space == "encoded" else network
    assert isinstance(asked, nn.Module)
    victim = Harmed(asked, task).eval()
    ask: Answer = judge or (lambda part: answer(asked, part, known.batch))
    made = clean.copy()
    scores = np.full(len(clean), np.inf if task.quality.higher_is_better else -np.inf)
    with seeded(known.seed):
        starts = range(0, len(clean), known.batch)
        for start in track(starts, f"attack {known.label}", len(starts)):
            part = slice(start, start + known.batch)
            for _ in range(known.restarts):
                raw = known.run(victim, clean[part], wanted[part])
                if not np.isfinite(raw).all():
                    raise InputError(f"{known!r}: returned NaN or infinity; the network's gradient is not finite")
                inside = known.project(raw, clean[part])
                found = task.scores(ask(inside), wanted[part])
                better = worse(found, scores[part], task)
                made[part][better], scores[part][better] = inside[better], found[better]
    return Harm(made, scores, float(known.distances(made, clean).max()))
