"""Spikes moved in time: the three budgets, what a moved raster costs, and the moves that fit into budgets."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ..data import Images
from ..errors import InputError

FAR = 1e6
"""Cost of a shift that is not allowed: more than any number of allowed ones."""


@dataclass(frozen=True)
class Shifts:
    """How far the spikes of a sample may move: L-infinity, L1 and L0 of their time shifts.

    Args:
        largest: shift of any spike, in steps.
        total: sum of all shifts, in steps; None for any.
        touched: spikes that move; None for any.

    Raises:
        InputError: a budget is less than 1.
    """

    largest: int = 1
    total: int | None = None
    touched: int | None = None

    def __post_init__(self) -> None:
        for name, value in (("largest", self.largest), ("total", self.total), ("touched", self.touched)):
            if value is not None and value < 1:
                raise InputError(f"{name}: {value}, expected 1 or more, of time steps or spikes")

    @property
    def label(self) -> str:
        """The budgets in short, as labels of attacks end."""
        parts = [f"{self.largest}-step" + "s" * (self.largest > 1)]
        parts += [f"{name}-{value}" for name, value in (("total", self.total), ("touched", self.touched)) if value]
        return "-".join(parts)

    @property
    def words(self) -> str:
        """The budgets in words."""
        parts = [f"by {self.largest} step{'s' * (self.largest > 1)} at most"]
        parts += [f"{self.total} steps in all"] * (self.total is not None)
        parts += [f"{self.touched} spikes a sample"] * (self.touched is not None)
        return ", ".join(parts)


class Cost(NamedTuple):
    """What moving the spikes of each sample costs, (samples,) each.

    Attributes:
        possible: whether every cell has as many spikes as before, and a schedule within the largest shift exists.
        largest: the largest shift, if it shall be as small as possible.
        total: the least sum of shifts.
        touched: the fewest spikes that move, none further than the largest shift that is allowed.
    """

    possible: NDArray[np.bool_]
    largest: NDArray[np.int64]
    total: NDArray[np.int64]
    touched: NDArray[np.int64]


def cost(made: Images, clean: Images, largest: int) -> Cost:
    """Return what it takes to make ``made`` of ``clean`` by moving spikes within their cells.

    Spikes of a cell are alike, so a raster does not say which went where; every budget is judged by the best schedule.
    The least sum is that of optimal transport on a line, sum over t |C(t) - C'(t)| with the counts C, C' of spikes up
    to t, whichever common spikes stay; so one schedule meets all three budgets if each is met.

    Args:
        made: (samples, time, ...), 0 or 1.
        clean: likewise.
        largest: shift that is allowed.
    """
    after, before = (np.asarray(x).reshape(*x.shape[:2], -1) > 0.5 for x in (made, clean))
    ahead = np.cumsum(after.astype(np.int64) - before, axis=1)
    possible = (ahead[:, -1] == 0).all(1)
    furthest = _shifts(after, before).max(axis=(1, 2), initial=0)
    # Spikes that both have stay where they are, if the others then move no further than allowed.
    going, coming = before & ~after, after & ~before
    stays = _shifts(coming, going).max(1, initial=0) <= largest
    touched = (going.sum(1) * stays).sum(1)
    for sample, cell in np.argwhere(~stays):
        if possible[sample]:
            touched[sample] += _fewest(before[sample, :, cell], after[sample, :, cell], largest)
    return Cost(possible & (furthest <= largest), furthest, np.abs(ahead).sum((1, 2)), touched)


def _shifts(after: NDArray[np.bool_], before: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return how far the first, second, ... spike of every cell moved, (samples, time, cells); 0 for none."""
    steps = before.shape[1]
    places = np.arange(steps)[None, :, None]
    first, second = (np.sort(np.where(x, places, steps), axis=1) for x in (after, before))
    found: NDArray[np.int64] = np.abs(first - second)
    return found


