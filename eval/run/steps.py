"""The steps of a run: each reads files of the run folder, does one thing, and writes files atomically."""

from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...export.chip import chips
from ...export.formats import netx
from ...export.lowering.lower import lower
from ...export.nir.roundtrip import check_round_trip
from ...export.nir.write import read_nir, write_nir
from ...export.program import write_program
from ...export.program.describe import describe
from ...hw_targets.family import family_of
from ...toolkit.attacks.ball import BallAttack
from ...toolkit.attacks.base import WHITE, Attack
from ...toolkit.attacks.harm import harm
from ...toolkit.attacks.named import make_attack
from ...toolkit.attacks.victim import answer
from ...toolkit.checkpoint import load_network, save_network
from ...toolkit.coding import LEVELS, Coder, Events, make_coder
from ...toolkit.config import Recipe
from ...toolkit.data import Dataset, Images
from ...toolkit.errors import FileError, InputError, UnsupportedError
from ...toolkit.files import digest, read_arrays, write_arrays, write_json
from ...toolkit.models import build_network
from ...toolkit.network.network import SpikingNetwork
from ...toolkit.progress import Track, silent
from ...toolkit.quantize import save_quantized
from ...toolkit.train import Epoch, seeded, train_network
from ..measure.gradients import gradients_of, watch
from ..measure.trail import TrailKeeper
from ..records.base import MeanQuality, mean_of
from ..robustness.threat import levels
from . import direct
from .files import TRAINED
from .folder import Run
from .results import Attacked, Exported, Quantized, Trained

ROUND_TRIP_SAMPLES = 64
GRADIENT_SAMPLES = 100
"""Test images on which gradients are looked at layer by layer."""
TRAIL = "trail.json"
QCDQ = "network-qcdq.onnx"


def _attack_file(label: str) -> str:
    return f"attack-{label.replace('@', '-')}.safetensors"


def _identity(recipe: Recipe, data: Dataset, what: str) -> str:
    quantized = ["quantize"] if what.startswith("quantize") else []
    sections = {*TRAINED, *(["attacks"] if recipe.train.trail else []), *quantized}
    return digest(f"{what} {recipe.model_dump_json(include=sections)} {data.sha256}".encode())


def train(run: Run, track: Track = silent) -> Trained:
    """Train the recipe's network: model.safetensors, training.json."""
    run.needs_network("train")
    run.needs_training()
    recipe = run.recipe()
    data = run.data()
    source = f"coding.name = {recipe.coding.name!r}, data set {data.name!r}"
    coder = make_coder(recipe.coding)
    coder.check(data.train_images[:1], source)
    if isinstance(coder, Events) and not all(np.isin(x, (0, 1)).all() for x in (data.train_images, data.test_images)):
        raise InputError(f"{source}: values other than 0 and 1; bin the events to one a pixel and step")
    network = build_network(recipe, data.shape, data.classes)
    identity = _identity(recipe, data, "train")
    keeper = None
    if recipe.train.trail:
        data.task.needs_classes("train.trail")
        keeper = TrailKeeper(
            run.path(TRAIL),
            identity,
            network,
            make_attack(recipe.attacks[-1], recipe.evaluate.batch),
            data.test_images,
            data.test_labels,
            every=recipe.train.trail,
            epochs=recipe.train.epochs,
            batch=recipe.evaluate.batch,
        )
    history = train_network(
        network,
        data.train_images,
        data.train_labels,
        recipe.train,
        epochs=recipe.train.epochs,
        rate=recipe.train.rate,
        defences=recipe.defences,
        state=run.path("training-state.safetensors"),
        identity=identity,
        task=data.task,
        track=track,
        after_epoch=keeper,
    )
    judged = _judged(network, data.test_images, data, recipe)
    save_network(run.path("model.safetensors"), network, recipe, data.shape, data.classes)
    write_json(run.path("training.json"), [epoch.entry for epoch in history])
    run.finished("train", [TRAIL] if keeper else [], history[-1].threads)
    last = history[-1]
    return Trained(len(history), last.loss, *_told(judged, data), data.scale, last.threads)


