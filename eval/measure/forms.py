"""One network, all its forms, the same images: accuracy, robustness, spikes and operations side by side."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...export.program import Program
from ...hw_targets.target import Compiled, Counts, get_target
from ...hw_targets.torch import TorchTarget
from ...toolkit.coding import Coder
from ...toolkit.data import Images
from ...toolkit.network.network import SpikingNetwork
from ...toolkit.progress import Track, silent
from ...toolkit.task import CLASSES, Task
from ...toolkit.train import seeded
from ..records.base import mean_of
from ..records.evaluation import Condition, Measured, MeasuredForm
from . import METRICS
from .metrics import Answered
from .weights import WeightGradientDensity
from .zeros import ZeroGradientShare

DRAWS = 0
"""Seed of what a stochastic coder draws in an evaluation, plus the number of a batch's first sample."""


@dataclass(frozen=True)
class Forms:
    """The forms of one network."""

    network: SpikingNetwork
    quantized: SpikingNetwork
    program: Program

    @property
    def coder(self) -> Coder:
        """How images become messages: as the deployed network receives them."""
        return self.quantized.coder


@dataclass(frozen=True)
class Deployed:
    """A Program from elsewhere: its float network is not known.

    Attributes:
        program: its integers.
        coder: how images become messages.
    """

    program: Program
    coder: Coder

    @property
    def network(self) -> None:
        """There is none."""
        return None

    @property
    def quantized(self) -> None:
        """There is none."""
        return None


def measure(
    compiled: Compiled,
    program: Program,
    coder: Coder,
    images: Images,
    labels: NDArray[Any],
    *,
    integers: bool,
    batch: int,
    task: Task = CLASSES,
    gain: float = 1.0,
    reference: Counts | None = None,
    track: Track = silent,
    what: str = "evaluate",
) -> tuple[Condition, Counts, dict[str, dict[str, int]] | None]:
    """Run one form on one set of images.

    Args:
        compiled: the form on its target.
        program: whose synapses are counted.
        coder: of the images; if it is stochastic, every form is shown the same draws, see :data:`DRAWS`.
        images: (samples, channels, height, width).
        labels: (samples,), or the task's targets.
        integers: whether the target takes integer messages (else images).
        batch: samples a run.
        task: what outputs are for.
        gain: of the network, see :class:`..toolkit.network.network.SpikingNetwork`.
        reference: the float network's classes (samples,); the form's own when absent.
        track: progress.
        what: label of the progress bar.

    Returns:
        The measurements, the predicted classes, and overflow events a population where exposed.
    """
    kinds = {name: METRICS.get(name) for name in METRICS.names()}
    metrics = {name: kind.of(program) for name, kind in kinds.items() if kind.measures(task)}
    once = 1 if program.readout.every_step else program.steps
    unit = gain / (program.largest_output if integers else once)
    classes, scores = [], []
    overflow: dict[str, dict[str, int]] | None = {}
    starts = range(0, len(images), batch)
    for start in track(starts, what, len(starts)):
        part = images[start : start + batch]
        with seeded(DRAWS + start):
            messages = coder.integers(part)
        with seeded(DRAWS + start):
            trace = compiled.run(messages if integers else part, track=track if len(starts) == 1 else silent)
        known, outputs = labels[start : start + batch], trace.output * unit
        answered = Answered(trace, messages, known, program, outputs, task)
        if not task.classed:
            scores.append(task.scores(outputs, known))
        for metric in metrics.values():
            metric.see(answered)
        classes.append(trace.classes)
        if trace.overflow is None or overflow is None:
            overflow = None
            continue
        for name, events in trace.overflow.items():
            so_far = overflow.setdefault(name, dict.fromkeys(asdict(events), 0))
            for kind, count in asdict(events).items():
                so_far[kind] += count
    predicted = np.concatenate(classes)
    same = None if not task.classed else 1.0 if reference is None else float((predicted == reference).mean())
    values = {name: metric.compute() for name, metric in metrics.items()}
    condition = Condition(
        accuracy=values.pop("accuracy", None),
        same_as_float=same,
        quality=None if task.classed else mean_of(np.concatenate(scores), task.quality),
        spike_rates=values.pop("spike rate"),
        operations=values.pop("synaptic operations"),
        others={name: Measured.of(metrics[name], value) for name, value in values.items()},
    )
    return condition, predicted, overflow


