"""From data to the integers of a Program: the verbs that make something."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from ...export.chip import chips
from ...export.lowering.lower import lower as lower_graph
from ...export.nir.roundtrip import check_round_trip
from ...export.nir.write import read_nir, write_nir
from ...export.program import Program
from ...hw_targets.family import family_for, family_of
from ...hw_targets.integers import check_integers
from ...hw_targets.target import Trace, get_target
from ...toolkit.attacks import ATTACKS
from ...toolkit.attacks.base import Attack, Attacked
from ...toolkit.attacks.given import Bounds, Given, Output, Preprocessing
from ...toolkit.attacks.harm import Harm, harm
from ...toolkit.coding import Coder
from ...toolkit.config import parse_recipe
from ...toolkit.data import Dataset, Images, dataset
from ...toolkit.data import load_data as load_settings
from ...toolkit.data.source import Layout
from ...toolkit.errors import InputError, UnsupportedError
from ...toolkit.models import build_network as build_recipe
from ...toolkit.network.network import SpikingNetwork
from ...toolkit.progress import bars
from ...toolkit.quantize import Bits
from ...toolkit.task import CLASSES, Task
from ...toolkit.train import Epoch, Loss, seeded, train_network
from ..measure.forms import DRAWS, Forms
from .samples import Samples, Training, classifier, task_of, training_part

LENGTHS = ("epsilon", "step")
"""Settings of attacks that are lengths: given in the units of a module's own inputs."""


def load_data(
    name: str = "digits",
    *,
    arrays: Sequence[NDArray[Any]] | None = None,
    steps: int | None = None,
    layout: Layout | None = None,
    task: Task = CLASSES,
    **settings: Any,
) -> Dataset:
    """Return a data set: one by name, or your own arrays.

    Args:
        name: of a data set (``spikeproof list dataset``), or of your arrays.
        arrays: x_train, y_train, x_test, y_test: images (samples, channels, height, width), or (samples, height,
            width) with one channel, uint8 or floats in [0, 1]; labels (samples,), integers from 0.
        steps: bins a recording of events is cut into.
        layout: of arrays: "channels-first", or "channels-last" for (samples, height, width, channels); by default the
            first, refused where the arrays look as if it were the last.
        task: what the y of arrays are, if not classes: ``toolkit.task.regression.Regression(outputs)`` for numbers.
        settings: the other keys of a recipe's section ``data``: ``path``, ``train_samples``, ``test_samples``.

    Raises:
        InputError: the arrays are refused.
        RecipeError: an unknown name or key.
        FileError: a file is missing or not the published one.
    """
    if arrays is None:
        if not task.classed:
            raise InputError("load_data: task: belongs to arrays; a data set by name says itself what it is for")
        recipe = parse_recipe({"data": {"name": name, **settings}}, "load_data")
        return load_settings(recipe.data, steps)
    if len(arrays) != 4 or settings:
        raise InputError("load_data: arrays are x_train, y_train, x_test, y_test, and no other setting goes with them")
    parts = dict(zip(("x_train", "y_train", "x_test", "y_test"), map(np.asarray, arrays), strict=True))
    return dataset("arrays" if name == "digits" else name, "arrays", parts, steps=steps, layout=layout, task=task)


def build_network(
    data: Dataset, *, coder: str = "direct", steps: int = 4, seed: int = 3407, **settings: Any
) -> SpikingNetwork:
    """Return an untrained network for a data set; one that answers at every step where each has a label.

    Args:
        data: its image shape and number of classes.
        coder: how an image becomes input over time (``spikeproof list coder``).
        steps: time steps.
        seed: of the initial weights.
        settings: keys of a recipe's section ``model``: ``kind``, ``channels``, ``pool``, ``neuron``, ``beta``, ...

    Raises:
        RecipeError: an unknown key or a value that is refused.
        InputError: the images are too small for the model.
    """
    if data.task.by_step:
        settings = {"every_step": True, **settings}
    values = {"model": settings, "coding": {"name": coder, "steps": steps}, "train": {"seed": seed}}
    return build_recipe(parse_recipe(values, "build_network"), data.shape, data.classes)


