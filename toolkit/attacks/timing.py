"""Attacks on the time of spikes: every spike keeps its cell, and moves to another step within three budgets."""

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..data import Images, Labels
from ..errors import InputError
from ..network.backward import attack_gradient
from .base import Access, ThreatName, suffix
from .blind import QueryAttack, margins
from .iterative import Search, look, wide
from .losses import Loss, check_loss
from .shifts import Shifts, ahead, choose, cost, moved, offsets
from .spikes import BinaryAttack
from .victim import Victim, device_of

TINY = 1e-30
AFRESH = 1 / 8
"""Share of the queries of a random search that forget what was found."""


@dataclass(frozen=True, kw_only=True)
class TimingAttack(BinaryAttack):
    """What attacks on the time of spikes (time, samples, ...) share: cells keep their number of spikes.

    No two spikes of a cell share a step. The threat model, with its three budgets, is that of arXiv 2602.03284 (ICLR
    2026) for binary input.

    Args:
        largest: shift of any spike, in steps.
        total: sum of the shifts of a sample, in steps; None for any.
        touched: spikes of a sample that move; None for any.
        others: as of :class:`.base.Attack`.

    Raises:
        InputError: a budget is less than 1.
    """

    largest: int = 1
    total: int | None = None
    touched: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.shifts

    @property
    def shifts(self) -> Shifts:
        """The budgets."""
        return Shifts(self.largest, self.total, self.touched)

    def bounded(self, shifts: Shifts) -> Self:
        """Return the same attack with other budgets."""
        return replace(self, largest=shifts.largest, total=shifts.total, touched=shifts.touched)

    @property
    def label(self) -> str:
        """Name, backward pass and budgets."""
        again = f"-x{self.restarts}" if self.restarts > 1 else ""
        return f"{self.stem}{suffix(self.backward)}{again}@{self.size}"

    @property
    def threat(self) -> ThreatName:
        """The time of spikes."""
        return "timing"

    @property
    def radius(self) -> float:
        """The largest shift."""
        return self.largest

    @property
    def size(self) -> str:
        """The budgets with their units."""
        return self.shifts.label

    @property
    def place(self) -> str:
        """Space and budgets, in words."""
        return f"encoded space, binary, spikes moved in time {self.shifts.words}"

    def within(self, radius: float) -> Self:
        """Return the same attack with another largest shift."""
        return replace(self, largest=int(radius))

    def project(self, raw: Images, clean: Images) -> Images:
        """Return ``raw``, with samples that break a budget put back to ``clean``."""
        found = cost(raw, clean, self.largest)
        right = found.possible & np.isin(raw, (0, 1)).reshape(len(raw), -1).all(1)
        right &= found.total <= (np.inf if self.total is None else self.total)
        right &= found.touched <= (np.inf if self.touched is None else self.touched)
        return np.where(right.reshape(-1, *[1] * (raw.ndim - 1)), raw, clean).astype(np.float32)

    def distances(self, made: Images, clean: Images) -> NDArray[np.float64]:
        """Return the largest shift of every sample (samples,), in steps."""
        return cost(made, clean, self.largest).largest.astype(np.float64)

    def _moves(self, clean: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Return the moves that scores choose (batch, shifts, time, n), and spikes (batch, time, n) after them."""
        chosen = choose(clean, scores, self.shifts)
        return chosen, moved(clean, chosen, self.largest)


@dataclass(frozen=True, kw_only=True)
class SpikeTiming(TimingAttack):
    """Moves chosen by the gradient, with the projection into all budgets inside the loop.

    To first order, moving a spike from step s to s + u changes the loss by G(s, u) = dL/dx(s + u) - dL/dx(s). Scores
    gather these over steps, phi <- phi + G / mean|G|; the moves of the highest scores that capacity and budgets allow
    (:func:`.shifts.choose`) make the next input, at which the next gradient is taken. What is returned is the first
    misclassified input, else the one of the highest loss.

    The paper passes the gradient through a softmax of such scores and pulls it into the budgets by penalties; here the
    gain of every move is used itself, and nothing but the projection keeps the budgets.

    Args:
        steps: gradients.
        loss: what is maximised.
        random_start: begin with random scores, and so with moves at random.
        others: as of :class:`TimingAttack`.
    """

    name: ClassVar[str] = "spike-timing"
    steps: int = 20
    loss: Loss = "cross-entropy"
    random_start: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1:
            raise InputError(f"steps: {self.steps}, expected 1 or more")
        check_loss(self.loss)

    @property
    def stem(self) -> str:
        """The name, steps, and what is not as usual."""
        loss = f"-{self.loss}" * (self.loss != "cross-entropy")
        return f"{self.name}-{self.steps}{loss}" + "-random" * self.random_start

    @property
    def effort(self) -> float:
        """Gradients."""
        return float(self.steps * self.restarts)

    def run(self, model: nn.Module, images: Images, labels: Labels) -> Images:
        """Return spikes (batch, time, ...) moved in time."""
        device = device_of(model)
        clean, y = torch.from_numpy(images).to(device), torch.from_numpy(labels).to(device)
        made = clean.clone()
        search = Search(clean, clean, y)
        shifts = offsets(self.largest, clean.shape[1])
        start = torch.zeros(len(clean), len(shifts), *clean.flatten(2).shape[1:])
        search.more["scores"] = torch.rand(start.shape).to(device) if self.random_start else start.to(device)
        if self.random_start:
            search.x = self._step(search)
        with attack_gradient(model, self.backward) as swapped:
            for step in range(self.steps + 1):
                loss, right, gradient = look(model, search, self.loss, swapped)
                search.saw(loss)
                made[search.index] = torch.where(wide(right, search.x), search.best_x, search.x)
                if step == self.steps or not bool(right.any()) or not shifts:
                    break
                search.keep(right)
                swapped.keep(right)
                slope = gradient[right].flatten(2)
                gains = torch.stack([ahead(slope, shift) - slope for shift in shifts], 1)
                search.more["scores"] += gains / wide(gains.abs().flatten(1).mean(1).clamp(min=TINY), gains)
                search.x = self._step(search)
        return made.cpu().numpy()

    def _step(self, search: Search) -> Tensor:
        clean = search.clean.flatten(2) > 0.5
        return self._moves(clean, search.more["scores"])[1].to(search.clean.dtype).view_as(search.clean)


@dataclass(frozen=True, kw_only=True)
class SpikeTimingSearch(QueryAttack, TimingAttack):
    """Random search on logits, without gradients: some moves are taken back, others made, and kept if the margin holds.

    From moves at random; query q of Q exchanges about max(1, m (1 - q / Q) / 4) of m moves at once, as
    :class:`.spikes.SpikeSearch` does; one in eight tries other moves altogether. Samples leave when misclassified.

    Args:
        queries: forward passes a sample.
        others: as of :class:`TimingAttack`.
    """

    name: ClassVar[str] = "spike-timing-search"
    access: ClassVar[Access] = "black box, logits"

    def run(self, model: Victim, images: Images, labels: Labels) -> Images:
        """Return spikes (batch, time, ...) moved in time."""
        clean = torch.from_numpy(images).flatten(2) > 0.5
        shape = (len(clean), len(offsets(self.largest, clean.shape[1])), *clean.shape[1:])
        made = images.copy()
        if not shape[1]:
            return made

        def spikes(moves: Tensor) -> Images:
            return moves.numpy().astype(np.float32).reshape(len(moves), *images.shape[1:])

        left = np.arange(len(images))
        chosen, x = self._moves(clean, torch.rand(shape))
        made = spikes(x)
        best = margins(model, made, labels, self.batch)
        for query in range(1, self.queries):
            going = best >= 0
            left, best, chosen, clean = left[going], best[going], chosen[torch.from_numpy(going)], clean[going]
            if not len(left):
                break
            moves = chosen.flatten(1).sum(1).clamp(min=1)
            some = (moves * (1 - query / self.queries) / 4).clamp(min=1)
            possible = (clean.flatten(1).sum(1) * shape[1]).clamp(min=1)
            # Some begin anew, at any density: a cell may be left only by several moves at once.
            afresh = torch.rand(len(left)) < AFRESH
            keep = torch.rand(chosen.shape) >= wide(torch.where(afresh, 1.0, some / moves), chosen)
            add = torch.rand(chosen.shape) < wide(
                torch.where(afresh, torch.rand(len(left)), 2 * some / possible), chosen
            )
            scores = torch.rand(chosen.shape) + (chosen & keep)
            tried, x = self._moves(clean, torch.where(chosen & keep | add, scores, 0.0))
            found = margins(model, spikes(x), labels[left], self.batch)
            better = found <= best
            chosen[torch.from_numpy(better)] = tried[torch.from_numpy(better)]
            best[better], made[left[better]] = found[better], spikes(x)[better]
        return made


@dataclass(frozen=True, kw_only=True)
class SpikeTimingNoise(TimingAttack):
    """The control: as many moves as the budgets allow, at random.

    Args:
        others: as of :class:`TimingAttack`.
    """

    name: ClassVar[str] = "spike-timing-noise"
    access: ClassVar[Access] = "no access"

    def run(self, model: Victim, images: Images, labels: Labels) -> Images:
        """Return spikes (batch, time, ...) moved in time."""
        clean = torch.from_numpy(images).flatten(2) > 0.5
        count = len(offsets(self.largest, clean.shape[1]))
        _, x = self._moves(clean, torch.rand(len(clean), count, *clean.shape[1:]))
        return x.numpy().astype(np.float32).reshape(images.shape)
