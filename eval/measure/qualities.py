"""How good answers are that are no classes: the quality of a task's samples, and that of pictures put together."""

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...toolkit.data import Dataset
from ...toolkit.errors import InputError, UnsupportedError
from ...toolkit.extras import extra
from ...toolkit.task import Task
from ...toolkit.task.regression import Picture, Regression, Upscaling, psnr
from ..records.base import MeanQuality, mean_of
from ..records.evaluation import Measured
from .metrics import Answered, FormMetric

WINDOW = 11
"""Pixels that the Gaussian window of SSIM spans, in each direction."""
SMALL_WINDOW = 7
"""Of a flat window, for images too small for the Gaussian one."""


def quality_of(task: Task, outputs: NDArray[Any], targets: NDArray[Any]) -> MeanQuality:
    """Return the mean quality of answers (samples, outputs), with its interval."""
    return mean_of(task.scores(outputs, targets), task.quality)


def ssim(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the structural similarity of two images (height, width) in [0, 1], by scikit-image (Wang et al. 2004).

    A Gaussian window of 11 x 11 with sigma 1.5, as in the paper; images below that size have a flat one of 7 x 7.

    Raises:
        UnsupportedError: an image is smaller than 7 x 7.
    """
    with extra("data"):
        from skimage.metrics import structural_similarity

    if min(a.shape) < SMALL_WINDOW:
        raise UnsupportedError(f"metric 'SSIM': images of {a.shape[0]} x {a.shape[1]} pixels, 7 x 7 needed")
    if min(a.shape) < WINDOW:
        return float(structural_similarity(a, b, data_range=1.0, win_size=SMALL_WINDOW))
    options: dict[str, Any] = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return float(structural_similarity(a, b, data_range=1.0, **options))


def whole(picture: Picture, task: Upscaling, pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a picture (channels, height, width), made of its parts, without a border of ``scale`` pixels.

    Args:
        picture: where its parts belong.
        task: of the parts.
        pixels: of all samples, margins cut off, (samples, channels, height, width).
    """
    height, width = picture.size
    tall, wide = pixels.shape[-2:]
    made = np.zeros((pixels.shape[1], height + tall, width + wide))
    for sample, top, left in picture.places:
        made[:, top : top + tall, left : left + wide] = pixels[sample]
    cut = task.scale
    return made[:, cut : height - cut, cut : width - cut]


class _Collected(FormMetric):
    """Keeps outputs and targets of all batches."""

    def __init__(self) -> None:
        self.outputs: list[NDArray[Any]] = []
        self.targets: list[NDArray[Any]] = []
        self.task: Task | None = None

    def see(self, batch: Answered) -> None:
        """Keep a batch."""
        if batch.outputs is None:
            raise InputError(f"metric {self.name!r}: the outputs are not known as numbers")
        self.update(batch.outputs, batch.labels, batch.task)

    def update(self, outputs: NDArray[Any], targets: NDArray[Any], task: Task) -> None:
        """Keep a batch.

        Args:
            outputs: (batch, outputs).
            targets: the same.
            task: of all batches.

        Raises:
            InputError: the shapes differ.
        """
        if outputs.shape != targets.shape:
            raise InputError(f"metric {self.name!r}: outputs {outputs.shape} for targets {targets.shape}")
        self.outputs.append(outputs)
        self.targets.append(targets)
        self.task = task

    def _all(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        self._need(sum(len(part) for part in self.outputs))
        outputs, targets = (np.concatenate(parts).astype(np.float64) for parts in (self.outputs, self.targets))
        return outputs, targets


def baseline_of(data: Dataset) -> dict[str, dict[str, Measured]]:
    """Return what the answers are worth that no network gives, by their name and that of the metric."""
    if data.baseline is None:
        return {}
    found = {}
    for kind in (MeanAbsoluteError, PSNR, SSIM):
        metric = kind()
        if kind.measures(data.task):
            metric.update(data.baseline.outputs, data.test_labels, data.task)
            found[kind.name] = Measured.of(metric, metric.compute())
    return {data.baseline.name: found}


class MeanAbsoluteError(_Collected):
    """Mean over samples of the mean of |output - target|."""

    name: ClassVar[str] = "MAE"
    unit: ClassVar[str] = "unit of the targets"
    higher_is_better: ClassVar[bool | None] = False

    @classmethod
    def measures(cls, task: Task) -> bool:
        """Return whether targets are numbers."""
        return isinstance(task, Regression)

    def compute(self) -> Any:
        """Return the mean."""
        outputs, targets = self._all()
        assert isinstance(self.task, Regression)
        return float(np.abs(self.task.kept(outputs) - self.task.kept(targets)).mean())


class _OfImages(_Collected):
    """Measured on images: on each sample, or on the pictures that samples are parts of."""

    @classmethod
    def measures(cls, task: Task) -> bool:
        """Return whether outputs are images."""
        return isinstance(task, Upscaling)

    @abstractmethod
    def of_pair(self, made: NDArray[np.float64], meant: NDArray[np.float64]) -> float:
        """Return the value of one image (channels, height, width) beside the right one."""

    def compute(self) -> float | dict[str, float]:
        """Return the mean over samples; by picture, and their mean, where samples are parts of pictures.

        Pictures of which a part is missing are left out; where none is whole, "parts" is the mean over these.
        """
        task = self.task
        outputs, targets = self._all()
        assert isinstance(task, Upscaling)
        made, meant = task.pixels(outputs), task.pixels(targets)
        if not task.pictures:
            return self._mean(made, meant)
        found = {
            picture.name: self.of_pair(whole(picture, task, made), whole(picture, task, meant))
            for picture in task.pictures
            if picture.last < len(made)
        }
        return {"mean": float(np.mean(list(found.values()))), **found} if found else {"parts": self._mean(made, meant)}

    def _mean(self, made: NDArray[np.float64], meant: NDArray[np.float64]) -> float:
        return float(np.mean([self.of_pair(*pair) for pair in zip(made, meant, strict=True)]))


class PSNR(_OfImages):
    """Peak signal-to-noise ratio, 10 log10(1 / MSE) of pixels in [0, 1] of 8 bits; 100 dB for what is the same."""

    name: ClassVar[str] = "PSNR"
    unit: ClassVar[str] = "dB"
    higher_is_better: ClassVar[bool | None] = True

    def of_pair(self, made: NDArray[np.float64], meant: NDArray[np.float64]) -> float:
        """Return the PSNR of an image."""
        return float(psnr(np.asarray(((made - meant) ** 2).mean())))


class SSIM(_OfImages):
    """Structural similarity, see :func:`ssim`; the mean over channels."""

    name: ClassVar[str] = "SSIM"
    unit: ClassVar[str] = "1 for the same image"
    higher_is_better: ClassVar[bool | None] = True

    @classmethod
    def measures(cls, task: Task) -> bool:
        """Return whether outputs are images of 7 x 7 pixels or more: all that are judged, pictures and parts."""
        if not isinstance(task, Upscaling):
            return False
        border = 2 * task.scale
        sizes = [tuple(task.scale * side - 2 * task.margin for side in task.shape[1:])]
        sizes += [(height - border, width - border) for height, width in (one.size for one in task.pictures)]
        return min(map(min, sizes)) >= SMALL_WINDOW

    def of_pair(self, made: NDArray[np.float64], meant: NDArray[np.float64]) -> float:
        """Return the SSIM of an image."""
        return float(np.mean([ssim(*pair) for pair in zip(made, meant, strict=True)]))
