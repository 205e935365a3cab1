"""Which layer costs the accuracy when its weights alone are quantized, and how many bits each would need."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...toolkit.data import Images
from ...toolkit.defences.exact import exact
from ...toolkit.errors import InputError
from ...toolkit.network.fold import fold
from ...toolkit.network.network import SpikingNetwork
from ...toolkit.progress import Track, silent
from ...toolkit.quantize import on_grid, steps_of, weight_bits, weight_layers, weight_steps
from ...toolkit.task import CLASSES, Task
from ..records.base import Share, share
from ..records.sensitivity import AtBits, LayerBits, Paired, Sensitivities, Together
from ..report.words import listed, percent, points
from .causes import FOLDED, TUNED
from .judge import Answers, Judge
from .stages import Shown, classes_of, fine_tuned, shown
from .tally import paired

BITS = tuple(range(2, 9))
"""Bits a weight that are tried."""
LOSS = 1.0
"""Points of accuracy that a layer may cost alone."""
Classes = Answers


class _Trials:
    """Runs one network on the same images with other weights.

    Args:
        network: whose weights are exchanged, and put back.
        batches: of images.
        labels: (samples,).
    """

    def __init__(self, network: SpikingNetwork, batches: Sequence[Shown], labels: NDArray[Any], judge: Judge) -> None:
        self.network, self.batches, self.labels, self.judge = network, batches, labels, judge
        self.layers = dict(network.named_layers())
        self.before = self.classes({})

    def classes(self, instead: dict[str, Tensor]) -> Classes:
        """Return the classes of all samples, with some layers' weights exchanged."""
        weights = {name: self.layers[name].weight for name in instead}
        kept = {name: weight.data for name, weight in weights.items() if isinstance(weight, Tensor)}
        try:
            for name, values in instead.items():
                self.layers[name].weight.data = values
            return np.concatenate([classes_of(self.network, batch) for batch in self.batches])
        finally:
            for name, values in kept.items():
                self.layers[name].weight.data = values

    def judged(self, classes: Classes) -> tuple[Share, Paired]:
        """Return the accuracy, and what changed against the network as it is."""
        was, now = (self.judge.right(found, self.labels) for found in (self.before, classes))
        lost, won = int((was & ~now).sum()), int((now & ~was).sum())
        return share(now), paired(len(now), self.judge.changed(self.before, classes, self.labels), lost, won)


def _base(network: SpikingNetwork, quantized: SpikingNetwork | None) -> tuple[str, SpikingNetwork]:
    """Return the network whose weights are rounded, with its name: fine-tuned, else as it was trained."""
    tuned = None if quantized is None else fine_tuned(exact(fold(network)), quantized)
    # Biases stay where the network has them: what moving them costs is no layer's fault.
    return (FOLDED, exact(fold(network, move_biases=False))) if tuned is None else (TUNED, tuned)


