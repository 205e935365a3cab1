"""Attacks without gradients: noise controls, Square on logits, HopSkipJump on classes, and transfer."""

import math
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..data import Images, Labels
from ..errors import InputError
from ..extras import extra
from .base import Attack
from .gradient import ORDERS
from .victim import Victim, fingerprint, logits_of, predict


def generator() -> np.random.Generator:
    """Return a generator that follows the seed that is in force."""
    return np.random.default_rng(int(torch.randint(2**31, ())))


class Noise(Attack):
    """The control: random noise of the same norm, without a look at the victim.

    L-infinity: x + U(-epsilon, epsilon), or x +- epsilon; L2: a random direction of length epsilon, drawn as
    Gaussian or as signs. ``restarts`` is the number of tries; a sample is robust if it survives them all.

    Args:
        epsilon: radius of the ball.
        kind: "uniform" or "sign".
        others: as of :class:`.base.Attack`.
    """

    name: ClassVar[str] = "noise"
    access: ClassVar[str] = "no access"
    spares_wrong: ClassVar[bool] = True

    def __init__(self, *, epsilon: float, kind: Literal["uniform", "sign"] = "uniform", **others: Any) -> None:
        super().__init__(epsilon=epsilon, **others)
        if kind not in ("uniform", "sign"):
            raise InputError(f"kind: {kind!r}, expected 'uniform' or 'sign'")
        self.kind: Literal["uniform", "sign"] = kind

    @property
    def label(self) -> str:
        """As of every attack, with the kind."""
        return super().label.replace(self.name, f"{self.name}-{self.kind}", 1)

    def run(self, model: Victim, images: Images, labels: Labels) -> Images:
        """Return noisy samples (batch, ...)."""
        rng = generator()
        if self.kind == "sign":
            change = rng.choice([-1.0, 1.0], images.shape)
        else:
            change = rng.uniform(-1, 1, images.shape) if self.norm == "linf" else rng.standard_normal(images.shape)
        if self.norm == "l2":
            change /= np.sqrt((change**2).sum(axis=tuple(range(1, images.ndim)), keepdims=True))
        return (images + self.epsilon * change).astype(np.float32)


class Square(Attack):
    """Random search by squares (Andriushchenko et al. 2020, arXiv 1912.00049), L-infinity, on logits.

    From vertical stripes of +-epsilon, each query sets a random square, in each channel to +-epsilon; the change is
    kept if the margin z_y - max over others does not rise (spike counts have plateaus). The squares' share of the
    image falls from ``share`` as published. Samples leave when misclassified.

    Args:
        epsilon: radius of the ball.
        queries: forward passes a sample.
        share: part of the image in the first squares.
        others: as of :class:`.base.Attack`; ``norm`` is "linf".
    """

    name: ClassVar[str] = "square"
    access: ClassVar[str] = "black box, logits"
    spares_wrong: ClassVar[bool] = True

    def __init__(self, *, epsilon: float, queries: int, share: float = 0.8, **others: Any) -> None:
        super().__init__(epsilon=epsilon, **others)
        if queries < 1 or not 0 < share <= 1:
            raise InputError(f"queries, share: {queries}, {share}, expected 1 or more, and a number in (0, 1]")
        if self.norm != "linf":
            raise InputError("norm: Square is for L-infinity here; use HopSkipJump or APGD for L2")
        self.queries = queries
        self.share = share

    @property
    def label(self) -> str:
        """As of every attack, with the number of queries."""
        return super().label.replace(self.name, f"{self.name}-{self.queries}", 1)

    @property
    def stops_early(self) -> bool:
        """Samples leave when misclassified."""
        return True

    def side(self, query: int, height: int, width: int) -> int:
        """Return the side of the squares of one query in pixels."""
        progress = query / self.queries * 10_000
        halvings = sum(progress > place for place in (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000))
        return min(max(round(math.sqrt(self.share / 2**halvings * height * width)), 1), height, width)

    def run(self, model: Victim, images: Images, labels: Labels) -> Images:
        """Return adversarial samples (batch, ..., height, width)."""
        rng, epsilon = generator(), np.float32(self.epsilon)
        height, width = images.shape[-2:]
        made = images.copy()
        left = np.arange(len(images))

        def signs(*shape: int) -> NDArray[np.float32]:
            return rng.choice(np.array([-epsilon, epsilon], np.float32), shape)

        x = np.clip(images + signs(*images.shape[:-2], 1, width), 0, 1)
        best = margins(model, x, labels, self.batch)
        for query in range(1, self.queries + 1):
            done = best < 0
            if done.any():
                made[left[done]] = x[done]
                x, best, left = x[~done], best[~done], left[~done]
            if not len(left) or query == self.queries:
                break
            side = self.side(query, height, width)
            top, start = (rng.integers(0, size - side + 1, (len(left), 1)) for size in (height, width))
            rows, columns = np.arange(height), np.arange(width)
            inside = ((rows >= top) & (rows < top + side))[:, :, None] & (
                (columns >= start) & (columns < start + side)
            )[:, None]
            inside = inside.reshape(len(left), *[1] * (images.ndim - 3), height, width)
            colours = np.clip(images[left] + signs(len(left), *images.shape[1:-2], 1, 1), 0, 1)
            tried = np.where(inside, colours, x)
            found = margins(model, tried, labels[left], self.batch)
            better = found <= best
            x[better], best[better] = tried[better], found[better]
        made[left] = x
        return made


