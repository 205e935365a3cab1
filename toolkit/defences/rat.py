"""RAT: regularized adversarial training."""

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import nn

from ..network.network import SpikingNetwork
from .adversarial import Adversarial


class RAT(Adversarial):
    """Regularized adversarial training: adversarial examples, and weights that are pulled toward orthogonality.

    After every step of the optimizer, for the weight matrix W (outputs, inputs) of every layer,
    W <- (1 + pull) W - pull W W^T W,  a gradient step on (pull / 4) ||W W^T - 1||^2.

    A quantized network has its batch norms folded into the weights, whose sizes the pull would undo: fine-tuning keeps
    the adversarial examples only. *Reconstructed:* Ding et al., NeurIPS 2022 (SNN-RAT); the retraction is that of
    Parseval networks, arXiv 1704.08847, equation 6.

    Attributes:
        pull: its strength.
    """

    name: Literal["rat"] = "rat"
    summary: ClassVar[str] = "adversarial training with a pull toward orthogonal weights"
    attack: Literal["pgd", "r-fgsm", "sa-pgd"] = "r-fgsm"
    pull: Annotated[float, Field(ge=0.0, le=0.5)] = 0.004

    @torch.no_grad()
    def after_step(self, network: SpikingNetwork) -> None:
        """Pull the weights of all convolutions and linear layers that are not quantized."""
        for _, layer in network.named_layers():
            if isinstance(layer, nn.Conv2d | nn.Linear) and not hasattr(layer, "quant_weight"):
                flat = layer.weight.flatten(1)
                pulled = (1 + self.pull) * flat - self.pull * (flat @ flat.T) @ flat
                layer.weight.copy_(pulled.view_as(layer.weight))