def train(
    network: SpikingNetwork,
    data: Training,
    *,
    epochs: int = 40,
    rate: float = 2e-3,
    defences: Sequence[Any] = (),
    loss: Loss | None = None,
    **settings: Any,
) -> list[Epoch]:
    """Train a network in place: Adam on the loss of the data's task, by default cross-entropy, or on another.

    The rate falls along half a cosine.

    Args:
        network: left in evaluation mode on the CPU.
        data: its training images; or images and labels, or PyTorch's own: a data set of (image, label), or a loader,
            whose batches of (images, labels) are taken as they come.
        epochs: how many.
        rate: the initial learning rate.
        defences: names, dictionaries with a name and settings, or objects; each prepares the network first.
        loss: from logits (batch, classes) and labels to a number, in the place of cross-entropy.
        settings: the other keys of a recipe's section ``train``: ``seed``, ``batch``, ``schedule``, ...

    Returns:
        Loss and accuracy of every epoch.

    Raises:
        RecipeError: an unknown key or defence.
        InputError: the loss became NaN.
    """
    values = {"train": {"epochs": epochs, "rate": rate, **settings}, "defences": list(defences)}
    recipe = parse_recipe(values, "train")
    for defence in recipe.defences:
        defence.prepare(network)
    with bars() as track:
        return train_network(
            network,
            *training_part(data),
            recipe.train,
            epochs=epochs,
            rate=rate,
            defences=recipe.defences,
            loss=loss,
            task=task_of(data),
            track=track,
        )


def attack(
    network: nn.Module,
    data: Samples,
    attack: str | Attack = "pgd",
    *,
    samples: int | None = None,
    bounds: Bounds | None = None,
    preprocessing: Preprocessing | None = None,
    output: Output | None = None,
    **settings: Any,
) -> Attacked | Harm:
    """Make adversarial examples; they are checked, projected into the ball, and judged again.

    Args:
        network: from images to logits, or to the numbers (samples, outputs) of the data's task; any module.
        data: whose test images, or images and labels.
        attack: a name (``spikeproof list attack``) with settings, or an attack, whose epsilon is in units of [0, 1].
        samples: the first so many; all if None.
        bounds: the smallest and the largest value of an input; (0, 1) if None.
        preprocessing: (mean, std) that the module's inputs are normalised by, numbers or one a channel.
        output: from what the module returns to logits; see :class:`...toolkit.attacks.given.Given`.
        settings: of the attack: ``epsilon`` (in units of the inputs), ``steps``, ``norm``, ``seed``, ...

    Returns:
        Examples in the shape and the units of the inputs. Where the task of the data has no classes, those on which
        answers are worst, and their quality.

    Raises:
        InputError: no attack of that name, or a setting is refused.
    """
    victim, images, labels = classifier(network, data, samples, bounds, preprocessing, output)
    given = victim if isinstance(victim, Given) else None
    if given is not None:
        settings |= {name: given.radius(settings[name]) for name in LENGTHS if name in settings}
    if isinstance(attack, str):
        kind = ATTACKS.get(attack)
        try:
            attack = kind(**settings)
        except TypeError as error:
            raise InputError(f"attack {kind.name!r}: {error}") from error
    elif settings:
        raise InputError(f"attack: {', '.join(settings)}: belong to an attack by name; this one has its settings")
    task = task_of(data)
    if not task.classed:
        with bars() as track:
            found = harm(attack, victim, images, labels, task, track=track)
        if given is None:
            return found
        return Harm(given.own(found.images), found.scores, found.distance * given.width)
    with bars() as track:
        made = attack(victim, images, labels, track=track)
    if given is None:
        return made
    return Attacked(given.own(made.images), made.robust, made.distance * given.width)


def quantize(
    network: SpikingNetwork,
    data: Training | None = None,
    *,
    bits: Bits = 8,
    chip: str = "loihi2",
    epochs: int = 0,
    rate: float = 1e-3,
    defences: Sequence[Any] = (),
    loss: Loss | None = None,
    **settings: Any,
) -> SpikingNetwork:
    """Return the network on a chip's weight grid: batch norm folded, weights fake-quantized, fine-tuned if asked.

    Args:
        network: in float; not changed.
        data: as of :func:`train`; needed for epochs.
        bits: a weight, 2 to 8: of all layers, or by layer, {"default": 8, "conv1": 4}.
        chip: whose; for Xylo leaks become bit shifts, resets subtract, and the network computes in integers.
        epochs: of fine-tuning; 0 rounds only.
        rate: its initial learning rate.
        defences: as of :func:`train`, in fine-tuning.
        loss: as of :func:`train`.
        settings: as of :func:`train`.

    Raises:
        UnsupportedError: a layer has no quantized form; named with the reason.
        InputError: epochs without data.
    """
    values = {
        "train": settings,
        "quantize": {"bits": bits if isinstance(bits, int) else dict(bits), "epochs": epochs, "rate": rate},
        "defences": list(defences),
        "export": {"chip": chip},
    }
    recipe = parse_recipe(values, "quantize")
    quantized = family_of(chip).quantized(network, bits)
    if not epochs:
        return quantized
    if data is None:
        raise InputError("quantize: fine-tuning needs data; give them, or epochs=0 to round only")
    with bars() as track:
        train_network(
            quantized,
            *training_part(data),
            recipe.train,
            epochs=epochs,
            rate=rate,
            defences=recipe.defences,
            loss=loss,
            task=task_of(data),
            what="quantize",
            track=track,
        )
    return quantized


