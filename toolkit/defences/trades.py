"""TRADES."""

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import kl_div

from ..attacks.iterative import direction, into_ball
from ..network.backward import attack_gradient
from .base import Batch, Defence


def divergence(logits: Tensor, reference: Tensor) -> Tensor:
    """Return KL(softmax(reference) || softmax(logits)), the mean over the batch."""
    return kl_div(logits.log_softmax(1), reference.log_softmax(1), reduction="batchmean", log_target=True)


class TRADES(Defence):
    """TRADES: the answers to an image and to the worst image around it shall agree.

    CE(f(x), y) + weight max over ||d||_inf <= epsilon of KL(f(x) || f(x + d)).

    *Reconstructed* from memory of Zhang et al., ICML 2019, arXiv 1901.08573, with the inner start x + 0.001 N(0, 1).

    Attributes:
        weight: 1 / lambda of the paper, its beta.
        epsilon: radius of the ball, in units of the [0, 1] pixel range.
        steps: gradients a batch, of length 2.5 epsilon / steps.
    """

    name: Literal["trades"] = "trades"
    summary: ClassVar[str] = "TRADES: clean loss, and agreement with the worst neighbour"
    weight: Annotated[float, Field(ge=0.0)] = 6.0
    epsilon: Annotated[float, Field(gt=0.0, le=1.0)] = 0.1
    steps: Annotated[int, Field(ge=1)] = 7

    def neighbour(self, batch: Batch) -> Tensor:
        """Return the images of the largest divergence that was found, (batch, ...), in evaluation mode."""
        clean = batch.images.detach()
        x = into_ball(clean + 0.001 * torch.randn_like(clean), clean, self.epsilon, "linf")
        with attack_gradient(batch.network):
            with torch.no_grad():
                reference = batch.network(clean)
            for _ in range(self.steps):
                x.requires_grad_()
                (gradient,) = torch.autograd.grad(divergence(batch.network(x), reference), x)
                x = x.detach() + 2.5 * self.epsilon / self.steps * direction(gradient, "linf")
                x = into_ball(x, clean, self.epsilon, "linf")
        return x

    def loss(self, batch: Batch) -> Tensor:
        """Return weight KL(f(x) || f(x'))."""
        return self.weight * divergence(batch.model(self.neighbour(batch)), batch.logits)