def margins(model: Victim, images: Images, labels: Labels, batch: int) -> NDArray[np.float64]:
    """Return z_y - max over others, (samples,), below 0 where the answer is wrong; a lost tie counts as wrong."""
    logits = logits_of(model, images, batch).astype(np.float64)
    every = np.arange(len(labels))
    right = logits[every, labels]
    answers = logits.argmax(1)
    logits[every, labels] = -np.inf
    margins: NDArray[np.float64] = right - logits.max(1)
    # Spike counts tie often, and a tie goes to the lowest class.
    return np.where((margins == 0) & (answers != labels), -1e-9, margins)


class HopSkipJump(Attack):
    """HopSkipJump (Chen et al. 2020, arXiv 1904.02144), by adversarial-robustness-toolbox, on classes alone.

    It looks for the nearest error and knows no ball; examples that lie outside of it are projected and judged there.
    It asks the victim thousands of times a sample.

    Args:
        epsilon: radius of the ball.
        steps: rounds of boundary search and gradient estimate.
        queries: at most so many a gradient estimate.
        others: as of :class:`.base.Attack`.
    """

    name: ClassVar[str] = "hopskipjump"
    access: ClassVar[str] = "black box, classes"
    spares_wrong: ClassVar[bool] = True

    def __init__(self, *, epsilon: float, steps: int = 20, queries: int = 1000, **others: Any) -> None:
        super().__init__(epsilon=epsilon, **others)
        if min(steps, queries) < 1:
            raise InputError(f"steps, queries: {steps}, {queries}, expected 1 or more")
        self.steps = steps
        self.queries = queries

    @property
    def stops_early(self) -> bool:
        """Samples leave when misclassified."""
        return True

    def run(self, model: Victim, images: Images, labels: Labels) -> Images:
        """Return adversarial samples (batch, ...)."""
        classes = int(max(labels.max(), predict(model, images, self.batch).max(), 1)) + 2

        def one_hot(inputs: NDArray[Any]) -> NDArray[np.float32]:
            # A class never seen before is an error like any other.
            found = np.minimum(predict(model, np.asarray(inputs, np.float32), self.batch), classes - 1)
            return np.eye(classes, dtype=np.float32)[found]

        with extra("attacks"):
            from art.attacks.evasion import HopSkipJump as LibraryHopSkipJump
            from art.estimators.classification import BlackBoxClassifier

        box = BlackBoxClassifier(one_hot, images.shape[1:], classes, clip_values=(0.0, 1.0))
        attack = LibraryHopSkipJump(
            box,
            batch_size=self.batch,
            norm=ORDERS[self.norm],
            max_iter=self.steps,
            max_eval=self.queries,
            init_eval=min(100, self.queries),
            verbose=False,
        )
        return np.asarray(attack.generate(images, labels), dtype=np.float32)


class Transfer(Attack):
    """Examples made on one model, judged on another.

    Args:
        attack: made on the source; its budget, space and batch are this attack's, and it must not stop early.
        source: the model they are made on.
        source_name: for labels and records.

    Raises:
        InputError: ``attack`` leaves a sample as soon as the source errs.
    """

    name: ClassVar[str] = "transfer"
    access: ClassVar[str] = "transfer"
    spares_wrong: ClassVar[bool] = True

    def __init__(self, attack: Attack, source: Victim, source_name: str) -> None:
        super().__init__(
            epsilon=attack.epsilon, norm=attack.norm, space=attack.space, batch=attack.batch, seed=attack.seed
        )
        if attack.stops_early:
            raise InputError(f"{attack.label}: stops at the source's first error; make it with early_stop=False")
        self.attack = attack
        self.source = source
        self.source_name = source_name

    def __repr__(self) -> str:
        return f"Transfer({self.attack!r}, source_name={self.source_name!r})"

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of the attack that is transferred, and where it was made."""
        return {"name": self.name, "source": self.source_name, "attack": self.attack.settings}

    @property
    def label(self) -> str:
        """The attack's label, and where it was made."""
        return f"{self.name}-{self.source_name}-{self.attack.label}"

    def run(self, model: Victim, images: Images, labels: Labels) -> Images:
        """Return the source's adversarial samples (batch, ...)."""
        if isinstance(self.source, nn.Module):
            self.source.eval()
        return self.attack.run(self.source, images, labels)

    def uses(self, inputs: Images) -> str:
        """Return a hash of the source."""
        return fingerprint(self.source, inputs)
