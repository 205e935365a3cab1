"""The ANN beside the spiking network: the recipe with ReLU for neurons, INT8 in ONNX Runtime, attacked alike."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ...export.formats.qcdq import open_qcdq, operators, write_qcdq
from ...toolkit.attacks.protocol import BUILT_IN
from ...toolkit.attacks.victim import predict
from ...toolkit.coding import Direct
from ...toolkit.config import Recipe
from ...toolkit.data import Dataset, Images
from ...toolkit.errors import InputError
from ...toolkit.models import build_network
from ...toolkit.network.network import SpikingNetwork
from ...toolkit.progress import Track, silent
from ...toolkit.relu import int8_network, relu_network
from ...toolkit.train import seeded, train_network
from ..records.base import share
from ..records.cost import AnnRobustness, TrainedAnn
from ..records.robustness import Robustness
from ..robustness.protocol import measure
from .measure import timing

NOT_ATTACKED = (
    "the run was not attacked under a protocol: run 'spikeproof robustness RUN', and 'compare RUN --ann' again"
)


def _trained(recipe: Recipe, data: Dataset, track: Track) -> tuple[SpikingNetwork, SpikingNetwork]:
    """Return the float ANN and its INT8 form, trained and fine-tuned for the recipe's epochs at its rates."""
    float_ann = relu_network(build_network(recipe, data.shape, data.classes))

    def train(network: SpikingNetwork, epochs: int, rate: float, what: str) -> None:
        train_network(
            network,
            data.train_images,
            data.train_labels,
            recipe.train,
            epochs=epochs,
            rate=rate,
            defences=recipe.defences,
            task=data.task,
            what=what,
            track=track,
        )

    train(float_ann, recipe.train.epochs, recipe.train.rate, "ANN: train")
    quantized = int8_network(float_ann)
    if recipe.quantize.epochs:
        train(quantized, recipe.quantize.epochs, recipe.quantize.rate, "ANN: quantize")
    else:  # Scales of activations are statistics, which nothing has seen yet.
        with torch.no_grad(), seeded(recipe.train.seed):
            quantized.train()(torch.from_numpy(data.train_images[: recipe.train.batch]))
    return float_ann.eval(), quantized.eval()


def _attacked(
    float_ann: SpikingNetwork,
    quantized: SpikingNetwork,
    answer: Callable[[Images], NDArray[np.int64]],
    images: Images,
    labels: NDArray[np.int64],
    given: Robustness | None,
    track: Track,
) -> tuple[AnnRobustness | None, str | None]:
    """Run the protocol that the run was attacked with on both ANNs, and judge the examples by the INT8 file."""
    if given is None:
        return None, NOT_ATTACKED
    if given.threat != "pixel" or given.protocol not in BUILT_IN:
        return None, f"the run's protocol {given.protocol!r} ({given.threat}) is not one on pixels that has a name"
    images, labels = images[: given.samples], labels[: given.samples]
    found = measure(
        float_ann,
        images,
        labels,
        quantized=quantized,
        coder=Direct(1),
        protocol=given.protocol,
        epsilon=given.asked,
        seed=given.seed,
        track=track,
    )
    right = answer(images) == labels
    survived = right.copy()
    for examples in found.examples.values():
        survived &= answer(examples) == labels
    return (
        AnnRobustness(
            protocol=given.protocol,
            epsilon=found.epsilon,
            samples=len(labels),
            float_worst=found["float"].worst,
            quantized_worst=found["quantized"].worst,
            worst=share(survived),
            reliable=all(form.reliable for form in found.forms),
        ),
        None,
    )


def train_ann(
    recipe: Recipe,
    data: Dataset,
    path: Path,
    *,
    samples: int | None = None,
    robustness: Robustness | None = None,
    track: Track = silent,
) -> TrainedAnn:
    """Train the ANN of a recipe, write it as QCDQ, and measure it in ONNX Runtime.

    Same layers, data, seed, epochs, rates and defences as the spiking network's; gain 1 and one pass.

    Args:
        recipe: of the spiking network.
        data: its data set.
        path: ONNX file to write.
        samples: the first so many test images; all if None.
        robustness: of the spiking network, whose protocol is repeated; None: not attacked.
        track: progress.

    Raises:
        InputError: the task has no classes.
        UnsupportedError: the network needs time, or has no QCDQ form.
    """
    if not data.task.classed:
        raise InputError(f"--ann: compares classes, and the task of these data is {data.task.name}; leave it out")
    images, labels = data.test_images[:samples], data.test_labels[:samples]
    float_ann, quantized = _trained(recipe, data, track)
    write_qcdq(path, quantized, data.shape)
    batch, run = recipe.evaluate.batch, open_qcdq(path)
    answer = partial(predict, run, batch=batch)
    classes = answer(images)
    attacked, absent = _attacked(float_ann, quantized, answer, data.test_images, data.test_labels, robustness, track)
    return TrainedAnn(
        epochs=(recipe.train.epochs, recipe.quantize.epochs),
        float_accuracy=share(predict(float_ann, images, batch) == labels),
        quantized_accuracy=share(predict(quantized, images, batch) == labels),
        accuracy=share(classes == labels),
        operators=operators(path),
        same=int((classes == predict(quantized, images, batch)).sum()),
        size=path.stat().st_size,
        timing=timing(run, images, batch),
        robustness=attacked,
        absent=absent,
    )
