"""Modules as people have them, as attacks handle them: images in [0, 1] in, logits out."""

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..data import Images
from ..errors import InputError
from ..network import foreign
from ..network.neurons import Neuron
from .victim import device_of

Bounds = tuple[float, float]
Numbers = float | Sequence[float] | NDArray[Any] | Tensor
Preprocessing = tuple[Numbers, Numbers]
Output = Callable[[Any], Tensor]
USUAL: Bounds = (0.0, 1.0)


class Given(nn.Module):
    """A module with inputs of any scale and shape, and outputs of any form, from images in [0, 1] to logits.

    What it receives is (x (high - low) + low - mean) / std, in the shape of its own samples.

    Args:
        model: the module.
        shape: of one of its samples.
        bounds: (low, high): the smallest and the largest value of its inputs, as ART's clip_values.
        preprocessing: (mean, std) that are taken off and divided by before the module, numbers or one a channel (the
            first axis of a sample); they belong to the victim, not to its inputs, as ART's and Foolbox's do.
        output: from what the module returns to logits (samples, classes). None: a tensor, or the first of several; over
            time (time, samples, classes) it is added up.

    Raises:
        InputError: bounds or preprocessing are no such numbers.
    """

    def __init__(
        self,
        model: nn.Module,
        shape: tuple[int, ...],
        bounds: Bounds = USUAL,
        preprocessing: Preprocessing | None = None,
        output: Output | None = None,
    ) -> None:
        super().__init__()
        low, high = checked_bounds(bounds)
        self.model, self.shape, self.low, self.width, self.output = model, shape, low, high - low, output
        mean, std = (0.0, 1.0) if preprocessing is None else preprocessing
        self._mean, self._std = (_of_channels(value, shape) for value in (mean, std))
        if not bool((self._std > 0).all()):
            raise InputError(f"preprocessing: std {std}, expected numbers above 0")
        self.axis: int | None = None

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (samples, classes) for images (samples, channels, height, width) in [0, 1]."""
        return self.read(self.model(self.inputs(images)), len(images))

    def inputs(self, images: Tensor) -> Tensor:
        """Return what the module receives for such images."""
        scaled = (images * self.width + self.low).reshape(len(images), *self.shape)
        mean, std = (part.to(images.device) for part in (self._mean, self._std))
        return (scaled - mean) / std

    def read(self, answer: Any, samples: int) -> Tensor:
        """Return logits (samples, classes) of what the module returned."""
        if self.output is not None:
            found = self.output(answer)
        else:
            found = answer[0] if isinstance(answer, list | tuple) and answer else answer
            if isinstance(found, Tensor) and found.dim() == 3 and self.axis is not None:
                found = found.sum(1 - self.axis)
        if not isinstance(found, Tensor) or found.dim() != 2 or len(found) != samples:
            what = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise InputError(
                f"the module returns {what} for {samples} samples, expected logits (samples, classes); say how to get "
                "them: output=lambda answer: ..."
            )
        return found if found.is_floating_point() else found.float()

    @torch.no_grad()
    def look(self, images: Images) -> "Given":
        """Find out which axis of an output over time counts samples, the one that follows their number; return itself.

        Raises:
            InputError: what the module returns is read as no logits.
        """
        self.eval()
        shapes, answer = [], None
        for count in (2, 3):
            foreign.reset(self.model, foreign.stateful(self.model, Neuron))
            some = torch.from_numpy(np.resize(images, (count, *images.shape[1:]))).to(device_of(self.model))
            answer = self.model(self.inputs(some))
            found = answer[0] if isinstance(answer, list | tuple) and answer else answer
            shapes.append(tuple(found.shape) if isinstance(found, Tensor) else ())
        if len(shapes[0]) == 3:
            follows = [axis for axis, sizes in enumerate(zip(*shapes, strict=False)) if sizes == (2, 3)]
            self.axis = follows[0] if follows in ([0], [1]) else None
        self.read(answer, 3)
        return self

    def unit(self, images: NDArray[Any]) -> Images:
        """Return its inputs, (samples, ...), as images (samples, channels, height, width) in [0, 1].

        Raises:
            InputError: a value lies outside of the bounds.
        """
        if not np.isfinite(images).all() or images.min() < self.low or images.max() > self.low + self.width:
            raise InputError(
                f"images: values from {images.min():g} to {images.max():g}, outside bounds=({self.low:g}, "
                f"{self.low + self.width:g}); give bounds=(smallest, largest); of images that were normalised, the "
                "images before it, with preprocessing=(mean, std)"
            )
        # A single axis becomes a row of pixels; of more than three, the last two stay.
        axes = (1,) * max(0, 3 - len(self.shape)) + self.shape
        scaled = (images.astype(np.float64) - self.low) / self.width
        return scaled.reshape(len(images), -1, *axes[-2:]).astype(np.float32)

    def own(self, images: Images) -> NDArray[np.float32]:
        """Return images in [0, 1] as its inputs."""
        scaled = images.astype(np.float64) * self.width + self.low
        return scaled.reshape(len(images), *self.shape).astype(np.float32)

    def radius(self, epsilon: float | None) -> float | None:
        """Return epsilon, in units of its inputs, in units of [0, 1]."""
        return None if epsilon is None else epsilon / self.width


def checked_bounds(bounds: Any) -> Bounds:
    """Return (low, high) as numbers; raises :class:`InputError` unless they are, in this order."""
    try:
        low, high = (float(value) for value in bounds)
    except (TypeError, ValueError) as error:
        raise InputError(f"bounds: {bounds!r}, expected (smallest, largest) as two numbers") from error
    if not (np.isfinite([low, high]).all() and low < high):
        raise InputError(f"bounds: ({low:g}, {high:g}), expected the smallest value before the largest")
    return low, high


def _of_channels(value: Numbers, shape: tuple[int, ...]) -> Tensor:
    """Return numbers as a tensor that fits samples of ``shape``: one for all, or one a channel."""
    found = torch.as_tensor(value, dtype=torch.float32).detach().cpu()
    if found.dim() == 0:
        return found
    if found.dim() > 1 or len(found) != shape[0]:
        raise InputError(
            f"preprocessing: {tuple(found.shape)} numbers for samples of shape {shape}, expected one a channel"
        )
    return found.reshape(-1, *(1,) * (len(shape) - 1))


def numbers(part: Any) -> NDArray[Any]:
    """Return an array of what may be a tensor on any device."""
    return part.numpy(force=True) if isinstance(part, Tensor) else np.asarray(part)


def gathered(data: Any, samples: int | None) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the first samples and labels of PyTorch's ``DataLoader`` (batches) or ``Dataset`` (single samples).

    Raises:
        InputError: what it yields are no pairs, or there are none.
    """
    batched = isinstance(data, torch.utils.data.DataLoader) and data.batch_size is not None
    if not batched and hasattr(data, "__getitem__") and hasattr(data, "__len__"):
        pairs: Any = (data[index] for index in range(len(data)))
    else:
        pairs = iter(data)
    images: list[NDArray[Any]] = []
    labels: list[NDArray[Any]] = []
    count = 0
    for pair in pairs if batched else islice(pairs, samples):
        if not isinstance(pair, list | tuple) or len(pair) < 2:
            raise InputError(f"data: yields {type(pair).__name__}, expected pairs of images and labels")
        image, label = numbers(pair[0]), numbers(pair[1])
        images.append(image if batched else image[None])
        labels.append(label if batched else label[None])
        count += len(images[-1])
        if samples is not None and count >= samples:
            break
    if not images:
        raise InputError("data: yields nothing")
    return np.concatenate(images)[:samples], np.concatenate(labels)[:samples]
