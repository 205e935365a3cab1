"""Data sets: images or events in [0, 1] with labels or targets, read from published files; nothing is downloaded."""

import hashlib
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..named import make
from ..registry import Registry
from ..settings import DataSettings
from ..task import CLASSES, Task
from ..task.labels import Labels, check_labels
from .archive import read_npz
from .source import Arrays, Baseline, DataSource

__all__ = [
    "DARK",
    "DATASETS",
    "Dataset",
    "Images",
    "Labels",
    "check_events",
    "check_images",
    "check_labels",
    "load_data",
    "read_npz",
]

DATASETS: Registry[type[DataSource]] = Registry(
    "dataset",
    __name__,
    {
        "digits": "digits:Digits",
        "digits-x2": "upscaled:DigitsX2",
        "set5": "upscaled:Set5",
        "mnist": "idx:MNIST",
        "fashion-mnist": "idx:FashionMNIST",
        "cifar10": "cifar:CIFAR10",
        "cifar10-exact": "cifar:CIFAR10Exact",
        "n-mnist": "events:NMNIST",
        "n-mnist-small": "events:NMNISTSmall",
        "n-caltech101": "cameras:NCaltech101",
        "dvsgesture": "cameras:Gesture",
        "cifar10-dvs": "cameras:CIFAR10DVS",
        "shd": "heidelberg:SHD",
        "ssc": "heidelberg:SSC",
        "recordings": "recordings:RecordingFolder",
        "qtdb": "ecg:QTDB",
        "qtdb-steps": "ecg:QTDBSteps",
        "cora": "planetoid:Cora",
        "citeseer": "planetoid:Citeseer",
        "digits-graph": "digits_graph:DigitsGraph",
        "folder": "folder:Folder",
        "arrays": "archive:ArrayFile",
        "sequences": "archive:Sequences",
    },
    base="source:DataSource",
)

MOST_CLASSES = 10_000
"""A label beyond this is taken for a mistake: every class costs an output neuron."""

DARK = 32
"""Bytes that are all below this are no image of 256 levels: read as k/255 they would be nearly black."""
FEW_CHANNELS = 4
"""A last axis of so many entries at most, behind two longer ones, is taken for colours."""

Images = NDArray[np.float32]
Kind = Literal["image", "events"]


