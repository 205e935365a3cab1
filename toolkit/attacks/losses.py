"""What gradient attacks maximise, a sample: all are higher where the victim is closer to an error."""

from typing import Literal

import torch
from torch import Tensor, nn

from ..errors import InputError

Loss = Literal["cross-entropy", "dlr", "margin"]
LOSSES: tuple[Loss, ...] = ("cross-entropy", "dlr", "margin")


def check_loss(loss: str) -> None:
    """Raise :class:`InputError` if ``loss`` is unknown."""
    if loss not in LOSSES:
        raise InputError(f"loss: {loss!r}, expected one of {', '.join(LOSSES)}")


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Return max over other classes of z_i, minus z_y, (batch,); positive where the answer is wrong."""
    right = logits.gather(1, labels[:, None])
    others = logits.masked_fill(nn.functional.one_hot(labels, logits.shape[1]).bool(), -torch.inf)
    return others.amax(1) - right[:, 0]


def dlr(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the difference of logits ratio, (max over i != y of z_i - z_y) / (z_(1) - z_(3)), (batch,).

    z_(k) is the k-th largest logit (Croce and Hein 2020, arXiv 2003.01690). Spike counts tie often; the denominator is
    kept above 1e-12, and a tie of the three largest gives 0, as their limit.
    """
    ordered = logits.sort(1).values
    last = ordered[:, -3] if logits.shape[1] > 2 else ordered[:, 0]
    return margin(logits, labels) / (ordered[:, -1] - last).clamp(min=1e-12)


def per_sample(loss: Loss, logits: Tensor, labels: Tensor) -> Tensor:
    """Return the loss named ``loss`` of every sample, (batch,)."""
    if loss == "cross-entropy":
        return nn.functional.cross_entropy(logits, labels, reduction="none")
    return dlr(logits, labels) if loss == "dlr" else margin(logits, labels)