def evaluate(
    forms: Forms | Deployed,
    conditions: Mapping[str, Images],
    labels: NDArray[Any],
    targets: Mapping[str, int],
    *,
    batch: int,
    task: Task = CLASSES,
    device: str = "cpu",
    track: Track = silent,
) -> list[MeasuredForm]:
    """Measure the float and the quantized network, where there are any, and the Program on every target.

    Args:
        forms: the network's forms, or a Program from elsewhere.
        conditions: images by condition; "clean" and one entry an attack, same order of samples.
        labels: (samples,), or the task's targets.
        targets: number of samples that each target gets, by name.
        batch: samples a run.
        task: what outputs are for.
        device: torch device of the float and quantized network.
        track: progress.
    """
    jobs: list[tuple[Any, ...]] = []
    if isinstance(forms, Forms):
        torch_target = TorchTarget(device=device, batch=batch, graded=forms.program.graded)
        for form, network in (("float", forms.network), ("quantized", forms.quantized)):
            jobs.append((form, "torch", torch_target.compile(network), len(labels), device))
    for name, count in targets.items():
        jobs.append(("program", name, get_target(name).compile(forms.program), min(count, len(labels)), "cpu"))
    reference: dict[str, Counts] = {}
    found = []
    for form, target, compiled, count, where in jobs:
        begun = time.perf_counter()
        results = {}
        overflow = None
        for name, images in conditions.items():
            results[name], classes, events = measure(
                compiled,
                forms.program,
                forms.coder,
                images[:count],
                labels[:count],
                integers=form == "program",
                task=task,
                gain=1.0 if forms.network is None else forms.network.gain,
                # Lava cuts its samples into runs of its own, and shows progress between them.
                batch=count if get_target(target).slow else batch,
                reference=reference[name][:count] if name in reference else None,
                track=track,
                what=f"{form} on {target}: {name}",
            )
            if isinstance(forms, Deployed):
                results[name] = results[name].model_copy(update={"same_as_float": None})
            else:
                reference.setdefault(name, classes)
            overflow = events if name == "clean" else overflow
        seconds = time.perf_counter() - begun
        found.append(
            MeasuredForm(
                form=form,
                target=target,
                device=where,
                samples=count,
                conditions=results,
                overflow=overflow,
                seconds=seconds,
            )
        )
    return found


def gradient_sparsity(
    network: SpikingNetwork,
    images: Images,
    labels: NDArray[Any],
    *,
    batch: int,
    task: Task = CLASSES,
    track: Track = silent,
) -> dict[str, Any]:
    """Return the zero-gradient share of every layer and of the hidden LIF layers together."""
    metric = ZeroGradientShare(network, task)
    starts = range(0, len(images), batch)
    for start in track(starts, "gradient sparsity", len(starts)):
        with seeded(DRAWS + start):
            metric.update(images[start : start + batch], labels[start : start + batch])
    return {"layers": {name: asdict(zeros) for name, zeros in metric.compute().items()}, "hidden": metric.hidden()}


def weight_gradients(
    network: SpikingNetwork, images: Images, labels: NDArray[Any], *, task: Task = CLASSES, track: Track = silent
) -> dict[str, dict[str, float]]:
    """Return density and bound of the weight gradients of every layer, means over samples taken one by one."""
    metric = WeightGradientDensity(network, task)
    for index in track(range(len(images)), "weight gradients", len(images)):
        metric.update(images[index : index + 1], labels[index : index + 1])
    return {name: asdict(density) for name, density in metric.compute().items()}
