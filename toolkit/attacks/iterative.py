"""The loop that gradient attacks share, and its simpler members: R-FGSM and MI-FGSM."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ..data import Images, Labels
from ..errors import InputError
from ..network.backward import Swapped, attack_gradient
from .ball import BallAttack, Norm, check_draws, check_step
from .losses import Loss, check_loss, per_sample, rival_of
from .victim import device_of, finely, predict

TINY = 1e-30


class Search:
    """One batch under attack: tensors by name, all with a row for every sample that still resists.

    Attributes:
        x: where the attack is, (batch, ...).
        clean: the centre of the ball.
        labels: (batch,).
        best_x: the point of the highest loss so far.
        best_loss: (batch,).
        better: true where the present point is the best, (batch,).
        rival: the class to move towards, (batch,); None for away from the right one.
        more: what the attack itself remembers.
    """

    def __init__(self, x: Tensor, clean: Tensor, labels: Tensor) -> None:
        self.x, self.clean, self.labels = x, clean, labels
        self.best_x = x
        self.best_loss = torch.full((len(x),), -torch.inf, device=x.device)
        self.better = torch.ones(len(x), dtype=torch.bool, device=x.device)
        self.index = torch.arange(len(x), device=x.device)
        self.rival: Tensor | None = None
        self.more: dict[str, Tensor] = {}

    def saw(self, loss: Tensor) -> None:
        """Take the loss (batch,) of the present point."""
        self.better = loss > self.best_loss
        self.best_loss = torch.where(self.better, loss, self.best_loss)
        self.best_x = torch.where(wide(self.better, self.x), self.x, self.best_x)

    def keep(self, mask: Tensor) -> None:
        """Go on with the samples where ``mask`` (batch,) is true."""
        for name, tensor in vars(self).items():
            if isinstance(tensor, Tensor):
                setattr(self, name, tensor[mask])
        self.more = {name: tensor[mask] for name, tensor in self.more.items()}


def wide(x: Tensor, like: Tensor) -> Tensor:
    """Return (batch,) as (batch, 1, 1, ...), to be combined with ``like``."""
    return x.view(-1, *[1] * (like.dim() - 1))


def lengths(x: Tensor) -> Tensor:
    """Return the L2 norm of every sample, (batch, 1, 1, ...)."""
    return wide(x.flatten(1).norm(dim=1), x)


def into_ball(x: Tensor, clean: Tensor, epsilon: float, norm: Norm) -> Tensor:
    """Return ``x`` moved into the ball around ``clean`` and into [0, 1]."""
    if norm == "linf":
        return torch.minimum(torch.maximum(x, clean - epsilon), clean + epsilon).clamp(0, 1)
    change = x - clean
    return (clean + change * (epsilon / lengths(change).clamp(min=TINY)).clamp(max=1)).clamp(0, 1)


def direction(gradient: Tensor, norm: Norm) -> Tensor:
    """Return the steepest step of length 1: the sign, or the gradient over its L2 norm."""
    return gradient.sign() if norm == "linf" else gradient / lengths(gradient).clamp(min=TINY)


def random_point(clean: Tensor, epsilon: float, norm: Norm) -> Tensor:
    """Return a uniform point of the ball around ``clean``, moved into [0, 1]."""
    # Drawn on the CPU, so that a seed means the same on every device.
    if norm == "linf":
        change = (2 * torch.rand(clean.shape) - 1) * epsilon
    else:
        change = torch.randn(clean.shape)
        radius = torch.rand(len(clean)) ** (1 / max(clean[0].numel(), 1))
        change = change / lengths(change).clamp(min=TINY) * wide(radius, change) * epsilon
    return (clean + change.to(clean.device)).clamp(0, 1)


@dataclass(frozen=True, kw_only=True)
class GradientAttack(BallAttack):
    """An attack that climbs a loss by the gradient with respect to the input alone.

    A sample leaves the batch as soon as it is misclassified. What is returned is the first misclassified point, else
    the one of the highest loss.

    Args:
        epsilon: radius of the ball.
        steps: gradients.
        loss: "cross-entropy", "dlr", "margin", or "soft", which looks through the read-out at what it receives.
        rivals: towards how many of the other classes the attack is run, one after the other, the strongest on the clean
            sample first; 0 for away from the right one. Only for "margin" and "soft".
        draws: gradients averaged in every step, for a victim that is stochastic (expectation over transformation).
        early_stop: samples leave when misclassified; otherwise all go on to the end, and the point of the highest loss
            is returned, as is right for examples that shall transfer.
        others: as of :class:`.ball.BallAttack`.

    Raises:
        InputError: a setting is out of range.
    """

    averages: ClassVar[bool] = True
    spares_wrong: ClassVar[bool] = True
    untold: ClassVar[tuple[str, ...]] = ("rivals",)
    steps: int
    loss: Loss = "cross-entropy"
    draws: int = 1
    early_stop: bool = True
    rivals: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1:
            raise InputError(f"steps: {self.steps}, expected 1 or more")
        check_draws(self.draws)
        check_loss(self.loss)
        if self.rivals < 0 or (self.rivals and self.loss not in ("margin", "soft")):
            raise InputError(f"rivals, loss: {self.rivals}, {self.loss!r}; a rival needs the loss 'margin' or 'soft'")

    @property
    def stem(self) -> str:
        """The name, the number of rivals, and of steps."""
        return self.name + f"-{self.rivals}rivals" * bool(self.rivals) + f"-{self.steps}"

    @property
    def effort(self) -> float:
        """Gradients."""
        return float(self.steps * self.restarts * self.draws * max(self.rivals, 1))

    @property
    def stops_early(self) -> bool:
        """As ``early_stop``."""
        return self.early_stop

    def start(self, clean: Tensor) -> Tensor:
        """Return where to begin; a uniform point of the ball unless the attack says otherwise."""
        return random_point(clean, self.epsilon, self.norm)

    @abstractmethod
    def advance(self, search: Search, step: int, loss: Tensor, gradient: Tensor) -> Tensor:
        """Return the next point, inside the ball, from the loss (batch,) and gradient of the present one."""

    def run(self, model: nn.Module, images: Images, labels: Labels) -> Images:
        """Return adversarial samples (batch, ...)."""
        if not self.rivals:
            return self._towards(model, images, labels, None)
        made = images.copy()
        todo = np.arange(len(images))
        for rank in range(self.rivals):
            made[todo] = self._towards(model, images[todo], labels[todo], rank)
            todo = todo[predict(model, made[todo], len(todo)) == labels[todo]]
            if not todo.size:
                break
        return made

    def _towards(self, model: nn.Module, images: Images, labels: Labels, rank: int | None) -> Images:
        """Return adversarial samples, made towards the strongest rival but ``rank``, or away from the right class."""
        device = device_of(model)
        clean, y = torch.from_numpy(images).to(device), torch.from_numpy(labels).to(device)
        made = clean.clone()
        search = Search(into_ball(self.start(clean), clean, self.epsilon, self.norm), clean, y)
        if rank is not None:
            with torch.no_grad():
                search.rival = rival_of(model(clean), y, rank)
        with attack_gradient(model, self.backward) as swapped:
            for step in range(self.steps):
                loss, right, gradient = look(model, search, self.loss, swapped, self.draws)
                search.saw(loss)
                if self.early_stop and not bool(right.all()):
                    made[search.index[~right]] = search.x[~right]
                    search.keep(right)
                    swapped.keep(right)
                    loss, gradient = loss[right], gradient[right]
                    if not len(search.x):
                        break
                search.x = self.advance(search, step, loss, gradient)
            if len(search.x):
                with torch.no_grad():
                    logits, losses = losses_of(model, search.x, search, self.loss)
                search.saw(losses)
                wrong = ~right_of(self.loss, logits, search.labels) & self.early_stop
                made[search.index] = torch.where(wide(wrong, search.x), search.x, search.best_x)
        return made.cpu().numpy()


def losses_of(model: nn.Module, x: Tensor, search: Search, loss: Loss) -> tuple[Tensor, Tensor]:
    """Return logits (batch, classes) at ``x``, and the loss of every sample (batch,)."""
    if loss == "harm":  # Outputs are no classes: labels are targets, and the model is a :class:`.harm.Harmed`.
        harmed: Any = model
        outputs = harmed(x)
        return outputs, harmed.harm(outputs, search.labels)
    logits, fine = finely(model, x) if loss == "soft" else (model(x), None)
    return logits, per_sample(loss, logits, search.labels, fine, search.rival)


def right_of(loss: Loss, logits: Tensor, labels: Tensor) -> Tensor:
    """Return whether the class is right (batch,); all are where outputs are no classes, so that none leaves early."""
    if loss == "harm":
        return torch.ones(len(logits), dtype=torch.bool, device=logits.device)
    return logits.argmax(1) == labels


def look(
    model: nn.Module, search: Search, loss: Loss, swapped: Swapped, draws: int = 1
) -> tuple[Tensor, Tensor, Tensor]:
    """Return loss (batch,), whether the answer is right (batch,), and dL/dx (batch, ...), averaged over draws.

    Raises:
        InputError: the victim's logits do not depend on its input in a differentiable way.
    """
    found: list[Any] = []
    for draw in range(draws):
        swapped.first_draw(draw == 0)
        with torch.enable_grad():
            inputs = search.x.detach().requires_grad_()
            logits, losses = losses_of(model, inputs, search, loss)
            if not losses.requires_grad:
                raise InputError("victim: its logits have no gradient; attack it through its twin or with Square")
            (gradient,) = torch.autograd.grad(losses.sum(), inputs)
        found.append((losses.detach(), logits.detach(), gradient))
    losses, logits, gradient = (torch.stack(parts).mean(0) for parts in zip(*found, strict=True))
    return losses, right_of(loss, logits, search.labels), gradient


@dataclass(frozen=True, kw_only=True)
class RFGSM(GradientAttack):
    """Random step, then FGSM (Tramer et al. 2018, arXiv 1705.07204), with a = epsilon / 2.

    x0 = clip(x + a sign(N(0, 1))),  x' = clip(x0 + (epsilon - a) sign(dL/dx0)).

    Args:
        epsilon: radius of the ball.
        others: as of :class:`GradientAttack`; one step.
    """

    name: ClassVar[str] = "r-fgsm"
    steps: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps != 1:
            raise InputError(f"steps: {self.steps}, R-FGSM has 1; use PGD")

    def start(self, clean: Tensor) -> Tensor:
        """Return x + a sign(N(0, 1)), with a direction of length 1 in L2."""
        change = direction(torch.randn(clean.shape), self.norm).to(clean.device)
        return (clean + self.epsilon / 2 * change).clamp(0, 1)

    def advance(self, search: Search, step: int, loss: Tensor, gradient: Tensor) -> Tensor:
        """Return the one step."""
        x = search.x + self.epsilon / 2 * direction(gradient, self.norm)
        return into_ball(x, search.clean, self.epsilon, self.norm)


@dataclass(frozen=True, kw_only=True)
class AnyPGD(GradientAttack):
    """PGD that takes the first misclassified point on its way instead of the last point; rule and steps of PGD.

    Spiking networks' loss is rugged: the last point is often not the worst one that was seen.

    Args:
        epsilon: radius of the ball.
        steps: gradients.
        step: a; None means 2.5 epsilon / steps.
        others: as of :class:`GradientAttack`.

    Raises:
        InputError: a setting is out of range.
    """

    name: ClassVar[str] = "pgd-any"
    untold: ClassVar[tuple[str, ...]] = ("rivals", "step")
    step: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_step(self.step)

    @property
    def stem(self) -> str:
        """As of every gradient attack, and the step where it was given."""
        return super().stem + ("" if self.step is None else f"x{self.step:g}")

    def advance(self, search: Search, step: int, loss: Tensor, gradient: Tensor) -> Tensor:
        """Return the next point."""
        length = 2.5 * self.epsilon / self.steps if self.step is None else self.step
        x = search.x + length * direction(gradient, self.norm)
        return into_ball(x, search.clean, self.epsilon, self.norm)


@dataclass(frozen=True, kw_only=True)
class MIFGSM(GradientAttack):
    """Momentum iterative FGSM (Dong et al. 2018, arXiv 1710.06081), from the clean image, with a = epsilon / steps.

    m(k+1) = decay m(k) + g / |g|_1,  x(k+1) = project(x(k) + a sign(m(k+1))).

    Args:
        epsilon: radius of the ball.
        steps: gradients.
        decay: of the momentum.
        others: as of :class:`GradientAttack`.
    """

    name: ClassVar[str] = "mi-fgsm"
    decay: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.decay < np.inf:
            raise InputError(f"decay: {self.decay}, expected 0 or more")

    def start(self, clean: Tensor) -> Tensor:
        """Return the clean samples."""
        return clean

    def advance(self, search: Search, step: int, loss: Tensor, gradient: Tensor) -> Tensor:
        """Return the next point along the momentum."""
        total = wide(gradient.abs().flatten(1).sum(1), gradient).clamp(min=TINY)
        momentum = gradient / total
        if step:
            momentum = momentum + self.decay * search.more["momentum"]
        search.more["momentum"] = momentum
        x = search.x + self.epsilon / self.steps * direction(momentum, self.norm)
        return into_ball(x, search.clean, self.epsilon, self.norm)
