"""SR: sparse gradients."""

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from .base import Batch, Defence


def rival(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the strongest class other than the label, (batch,)."""
    return logits.detach().scatter(1, labels[:, None], -torch.inf).argmax(1)


class SR(Defence):
    """Sparse gradients: the gradient of the true class's probability with respect to the image is kept small.

    v = sign(dp/dx),  d = (p(x + h v) - p(x)) / h, which is ||dp/dx||_1 as h -> 0; v is a constant.

    ``form = "squared"`` (*read*, the released code): weight mean(d^2) with the two-class probability
    p = sigmoid(o_y - o_j), j the strongest other class at x. ``form = "l1"`` (*reconstructed*, the paper's text):
    weight mean(d) with p = softmax(o)_y. Source: Liu et al., ICML 2024, arXiv 2405.20355.

    Attributes:
        weight: lambda.
        step: h, in units of the [0, 1] pixel range.
        form: see above.
    """

    name: Literal["sr"] = "sr"
    summary: ClassVar[str] = "sparse gradients: a small L1 norm of the image's gradient"
    needs_input_gradient: ClassVar[bool] = True
    weight: Annotated[float, Field(ge=0.0)] = 0.02
    step: Annotated[float, Field(gt=0.0, le=1.0)] = 0.01
    form: Literal["squared", "l1"] = "squared"

    def probability(self, logits: Tensor, labels: Tensor, other: Tensor) -> Tensor:
        """Return p (batch,): of the label against ``other`` (batch,), or against all classes in the L1 form."""
        if self.form == "l1":
            return logits.softmax(1).gather(1, labels[:, None])[:, 0]
        return torch.sigmoid(logits.gather(1, labels[:, None]) - logits.gather(1, other[:, None]))[:, 0]

    def slope(self, batch: Batch) -> Tensor:
        """Return d (batch,)."""
        other = rival(batch.logits, batch.labels)
        p = self.probability(batch.logits, batch.labels, other)
        (gradient,) = torch.autograd.grad(p.sum(), batch.images, retain_graph=True)
        moved = batch.images.detach() + self.step * gradient.sign()
        return (self.probability(batch.model(moved), batch.labels, other) - p) / self.step

    def loss(self, batch: Batch) -> Tensor:
        """Return weight mean(d^2), or weight mean(d)."""
        slope = self.slope(batch)
        return self.weight * (slope**2 if self.form == "squared" else slope).mean()
