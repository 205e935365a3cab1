"""A protocol on every form of a network: float, quantized, and the Program on the chip's arithmetic."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ...export.program import Program
from ...hw_targets.target import Compiled, get_target
from ...hw_targets.twin import Twin
from ...toolkit.attacks.base import Attack
from ...toolkit.attacks.victim import Function, predict
from ...toolkit.coding import LEVELS, Coder
from ...toolkit.data import Images, Labels
from ...toolkit.layers import SpikingNetwork
from ...toolkit.progress import Track, silent
from ...toolkit.train import seeded
from . import plan
from .alarms import clearly
from .form import Attackers, Found, Side, assess
from .probes import FEW, MANY, SAMPLES, SWEEP, SWEPT
from .record import FormResult, Judged, share
from .runner import Runner


def threat_model(coder: Coder) -> str:
    """Return what an attacker of the pixels may do."""
    return (
        f"pixel space, L-infinity, around the images as the chip receives them (8 bit), through the {coder}; "
        "the attacker knows the network and chooses the backward pass"
    )


JUDGE = "loihi"
"""The target that answers for the Program."""
COST = {"float": 1.0, "quantized": 2.5, "program": 3.0}
"""Rough cost of a gradient, for the time left."""
LATER = 0.35
"""Rough share of samples that is left to all but the first attack of a cascade."""


@dataclass(frozen=True)
class Subject:
    """A network's forms.

    Attributes:
        network: in float; where transferred examples are made.
        quantized: fake-quantized.
        program: its integers.
        targets: samples that each other target of the Program gets, by name; they judge worst-case examples.
        torch: whether the float and the quantized form are attacked, too.
    """

    network: SpikingNetwork
    quantized: SpikingNetwork
    program: Program
    targets: dict[str, int]
    torch: bool = True


def measure(
    module: nn.Module,
    images: Images,
    labels: Labels,
    *,
    protocol: str = "standard",
    epsilon: float = 0.1,
    seed: int = 0,
    name: str = "network",
    track: Track = silent,
) -> FormResult:
    """Run a protocol on any classifier and return outcomes, worst case and alarms; the ball is taken as it is.

    Args:
        module: from images in [0, 1] to logits; put into evaluation mode.
        images: (samples, channels, height, width).
        labels: (samples,).
        protocol: "quick", "standard" or "strong".
        epsilon: radius of the L-infinity ball.
        seed: of every attack.
        name: of the form, in alarms.
        track: progress.
    """
    plan.check(protocol)
    common: dict[str, Any] = {"epsilon": epsilon, "batch": plan.BATCH, "seed": seed}
    attacks = plan.white_box(protocol, module, **common) + plan.without_gradients(protocol, **common)
    against = Attackers(attacks, plan.cascade(protocol), epsilon, seed, plan.BATCH)
    with one_thread():
        return assess(Side(name, "torch", module), images, labels, against, Runner(None, track)).result


def run_protocol(
    subject: Subject,
    images: Images,
    labels: Labels,
    *,
    protocol: str,
    epsilon: float,
    seed: int = 0,
    folder: Path | None = None,
    track: Track = silent,
) -> list[FormResult]:
    """Attack every form and let the other targets judge the Program's worst-case examples.

    Args:
        subject: the forms.
        images: (samples, channels, height, width); they are rounded to the chip's input first, for every form.
        labels: (samples,).
        protocol: "quick", "standard" or "strong".
        epsilon: radius of the ball; rounded down to whole levels of the chip's input.
        seed: of every attack.
        folder: for attacks that are done or interrupted; None keeps nothing.
        track: progress.

    Raises:
        DisagreementError: the twin's verdict differs from the simulator's.
        InputError: protocol or epsilon is refused.
    """
    radius = plan.levels(epsilon) / LEVELS
    common: dict[str, Any] = {"epsilon": radius, "batch": plan.BATCH, "seed": seed}
    coder = subject.network.coder
    images = coder.on_grid(images)
    program = subject.program
    twin = Twin(program, coder=coder)
    compiled = get_target(JUDGE).compile(program)
    blind = plan.without_gradients(plan.check(protocol), **common)
    every: list[tuple[Side, list[Attack]]] = []
    if subject.torch:
        for name, network in (("float", subject.network), ("quantized", subject.quantized)):
            every.append(
                (Side(name, "torch", network, grid=coder.on_grid), plan.white_box(protocol, network, **common) + blind)
            )
    deployed = Side("program", JUDGE, twin, asks(compiled, coder), program.sha256(), grid=coder.on_grid)
    every.append(
        (
            deployed,
            [
                *plan.white_box(protocol, twin, **common),
                *plan.transfers(protocol, subject.network, "float", **common),
                *blind,
                *plan.decision(protocol, epsilon=radius, seed=seed),
            ],
        )
    )
    results = []
    source: Found | None = None
    with one_thread(), _counted(every, len(labels), protocol, folder, track) as runner:
        for side, attacks in every:
            if side.form == "program" and source is not None:
                side = replace(side, source=source.examples)
            runner.form = side.form
            found = assess(side, images, labels, Attackers(attacks, plan.cascade(protocol), radius, seed), runner)
            if side.form == "float":
                source = found
            if side.form == "program":
                judged = {
                    name: _judged(name, min(count, len(labels)), program, compiled, coder, images, found, labels)
                    for name, count in subject.targets.items()
                }
                results.append(found.result.model_copy(update={"judged": judged}))
            else:
                results.append(found.result)
    return results


@contextmanager
def one_thread() -> Iterator[None]:
    """Add in one order whatever the machine, so that records are repeated; small networks gain nothing from threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def asks(compiled: Compiled, coder: Coder) -> Function:
    """Return a function from what a coder takes to the read-out of a compiled Program, (samples, classes)."""

    def function(images: Images) -> Any:
        return compiled.run(coder.integers(images)).output

    return function


