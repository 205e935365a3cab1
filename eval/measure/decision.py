"""Latency to decision: after how many steps the answer is right and stays so, on every form."""

import copy
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...export.program import Program, Readout
from ...hw_targets.target import get_target
from ...hw_targets.torch import TorchTarget
from ...toolkit.data import Images
from ...toolkit.errors import UnsupportedError
from ...toolkit.network.network import SpikingNetwork
from ...toolkit.progress import Track, silent
from ...toolkit.train import seeded
from ..records.base import share
from ..records.decision import Decision, FormDecision
from .forms import DRAWS, Deployed, Forms

BATCH = 250
Outputs = NDArray[np.float64]


def running(each: NDArray[Any], kind: str) -> Outputs:
    """Return what could be read behind each step, (batch, time, classes), of what was sent or held at each of them.

    Args:
        each: spikes of each step, or membranes behind it, (batch, time, classes).
        kind: of the read-out. Spikes are added up so far; the first spike of a class counts the steps left behind it;
            a membrane is what it is.
    """
    if kind == "membrane":
        return each.astype(np.float64)
    if kind == "spike_count":
        return each.cumsum(1).astype(np.float64)
    left = np.arange(each.shape[1], 0, -1)[:, None]
    return np.maximum.accumulate((each > 0) * left, 1).astype(np.float64)


def decided(outputs: Outputs, labels: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Return whether the right class has the largest output alone, (batch, time), and from which step on it stays so.

    The second is (batch,), from 1; 0 where the last answer is not right.

    Args:
        outputs: (batch, time, classes).
        labels: (batch,).
    """
    own = np.take_along_axis(outputs, labels[:, None, None], 2)[..., 0]
    others = np.where(np.arange(outputs.shape[2]) == labels[:, None, None], -np.inf, outputs).max(2)
    right = own > others
    wrong = ~right[:, ::-1]
    steps = right.shape[1]
    kept = np.where(wrong.any(1), wrong.argmax(1), steps)
    return right, np.where(kept > 0, steps - kept + 1, 0)


def at_every_step(network: SpikingNetwork) -> SpikingNetwork:
    """Return the same network, its layers shared, read at every step."""
    made = copy.copy(network)
    made.every_step = True
    return made


def program_at_every_step(program: Program) -> Program:
    """Return the same Program, read at every step: spikes, or membranes."""
    kind = "membrane" if program.readout.kind == "membrane" else "spike_count"
    values = {**dict(program.readout), "kind": kind, "every_step": True}
    return Program(**{**dict(program), "readout": Readout(**values)})


def measure_decision(
    forms: Forms | Deployed,
    images: Images,
    labels: NDArray[np.int64],
    about: dict[str, Any],
    *,
    targets: Sequence[str] = ("loihi",),
    slow: int = 16,
    track: Track = silent,
) -> Decision:
    """Read every form at every step, and find when its answers are right and stay so.

    Args:
        forms: float network, quantized network and Program; or a Program from elsewhere.
        images: what the coder takes.
        labels: (samples,).
        about: the record's header, see :func:`..records.base.header`.
        targets: that run the Program.
        slow: samples that slow targets get.
        track: progress.

    Raises:
        UnsupportedError: there is an answer at every step already.
    """
    begun = time.perf_counter()
    program, coder = forms.program, forms.coder
    kind, classes = program.readout.kind, int(np.prod(program.shape_of(program.readout.population)))
    if program.readout.every_step:
        raise UnsupportedError("decision: this network answers at every step; 'evaluate' says how often it is right")

    def found(form: str, target: str, ask: Callable[[Images], NDArray[Any]], few: int) -> FormDecision:
        parts = []
        starts = range(0, few, BATCH)
        for start in track(starts, f"decision: {form} on {target}", len(starts)):
            with seeded(DRAWS + start):
                answer = ask(images[start : min(start + BATCH, few)])
            parts.append(running(answer.reshape(len(answer), -1, classes), kind))
        outputs = np.concatenate(parts)
        right, steps = decided(outputs, labels[:few])
        settled = steps[steps > 0]
        return FormDecision(
            form=form,
            target=target,
            right=share(outputs[:, -1].argmax(1) == labels[:few]),
            decided=share(steps > 0),
            steps=[int(step) or None for step in steps],
            median=float(np.median(settled)) if len(settled) else None,
            mean=float(settled.mean()) if len(settled) else None,
            late=float(np.percentile(settled, 95, method="inverted_cdf")) if len(settled) else None,
            by_step=[float(one) for one in right.mean(0)],
        )

    rows = []
    if isinstance(forms, Forms):
        for name, network in (("float", forms.network), ("quantized", forms.quantized)):
            compiled = TorchTarget(batch=BATCH).compile(at_every_step(network))
            rows.append(found(name, "torch", lambda part, one=compiled: one.run(part).output, len(images)))  # type: ignore[misc]
    for name in targets:
        target = get_target(name)
        ready = target.compile(program_at_every_step(program))
        few = min(slow, len(images)) if target.slow else len(images)
        rows.append(found("program", name, lambda part, one=ready: one.run(coder.integers(part)).output, few))  # type: ignore[misc]
    return Decision(
        **about,
        samples=len(images),
        time_steps=program.steps,
        start=program.depths()[program.readout.population],
        readout=kind,
        forms=rows,
        seconds=time.perf_counter() - begun,
    )