def _judged(network: SpikingNetwork, images: Images, data: Dataset, recipe: Recipe) -> NDArray[np.float64]:
    """Return what a network's answers to test images are worth, (samples,): of classes 1 or 0."""
    return data.task.scores(answer(network, images, recipe.evaluate.batch), data.test_labels)


def _told(scores: NDArray[np.float64], data: Dataset) -> tuple[float | None, int, MeanQuality | None]:
    """Return accuracy, number of samples, and the quality where answers are no classes."""
    if data.task.classed:
        return float(scores.mean()), len(scores), None
    return None, len(scores), mean_of(scores, data.task.quality)


def _whole_levels(maker: Attack, coder: Coder) -> tuple[Attack, int]:
    """Return an attack with its radius in whole levels of the chip's 8-bit input, rounded down, and how many they are.

    Half a level would be rounded up or down by the chip, and ties would decide. Spikes have no such levels, nor have
    other balls than that of L-infinity: such an attack is returned as it is, with 0.
    """
    if not isinstance(maker, BallAttack) or maker.norm != "linf" or isinstance(coder, Events):
        return maker, 0
    whole = levels(maker.epsilon)
    return maker.within(whole / LEVELS), whole


def attack(run: Run, track: Track = silent) -> Attacked:
    """Attack the float network on the test images: one file an attack, and attacks.json."""
    run.needs_network("attack")
    network, recipe = load_network(run.path("model.safetensors"))[0], run.recipe()
    run.require("train")
    data = run.data()
    found: dict[str, Any] = {}
    coder = network.coder
    clean = coder.on_grid(data.test_images)
    for settings in recipe.attacks:
        maker, whole = _whole_levels(make_attack(settings, recipe.evaluate.batch), coder)
        made = _made(maker, network, clean, data, track)
        # Every form is to see the same images, so they are such as the chip can receive.
        images = coder.on_grid(made) if whole else made
        with seeded(maker.seed):
            scores = _judged(network, images, data, recipe)
        few = slice(GRADIENT_SAMPLES)
        write_arrays(
            run.path(_attack_file(settings.label)),
            "attack",
            {"images": images, **({"robust": scores.astype(np.uint8)} if data.task.classed else {"scores": scores})},
            {"label": settings.label, "data": data.sha256},
        )
        found[settings.label] = {
            "settings": settings.model_dump(mode="json"),
            "threat_model": f"{maker.threat_model} ({coder})" + (", whole levels of the chip's input" if whole else ""),
            "made_on": "float network",
            "levels": whole,
            "distance": float(np.abs(images - clean).max()),
            "distance_on_grid": float(np.abs(coder.on_grid(images) - clean).max()),
            "float_accuracy" if data.task.classed else "float_quality": float(scores.mean()),
        }
        if maker.access == WHITE:
            with watch(network) as seen:
                _made(maker, network, clean[few], data, track, few)
            told = gradients_of(maker.label, len(data.test_labels[few]), seen)
            found[settings.label]["gradients"] = {**told, "attack": settings.label}
    write_json(run.path("attacks.json"), found)
    run.finished("attack", [_attack_file(settings.label) for settings in recipe.attacks])
    return Attacked(len(data.test_labels), found)


def _made(
    maker: Attack, network: SpikingNetwork, clean: Images, data: Dataset, track: Track, which: slice = slice(None)
) -> Images:
    """Return what an attack makes of some of the test images: another class, or the worst answer.

    Raises:
        InputError: it changes coded spikes, and the data are images.
    """
    labels = data.test_labels[which]
    spikes = maker.space == "encoded"
    if spikes and not isinstance(network.coder, Events):
        raise InputError(
            f"attack {maker.label}: changes coded spikes, and what is kept are images; attack these with "
            "'robustness --threat encoded-binary' or 'timing'"
        )
    if data.task.classed:
        if spikes:
            return np.swapaxes(maker(network, np.swapaxes(clean, 0, 1), labels, track=track).images, 0, 1)
        return maker(network, clean, labels, track=track).images
    return harm(maker, network, clean, labels, data.task, track=track).images