def _judged(
    name: str,
    count: int,
    program: Program,
    judge: Compiled,
    coder: Coder,
    images: Images,
    found: Found,
    labels: Labels,
) -> Judged:
    """Let another target answer the first clean images and worst-case examples."""
    other = get_target(name).compile(program)
    right, same = [], 0
    for part in (images[:count], found.worst[:count]):
        answers = []
        for one in (other, judge):
            with seeded(0):  # A stochastic coder shows both the same draws.
                answers.append(predict(asks(one, coder), part, count))
        theirs, ours = answers
        right.append(theirs == labels[:count])
        same += int((theirs == ours).sum())
    return Judged(samples=count, clean=share(right[0]), worst=share(right[0] & right[1]), same=same)


@contextmanager
def _counted(
    every: list[tuple[Side, list[Attack]]], samples: int, protocol: str, folder: Path | None, track: Track
) -> Iterator[Runner]:
    """Yield a Runner under a bar of all work; it moves by rough cost, so that the time left means something."""
    later = LATER if plan.cascade(protocol) else 0.7
    probes = 2 + FEW + MANY + 4 * SWEPT + len(SWEEP) * SWEPT
    total = 0.0
    cost = {}
    for side, attacks in every:
        weights = [plan.effort(attack) * samples * (later if place else 1) for place, attack in enumerate(attacks)]
        cost[side.form] = sum(weights) + probes * min(samples, SAMPLES)
        total += COST[side.form] * cost[side.form]
    units = 1000
    ticks = iter(track(range(units), f"{protocol}: all attacks", units))
    runner = Runner(folder, track)
    done, shown = 0.0, 0

    def told(attack: Attack, count: int) -> None:
        nonlocal done, shown
        done += COST[runner.form] * plan.effort(attack) * count
        while shown < min(int(units * done / total), units - 1):
            next(ticks)
            shown += 1

    runner.told = told
    next(ticks)
    yield runner
    for _ in ticks:
        pass
    runner.forget_unfinished()


def summary(results: list[FormResult]) -> str:
    """Return one sentence: what deployment did to robustness."""
    forms = {result.form: result for result in results}
    if not {"float", "program"} <= set(forms):
        return "The float network was not attacked, so what deployment did to robustness is not known."
    before, after = (np.array(list(forms[name].outcomes)) == "o" for name in ("float", "program"))
    lost, gained = int((before & ~after).sum()), int((after & ~before).sum())
    change = 100 * (int(after.sum()) - int(before.sum())) / len(before)
    rounded = forms["float"].worst_on_grid
    aside = (
        f" ({100 * rounded.value:.1f} % once rounded to the chip's input)" if rounded != forms["float"].worst else ""
    )
    text = (
        f"Worst case: float {100 * forms['float'].worst.value:.1f} %{aside}, "
        f"Program {100 * forms['program'].worst.value:.1f} %. Under this protocol, deployment "
    )
    if clearly(max(lost, gained), min(lost, gained), len(before)):
        text += f"{'raised' if change > 0 else 'lowered'} it by {abs(change):.1f} points"
    else:
        text += f"did not clearly change it ({change:+.1f} points)"
    doubtful = [name for name in ("float", "program") if not forms[name].reliable]
    doubt = f"; alarms make {' and '.join(doubtful)} unreliable" if doubtful else ""
    return f"{text}: {lost} samples robust in float are not on the Program, {gained} the other way round{doubt}."
