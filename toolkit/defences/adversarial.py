"""Adversarial training."""

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from ..attacks.iterative import RFGSM, AnyPGD, GradientAttack
from ..attacks.strong import SAPGD
from .base import Batch, Defence


class Adversarial(Defence):
    """What trains on adversarial examples, made in evaluation mode; of several points, the one of the highest loss.

    Attributes:
        attack: PGD, R-FGSM (one gradient), or SA-PGD, all with the network's own surrogate.
        epsilon: radius of the ball, in units of the [0, 1] pixel range.
        steps: gradients a batch; R-FGSM has 1.
    """

    attack: Literal["pgd", "r-fgsm", "sa-pgd"] = "pgd"
    epsilon: Annotated[float, Field(gt=0.0, le=1.0)] = 0.1
    steps: Annotated[int, Field(ge=1)] = 7

    def adversary(self) -> GradientAttack:
        """Return the attack that makes the examples."""
        if self.attack == "r-fgsm":
            return RFGSM(epsilon=self.epsilon, early_stop=False)
        if self.attack == "sa-pgd":
            return SAPGD(epsilon=self.epsilon, steps=self.steps, early_stop=False)
        return AnyPGD(epsilon=self.epsilon, steps=self.steps, early_stop=False)

    def inputs(self, batch: Batch) -> Tensor:
        """Return adversarial examples, (batch, ...)."""
        clean = batch.images.detach().cpu().numpy()
        made = self.adversary().run(batch.network, clean, batch.labels.cpu().numpy())
        return torch.from_numpy(made).to(batch.images.device)


class AT(Adversarial):
    """Adversarial training: every batch is replaced by adversarial examples of the network as it is.

    min over w of E max over ||d||_inf <= epsilon of CE(f_w(x + d), y).

    *Reconstructed* from memory of Madry et al., arXiv 1706.06083. Settings: those of :class:`Adversarial`.
    """

    name: Literal["at"] = "at"
    summary: ClassVar[str] = "adversarial training: train on adversarial examples"
