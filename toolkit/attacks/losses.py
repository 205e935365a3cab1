"""What gradient attacks maximise, a sample: all are higher where the victim is closer to an error."""

from typing import Literal

import torch
from torch import Tensor, nn

from ..errors import InputError

Loss = Literal["cross-entropy", "dlr", "margin", "soft", "harm"]
LOSSES: tuple[Loss, ...] = ("cross-entropy", "dlr", "margin", "soft", "harm")
"""The last one is that of a task without classes, see :mod:`.harm`."""
SOFT = 0.25
"""Weight of the currents in the loss "soft": four thresholds of current are as much as a logit."""


def check_loss(loss: str) -> None:
    """Raise :class:`InputError` if ``loss`` is unknown."""
    if loss not in LOSSES:
        raise InputError(f"loss: {loss!r}, expected one of {', '.join(LOSSES)}")


def check_of_classes(loss: str | None) -> None:
    """Raise :class:`InputError` if ``loss`` is of tasks without classes."""
    if loss == "harm":
        raise InputError("loss 'harm': of tasks without classes; classes have 'cross-entropy', 'dlr', 'margin', 'soft'")


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


def rival_of(logits: Tensor, labels: Tensor, rank: int) -> Tensor:
    """Return the class with the ``rank``-th largest logit (from 0) among the others, (batch,); the last if fewer."""
    others = logits.masked_fill(nn.functional.one_hot(labels, logits.shape[1]).bool(), -torch.inf)
    return others.argsort(dim=1, descending=True, stable=True)[:, min(rank, max(logits.shape[1] - 2, 0))]


def per_sample(
    loss: Loss, logits: Tensor, labels: Tensor, fine: Tensor | None = None, rival: Tensor | None = None
) -> Tensor:
    """Return the loss named ``loss`` of every sample, (batch,).

    "soft" is the margin of z + c / 4 with the currents c that the read-out received instead of its spikes alone: it
    looks through the read-out, where spike counts say nothing; "margin" where no currents are known.

    Args:
        loss: its name.
        logits: (batch, classes).
        labels: (batch,).
        fine: what moves between two spikes, (batch, classes), see :func:`.victim.finely`.
        rival: the class to move towards, (batch,): z_rival - z_y takes the place of margin and "soft" margin.
    """
    check_of_classes(loss)
    if loss == "cross-entropy":
        return nn.functional.cross_entropy(logits, labels, reduction="none")
    if loss == "dlr":
        return dlr(logits, labels)
    scores = logits if loss == "margin" or fine is None else logits + SOFT * fine
    if rival is None:
        return margin(scores, labels)
    towards = scores.gather(1, torch.stack([rival, labels], 1))
    return towards[:, 0] - towards[:, 1]
