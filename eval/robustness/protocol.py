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
from ...toolkit.attacks.victim import predict
from ...toolkit.data import Images, Labels
from ...toolkit.errors import InputError
from ...toolkit.network.network import SpikingNetwork
from ...toolkit.progress import Track, silent
from ...toolkit.train import seeded
from ..records.base import share
from ..records.robustness import FormResult, Judged
from . import plan
from .alarms import clearly
from .form import Attackers, Found, Side, assess
from .probes import SAMPLES, efforts
from .runner import Runner
from .threat import Pixel, Threat

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
    epsilon: float = 0.1,
    threat: Threat | None = None,
    seed: int = 0,
    draws: int = 1,
    folder: Path | None = None,
    track: Track = silent,
) -> list[FormResult]:
    """Attack every form and let the other targets judge the Program's worst-case examples.

    Args:
        subject: the forms.
        images: what the coder takes, (samples, ...); they are rounded to the chip's input first, for every form.
        labels: (samples,).
        protocol: "quick", "standard" or "strong".
        epsilon: radius in pixel space, rounded down to whole levels of the chip's input; not looked at with ``threat``.
        threat: another threat model, with its radius.
        seed: of every attack.
        draws: of a stochastic coder, that attacks with gradients average.
        folder: for attacks that are done or interrupted; None keeps nothing.
        track: progress.

    Raises:
        DisagreementError: the twin's verdict differs from the simulator's.
        InputError: protocol or epsilon is refused, or no form is left to attack.
    """
    plan.check(protocol)
    coder = subject.network.coder
    threat = threat or Pixel(coder, epsilon)
    common: dict[str, Any] = {"batch": plan.BATCH, "seed": seed}
    x = threat.inputs(images)
    program = subject.program

    def made() -> list[Attack]:
        return plan.averaged(threat.attacks(protocol, **common), draws)

    every: list[tuple[Side, list[Attack]]] = []
    if subject.torch:
        for name, network in (("float", subject.network), ("quantized", subject.quantized)):
            module = threat.module(network)
            attacks = made()
            side = Side(name, "torch", module, grid=threat.grid)
            every.append((side, plan.gradients(protocol, attacks, module) + plan.blind(attacks)))
    compiled = get_target(JUDGE).compile(program)
    if threat.unreceivable is None:
        twin = threat.module(Twin(program, coder=coder))
        attacks = made()
        extra: list[Attack] = []
        if threat.space is not None:
            source_of = threat.module(subject.network)
            options: dict[str, Any] = {"epsilon": threat.radius, "space": threat.space, **common}
            extra = plan.averaged(plan.transfers(protocol, source_of, "float", **options), draws)
        last = plan.decision(protocol, epsilon=threat.radius, seed=seed) if threat.space == "pixel" else []
        deployed = Side("program", JUDGE, twin, threat.function(compiled), program.sha256(), grid=threat.grid)
        every.append((deployed, [*plan.gradients(protocol, attacks, twin), *extra, *plan.blind(attacks), *last]))
    if not every:
        raise InputError(f"--targets: {threat.unreceivable}")
    results = []
    source: Found | None = None
    with one_thread(), _counted(every, len(labels), protocol, efforts(threat.space), folder, track) as runner:
        for side, attacks in every:
            if side.form == "program" and source is not None:
                side = replace(side, source=source.examples)
            runner.form = side.form
            against = Attackers(attacks, plan.cascade(protocol), threat.radius, seed, space=threat.space)
            found = assess(side, x, labels, against, runner)
            if side.form == "float":
                source = found
            if side.form == "program":
                judged = {
                    name: _judged(get_target(name).compile(program), compiled, threat, x[:count], labels[:count], found)
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


def _judged(other: Compiled, judge: Compiled, threat: Threat, x: Images, labels: Labels, found: Found) -> Judged:
    """Let another target answer the first clean inputs and worst-case examples."""
    count = len(labels)
    right, same = [], 0
    for part in (x, found.worst[:count]):
        answers = []
        for one in (other, judge):
            with seeded(0):  # A stochastic coder shows both the same draws.
                answers.append(predict(threat.function(one), part, count))
        theirs, ours = answers
        right.append(theirs == labels)
        same += int((theirs == ours).sum())
    return Judged(samples=count, clean=share(right[0]), worst=share(right[0] & right[1]), same=same)


@contextmanager
def _counted(
    every: list[tuple[Side, list[Attack]]],
    samples: int,
    protocol: str,
    probing: float,
    folder: Path | None,
    track: Track,
) -> Iterator[Runner]:
    """Yield a Runner under a bar of all work; it moves by rough cost, so that the time left means something."""
    later = LATER if plan.cascade(protocol) else 0.7
    total = 0.0
    cost = {}
    for side, attacks in every:
        weights = [plan.effort(attack) * samples * (later if place else 1) for place, attack in enumerate(attacks)]
        cost[side.form] = sum(weights) + probing * min(samples, SAMPLES)
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


def summary(results: list[FormResult], unreceivable: str | None = None) -> str:
    """Return one sentence: what deployment did to robustness, or why that is not known."""
    forms = {result.form: result for result in results}
    if unreceivable is not None:
        return f"The Program was not attacked: {unreceivable}."
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
