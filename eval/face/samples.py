"""What the verbs take as data: a data set, arrays, or PyTorch's own; their samples, labels and task."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from ...toolkit.attacks.given import USUAL, Bounds, Given, Output, Preprocessing, gathered, numbers
from ...toolkit.data import Dataset, Images, Labels, check_events, check_images, check_labels
from ...toolkit.errors import InputError
from ...toolkit.network.network import SpikingNetwork
from ...toolkit.task import CLASSES, Task

Samples = Dataset | tuple[Any, Any] | TorchDataset[Any] | DataLoader[Any]
"""A data set, whose test images are taken; or images and labels, arrays or tensors; or what PyTorch calls one."""
Training = Dataset | tuple[Any, Any] | TorchDataset[Any] | DataLoader[Any]
"""A data set, whose training images are taken, images and labels, or PyTorch's own data sets and loaders."""


def task_of(data: Any) -> Task:
    """Return what the outputs of a network on these data are for: classes, unless a data set says otherwise."""
    return data.task if isinstance(data, Dataset) else CLASSES


def training_part(data: Training) -> tuple[Any, Labels | None]:
    """Return training images and labels, or PyTorch's data set or loader and None."""
    if isinstance(data, Dataset):
        return data.train_images, data.train_labels
    return test_part(data, None) if isinstance(data, tuple) else (data, None)


def raw_part(data: Samples, samples: int | None) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the first test images and labels of whatever holds some, as they are."""
    if isinstance(data, Dataset):
        return data.test_images[:samples], data.test_labels[:samples]
    if isinstance(data, tuple | list) and len(data) == 2:
        images, labels = (numbers(part) for part in data)
        return images, labels
    return gathered(data, samples)


def classifier(
    network: nn.Module,
    data: Samples,
    samples: int | None,
    bounds: Bounds | None,
    preprocessing: Preprocessing | None,
    output: Output | None,
) -> tuple[nn.Module, Images, Labels]:
    """Return any module as attacks handle it, with images (samples, channels, height, width) in [0, 1], and labels.

    A network of ours takes them as they are, and so does a module where all is as usual.
    """
    told = bounds is not None or preprocessing is not None or output is not None
    if isinstance(network, SpikingNetwork) or callable(getattr(network, "finely", None)):
        if told:
            raise InputError("bounds, preprocessing, output: belong to modules of others; this network takes [0, 1]")
        return network, *test_part(data, samples)
    raw, labels = raw_part(data, samples)
    if bounds is None and raw.dtype == np.uint8:
        raw = check_images(raw, "images") if raw.ndim in (3, 4) else raw
    if raw.ndim < 2 or 0 in raw.shape or raw.dtype.kind not in "fiub":
        raise InputError(f"images: {raw.dtype} of shape {raw.shape}, expected numbers (samples, ...)")
    known = task_of(data).check(labels, "labels", len(raw))[:samples]
    given = Given(network, raw.shape[1:], USUAL if bounds is None else bounds, preprocessing, output)
    images = given.unit(raw[:samples])
    return given.look(images), images, known


def test_part(data: Samples, samples: int | None) -> tuple[Images, Labels]:
    """Return the first test images and labels of a data set, or of whatever holds some, in [0, 1]."""
    images, labels = raw_part(data, samples)
    if isinstance(data, Dataset):
        return images, labels
    checked = (check_events if images.ndim == 5 else check_images)(images, "images")
    return checked[:samples], check_labels(labels, "labels", len(checked))[:samples]
