"""The face's verb for trained networks of ReLU: convert."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ...toolkit.convert import PERCENTILE, Per
from ...toolkit.convert import convert as in_spikes
from ...toolkit.data import Dataset, Images
from ...toolkit.network.network import SpikingNetwork
from ...toolkit.train import seeded
from ..measure.forms import DRAWS
from ..records.base import share
from ..records.conversion import AtStep, Conversion
from ..report.table import render_table
from .measures import header_of
from .samples import Samples, test_part
from .shown import Shown

CALIBRATION = 1000
"""Training images of a data set on which activations are measured."""
BATCH = 250


@dataclass(frozen=True, repr=False)
class Converted(Shown[Conversion]):
    """A network of ReLU in spikes, and how good it is after 1, 2, 4, ... steps.

    Attributes:
        network: in evaluation mode.
    """

    network: SpikingNetwork


def convert(
    ann: nn.Module,
    sample: "Dataset | NDArray[Any] | torch.Tensor",
    data: Samples | None = None,
    *,
    steps: int = 32,
    percentile: float = PERCENTILE,
    per: Per = "layer",
    samples: int | None = None,
) -> Converted:
    """Return a trained network of ReLU as one of integrate-and-fire neurons, and its accuracy by number of steps.

    SpikingJelly's converter measures the activations and makes the neurons; the network's logits are compared with
    those of what it made. Neurons reset by subtraction: :func:`adapt` comes next, then :func:`quantize`.

    Args:
        ann: Conv2d, Linear, batch norm, ReLU, pools, flatten, dropout, residual additions; from images in [0, 1] to
            logits; not changed.
        sample: images on which activations are measured; of a data set the first 1,000 training images.
        data: whose test images, or images and labels, are run; those of ``sample`` if None, where it is a data set.
        steps: time steps.
        percentile: of the activations of a layer, which becomes its threshold.
        per: "channel" gives every channel a threshold of its own, where no residual sum needs one for all.
        samples: the first so many of ``data``; all if None.

    Raises:
        UnsupportedError: a layer has no counterpart in spikes; by name.
        InputError: the sample is refused, or a layer is silent on it.
        DisagreementError: the network is not what SpikingJelly's converter made.
        MissingExtraError: SpikingJelly is not installed.
    """
    data = sample if data is None and isinstance(sample, Dataset) else data
    given = sample.train_images[:CALIBRATION] if isinstance(sample, Dataset) else sample
    seen = torch.as_tensor(given).detach()
    network, equal = in_spikes(ann, seen, steps=steps, percentile=percentile, per=per)
    images, labels = (seen.numpy(force=True), None) if data is None else test_part(data, samples)
    wanted = _relu_classes(ann, images)
    found = _classes_by_step(network, images)
    times = sorted({*(2**power for power in range(steps.bit_length())), steps})
    by_steps = [
        AtStep(
            steps=time,
            accuracy=None if labels is None else share(found[time - 1] == labels),
            same=float((found[time - 1] == wanted).mean()),
        )
        for time in times
    ]
    own = None if per == "layer" else per
    about = header_of("convert", data, None, steps=steps, percentile=percentile, per=own, samples=samples)
    record = Conversion(
        **about | {"command": about["command"].replace("(forms", "(ann, sample").replace("(program", "(ann, sample")},
        steps=steps,
        percentile=percentile,
        per=per,
        calibration=len(seen),
        equal=equal,
        ann=None if labels is None else share(wanted == labels),
        by_steps=by_steps,
    )
    rows = [
        {
            "steps": one.steps,
            "accuracy, %": None if one.accuracy is None else 100 * one.accuracy.value,
            "class of the ReLU network, %": 100 * one.same,
        }
        for one in by_steps
    ]
    notes = [
        f"Logits equal those of SpikingJelly's converted network on {100 * equal:.4g} % of the samples looked at.",
        f"Activations of {len(seen):,} samples.",
    ]
    return Converted(
        record,
        " ".join(record.sentences),
        tuple(rows),
        lambda: render_table(record, "convert", "Accuracy by number of steps", record.sentences, rows, notes),
        network,
    )


@torch.no_grad()
def _relu_classes(ann: nn.Module, images: Images) -> NDArray[np.int64]:
    modes = [(part, part.training) for part in ann.modules()]
    ann.eval()
    try:
        device = next(ann.parameters(), torch.zeros(())).device
        parts = [ann(torch.from_numpy(part).to(device)).argmax(1).cpu() for part in np.split(images, _starts(images))]
    finally:
        for part, training in modes:
            part.training = training
    return np.asarray(torch.cat(parts).numpy())


@torch.no_grad()
def _classes_by_step(network: SpikingNetwork, images: Images) -> NDArray[np.int64]:
    """Return classes (steps, samples): those that the membranes of the read-out say after each step."""
    with seeded(DRAWS):
        parts = [network.spikes(torch.from_numpy(part)).argmax(2) for part in np.split(images, _starts(images))]
    return np.asarray(torch.cat(parts, 1).numpy())


def _starts(images: Images) -> list[int]:
    return list(range(BATCH, len(images), BATCH))
