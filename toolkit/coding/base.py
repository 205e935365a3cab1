"""The contract of every coder: from an image to input over time, in the float world and in the chip's integers."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data import Images, check_images
from ..errors import InputError

Gradient = Literal["exact", "straight-through", "expectation"]
Shape = tuple[int, int, int]

MESSAGE_BITS = 8
"""Bits of a pixel: the chip's host receives images as integers 0...255."""

LEVELS = 2**MESSAGE_BITS - 1


class Coder(ABC):
    """From images to what the network sees at each time step; the constructor takes settings only.

    Attributes:
        name: in recipes and records.
        gradient: how the backward pass reaches the images: "exact", "straight-through" (a stated slope in place of that
            of a step function), or "expectation" (that of the mean over draws).
        sequences: whether it takes sequences (batch, time, channels, height, width) instead of images.
        stochastic: whether two encodings of one image differ; the numbers come from torch's generator.
        message_bits: width of a message on the chip; 0 means binary spikes.
        levels: the message that stands, or would stand, for 1.0; an entry of the encoding is message / levels.
        pixels: the levels of a pixel that the chip's host receives.

    Args:
        steps: time steps.
    """

    name: ClassVar[str]
    gradient: ClassVar[Gradient] = "straight-through"
    sequences: ClassVar[bool] = False
    stochastic: bool = False
    message_bits: int = 0
    levels: int = 1
    pixels: int = LEVELS

    def __init__(self, steps: int) -> None:
        self.steps = steps

    @property
    def settings(self) -> dict[str, Any]:
        """Name and every argument of the constructor, as in a recipe."""
        return {"name": self.name, **vars(self)}

    @property
    def binary(self) -> bool:
        """Whether the encoding is 0 and 1 only."""
        return self.message_bits == 0

    @property
    def peak(self) -> int:
        """The largest message."""
        return int(2**self.message_bits) - 1 if self.message_bits else 1

    def __str__(self) -> str:
        """Return name and settings in words, for records."""
        others = [f"{key} = {value}" for key, value in self.settings.items() if key not in ("name", "steps")]
        return ", ".join([f"{self.name} coder", *others, f"gradient {self.gradient}"])

    def encoded_shape(self, shape: Shape) -> Shape:
        """Return (channels, height, width) of one step of the encoding for that of an image."""
        return shape

    def image_shape(self, shape: Shape) -> Shape:
        """Return (channels, height, width) of an image for that of one step of the encoding."""
        return shape

    @abstractmethod
    def encode(self, images: Tensor) -> Tensor:
        """Return the encoding (time, batch, ...), in [0, 1], differentiable by the coder's gradient rule.

        Args:
            images: (batch, channels, height, width) in [0, 1], or sequences (batch, time, ...) of them.
        """

    def integers(self, images: Images) -> NDArray[np.int32]:
        """Return what the chip receives at each step, (time, batch, ...): the encoding in messages, rounded.

        Args:
            images: as of :meth:`encode`.
        """
        with torch.no_grad():
            encoded = self.encode(torch.from_numpy(np.ascontiguousarray(images, dtype=np.float32)))
        return self.messages(encoded.numpy())

    def messages(self, encoded: NDArray[np.float32]) -> NDArray[np.int32]:
        """Return an encoding, perhaps perturbed, as the nearest messages that the chip can receive."""
        nearest: NDArray[np.int32] = np.clip(np.rint(encoded * np.float32(self.levels)), 0, self.peak).astype(np.int32)
        return nearest

    def on_grid(self, images: Images) -> Images:
        """Return ``images`` as the chip's host receives them: k / :attr:`pixels`."""
        return on_grid(images, self.pixels)

    def check(self, images: NDArray[Any], source: str, shape: Shape | None = None) -> Images:
        """Return what :meth:`encode` takes as float32 in [0, 1].

        Args:
            images: what the user gave.
            source: file and array name, for messages.
            shape: (channels, height, width) that is expected, if any.

        Raises:
            InputError: wrong type, wrong shape, NaN, or values outside [0, 1].
        """
        if not self.sequences:
            if images.ndim == 5:
                raise InputError(
                    f"{source}: sequences of shape {images.shape[1:]}, but the {self.name} coder takes images; set "
                    'coding.name = "events" (spikes) or "delta" (frames)'
                )
            return check_images(images, source, shape)
        if images.ndim != 5 or 0 in images.shape or images.shape[1] != self.steps:
            raise InputError(
                f"{source}: shape {images.shape}, but the {self.name} coder takes (samples, {self.steps}, channels, "
                "height, width); set coding.steps to the number of time steps, or another coding.name for images"
            )
        frames = check_images(images.reshape(-1, *images.shape[2:]), source, shape)
        return frames.reshape(images.shape)


def straight(values: Tensor, images: Tensor, slope: Tensor | float = 1.0) -> Tensor:
    """Return ``values`` with the gradient of ``slope`` times ``images``, broadcast over time."""
    if not images.requires_grad:
        return values
    return values.detach() + slope * (images - images.detach())


def pixels(images: Tensor) -> Tensor:
    """Return what the host receives: round(255 x), half to even, integers in floating point, without a gradient."""
    return torch.round(images.detach() * LEVELS)


def on_grid(images: Images, levels: int = LEVELS) -> Images:
    """Return ``images`` rounded to k / ``levels``, by default 8-bit pixels."""
    rounded: Images = np.rint(images.astype(np.float32) * np.float32(levels)) / np.float32(levels)
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
