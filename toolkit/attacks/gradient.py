"""FGSM and PGD, by adversarial-robustness-toolbox."""

import numpy as np
from art.attacks.evasion import FastGradientMethod, ProjectedGradientDescentPyTorch
from art.estimators.classification import PyTorchClassifier
from torch import nn

from ..config import AttackSettings
from ..data import Images, Labels
from ..errors import InputError
from ..layers import SpikingNetwork
from .base import Attack


def _classifier(network: SpikingNetwork, images: Images) -> PyTorchClassifier:
    device = next(network.parameters()).device
    classes = network(_probe(network, images)).shape[1]
    return PyTorchClassifier(
        model=network,
        loss=nn.CrossEntropyLoss(),
        input_shape=images.shape[1:],
        nb_classes=classes,
        clip_values=(0.0, 1.0),
        device_type="gpu" if device.type == "cuda" else "cpu",
    )


def _probe(network: SpikingNetwork, images: Images):  # type: ignore[no-untyped-def]
    import torch

    return torch.from_numpy(images[:1]).to(next(network.parameters()).device)


class FGSM(Attack):
    """Fast gradient sign method: x' = clip(x + epsilon sign(dL/dx)) (Goodfellow et al. 2015, arXiv 1412.6572)."""

    def run(self, network: SpikingNetwork, images: Images, labels: Labels) -> Images:
        """Return adversarial images (batch, channels, height, width)."""
        attack = FastGradientMethod(_classifier(network, images), eps=self.epsilon, batch_size=len(images))
        return np.asarray(attack.generate(images, labels), dtype=np.float32)


class PGD(Attack):
    """Projected gradient descent from a uniform random start (Madry et al. 2018, arXiv 1706.06083).

    x(0) = x + U(-epsilon, epsilon);  x(k+1) = project(x(k) + a sign(dL/dx)),  a = 2.5 epsilon / steps.

    Args:
        epsilon: radius of the ball.
        steps: number of gradient steps.
        batch: samples attacked at once.
        seed: of the random start.
    """

    def __init__(self, *, epsilon: float, steps: int, batch: int = 250, seed: int = 0) -> None:
        super().__init__(epsilon=epsilon, batch=batch, seed=seed)
        if steps < 1:
            raise InputError(f"steps: {steps}, expected 1 or more")
        self.steps = steps

    def run(self, network: SpikingNetwork, images: Images, labels: Labels) -> Images:
        """Return adversarial images (batch, channels, height, width)."""
        attack = ProjectedGradientDescentPyTorch(
            _classifier(network, images),
            norm=np.inf,
            eps=self.epsilon,
            eps_step=2.5 * self.epsilon / self.steps,
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
