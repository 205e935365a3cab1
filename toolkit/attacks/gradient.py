"""FGSM and PGD, by adversarial-robustness-toolbox."""

from typing import Any, ClassVar

import numpy as np
from art.attacks.evasion import FastGradientMethod, ProjectedGradientDescentPyTorch
from art.estimators.classification import PyTorchClassifier
from torch import nn

from ..backward import Backward, attack_gradient
from ..config import AttackSettings
from ..data import Images, Labels
from ..errors import InputError
from .base import Attack, Norm, Space
from .victim import answer, device_of, no_weight_gradients

ORDERS = {"linf": np.inf, "l2": 2}


def classifier(model: nn.Module, images: Images) -> PyTorchClassifier:
    """Return the library's view of a module."""
    return PyTorchClassifier(
        model=model,
        loss=nn.CrossEntropyLoss(),
        input_shape=images.shape[1:],
        nb_classes=answer(model, images[:1]).shape[1],
        clip_values=(0.0, 1.0),
        device_type="gpu" if device_of(model).type == "cuda" else "cpu",
    )


class FGSM(Attack):
    """Fast gradient sign method: x' = clip(x + epsilon sign(dL/dx)) (Goodfellow et al. 2015, arXiv 1412.6572).

    In L2 the step is epsilon along the gradient.

    Args:
        epsilon: radius of the ball.
        norm: "linf" or "l2".
        space: "pixel" or "encoded".
        batch: samples attacked at once.
        seed: unused, for a common interface.
        backward: what is taken for derivatives.
    """

    name: ClassVar[str] = "fgsm"

    def __init__(
        self,
        *,
        epsilon: float,
        norm: Norm = "linf",
        space: Space = "pixel",
        batch: int = 250,
        seed: int = 0,
        backward: Backward | None = None,
    ) -> None:
        super().__init__(epsilon=epsilon, norm=norm, space=space, batch=batch, seed=seed, backward=backward)
        del self.restarts  # One step from the clean image: a second run would be the same.

    def run(self, model: nn.Module, images: Images, labels: Labels) -> Images:
        """Return adversarial images (batch, channels, height, width)."""
        with attack_gradient(model, self.backward), no_weight_gradients(model):
            attack = FastGradientMethod(
                classifier(model, images), norm=ORDERS[self.norm], eps=self.epsilon, batch_size=len(images)
            )
            return np.asarray(attack.generate(images, labels), dtype=np.float32)


class PGD(Attack):
    """Projected gradient descent from a uniform random start (Madry et al. 2018, arXiv 1706.06083).

    x(0) = x + U(-epsilon, epsilon);  x(k+1) = project(x(k) + a sign(dL/dx)),  a = 2.5 epsilon / steps by default.

    In L2 the start is a random point of the ball, and the step is a along the gradient.

    Args:
        epsilon: radius of the ball.
        steps: number of gradient steps.
        step: a.
        others: as of :class:`.base.Attack`.
    """

    name: ClassVar[str] = "pgd"

    def __init__(self, *, epsilon: float, steps: int, step: float | None = None, **others: Any) -> None:
        super().__init__(epsilon=epsilon, **others)
        if steps < 1:
            raise InputError(f"steps: {steps}, expected 1 or more")
        self.steps = steps
        if step is not None:
            self.step = step

    def run(self, model: nn.Module, images: Images, labels: Labels) -> Images:
        """Return adversarial images (batch, channels, height, width)."""
        with attack_gradient(model, self.backward), no_weight_gradients(model):
            attack = ProjectedGradientDescentPyTorch(
                classifier(model, images),
                norm=ORDERS[self.norm],
                eps=self.epsilon,
                eps_step=vars(self).get("step", 2.5 * self.epsilon / self.steps),
                max_iter=self.steps,
                num_random_init=1,
                batch_size=len(images),
                verbose=False,
            )
            return np.asarray(attack.generate(images, labels), dtype=np.float32)


def make_attack(settings: AttackSettings, batch: int) -> Attack:
    """Return the attack that a recipe's entry names."""
    if settings.name == "fgsm":
        return FGSM(epsilon=settings.epsilon, batch=batch, seed=settings.seed)
    return PGD(epsilon=settings.epsilon, steps=settings.steps, batch=batch, seed=settings.seed)
