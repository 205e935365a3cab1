"""Attacks without gradients: noise controls, Square on logits, HopSkipJump on classes."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from ..data import Images, Labels
from ..errors import InputError
from ..extras import extra
from .ball import BallAttack
from .base import Access, Attack
from .gradient import ORDERS
from .victim import Victim, logits_of, predict

QUERY = 0.35
"""Rough cost of a forward pass, in gradients."""


def generator() -> np.random.Generator:
    """Return a generator that follows the seed that is in force."""
    return np.random.default_rng(int(torch.randint(2**31, ())))


@dataclass(frozen=True, kw_only=True)
class Noise(BallAttack):
    """The control: random noise of the same norm, without a look at the victim.

    L-infinity: x + U(-epsilon, epsilon), or x +- epsilon; L2: a random direction of length epsilon, drawn as
    Gaussian or as signs. ``restarts`` is the number of tries; a sample is robust if it survives them all.

    Args:
        epsilon: radius of the ball.
        kind: "uniform" or "sign".
        others: as of :class:`.ball.BallAttack`.
    """

    name: ClassVar[str] = "noise"
    access: ClassVar[Access] = "no access"
    spares_wrong: ClassVar[bool] = True

    kind: Literal["uniform", "sign"] = "uniform"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind not in ("uniform", "sign"):
            raise InputError(f"kind: {self.kind!r}, expected 'uniform' or 'sign'")

    @property
    def stem(self) -> str:
        """The name and the kind."""
        return f"{self.name}-{self.kind}"

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


@dataclass(frozen=True, kw_only=True)
class QueryAttack(Attack):
    """An attack whose effort is a number of forward passes; samples leave it when they are misclassified.

    Args:
        queries: forward passes a sample.
        others: as of :class:`.base.Attack`.

    Raises:
        InputError: a setting is out of range.
    """

    spares_wrong: ClassVar[bool] = True
    queries: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.queries < 1:
            raise InputError(f"queries: {self.queries}, expected 1 or more")

    @property
    def stem(self) -> str:
        """The name and the number of queries."""
        return f"{self.name}-{self.queries}"

    @property
    def effort(self) -> float:
        """A query is a forward pass."""
        return QUERY * self.queries

    @property
    def stops_early(self) -> bool:
        """Samples leave when misclassified."""
        return True


@dataclass(frozen=True, kw_only=True)
class Square(QueryAttack, BallAttack):
    """Random search by squares (Andriushchenko et al. 2020, arXiv 1912.00049), L-infinity, on logits.

    From vertical stripes of +-epsilon, each query sets a random square, in each channel to +-epsilon; the change is
    kept if the margin z_y - max over others does not rise (spike counts have plateaus). The squares' share of the
    image falls from ``share`` as published. Samples leave when misclassified.

    Args:
        epsilon: radius of the ball.
        queries: forward passes a sample.
        share: part of the image in the first squares.
        others: as of :class:`.ball.BallAttack`; ``norm`` is "linf".
    """

    name: ClassVar[str] = "square"
    access: ClassVar[Access] = "black box, logits"
    share: float = 0.8

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.share <= 1:
            raise InputError(f"share: {self.share}, expected a number in (0, 1]")
        if self.norm != "linf":
            raise InputError("norm: Square is for L-infinity here; use HopSkipJump or APGD for L2")

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


def _seeded(box: Any, **settings: Any) -> Any:
    """Return the library's attack with starts from the seed in force: its own generator is one that nobody can seed."""
    with extra("attacks"):
        from art.attacks.evasion import HopSkipJump as Library

    class Seeded(Library):  # type: ignore[misc]
        def _init_sample(self, x: Images, y: int, y_p: int, *others: Any) -> tuple[Images, int] | None:
            rng = generator()
            for _ in range(self.init_size):
                start = rng.uniform(0, 1, x.shape).astype(x.dtype)
                if self.estimator.predict(start[None], batch_size=1).argmax(1)[0] != y_p:
                    found = self._binary_search(start, x, y_p, norm=2, clip_min=0.0, clip_max=1.0, threshold=0.001)
                    return found, y_p
            return None

    return Seeded(box, **settings)


@dataclass(frozen=True, kw_only=True)
class HopSkipJump(BallAttack):
    """HopSkipJump (Chen et al. 2020, arXiv 1904.02144), by adversarial-robustness-toolbox, on classes alone.

    It looks for the nearest error and knows no ball; examples that lie outside of it are projected and judged there.
    It asks the victim thousands of times a sample.

    Args:
        epsilon: radius of the ball.
        steps: rounds of boundary search and gradient estimate.
        queries: at most so many a gradient estimate.
        others: as of :class:`.ball.BallAttack`.
    """

    name: ClassVar[str] = "hopskipjump"
    access: ClassVar[Access] = "black box, classes"
    spares_wrong: ClassVar[bool] = True

    most: ClassVar[int] = 10
    steps: int = 20
    queries: int = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.steps, self.queries) < 1:
            raise InputError(f"steps, queries: {self.steps}, {self.queries}, expected 1 or more")

    @property
    def stem(self) -> str:
        """The name and the number of rounds."""
        return f"{self.name}-{self.steps}"

    @property
    def effort(self) -> float:
        """A query is a forward pass."""
        return QUERY * self.queries * self.steps

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
            from art.estimators.classification import BlackBoxClassifier

        box = BlackBoxClassifier(one_hot, images.shape[1:], classes, clip_values=(0.0, 1.0))
        attack = _seeded(
            box,
            batch_size=self.batch,
            norm=ORDERS[self.norm],
            max_iter=self.steps,
            max_eval=self.queries,
            init_eval=min(100, self.queries),
            verbose=False,
        )
        return np.asarray(attack.generate(images, labels), dtype=np.float32)
