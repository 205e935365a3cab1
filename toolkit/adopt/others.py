"""Inputs beside the sample: where a model that decides by its input, out of sight, gives itself away."""

import torch
from torch import Tensor


def other_counts(x: Tensor, time: int | None) -> tuple[int, int]:
    """Return how many other inputs a model is tried on at once: other numbers than the sample's."""
    given = x.shape[1 if time == 0 else 0]
    return 33 if given < 33 else 7, 1 if given > 1 else 2


def other_inputs(x: Tensor, time: int | None, count: int) -> Tensor:
    """Return inputs like a sample: one at its least, one at its most, and noise between.

    Args:
        x: the sample.
        time: its axis of time; what holds 0 and 1 only gets noise of 0 and 1.
        count: how many; a single one is noise.
    """
    axis = 1 if time == 0 else 0
    low, high = float(x.min()), max(float(x.max()), float(x.min()) + 1e-3)
    if low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    shape = list(x.shape)
    shape[axis] = count
    noise = torch.rand(shape, generator=torch.Generator().manual_seed(count))
    if time is not None:
        noise = (noise < float(x.mean().clamp(0.05, 0.95))).to(x.dtype) if bool(((x == 0) | (x == 1)).all()) else noise
    found = low + (high - low) * noise
    if count > 1:
        found.select(axis, 0).fill_(low)
        found.select(axis, 1).fill_(high)
    return found