def lower(
    quantized: SpikingNetwork,
    shape: tuple[int, int, int],
    *,
    chip: str = "loihi2",
    bias_exponent: int = 0,
    relays: bool = False,
    check: Images | None = None,
) -> Program:
    """Return the Program of a quantized network: for Loihi over NIR, as ``spikeproof export`` does.

    Args:
        quantized: from :func:`quantize`.
        shape: (channels, height, width) of an image.
        chip: loihi1 knows no graded spikes.
        bias_exponent: the smallest; lava-dl's importer demands 6.
        relays: balance paths with relay populations instead of delays.
        check: images on which the NIR graph, read back and executed, must give the network's spikes.

    Raises:
        UnsupportedError: a layer has no exact form; named with the reason.
        DisagreementError: the graph's spikes are not the network's.
    """
    family = family_of(chip)
    if not family.nir:
        program = family.lower(quantized, shape)
        if check is not None:
            check_integers(family, quantized, program, check)
        return program
    with TemporaryDirectory() as folder:
        path = Path(folder) / "network.nir"
        write_nir(path, quantized, shape)
        if check is not None:
            check_round_trip(path, quantized, check)
        graph, sidecar = read_nir(path)
    program = lower_graph(graph, sidecar, "network", relays=relays, bias_exponent=bias_exponent)
    reasons = chips.unsupported(program, chip)
    if reasons:
        raise UnsupportedError(f"chip {chip!r}: " + "; ".join(reasons))
    return program


def deploy(
    network: SpikingNetwork,
    data: Dataset,
    *,
    bits: Bits = 8,
    chip: str = "loihi2",
    epochs: int = 20,
    **settings: Any,
) -> Forms:
    """Return all forms of a network: itself, quantized and fine-tuned, and its Program.

    Args:
        network: in float, trained.
        data: for fine-tuning, and the shape of an image.
        bits: a weight, as of :func:`quantize`.
        chip: as of :func:`quantize`.
        epochs: of fine-tuning.
        settings: as of :func:`quantize`.
    """
    quantized = quantize(network, data, bits=bits, chip=chip, epochs=epochs, **settings)
    return Forms(network, quantized, lower(quantized, data.shape, chip=chip, check=data.test_images[:64]))


def run(
    program: Program,
    inputs: NDArray[Any],
    target: str | None = None,
    *,
    coder: Coder | SpikingNetwork | None = None,
    rasters: bool = False,
) -> Trace:
    """Run a Program on a target.

    Args:
        program: from :func:`lower` or a file.
        inputs: integer messages (time, batch, ...); with ``coder``, images (batch, ...) in [0, 1].
        target: where (``spikeproof list target``); by default the exact simulator of its integers.
        coder: makes messages of images; a network's, or the network.
        rasters: keep spikes, currents and voltages of every step.

    Raises:
        InputError: the inputs do not fit.
        UnsupportedError: the target cannot run it exactly, with the reasons.
        TargetError: the target is unavailable or failed.
    """
    family = family_for(program)
    found = get_target(family.target if target is None else target)
    if found.form != "program":
        raise InputError(f"target {found.name!r}: runs the float network, not the Program")
    compiled = found.compile(program)
    if coder is not None:
        coder = family.coder(coder.coder if isinstance(coder, SpikingNetwork) else coder)
        with seeded(DRAWS):
            inputs = coder.integers(np.asarray(inputs))
    with bars() as track:
        return compiled.run(np.asarray(inputs), rasters=rasters, track=track)
