"""Coders: from an image to input over time, in the float world and in the chip's integers."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

MESSAGE_BITS = 8
"""Bits of one graded input message: the chip receives pixels as integers 0...255."""

LEVELS = 2**MESSAGE_BITS - 1


def direct(images: Tensor, steps: int) -> Tensor:
    """Show the same image at every time step: x(t) = image.

    Args:
        images: (batch, channels, height, width), in [0, 1].
        steps: number of time steps.

    Returns:
        (time, batch, channels, height, width); a view, no copy.
    """
    return images.unsqueeze(0).expand(steps, *images.shape)


def direct_integers(images: NDArray[np.float32], steps: int) -> NDArray[np.int32]:
    """Return what the chip receives for :func:`direct`: round(255 x) at every time step, half to even.

    Args:
        images: (batch, channels, height, width), in [0, 1].
        steps: number of time steps.

    Returns:
        (time, batch, channels, height, width), 0...255; a read-only view.
    """
    # float32 throughout, as Brevitas' input quantizer computes it, so that both round the same way.
    levels = np.rint(images.astype(np.float32) * np.float32(LEVELS)).astype(np.int32)
    return np.broadcast_to(levels, (steps, *levels.shape))


def on_grid(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return ``images`` rounded to the 8-bit input grid, k / 255."""
    rounded: NDArray[np.float32] = np.rint(images.astype(np.float32) * np.float32(LEVELS)) / np.float32(LEVELS)
    return rounded


def spike_count_logits(spikes: Tensor, gain: float) -> Tensor:
    """Read out classes: gain * (spikes of the class's neuron) / time steps.

    Args:
        spikes: (time, batch, classes).
        gain: what a neuron that always fires gets.

    Returns:
        (batch, classes).
    """
    return gain * torch.mean(spikes, dim=0)
