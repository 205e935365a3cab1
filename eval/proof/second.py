"""A second look at some of what was proved: certificates again, and random inputs of proved balls."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...export.program import Program
from ...hw_targets.target import CompiledProgram, get_target
from ...toolkit.data import Labels
from ...toolkit.progress import Track, silent
from ..records.proof import Checked, Decided
from .check import check, draw_inside
from .prove import Strength
from .sets import Prepared, bound
from .trains import STEPS
from .worker import region_of

CERTIFICATES = 3
"""Proved samples, drawn, whose bounds are found again."""
POINTS = 2000
"""Random inputs of each proved ball."""


def second_look(
    program: Program,
    messages: NDArray[np.int32],
    labels: Labels,
    strength: Strength,
    samples: Sequence[Decided],
    *,
    certificates: int = CERTIFICATES,
    points: int = POINTS,
    seed: int = 0,
    track: Track = silent,
) -> Checked:
    """Check proved samples again.

    Args:
        program: that was proved.
        messages: (time, samples, ...).
        labels: (samples,).
        strength: of the attacker.
        samples: what became of each.
        certificates: how many have their bounds found again, neuron by neuron; by sets or not. None of Programs of more
            than :data:`.trains.STEPS` steps.
        points: random inputs of every proved ball.
        seed: of the draws.
        track: progress.

    Raises:
        DisagreementError: a bound is not found again, or an input of a proved ball changes the class.
    """
    random = np.random.default_rng(seed)
    proved = [index for index, sample in enumerate(samples) if sample.status == "proved"]
    # Trains are refuted one by one, of which there are 2^steps; points are run in any case.
    drawn = set(random.permutation(proved)[: certificates if program.steps <= STEPS else 0].tolist())
    prepared, compiled = Prepared(program), get_target("loihi").compile(program)
    assert isinstance(compiled, CompiledProgram)
    flat = messages.reshape(*messages.shape[:2], -1)
    plan = {"threat": strength.threat, "radius": strength.radius, "edit": strength.edit}
    trains = 0
    for index in track(proved, "second look", len(proved)):
        sample = flat[0, index] if strength.threat == "pixel" else flat[:, index]
        region = region_of(plan, sample.tolist(), program.steps, program.input.full)
        label = int(labels[index])
        draw_inside(compiled, region, label, random, points)
        if index in drawn:
            trains += check(program, region, bound(prepared, region, label), label, random)
    return Checked(certificates=len(drawn), trains=trains, points=points * len(proved))
