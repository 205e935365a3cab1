"""FGSM and PGD, by adversarial-robustness-toolbox."""

from typing import Any, ClassVar

import numpy as np
from torch import nn

from ..data import Images, Labels
from ..errors import InputError
from ..extras import extra
from ..named import make
from ..network.backward import Backward, attack_gradient
from ..settings import AttackSettings
from . import ATTACKS
from .base import Attack, Norm, Space
from .victim import Averaged, answer, device_of, no_weight_gradients

ORDERS = {"linf": np.inf, "l2": 2}


def classifier(model: nn.Module, images: Images, draws: int = 1) -> Any:
    """Return the library's view of a module; of a stochastic one, of the mean logits over ``draws``."""
    with extra("attacks"):
        from art.estimators.classification import PyTorchClassifier

    return PyTorchClassifier(
        model=Averaged(model, draws) if draws > 1 else model,
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
        draws: logits averaged before the gradient, for a victim that is stochastic.
    """

    name: ClassVar[str] = "fgsm"
    draws: int = 1

    def __init__(
        self,
        *,
        epsilon: float,
        norm: Norm = "linf",
        space: Space = "pixel",
        batch: int = 250,
        seed: int = 0,
        backward: Backward | None = None,
        draws: int = 1,
    ) -> None:
        super().__init__(epsilon=epsilon, norm=norm, space=space, batch=batch, seed=seed, backward=backward)
        if _checked(draws) > 1:
            self.draws = draws
        del self.restarts  # One step from the clean image: a second run would be the same.

    def run(self, model: nn.Module, images: Images, labels: Labels) -> Images:
        """Return adversarial images (batch, channels, height, width)."""
        with extra("attacks"):
            from art.attacks.evasion import FastGradientMethod

        with attack_gradient(model, self.backward), no_weight_gradients(model):
            attack = FastGradientMethod(
                classifier(model, images, self.draws),
                norm=ORDERS[self.norm],
                eps=self.epsilon,
                batch_size=len(images),
            )
            return np.asarray(attack.generate(images, labels), dtype=np.float32)


class PGD(Attack):
    """Projected gradient descent from a uniform random start (Madry et al. 2018, arXiv 1706.06083).

    x(0) = x + U(-epsilon, epsilon);  x(k+1) = project(x(k) + a sign(dL/dx)),  a = 2.5 epsilon / steps or as given.

    In L2 the start is a random point of the ball, and the step is a along the gradient.

    Args:
        epsilon: radius of the ball.
        steps: number of gradient steps.
        step: a; None means 2.5 epsilon / steps.
        draws: logits averaged before every gradient, for a victim that is stochastic.
        others: as of :class:`.base.Attack`.
    """

    name: ClassVar[str] = "pgd"
    step: float | None = None
    draws: int = 1

    def __init__(self, *, epsilon: float, steps: int, step: float | None = None, draws: int = 1, **others: Any) -> None:
        super().__init__(epsilon=epsilon, **others)
        if steps < 1:
            raise InputError(f"steps: {steps}, expected 1 or more")
        if step is not None and not 0 < step < np.inf:
            raise InputError(f"step: {step}, expected a number above 0")
        self.steps = steps
        # What is as usual is not told: records of older attacks stay those of the same attacks.
        if step is not None:
            self.step = step
        if _checked(draws) > 1:
            self.draws = draws

    @property
    def label(self) -> str:
        """As of every attack, with the step where it was given."""
        plain = f"{self.name}-{self.steps}"
        return super().label.replace(plain, plain if self.step is None else f"{plain}x{self.step:g}", 1)

    def run(self, model: nn.Module, images: Images, labels: Labels) -> Images:
        """Return adversarial images (batch, channels, height, width)."""
        with extra("attacks"):
            from art.attacks.evasion import ProjectedGradientDescentPyTorch

        with attack_gradient(model, self.backward), no_weight_gradients(model):
            attack = ProjectedGradientDescentPyTorch(
                classifier(model, images, self.draws),
                norm=ORDERS[self.norm],
                eps=self.epsilon,
                eps_step=2.5 * self.epsilon / self.steps if self.step is None else self.step,
                max_iter=self.steps,
                num_random_init=1,
                batch_size=len(images),
                verbose=False,
            )
            return np.asarray(attack.generate(images, labels), dtype=np.float32)


def _checked(draws: int) -> int:
    if draws < 1:
        raise InputError(f"draws: {draws}, expected 1 or more")
    return draws


def make_attack(settings: AttackSettings, batch: int) -> Attack:
    """Return the attack that a recipe's entry names."""
    return make(ATTACKS.get(settings.name), settings, batch=batch)
