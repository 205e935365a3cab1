"""FGSM and PGD, by adversarial-robustness-toolbox."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from torch import nn

from ..data import Images, Labels
from ..errors import InputError
from ..extras import extra
from ..network.backward import attack_gradient
from .ball import BallAttack, check_draws, check_step
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


@dataclass(frozen=True, kw_only=True)
class FGSM(BallAttack):
    """Fast gradient sign method: x' = clip(x + epsilon sign(dL/dx)) (Goodfellow et al. 2015, arXiv 1412.6572).

    In L2 the step is epsilon along the gradient.

    Args:
        epsilon: radius of the ball.
        draws: logits averaged before the gradient, for a victim that is stochastic.
        others: as of :class:`.ball.BallAttack`, but it cannot be restarted, and its seed matters only to the victim.
    """

    name: ClassVar[str] = "fgsm"
    averages: ClassVar[bool] = True
    untold: ClassVar[tuple[str, ...]] = ("draws", "restarts")
    draws: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_draws(self.draws)
        if self.restarts != 1:
            raise InputError("restarts: FGSM is one step from the clean image, a second run would be the same; use PGD")

    @property
    def effort(self) -> float:
        """One gradient, of so many draws."""
        return float(self.draws)

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


@dataclass(frozen=True, kw_only=True)
class PGD(BallAttack):
    """Projected gradient descent from a uniform random start (Madry et al. 2018, arXiv 1706.06083).

    x(0) = x + U(-epsilon, epsilon);  x(k+1) = project(x(k) + a sign(dL/dx)),  a = 2.5 epsilon / steps or as given.

    In L2 the start is a random point of the ball, and the step is a along the gradient.

    Args:
        epsilon: radius of the ball.
        steps: number of gradient steps.
        step: a; None means 2.5 epsilon / steps.
        draws: logits averaged before every gradient, for a victim that is stochastic.
        others: as of :class:`.ball.BallAttack`.
    """

    name: ClassVar[str] = "pgd"
    averages: ClassVar[bool] = True
    untold: ClassVar[tuple[str, ...]] = ("step", "draws")
    steps: int
    step: float | None = None
    draws: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1:
            raise InputError(f"steps: {self.steps}, expected 1 or more")
        check_step(self.step)
        check_draws(self.draws)

    @property
    def stem(self) -> str:
        """Name, steps, and the step where it was given."""
        return f"{self.name}-{self.steps}" + ("" if self.step is None else f"x{self.step:g}")

    @property
    def effort(self) -> float:
        """Gradients."""
        return float(self.steps * self.restarts * self.draws)

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
