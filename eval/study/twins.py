"""Twins: trainings from the same weights in the same order, on samples of which one is another; how far they part."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ...toolkit.errors import InputError
from ...toolkit.progress import Track, silent
from ..measure.gradients import GradientStatistics
from .shallow import Losses, Shallow

GRADIENT_SAMPLES = 100
"""Of the input gradient: the first so many test samples."""

Observe = Callable[[int, nn.Module], None]
"""Told the number of steps, or epochs, that were taken, and the network as it is then."""
Train = Callable[[Tensor, Tensor, Observe], None]
"""Trains a new network on samples and targets, always from the same weights in the same order; first tells of 0."""


@dataclass(frozen=True)
class Task:
    """What is trained on what.

    Attributes:
        train: see :data:`Train`.
        losses: of each sample.
        right: whether each answer is, from outputs and targets.
        x: all samples that may be drawn, (samples, ...).
        y: their targets.
        test_x: samples that none is trained on.
        test_y: their targets.
    """

    train: Train
    losses: Losses
    right: Callable[[Tensor, Tensor], Tensor]
    x: Tensor
    y: Tensor
    test_x: Tensor
    test_y: Tensor


@dataclass(frozen=True)
class Draw:
    """Which samples are trained on: twin i has ``others[i]`` in the place of ``chosen[i]``.

    Attributes:
        chosen: indices of the sample.
        others: indices of what replaces its first entries, one a twin.
    """

    chosen: Tensor
    others: Tensor

    def twin(self, number: int) -> Tensor:
        """Return the indices of a twin's sample."""
        found = self.chosen.clone()
        found[number] = self.others[number]
        return found


def draw(pool: int, size: int, twins: int, seed: int) -> Draw:
    """Return a sample of ``size`` out of ``pool``, and other ones for its first ``twins``; those of a seed are nested.

    Raises:
        InputError: there are not so many.
    """
    if not 1 <= twins <= size or size + twins > pool:
        raise InputError(
            f"twins: {twins} replacements in samples of {size} out of {pool}: need 1 to {size} of them, and "
            f"{size + twins} samples"
        )
    order = torch.randperm(pool, generator=torch.Generator().manual_seed(seed))
    # From the end, so that samples of all sizes have the same replacements.
    return Draw(order[:size], order[pool - twins :])


def weights(network: nn.Module) -> Tensor:
    """Return all parameters in one row, in float64."""
    return torch.cat([parameter.detach().flatten().double() for parameter in network.parameters()])


@dataclass
class _Seen:
    """What one training showed, point by point."""

    task: Task
    replaced: Tensor
    """Indices of the samples that twins have not."""
    weights: dict[int, Tensor] = field(default_factory=dict)
    losses: dict[int, Tensor] = field(default_factory=dict)

    def __call__(self, point: int, network: nn.Module) -> None:
        training = network.training
        network.eval()
        with torch.no_grad():
            self.weights[point] = weights(network)
            outputs = network(self.task.x[self.replaced])
            self.losses[point] = self.task.losses(outputs, self.task.y[self.replaced]).double()
            self.note(point, network)
        network.train(training)

    def note(self, point: int, network: nn.Module) -> None:
        """Measure more."""


@dataclass
class _First(_Seen):
    chosen: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.long))
    facts: dict[int, dict[str, Any]] = field(default_factory=dict)

    def note(self, point: int, network: nn.Module) -> None:
        task = self.task
        facts: dict[str, Any] = {}
        x, y = task.x[self.chosen], task.y[self.chosen]
        for name, given, wanted in (("train", x, y), ("test", task.test_x, task.test_y)):
            outputs = network(given)
            facts[f"{name}_loss"] = float(task.losses(outputs, wanted).double().mean())
            facts[f"{name}_accuracy"] = float(task.right(outputs, wanted).double().mean())
        facts["curvature"] = network.curvature(x, y) if isinstance(network, Shallow) else None
        self.facts[point] = facts | _input_gradient(network, task)


def _input_gradient(network: nn.Module, task: Task) -> dict[str, float]:
    with torch.enable_grad():
        given = task.test_x[:GRADIENT_SAMPLES].clone().requires_grad_()
        loss = task.losses(network(given), task.test_y[:GRADIENT_SAMPLES]).sum()
        (gradient,) = torch.autograd.grad(loss, given)
    statistics = GradientStatistics()
    statistics.update(gradient)
    found = statistics.compute()
    return {"density": 1 - found.zeros, "large": 1 - found.near_zeros, "gradient_l1": found.l1}


def part(task: Task, sample: Draw, track: Track = silent) -> list[dict[str, Any]]:
    """Train on the sample and on every twin's, and return what was seen at each point, ordered.

    Args:
        task: what is trained.
        sample: on what.
        track: progress, a step a training.

    Returns:
        The fields of :class:`..records.stability.Point`, a dictionary a point; all but ``distances`` and ``replaced``
        are of the training on the sample itself.
    """
    replaced = sample.chosen[: len(sample.others)]
    first = _First(task, replaced, chosen=sample.chosen)
    points: list[dict[str, Any]] = []
    for number in track(range(-1, len(sample.others)), "twins", 1 + len(sample.others)):
        if number < 0:
            task.train(task.x[sample.chosen], task.y[sample.chosen], first)
            start = next(iter(first.weights.values()))
            for point, facts in first.facts.items():
                moved = float((first.weights[point] - start).norm())
                points.append({"step": point, "moved": moved, "distances": [], "replaced": [], **facts})
            continue
        twin = _Seen(task, replaced)
        indices = sample.twin(number)
        task.train(task.x[indices], task.y[indices], twin)
        for found in points:
            point = found["step"]
            distance = float((first.weights[point] - twin.weights[point]).norm())
            found["distances"].append(distance)
            found["replaced"].append(float(twin.losses[point][number] - first.losses[point][number]))
            if not math.isfinite(distance):
                raise InputError(f"twins: weights became infinite or NaN at step {point}; lower the rate")
    return points
