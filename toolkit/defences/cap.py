"""CAP: co-adversarial perturbation."""

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from ..attacks.iterative import TINY, lengths
from .base import Batch, Defence, Gradients


class CAP(Defence):
    """Co-adversarial perturbation: gradients are taken where weights, or inputs, are perturbed for the worse, in turn.

    After a warm-up of plain training, with g the gradient of the batch's loss: in odd batches
    w' = w + rho g_w / ||g_w||, one norm over all weights (sharpness-aware minimization, arXiv 2010.01412); in even
    batches x' = x + epsilon g_x / ||g_x||, a norm a sample. The step is taken from w with the gradient at (w', x) or
    (w, x'); statistics of batch norm are those of the first pass.

    *Reconstructed* from the abstract: arXiv 2110.14855, for graphs; norms, parity and one inner step are ours. The
    feature of a spiking network is here the image, which may leave [0, 1].

    Attributes:
        rho: length of the weights' perturbation.
        epsilon: L2 length of the image's perturbation.
        warmup: epochs of plain training.
    """

    name: Literal["cap"] = "cap"
    summary: ClassVar[str] = "co-adversarial perturbation: flat in weights (SAM) and in inputs, in turn"
    needs_input_gradient: ClassVar[bool] = True
    rho: Annotated[float, Field(ge=0.0)] = 0.1
    epsilon: Annotated[float, Field(ge=0.0)] = 0.5
    warmup: Annotated[int, Field(ge=0)] = 5

    def around(self, batch: Batch, gradients: Gradients) -> Tensor:
        """Compute the gradients twice after the warm-up, the second time where the first ones lead."""
        loss = gradients()
        if batch.epoch < self.warmup:
            return loss
        logits, images = batch.logits, batch.images
        statistics = {name: tensor.clone() for name, tensor in batch.network.named_buffers()}
        weights = [weight for weight in batch.network.parameters() if weight.grad is not None]
        before = [weight.detach().clone() for weight in weights]
        with torch.no_grad():
            if batch.number % 2:
                norm = torch.stack([weight.grad.norm() for weight in weights if weight.grad is not None]).norm()
                for weight in weights:
                    weight.add_(weight.grad, alpha=float(self.rho / norm.clamp(min=TINY)))  # type: ignore[arg-type]
            elif images.grad is not None:
                batch.images = images.detach() + self.epsilon * images.grad / lengths(images.grad).clamp(min=TINY)
        try:
            gradients()
        finally:
            batch.logits, batch.images = logits, images
            with torch.no_grad():
                for weight, value in zip(weights, before, strict=True):
                    weight.copy_(value)
                for name, tensor in batch.network.named_buffers():
                    tensor.copy_(statistics[name])
        return loss
