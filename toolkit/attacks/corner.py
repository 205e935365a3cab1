"""Corner search: a walk over the corners of the ball that needs no gradient to be right, and finds what gradients miss.

The loss of a spiking network is constant almost everywhere: searching beats climbing it, and forward passes are cheap.
"""

import math
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..coding import LEVELS, on_grid
from ..data import Images, Labels
from ..errors import InputError
from ..network.backward import attack_gradient
from .ball import BallAttack
from .base import SEARCH, Access
from .blind import QueryAttack, generator
from .losses import margin
from .victim import device_of, finely

MOVES = 16
"""Candidates of one step of a walk; the best is taken if it is not clearly worse."""
STALE = 25
"""Steps without progress after which a walk begins anew; a new start was worth more than a longer walk."""
HEAT = 0.1
"""Mean of the exponential by which a step may be worse, in units of the score."""
FINE, SPAN = 0.2, 4.0
"""Weight of what moves between two spikes, and where it saturates: it must not outweigh half a spike."""
INNER = 0.1
"""Share of moves that set pixels to levels between the corners."""
KICK = 0.1
"""Share of pixels that are turned over after a start by gradient, so that no two starts are the same."""


@dataclass(frozen=True, kw_only=True)
class CornerSearch(QueryAttack, BallAttack):
    """Search on the corners of the ball, on the 8-bit grid where the clean image is on it; L-infinity.

    Several walks a sample. A walk begins at a random corner x +- epsilon, or at x + epsilon sign(dm/dx) of a random
    point of the ball. A step tries some moves: one or a few pixels, or a rectangle of up to 2/5 of the side in one or
    all channels, are turned over to the other end of the ball, or set to a random level between. The best move is
    taken if the score does not rise by more than an exponential draw. The score is the margin z_y - max over others,
    in units of the spread of the clean logits, plus 0.2 tanh(m / 4) with the margin m of the currents that the
    read-out received (in thresholds), which tells apart what spike counts do not. After 25 steps without progress the
    walk begins anew. Samples leave when misclassified. (Our own; the idea of turning over blocks is Moon et al. 2019,
    arXiv 1905.06635.)

    Args:
        epsilon: radius of the ball.
        queries: forward passes a sample.
        width: forward passes at once; what is left of the samples shares them as walks.
        others: as of :class:`.ball.BallAttack`; ``norm`` is "linf".

    Raises:
        InputError: a setting is out of range.
    """

    name: ClassVar[str] = "corner-search"
    access: ClassVar[Access] = SEARCH
    width: int = 1024

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width < 1:
            raise InputError(f"width: {self.width}, expected 1 or more")
        if self.norm != "linf":
            raise InputError("norm: the corners are those of L-infinity; use HopSkipJump or APGD for L2")

    def longer(self, factor: float) -> Self:
        """Return the same search with so many times the queries."""
        return replace(self, queries=max(int(self.queries * factor), 1))

    def project(self, raw: Images, clean: Images) -> Images:
        """Return ``raw`` (batch, ...) inside the ball, on the grid where ``clean`` is."""
        made = super().project(raw, clean)
        return on_grid(made) if _gridded(clean) else made

    def run(self, model: nn.Module, images: Images, labels: Labels) -> Images:
        """Return adversarial samples (batch, ..., height, width)."""
        rng = generator()
        made = images.copy()
        low, high = self._ends(images)
        score = _Score(model, images, labels)
        walks = _Walks(np.zeros(0, np.int64), images[:0])
        left = np.arange(len(images))
        queries = np.zeros(len(images))
        with attack_gradient(model, self.backward):
            while left.size:
                each = max(1, self.width // MOVES // len(left))
                missing = np.repeat(left, each - np.bincount(walks.sample, minlength=len(images))[left].clip(max=each))
                walks.join(missing, self._start(model, images, labels, low, high, missing, rng))
                old = np.flatnonzero(walks.stale > STALE)
                walks.begin(old, self._start(model, images, labels, low, high, walks.sample[old], rng))
                tried = moved(walks.x, low[walks.sample], high[walks.sample], MOVES, rng)
                fresh = np.isinf(walks.now)
                tried[fresh, 0] = walks.x[fresh]
                found = score(tried.reshape(-1, *images.shape[1:]), np.repeat(walks.sample, MOVES)).reshape(-1, MOVES)
                broken = walks.step(tried, found, rng)
                for walk in np.flatnonzero(broken):
                    made[walks.sample[walk]] = walks.x[walk]
                np.add.at(queries, walks.sample, MOVES)
                going = np.ones(len(images), dtype=np.bool_)
                going[walks.sample[broken]] = False
                going &= queries < self.queries
                left = left[going[left]]
                walks.keep(going[walks.sample])
        return made

    def _ends(self, images: Images) -> tuple[Images, Images]:
        """Return the lowest and the highest corner of the ball, on the grid where the images are."""
        radius = np.float32(self.epsilon)
        low, high = np.clip(images - radius, 0, 1), np.clip(images + radius, 0, 1)
        if not _gridded(images):
            return low, high
        # Whole levels inside the ball: the rounding of k / 255 must not decide which they are.
        levels = np.rint(images * LEVELS), math.floor(self.epsilon * LEVELS + 1e-6)
        ends = (np.clip(levels[0] + sign * levels[1], 0, LEVELS) for sign in (-1, 1))
        lowest, highest = (on_grid((end / LEVELS).astype(np.float32)) for end in ends)
        return lowest, highest

    def _start(
        self,
        model: nn.Module,
        images: Images,
        labels: Labels,
        low: Images,
        high: Images,
        samples: NDArray[np.int64],
        rng: np.random.Generator,
    ) -> Images:
        """Return where walks of ``samples`` begin: half at random corners, half at corners that the gradient names."""
        low, high, clean = low[samples], high[samples], images[samples]
        up = rng.random(clean.shape) < 0.5
        chosen = np.flatnonzero(rng.random(len(samples)) < 0.5)
        if chosen.size:
            share = rng.random((chosen.size, *[1] * (clean.ndim - 1)))
            corner = np.where(up[chosen], high[chosen], low[chosen])
            inside = (clean[chosen] + share * (corner - clean[chosen])).astype(np.float32)
            slope = _slope(model, inside, labels[samples[chosen]])
            kicked = (rng.random(slope.shape) < KICK) | (slope == 0)
            up[chosen] = np.where(kicked, up[chosen], slope > 0)
        return np.where(up, high, low)


def _gridded(images: Images) -> bool:
    return np.array_equal(on_grid(images), images)


def _slope(model: nn.Module, x: Images, labels: Labels) -> NDArray[np.float32]:
    """Return the gradient of what makes the answer wrong, (batch, ...); zeros where there is none."""
    device = device_of(model)
    with torch.enable_grad():
        inputs = torch.from_numpy(x).to(device).requires_grad_()
        logits, fine = finely(model, inputs)
        y = torch.from_numpy(labels).to(device)
        total = margin(logits, y).sum()
        if fine is not None:
            total = total + margin(fine, y).sum()
        if not total.requires_grad:
            return np.zeros_like(x)
        (gradient,) = torch.autograd.grad(total, inputs)
    found: NDArray[np.float32] = gradient.cpu().numpy().astype(np.float32)
    return found


class _Score:
    """What walks lower: see :class:`CornerSearch`; minus infinity where the answer is wrong."""

    def __init__(self, model: nn.Module, images: Images, labels: Labels) -> None:
        self.model, self.labels, self.device = model, torch.from_numpy(labels), device_of(model)
        with torch.no_grad():
            logits = model(torch.from_numpy(images).to(self.device))
        self.unit = max(float(logits.std(1).mean()) if logits.shape[1] > 1 else 1.0, 1e-12)

    @torch.no_grad()
    def __call__(self, x: Images, samples: NDArray[np.int64]) -> NDArray[np.float64]:
        y = self.labels[torch.from_numpy(samples)].to(self.device)
        logits, fine = finely(self.model, torch.from_numpy(x).to(self.device))
        found: Tensor = -margin(logits, y).double() / self.unit
        if fine is not None:
            found = found - FINE * torch.tanh(margin(fine, y).double() / SPAN)
        return found.masked_fill(logits.argmax(1) != y, -torch.inf).cpu().numpy()


@dataclass
class _Walks:
    """Walks under way, one a row.

    Attributes:
        sample: whose they are, (walks,).
        x: where they are, (walks, ...).
        now: the score there; infinity before the first look.
        best: the lowest so far.
        stale: steps without progress.
    """

    sample: NDArray[np.int64]
    x: Images
    now: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    best: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    stale: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    def join(self, samples: NDArray[np.int64], x: Images) -> None:
        """Begin more walks."""
        new = np.full(len(samples), np.inf)
        self.sample, self.x = np.concatenate([self.sample, samples]), np.concatenate([self.x, x])
        self.now, self.best = np.concatenate([self.now, new]), np.concatenate([self.best, new])
        self.stale = np.concatenate([self.stale, np.zeros(len(samples), np.int64)])

    def begin(self, walks: NDArray[np.int64], x: Images) -> None:
        """Begin some anew."""
        self.x[walks], self.now[walks], self.best[walks], self.stale[walks] = x, np.inf, np.inf, 0

    def step(self, tried: Images, found: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.bool_]:
        """Take the best candidates (walks, moves, ...) if they are not clearly worse; return which walks are done."""
        every = np.arange(len(found))
        which = found.argmin(1)
        score = found[every, which]
        taken = score <= self.now + HEAT * rng.exponential(size=len(found))
        self.x[taken] = tried[every, which][taken]
        self.now = np.where(taken, score, self.now)
        self.stale = np.where(score < self.best, 0, self.stale + 1)
        self.best = np.minimum(self.best, score)
        broken: NDArray[np.bool_] = np.isneginf(score)
        return broken

    def keep(self, mask: NDArray[np.bool_]) -> None:
        """Go on with the walks where ``mask`` is true."""
        self.sample, self.x, self.now = self.sample[mask], self.x[mask], self.now[mask]
        self.best, self.stale = self.best[mask], self.stale[mask]


def moved(x: Images, low: Images, high: Images, moves: int, rng: np.random.Generator) -> Images:
    """Return ``moves`` candidates of every walk, (walks, moves, ...): pixels or a rectangle turned over, or set inside.

    Args:
        x: where walks are, (walks, ..., height, width).
        low: the lowest corner of the ball, alike.
        high: the highest corner, alike.
        moves: candidates.
        rng: the generator.
    """
    shape = x.shape[1:]
    rows, columns = (1, *shape)[-2:]
    planes = x[0].size // (rows * columns)
    count = len(x) * moves

    def sides(size: int) -> NDArray[np.int64]:
        # As many small as large ones: uniform in the logarithm.
        most = max(1.0, 0.4 * size)
        return np.minimum(np.exp(rng.random(count) * math.log(most + 1)).astype(np.int64), size)

    def inside(size: int) -> NDArray[np.bool_]:
        side = sides(size)
        first = (rng.random(count) * (size - side + 1)).astype(np.int64)[:, None]
        places = np.arange(size)
        return (places >= first) & (places < first + side[:, None])

    area = inside(rows)[:, None, :, None] & inside(columns)[:, None, None, :]
    one = rng.integers(0, planes, count)[:, None] == np.arange(planes)
    area = area & (one | (rng.random(count) < 0.5)[:, None])[:, :, None, None]
    mask = area.reshape(count, -1)
    few = np.flatnonzero(rng.random(count) < 0.5)
    mask[few] = False
    for more in range(4):
        again = few[rng.random(len(few)) < 0.3**more]
        mask[again, rng.integers(0, mask.shape[1], len(again))] = True
    mask = mask.reshape(len(x), moves, *shape)
    here, low, high = x[:, None], low[:, None], high[:, None]
    turned = np.where(here == high, low, high)
    within = (rng.random(count) < INNER).reshape(len(x), moves, *[1] * len(shape))
    if within.any():
        level = np.rint((low + rng.random(here.shape, dtype=np.float32) * (high - low)) * LEVELS) / np.float32(LEVELS)
        turned = np.where(within, np.clip(level, low, high), turned)
    tried: Images = np.where(mask, turned, here).astype(np.float32)
    return tried
