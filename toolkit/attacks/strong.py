"""The strong gradient attacks: Auto-PGD, and SA-PGD for spiking networks."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .iterative import TINY, GradientAttack, Search, direction, into_ball, lengths, random_point, wide


def checkpoints(steps: int) -> list[int]:
    """Return Auto-PGD's checkpoints: w(j) = ceil(p(j) steps), p = 0, 0.22, then p + max(last gap - 0.03, 0.06)."""
    # In hundredths: sums of floating-point numbers would move a checkpoint now and then.
    places, gap = [0, 22], 22
    while places[-1] + max(gap - 3, 6) <= 100:
        gap = max(gap - 3, 6)
        places.append(places[-1] + gap)
    return [-(-place * steps // 100) for place in places]


@dataclass(frozen=True, kw_only=True)
class APGD(GradientAttack):
    """Auto-PGD (Croce and Hein 2020, arXiv 2003.01690): a step size for every sample, which halves when it stalls.

    z = project(x(k) + eta d(g)),  x(k+1) = project(x(k) + 0.75 (z - x(k)) + 0.25 (x(k) - x(k-1))),  eta(0) = 2 epsilon.

    At a checkpoint eta halves and x returns to the best point if fewer than 75 % of the steps since the last one raised
    the loss, or if neither eta nor the best loss changed there and since.

    Args:
        epsilon: radius of the ball.
        steps: gradients.
        others: as of :class:`.iterative.GradientAttack`.
    """

    name: ClassVar[str] = "apgd"

    @property
    def stem(self) -> str:
        """Name, loss, rivals and number of steps."""
        short = {"cross-entropy": "ce"}.get(self.loss, self.loss)
        return f"{self.name}-{short}" + f"-{self.rivals}rivals" * bool(self.rivals) + f"-{self.steps}"

    def advance(self, search: Search, step: int, loss: Tensor, gradient: Tensor) -> Tensor:
        """Return the next point."""
        more = search.more
        if step == 0:
            ones = torch.ones_like(loss)
            more.update(rose=0 * ones, eta=2 * self.epsilon * ones, halved=ones.bool(), loss=loss, x=search.x)
            more.update(best_gradient=gradient, loss_then=search.best_loss)
        more["rose"] = more["rose"] + (loss > more["loss"])
        more["best_gradient"] = torch.where(wide(search.better, gradient), gradient, more["best_gradient"])
        places = checkpoints(self.steps)
        if step in places[1:]:
            since = step - places[places.index(step) - 1]
            stalled = more["rose"] < 0.75 * since
            stuck = ~more["halved"] & (search.best_loss <= more["loss_then"])
            halve = stalled | stuck
            more.update(eta=torch.where(halve, more["eta"] / 2, more["eta"]), halved=halve, rose=0 * more["rose"])
            more["loss_then"] = search.best_loss
            back = wide(halve, gradient)
            search.x = torch.where(back, search.best_x, search.x)
            gradient = torch.where(back, more["best_gradient"], gradient)
        more["loss"] = loss
        x, eta = search.x, wide(more["eta"], gradient)
        z = into_ball(x + eta * direction(gradient, self.norm), search.clean, self.epsilon, self.norm)
        if step:
            z = into_ball(x + 0.75 * (z - x) + 0.25 * (x - more["x"]), search.clean, self.epsilon, self.norm)
        more["x"] = x
        return z


def halvings(steps: int) -> set[int]:
    """Return the iterations after which SA-PGD halves its step: after 0.22 N, then gaps 0.03 N shorter, to 0.06 N."""
    found, at, gap = set(), 0, 22
    while at + gap < 100:
        at += gap
        found.add(math.ceil(at * steps / 100))
        gap = max(gap - 3, 6)
    return found


@dataclass(frozen=True, kw_only=True)
class SAPGD(GradientAttack):
    """Stable adaptive PGD (arXiv 2512.22522), from a random direction whose largest entry is epsilon.

    m <- 0.5 m + g / mean|g|,  v <- 0.8 v + g^2 / mean(g^2),
    x <- project(x + clip(eta m / (sqrt(v) + 1e-12), -eta, eta)),

    with means over a sample, and eta from epsilon, halved at :func:`halvings`. In L2 the
    step is eta m / |m|: to divide by sqrt(v) would turn it towards the corners of the other ball.
    It is meant to run with ``Backward(surrogate=AdaptiveSharpness(...))``.

    Args:
        epsilon: radius of the ball.
        steps: gradients.
        others: as of :class:`.iterative.GradientAttack`.
    """

    name: ClassVar[str] = "sa-pgd"

    def start(self, clean: Tensor) -> Tensor:
        """Return a random point on the surface of the ball."""
        if self.norm == "l2":
            change = random_point(torch.full_like(clean, 0.5), 1e-3, "l2") - 0.5
            return clean + self.epsilon * change / lengths(change).clamp(min=TINY)
        change = (2 * torch.rand(clean.shape) - 1).to(clean.device)
        largest = wide(change.abs().flatten(1).amax(1), change).clamp(min=TINY)
        return clean + self.epsilon * change / largest

    def advance(self, search: Search, step: int, loss: Tensor, gradient: Tensor) -> Tensor:
        """Return the next point."""
        more = search.more

        def mean(x: Tensor) -> Tensor:
            return wide(x.flatten(1).mean(1), x).clamp(min=TINY)

        # Squares of tiny gradients leave float32's range; the rule does not depend on the scale.
        gradient = gradient / mean(gradient.abs())
        first, second = gradient, gradient**2 / mean(gradient**2)
        if step:
            first, second = 0.5 * more["first"] + first, 0.8 * more["second"] + second
        more.update(first=first, second=second)
        eta = self.epsilon * 0.5 ** sum(place <= step for place in halvings(self.steps))
        if self.norm == "linf":
            change = (eta * first / (second.sqrt() + 1e-12)).clamp(-eta, eta)
        else:
            change = eta * direction(first, "l2")
        return into_ball(search.x + change, search.clean, self.epsilon, self.norm)
