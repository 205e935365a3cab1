"""The record of proofs: which samples no input of a ball can change, and which one does."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import model_validator

from .base import Data, Part, ProgramId, Record, Share, read_model
from .robustness import BROKEN, WRONG, Robustness

LETTERS = {"proved": "p", "broken": BROKEN, "open": "?", "wrong": WRONG}


class Decided(Part):
    """What became of one sample.

    Attributes:
        status: "wrong" without any change; "proved": no input of the ball changes its class; "broken": one does, and
            is kept; "open": not known.
        by: what decided: a "run" (wrong already), "sets" of spike trains, "solver" or "search".
        seconds: it took.
        rivals: classes that the sets did not exclude.
        reason: why it is open.
    """

    status: Literal["proved", "broken", "open", "wrong"]
    by: Literal["run", "sets", "solver", "search"]
    seconds: float
    rivals: int = 0
    reason: str = ""


class Checked(Part):
    """What an independent second look found; an error would have ended it.

    Attributes:
        certificates: proved samples whose bounds were found again, neuron by neuron.
        trains: spike trains that bounds exclude and that were refuted again.
        points: random inputs of proved balls that were run on ``loihi``; none changed a class.
    """

    certificates: int
    trains: int
    points: int


class Proof(Record):
    """Proofs about a Program.

    Attributes:
        threat: "pixel" (L-infinity, levels of the chip's input) or "encoded-binary" (edits of spikes).
        threat_model: the same in words.
        epsilon: radius in pixels of [0, 1]; None for edits.
        radius: in levels, or edits.
        edit: "flip" or "shift"; None for levels.
        limit: of the solver for a sample, in its own count of steps; up to 0.2 of a clock.
        solver: name and version.
        width: share of samples that are open: upper less lower end.
        proved: share of samples that are right and proved: the lower end of robust accuracy.
        unbroken: share of samples that are right and not broken: the upper end.
        outcomes: one letter a sample: p proved, x broken, ? open, . wrong.
        samples: one by one.
        examples: file of broken samples' inputs, beside the record; None where none is kept.
        checked: by ``--check``.
        seconds: wall time.
    """

    data: Data | None
    program: ProgramId
    threat: Literal["pixel", "encoded-binary"]
    threat_model: str
    epsilon: float | None
    radius: int
    edit: Literal["flip", "shift"] | None
    limit: float
    solver: str
    width: float
    proved: Share
    unbroken: Share
    outcomes: str
    samples: list[Decided]
    examples: str | None = None
    checked: Checked | None = None
    summary: str
    seconds: float

    @model_validator(mode="after")
    def _consistent(self) -> "Proof":
        if self.outcomes != letters(self.samples):
            raise ValueError("outcomes are not those of the samples")
        counts = self.outcomes.count("p"), len(self.outcomes) - self.outcomes.count("x") - self.outcomes.count(".")
        if counts != (self.proved.correct, self.unbroken.correct):
            raise ValueError("shares are not those of the samples")
        return self


def decided_by(samples: Sequence[Decided]) -> dict[tuple[str, str], list[float]]:
    """Return the seconds of all samples by status and by what decided, in the order of their first."""
    found: dict[tuple[str, str], list[float]] = {}
    for one in samples:
        found.setdefault((one.status, one.by), []).append(one.seconds)
    return found


def letters(samples: list[Decided]) -> str:
    """Return one letter a sample."""
    return "".join(LETTERS[sample.status] for sample in samples)


def contradictions(proof: Proof, attacked: Robustness) -> list[int]:
    """Return the samples that a proof calls robust and an attack of the same strength or less broke: there are none.

    Args:
        proof: of a Program.
        attacked: a protocol on the same Program and samples.

    Returns:
        Indices; empty also where the records are not about the same Program, threat model or samples, or the attack
        was stronger.
    """
    # An attacker's edit may be a shift, which is two flips.
    strength = attacked.levels if proof.threat == "pixel" else 2 * attacked.epsilon
    comparable = (
        attacked.program is not None
        and proof.program.sha256 == attacked.program.sha256
        and proof.threat == attacked.threat
        and (proof.data is None or attacked.data is None or proof.data.sha256 == attacked.data.sha256)
        and strength is not None
        and strength <= proof.radius
        and proof.edit in (None, "flip")
    )
    if not comparable:
        return []
    forms = [form for form in attacked.forms if form.form == "program"]
    count = min(len(proof.outcomes), attacked.samples)
    proved = np.array(list(proof.outcomes[:count])) == LETTERS["proved"]
    found = np.zeros(count, dtype=bool)
    for form in forms:
        # What was wrong without an attack is not proved, and what was proved is not wrong.
        found |= np.isin(list(form.outcomes[:count]), (BROKEN, WRONG))
    return [int(index) for index in np.flatnonzero(proved & found)]


def read(path: Path) -> Proof:
    """Return the record in ``path``.

    Raises:
        FileError: missing, corrupt, or of another schema.
    """
    return read_model(Proof, path, "run 'spikeproof prove'")