def attacked(run: Run, recipe: Recipe, data: Dataset) -> dict[str, Images]:
    """Return the images of every attack of the recipe, checked."""
    images = {}
    for settings in recipe.attacks:
        path = run.path(_attack_file(settings.label))
        arrays, header = read_arrays(path, "attack")
        if header.get("data") != data.sha256 or "images" not in arrays:
            raise FileError(f"{path}: made on other data; run 'spikeproof attack {run.folder}' again")
        images[settings.label] = make_coder(recipe.coding).check(arrays["images"], str(path), data.shape)
        if len(images[settings.label]) != len(data.test_labels):
            raise FileError(f"{path}: not as many images as the test set; run 'spikeproof attack {run.folder}' again")
    return images


def quantize(run: Run, track: Track = silent) -> Quantized:
    """Fold, quantize and fine-tune on the grid of the recipe's chip: quantized.safetensors."""
    run.needs_network("quantize")
    network, recipe = load_network(run.path("model.safetensors"))[0], run.recipe()
    run.require("train")
    data = run.data()
    family = family_of(recipe.export.chip)
    quantized = family.quantized(network, recipe.quantize.bits)
    rounded = _told(_judged(quantized, data.test_images, data, recipe), data)
    history: list[Epoch] = []
    identity = _identity(recipe, data, "quantize" if family.nir else f"quantize {family.name}")
    if recipe.quantize.epochs:
        history = train_network(
            quantized,
            data.train_images,
            data.train_labels,
            recipe.train,
            epochs=recipe.quantize.epochs,
            rate=recipe.quantize.rate,
            defences=recipe.defences,
            state=run.path("quantize-state.safetensors"),
            identity=identity + digest(run.path("model.safetensors").read_bytes()),
            task=data.task,
            what="quantize",
            track=track,
        )
    tuned = _told(_judged(quantized, data.test_images, data, recipe), data)
    save_quantized(run.path("quantized.safetensors"), quantized, recipe, data.shape, data.classes)
    run.finished("quantize", threads=history[-1].threads if history else None)
    return Quantized(recipe.quantize.bits, rounded[0], *tuned, rounded[2], family.changes(network))


def _qcdq(run: Run, network: SpikingNetwork, data: Dataset) -> tuple[dict[str, Any] | None, list[str]]:
    """Write Brevitas' QCDQ form and return how it agrees with the network, and the reasons if there is none."""
    from ...export.formats.qcdq import check_qcdq, write_qcdq

    try:
        write_qcdq(run.path(QCDQ), network, data.shape)
    except UnsupportedError as error:
        run.path(QCDQ).unlink(missing_ok=True)
        return None, [str(error)]
    return asdict(check_qcdq(run.path(QCDQ), network, data.test_images[:ROUND_TRIP_SAMPLES])), []


def export(run: Run, track: Track = silent) -> Exported:
    """Write NIR, check it by executing what was written, lower it, and write Program and ONNX (seconds: no bar)."""
    run.needs_network("export")
    from ...export.formats.onnx import write_onnx

    recipe = run.recipe()
    family = family_of(recipe.export.chip)
    network = family.load(run.path("quantized.safetensors"))[0]
    run.require("quantize")
    data = run.data()
    if not family.nir:
        return direct.export(run, family, network, data.test_images[:ROUND_TRIP_SAMPLES], data.shape)
    write_nir(run.path("network.nir"), network, data.shape)
    trip = check_round_trip(run.path("network.nir"), network, data.test_images[:ROUND_TRIP_SAMPLES])
    graph, sidecar = read_nir(run.path("network.nir"))
    how = recipe.export
    program = lower(graph, sidecar, str(run.path("network.nir")), relays=how.relays, bias_exponent=how.bias_exponent)
    reasons = chips.unsupported(program, how.chip)
    if reasons:
        raise UnsupportedError(f"export.chip = {how.chip!r}: " + "; ".join(reasons))
    write_program(run.path("program.safetensors"), program)
    write_onnx(run.path("network.onnx"), program)
    without_net = netx.unsupported(program)
    if without_net:
        run.path("network.net").unlink(missing_ok=True)
    else:
        netx.write_net(run.path("network.net"), program)
    qcdq, without_qcdq = _qcdq(run, network, data)
    result = Exported(program.sha256(), trip, without_net, qcdq, without_qcdq, describe(program))
    write_json(run.path("export.json"), result.to_dict())
    others = {"network.net": without_net, QCDQ: without_qcdq}
    run.finished("export", [name for name, reasons in others.items() if not reasons])
    return result
