"""Certified training."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy

from ..network.intervals import intervals, worst_logits
from .base import Batch, Defence

Share = Annotated[float, Field(ge=0.0, le=1.0)]


class Certified(Defence):
    """Certified training: what a bound allows the worst image of a ball to do enters the loss.

    (1 - k) CE(f(x'), y) + k CE(z, y),

    z the worst logits that intervals of every spike allow (:func:`..network.intervals.worst_logits`) for all images
    within epsilon of the clean one, cut at 0 and 1; x' what is trained on, with ``at`` adversarial examples. Over the
    first ``ramp`` of training epsilon and k grow linearly from 0. All it claims is a higher share of samples that
    ``spikeproof prove`` proves. The prover decides by itself: nothing of this bound is trusted.

    *Reconstructed* from Gowal et al., arXiv 1810.12715: the mixture, and both ramps. Its intervals are extended in time
    by us.

    Attributes:
        epsilon: radius of the ball, in units of the [0, 1] pixel range.
        worst: k after the ramp.
        ramp: share of training; 0 for none.
    """

    name: Literal["certified"] = "certified"
    summary: ClassVar[str] = "certified training: intervals through time, for a larger proved share"
    epsilon: Annotated[float, Field(gt=0.0, le=1.0)] = 0.03
    worst: Share = 0.15
    ramp: Share = 0.75

    def grown(self, progress: float) -> float:
        """Return the share of epsilon and k that counts after this share of training."""
        return min(progress / self.ramp, 1.0) if self.ramp else 1.0

    def loss(self, batch: Batch) -> Tensor:
        """Return k (CE(z, y) - CE(f(x'), y)), which makes the cross-entropy the mixture."""
        share, clean = self.grown(batch.progress), batch.clean.detach()
        low, high = ((clean + side * share * self.epsilon).clamp(0, 1) for side in (-1, 1))
        worst = worst_logits(batch.network, intervals(batch.network, low, high), batch.labels)
        return share * self.worst * (cross_entropy(worst, batch.labels) - cross_entropy(batch.logits, batch.labels))