def find_sensitivity(
    network: SpikingNetwork,
    quantized: SpikingNetwork | None,
    images: Images,
    labels: NDArray[Any],
    *,
    task: Task = CLASSES,
    bits: Sequence[int] = BITS,
    loss: float = LOSS,
    batch: int = 250,
    track: Track = silent,
) -> Sensitivities:
    """Quantize the weights of one layer after the other, all others in float, at several numbers of bits.

    Args:
        network: in float.
        quantized: of the same network: its bits and steps are tried, too, and fine-tuned weights are taken from it.
        images: (samples, channels, height, width), in [0, 1].
        labels: (samples,), or the task's targets.
        task: what outputs are for.
        bits: a weight, 2 to 8.
        loss: points of accuracy that a layer may cost alone.
        batch: samples a run.
        track: progress.

    Raises:
        InputError: no samples, bits that there are not, or a negative loss.
    """
    if len(images) == 0 or len(images) != len(labels):
        raise InputError(f"sensitivity: {len(images)} images and {len(labels)} labels; give one label an image")
    if not bits or any(type(one) is not int or not 2 <= one <= 8 for one in bits):
        raise InputError(f"sensitivity: bits {tuple(bits)}; a weight has 2 to 8")
    if not 0 <= loss <= 100:
        raise InputError(f"sensitivity: a loss of {loss} points; give 0 to 100")
    name, base = _base(network, quantized)
    coder = network.coder
    judge = Judge(task, network.gain)
    known = judge.known(network, images, labels, batch)
    batches = [shown(coder, images[start : start + batch], start, judge) for start in range(0, len(images), batch)]
    trials = _Trials(base.eval(), batches, known, judge)
    own, steps = ({}, {}) if quantized is None else (weight_bits(quantized), weight_steps(quantized))
    tried = sorted({*bits, *own.values()})
    weights = {layer: _weight(base, layer) for layer in weight_layers(base)}
    grids = {number: steps_of(base, number) for number in tried}

    def rounded(layer: str, number: int) -> Tensor:
        deployed = number == own.get(layer)
        return on_grid(weights[layer], number, steps[layer] if deployed else grids[number][layer])

    jobs = [(layer, number) for layer in weights for number in tried if number in bits or number == own.get(layer)]
    found: dict[str, list[AtBits]] = {layer: [] for layer in weights}
    for layer, number in track(jobs, "layer by layer", len(jobs)):
        accuracy, pair = trials.judged(trials.classes({layer: rounded(layer, number)}))
        found[layer].append(AtBits(bits=number, accuracy=accuracy, paired=pair))
    before = share(judge.right(trials.before, known))
    layers = [
        LayerBits(
            layer=layer,
            weights=weights[layer].numel(),
            own=own.get(layer),
            tried=found[layer],
            needs=_needs(found[layer], before, loss),
        )
        for layer in weights
    ]
    result = Sensitivities(
        base=name, samples=len(labels), accuracy=before, loss=loss, layers=layers, together=None, verdict=[]
    )
    result = result.model_copy(update={"notes": [judge.note] if judge.note else []})
    needed = {one.layer: one.needs for one in layers if one.needs is not None}
    if len(needed) == len(layers):
        accuracy, pair = trials.judged(trials.classes({layer: rounded(layer, one) for layer, one in needed.items()}))
        memory = sum(weights[layer].numel() * one for layer, one in needed.items())
        whole = 8 * sum(weight.numel() for weight in weights.values())
        together = Together(bits=needed, accuracy=accuracy, paired=pair, memory=(memory, whole))
        result = result.model_copy(update={"together": together})
    return result.model_copy(update={"verdict": words(result)})


def _weight(network: SpikingNetwork, layer: str) -> Tensor:
    weight = dict(network.named_layers())[layer].weight
    assert isinstance(weight, torch.Tensor)
    return weight.detach()


def _needs(tried: Sequence[AtBits], before: Share, loss: float) -> int | None:
    """Return the fewest bits from which on the loss stays within ``loss`` points."""
    needs = None
    for one in reversed(tried):
        # In samples, so that a loss that is exactly allowed is.
        if 100 * (before.correct - one.accuracy.correct) > loss * before.samples + 1e-9:
            break
        needs = one.bits
    return needs


def _signed(before: Share, after: Share) -> str:
    return points(before, after).replace("-", "\u2212")


def words(found: Sensitivities) -> list[str]:
    """Return the answer in sentences: which layer costs most, what each needs, and all of that at once."""
    said = []
    deployed = [(one, at) for one in found.layers if one.own is not None and (at := one.at(one.own)) is not None]
    if deployed:
        one, at = min(deployed, key=lambda pair: (pair[1].accuracy.correct, -pair[1].paired.classes_changed))
        said.append(
            f"Of the layers, {one.layer!r} costs most when it alone is quantized at the run's bits ({one.own}): "
            f"{_signed(found.accuracy, at.accuracy)} points, {at.paired.classes_changed:,} of {found.samples:,} "
            "classes change."
        )
    fewest = min(at.bits for one in found.layers for at in one.tried)
    at_few = [(one, at) for one in found.layers if (at := one.at(fewest)) is not None]
    if len(at_few) > 1:
        one, at = min(at_few, key=lambda pair: (pair[1].accuracy.correct, -pair[1].paired.classes_changed))
        said.append(f"At {fewest} bits it is {one.layer!r}: {_signed(found.accuracy, at.accuracy)} points.")
    needs = [
        f"{one.layer!r} {one.needs}" if one.needs is not None else f"{one.layer!r} more than {one.tried[-1].bits}"
        for one in found.layers
    ]
    within = f"{found.loss:g} point{'' if found.loss == 1 else 's'}"
    said.append(
        f"To stay within {within} of the {found.base} network alone, without fine-tuning, they need bits: "
        f"{listed(needs)}."
    )
    if found.together is not None:
        bits = ", ".join(f"{layer} = {number}" for layer, number in found.together.bits.items())
        said.append(
            f"All at once at those bits: {percent(found.together.accuracy.value)} %, "
            f"{_signed(found.accuracy, found.together.accuracy)} points, "
            f"{100 * found.together.memory[0] / found.together.memory[1]:.0f} % of the weight memory of 8 bits; in a "
            f"recipe quantize.bits = {{ {bits} }}, and fine-tuning after it."
        )
    return said