@dataclass(frozen=True)
class Dataset:
    """Training and test images with their labels or targets, and the SHA-256 of all of it.

    Attributes:
        name: as the recipe has it; the file's or folder's where that is the user's own.
        classes: number of classes, or of the task's outputs.
        train_images: (samples, channels, height, width), or for events (samples, time, channels, height, width).
        train_labels: (samples,); of a task without classes its targets, (samples, outputs).
        test_images: as ``train_images``.
        test_labels: as ``train_labels``.
        sha256: of all four arrays.
        kind: "image", or "events": binned over time, an already coded input.
        whole: how many training and test samples the source holds; None where all of them are here.
        title: what it is called wherever results on it are shown; the name where there is none.
        scale: how the source's values were read, in words.
        task: what outputs are for.
        baseline: answers to the test images that no network gives; None where there are none.
    """

    name: str
    classes: int
    train_images: Images
    train_labels: NDArray[Any]
    test_images: Images
    test_labels: NDArray[Any]
    sha256: str
    kind: Kind = "image"
    whole: tuple[int, int] | None = None
    title: str = ""
    scale: str = ""
    task: Task = CLASSES
    baseline: Baseline | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of one image, or of the events of one time step: (channels, height, width)."""
        channels, height, width = self.train_images.shape[-3:]
        return channels, height, width

    @property
    def provenance(self) -> str:
        """What it is and how much of it, as "CIFAR-10 exact subset, 500 of 7728 train, 932 test"."""
        counts = [len(self.train_labels), len(self.test_labels)]
        parts = [
            f"{count} {part}" if count == whole else f"{count} of {whole} {part}"
            for count, whole, part in zip(counts, self.whole or counts, ("train", "test"), strict=True)
        ]
        return ", ".join([self.title or self.name, *parts])


def check_images(images: NDArray[Any], source: str, shape: tuple[int, ...] | None = None) -> Images:
    """Return ``images`` as float32 in [0, 1], shape ``(samples, channels, height, width)``.

    8-bit integers are divided by 255; ``(samples, height, width)`` gets one channel.

    Args:
        images: what the user gave.
        source: file and array name, for messages.
        shape: the shape of one image that is expected, if any.

    Raises:
        InputError: wrong type, wrong shape, NaN, values outside [0, 1], or bytes that leave most of their range unused.
    """
    if images.ndim == 3:
        images = images[:, None]
    if images.ndim != 4 or 0 in images.shape:
        raise InputError(f"{source}: shape {images.shape}, expected (samples, channels, height, width), none of them 0")
    if shape is not None and images.shape[1:] != tuple(shape):
        raise InputError(f"{source}: images of shape {images.shape[1:]}, expected {tuple(shape)}; resize them")
    if images.dtype == np.uint8:
        if 0 < images.max() < DARK:
            raise InputError(
                f"{source}: bytes from {images.min()} to {images.max()}, which read as k/255 are nearly black; give "
                f"floats in [0, 1], as x / {images.max()}"
            )
        return images.astype(np.float32) / np.float32(255)
    if images.dtype.kind != "f":
        raise InputError(f"{source}: values of type {images.dtype}, expected uint8, or floats in [0, 1]")
    if not np.isfinite(images).all():
        bad = int(np.flatnonzero(~np.isfinite(images).all(axis=(1, 2, 3)))[0])
        raise InputError(f"{source}: NaN or infinity in image {bad}; remove or repair it")
    if images.min() < 0 or images.max() > 1:
        raise InputError(f"{source}: values from {images.min():g} to {images.max():g}, expected [0, 1]; rescale them")
    return images.astype(np.float32)


def check_events(events: NDArray[Any], source: str, shape: tuple[int, ...] | None = None) -> Images:
    """Return ``events`` as float32 in [0, 1], shape ``(samples, time, channels, height, width)``.

    Integers and booleans must be 0 or 1; graded events are floats.

    Args:
        events: what the user gave.
        source: file and array name, for messages.
        shape: the shape of one sample that is expected, if any: (time, channels, height, width).

    Raises:
        InputError: wrong type, wrong shape, NaN, or values outside [0, 1].
    """
    if events.ndim != 5 or 0 in events.shape:
        raise InputError(f"{source}: shape {events.shape}, expected (samples, time, channels, height, width), none 0")
    if shape is not None and events.shape[1:] != tuple(shape):
        raise InputError(f"{source}: events of shape {events.shape[1:]}, expected {tuple(shape)}")
    if events.dtype.kind not in "biuf":
        raise InputError(f"{source}: values of type {events.dtype}, expected 0 and 1, or floats in [0, 1]")
    # NaN fails every comparison, so it is caught here, too.
    if not (events.min() >= 0 and events.max() <= 1):
        raise InputError(
            f"{source}: values from {events.min()} to {events.max()}, expected 0 and 1, or floats between; counts of "
            "events are divided by the largest (graded), or cut off at 1 (spikes)"
        )
    return events.astype(np.float32, copy=False)


def _axes(images: NDArray[Any], source: str, layout: str | None) -> NDArray[Any]:
    """Return images or events with their channels in front of height and width.

    Raises:
        InputError: they seem to be last, and ``layout`` does not say.
    """
    if images.ndim < 4 or layout == "channels-first":
        return images
    if layout == "channels-last":
        return np.moveaxis(images, -1, -3)
    first, second, last = images.shape[-3:]
    if last <= FEW_CHANNELS < min(first, second):
        front = "samples, " if images.ndim == 4 else "samples, time, "
        raise InputError(
            f"{source}: shape {images.shape}: expected ({front}channels, height, width), and {first} channels of "
            f'{second} x {last} are unlikely; say layout = "channels-last" if the channels are the last axis, '
            'or "channels-first"'
        )
    return images


def _from_0(labels: tuple[Labels, Labels], source: str) -> None:
    """Refuse labels that count from 1: class 0 would cost an output neuron and never be right."""
    train, test = labels
    low, high = int(train.min()), int(train.max())
    if low == 1 and len(np.unique(train)) == high and not (test == 0).any():
        raise InputError(f"{source}: y_train: labels from 1 to {high}, expected from 0: give y - 1")


def _labelled(arrays: Arrays, source: str, samples: tuple[int, int], classes: int | None) -> tuple[Labels, Labels, int]:
    """Return training and test labels, checked, and the number of classes."""
    train = check_labels(arrays["y_train"], f"{source}: y_train", samples[0], classes or MOST_CLASSES)
    if classes is None:
        _from_0((train, arrays["y_test"]), source)
    classes = classes or int(train.max()) + 1
    if classes < 2:
        raise InputError(f"{source}: y_train: only one class; expected at least two")
    return train, check_labels(arrays["y_test"], f"{source}: y_test", samples[1], classes), classes


def dataset(
    name: str,
    source: str,
    arrays: Arrays,
    cut: tuple[int | None, int | None] = (None, None),
    steps: int | None = None,
    whole: tuple[int, int] | None = None,
    classes: int | None = None,
    title: str = "",
    layout: str | None = "channels-first",
    task: Task = CLASSES,
    baseline: Baseline | None = None,
) -> Dataset:
    """Return a data set of arrays ``x_train y_train x_test y_test``, each checked, then cut.

    Args:
        name: of the data set.
        source: where the arrays are from, for messages.
        arrays: images (samples, channels, height, width) or events (samples, time, channels, height, width); labels.
        cut: how many training and test samples are kept; None: all.
        steps: time steps that events must have.
        whole: how many the source holds, if not as many as the arrays.
        classes: number of classes, if not the largest label plus 1.
        title: what it is called where results are shown.
        layout: of the arrays, "channels-first" or "channels-last"; None: the first, unless it looks like the last.
        task: what outputs are for.
        baseline: answers to the test images that no network gives.

    Raises:
        InputError: an array is refused.
    """
    arrays = {
        key: _axes(array, f"{source}: {key}", layout) if key.startswith("x") else array for key, array in arrays.items()
    }
    events = arrays["x_train"].ndim == 5
    check = check_events if events else check_images
    train = check(arrays["x_train"], f"{source}: x_train")
    if events and steps is not None and train.shape[1] != steps:
        raise InputError(f"{source}: x_train has {train.shape[1]} time steps; set coding.steps to it, not to {steps}")
    test = check(arrays["x_test"], f"{source}: x_test", train.shape[1:])
    if task.classed:
        train_labels, test_labels, classes = _labelled(arrays, source, (len(train), len(test)), classes)
    else:
        train_labels, test_labels = (
            task.check(arrays[name], f"{source}: {name}", len(part))
            for name, part in (("y_train", train), ("y_test", test))
        )
        classes = task.neurons(train_labels)
        if task.by_step and (train.ndim != 5 or train.shape[1] != train_labels.shape[1]):
            raise InputError(
                f"{source}: y_train: {train_labels.shape[1]} steps have labels, x_train is {train.shape}; a label at "
                "every step needs sequences (samples, time, channels, height, width) of as many steps"
            )
    whole = whole or (len(train), len(test))
    parts = (train[: cut[0]], train_labels[: cut[0]], test[: cut[1]], test_labels[: cut[1]])
    content = hashlib.sha256()
    for part in parts:
        content.update(np.ascontiguousarray(part).data)
    kept = (len(parts[0]), len(parts[2]))
    kind: Kind = "events" if events else "image"
    graded = not events and arrays["x_train"].dtype == np.uint8
    scale = "bytes, divided by 255" if graded else "numbers in [0, 1], as they are"
    cut_off = None if whole == kept else whole
    if baseline is not None:
        baseline = Baseline(baseline.name, baseline.outputs[: cut[1]])
    return Dataset(name, classes, *parts, content.hexdigest(), kind, cut_off, title, scale, task, baseline)


def load_data(settings: DataSettings, steps: int | None = None) -> Dataset:
    """Return the data set that a recipe names, cut to ``train_samples`` and ``test_samples`` if asked.

    Args:
        settings: the recipe's data section.
        steps: the recipe's ``coding.steps``: recordings of events are cut into so many bins.

    Raises:
        FileError: a file cannot be read, or is not the published one.
        InputError: the content is refused, or ``steps`` is missing.
    """
    cut = settings.train_samples, settings.test_samples
    source = make(DATASETS.get(settings.name), settings)
    if source.events and steps is None:
        raise InputError(f"data set {settings.name!r}: holds events; say into how many time steps they are binned")
    found = source.read(cut, steps or 0)
    if found.task.classed != source.classed:
        raise InputError(f"data set {settings.name!r}: its task is {found.task.name}; set its attribute classed so")
    name = settings.name if source.path_name is None else source.path_name
    place = settings.name if source.place is None else source.place
    return dataset(
        name,
        place,
        found.arrays,
        cut,
        steps,
        found.whole,
        found.classes,
        source.title,
        layout=found.layout,
        task=found.task,
        baseline=found.baseline,
    )