def _fewest(before: NDArray[np.bool_], after: NDArray[np.bool_], largest: int) -> int:
    """Return the fewest spikes of one cell that must move, none further than ``largest``."""
    shift = np.abs(np.subtract.outer(np.flatnonzero(before), np.flatnonzero(after)))
    price = np.where(shift > largest, FAR, (shift > 0).astype(np.float64))
    rows, columns = linear_sum_assignment(price)
    return int(min(price[rows, columns].sum(), FAR))


def offsets(largest: int, steps: int) -> list[int]:
    """Return all shifts but 0 that a spike may make in ``steps`` time steps."""
    most = min(largest, steps - 1)
    return [shift for shift in range(-most, most + 1) if shift]


def ahead(x: Tensor, shift: int, fill: float = 0) -> Tensor:
    """Return at each step of x (batch, time, n) what lies ``shift`` steps later, ``fill`` beyond the ends."""
    found = torch.full_like(x, fill)
    if shift > 0:
        found[:, :-shift] = x[:, shift:]
    else:
        found[:, -shift:] = x[:, :shift]
    return found


def choose(clean: Tensor, scores: Tensor, budget: Shifts) -> Tensor:
    """Return the moves to make, (batch, shifts, time, n): by falling score, as far as capacity and budgets allow.

    In every cell, the best move that is possible is made, then the best of those that are possible then: a spike moves
    once, onto a step that is free by now. Of all cells' moves, in this order, the first that fit into the budgets are
    kept; where the sum of shifts is bounded, they are ordered by score a step.

    Args:
        clean: spikes (batch, time, n), true or false.
        scores: of moving the spike at a step by each of :func:`offsets`, (batch, shifts, time, n); only positive ones
            are made.
        budget: what is allowed.
    """
    steps = clean.shape[1]
    shifts = torch.tensor(offsets(budget.largest, steps), device=clean.device)
    lengths = shifts.abs()
    chosen = torch.zeros_like(scores, dtype=torch.bool)
    if not len(shifts):
        return chosen
    if budget.total is not None:
        scores = torch.where((lengths <= budget.total)[:, None, None], scores / lengths[:, None, None], 0)
    occupied, waiting = clean.clone(), clean.clone()
    values, places = [], []
    least = torch.full_like(scores[:, 0, 0], torch.inf)
    for _ in range(steps):
        free = torch.stack([~ahead(occupied, shift, True) for shift in shifts.tolist()], 1)
        ranked = torch.where(waiting[:, None] & free, scores, -torch.inf).flatten(1, 2)
        best, index = ranked.max(1)
        made = best > 0
        if not bool(made.any()):
            break
        # A later move of a cell may need an earlier one, so it is ranked behind it.
        least = torch.where(made, torch.minimum(least, best), least)
        values.append(torch.where(made, least, -torch.inf))
        places.append(index)
        rows, cells = torch.nonzero(made, as_tuple=True)
        at = index[rows, cells] % steps
        occupied[rows, at, cells] = waiting[rows, at, cells] = False
        occupied[rows, at + shifts[index[rows, cells] // steps], cells] = True
    if not values:
        return chosen
    ranks, order = torch.cat(values, 1).sort(dim=1, descending=True, stable=True)
    index = torch.cat(places, 1).gather(1, order)
    fits = ranks > 0
    spent = torch.where(fits, lengths[index // steps], 0).cumsum(1)
    if budget.total is not None:
        fits &= spent <= budget.total
    if budget.touched is not None:
        fits &= torch.arange(fits.shape[1], device=fits.device) < budget.touched
    rows, which = torch.nonzero(fits, as_tuple=True)
    found, cell = index[rows, which], order[rows, which] % clean.shape[2]
    chosen[rows, found // steps, found % steps, cell] = True
    return chosen


def moved(clean: Tensor, chosen: Tensor, largest: int) -> Tensor:
    """Return spikes (batch, time, n), true or false, after the moves of :func:`choose`."""
    x = clean.to(torch.int8)
    for move, shift in zip(chosen.to(torch.int8).unbind(1), offsets(largest, clean.shape[1]), strict=True):
        x = x - move + ahead(move, -shift)
    return x > 0
