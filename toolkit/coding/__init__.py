"""Coders: from an image to input over time, in the float world and in the chip's integers."""

import torch
from torch import Tensor

from ..config import CodingSettings
from .base import LEVELS, MESSAGE_BITS, Coder, on_grid
from .delta import Delta, Events
from .direct import Direct, direct, direct_integers
from .latency import Latency
from .phase import Phase
from .rate import Rate

__all__ = [
    "CODERS",
    "LEVELS",
    "MESSAGE_BITS",
    "Coder",
    "Delta",
    "Direct",
    "Events",
    "Latency",
    "Phase",
    "Rate",
    "direct",
    "direct_integers",
    "make_coder",
    "on_grid",
    "spike_count_logits",
]

CODERS: dict[str, type[Coder]] = {kind.name: kind for kind in (Direct, Phase, Rate, Latency, Delta, Events)}


def make_coder(settings: CodingSettings) -> Coder:
    """Return the coder that a recipe's section ``coding`` names; keys that it leaves out have the coder's defaults."""
    keys = settings.model_dump(exclude_none=True)
    return CODERS[keys.pop("name")](**keys)


def spike_count_logits(spikes: Tensor, gain: float) -> Tensor:
    """Read out classes: gain * (spikes of the class's neuron) / time steps.

    Args:
        spikes: (time, batch, classes).
        gain: what a neuron that always fires gets.

    Returns:
        (batch, classes).
    """
    return gain * torch.mean(spikes, dim=0)
