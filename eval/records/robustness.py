"""The record of a protocol: per-sample outcomes of every attack on every form, and what makes them doubtful."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ...toolkit.attacks.shifts import Shifts
from .base import Data, Machine, Part, ProgramId, Record, Share, read_model

WRONG, BROKEN, SURVIVED, UNTRIED = ".", "x", "o", "-"
"""One letter a sample: wrong without attack, broken by the attack, survived it, not tried since broken before."""

Mask = NDArray[np.bool_]


class Alarm(Part):
    """A reason to doubt a form's number.

    Attributes:
        code: stable.
        form: whose number.
        severity: "alarm" makes the number unreliable, "note" does not.
        message: figures, and what to do.
    """

    code: str
    form: str
    severity: Literal["alarm", "note"]
    message: str


class Outcome(Part):
    """One attack on one form.

    Attributes:
        label: the attack's.
        access: what it knows of the victim.
        threat_model: space, norm and access.
        settings: all of them.
        outcomes: one letter a sample, see :data:`WRONG`.
        on_grid: the same after rounding the examples to the chip's 8-bit input.
        accuracy: share of right and unbroken samples; None where only what earlier attacks left was tried.
        after: share of samples that also survived every attack before this one.
        distance: largest distance to the clean images.
        distance_on_grid: the same after rounding.
        seconds: wall time.
    """

    label: str
    access: str
    threat_model: str
    settings: dict[str, Any]
    outcomes: str
    on_grid: str
    accuracy: Share | None
    after: Share
    distance: float
    distance_on_grid: float
    seconds: float

    @property
    def tried(self) -> int:
        """How many samples the attack was run on."""
        return self.outcomes.count(BROKEN) + self.outcomes.count(SURVIVED)

    @property
    def broken(self) -> int:
        """How many of them it broke."""
        return self.outcomes.count(BROKEN)


class Probes(Part):
    """Measurements that tell whether gradient attacks work on a form, on the first samples that it answers rightly.

    Attributes:
        samples: how many.
        accuracy: share that survives each probe, by name.
        backwards: by name of a comparison "weaker < stronger": how many only the weaker probe broke, and only the
            stronger.
        zero_share: exact zeros among the entries of dL/dx.
        loss: mean cross-entropy: "clean", and under "fgsm" and "pgd-50"; of edits "edits-1" and "edits-20".
        rose: share of samples whose loss the last of them raised.
        differ: share of samples whose logits differ between two forward passes.
        sweep: share that survives, a backward pass; empty for networks without spikes.
        sweep_only: samples that some backward pass broke and no white-box attack of the protocol.
        search_only: samples that a short corner search broke and nothing else of the protocol; None where there is no
            ball.
    """

    samples: int
    accuracy: dict[str, Share]
    backwards: dict[str, tuple[int, int]]
    zero_share: float
    loss: dict[str, float]
    rose: float
    differ: float
    sweep: dict[str, Share]
    sweep_only: int
    search_only: int | None = None


class Saturation(Part):
    """A search in rounds: whether it had still found something when it ended, and what is estimated to be left.

    The first two rounds give each sample the queries that ``label`` says; later ones try what is left, with more
    queries each, so that a round costs the same. Two rounds that know nothing of each other find a and b samples, m of
    them both; if all samples were equally hard, (a + 1) (b + 1) / (m + 1) - 1 could be found (Chapman 1951). Samples
    differ, so that it is a low estimate.

    Attributes:
        label: the attack of a round.
        tried: samples that the first two rounds tried.
        rounds: how many more samples each round broke, in order.
        halves: samples broken by the first round only, by the second only, and by both.
        remaining: how many samples are estimated to be left that could be found, all rounds considered.
        until: share of all samples; the search ended when two rounds in a row broke no more, or with the last round.
    """

    label: str
    tried: int
    rounds: list[int]
    halves: tuple[int, int, int]
    remaining: float
    until: float

    @property
    def words(self) -> str:
        """What the search did, in a sentence."""
        alone, other, both = self.halves
        rounds = ", ".join(str(count) for count in self.rounds)
        return (
            f"{self.label} in {len(self.rounds)} rounds broke {rounds} more of {self.tried} samples; the first two, "
            f"which know nothing of each other, found {both} both, and {alone} and {other} alone: {self.remaining:.1f} "
            "more are estimated to be left"
        )


class Foreign(Part):
    """A module whose surrogates or state attackers could not take over.

    Attributes:
        module: its place in the network; empty for the network itself.
        kind: its class.
        reason: what was found.
    """

    module: str
    kind: str
    reason: str


class Judged(Part):
    """Another target's answers to clean images and worst-case examples of the Program.

    Attributes:
        samples: the first so many.
        clean: accuracy.
        worst: accuracy on the worst-case examples.
        same: answers that equal those of loihi, of both together.
    """

    samples: int
    clean: Share
    worst: Share
    same: int


class FormResult(Part):
    """All attacks on one form.

    Attributes:
        form: "float", "quantized", "program", or any name.
        target: what answered.
        clean: accuracy on the images, as the chip receives them.
        attacks: in the order they were run.
        worst: share of samples that are right and survive every attack.
        worst_on_grid: the same after rounding every example to the chip's input; examples that rounding spoils were not
            made again, so it is an upper bound.
        worst_by: as worst, over the attacks of one access alone; None where they did not try all samples.
        outcomes: of the worst case, one letter a sample.
        probes: None for victims without gradients.
        saturation: of the search; None where there was none.
        foreign: modules whose surrogates or state could not be taken over; empty also where nobody looked, in records
            before version 0.3.
        judged: by other targets.
        alarms: see :func:`..robustness.alarms.alarms`.
        reliable: whether no alarm was raised; notes do not count.
        seconds: wall time of attacks and probes.
    """

    form: str
    target: str
    clean: Share
    attacks: list[Outcome]
    worst: Share
    worst_on_grid: Share
    worst_by: dict[str, Share | None]
    outcomes: str
    probes: Probes | None
    saturation: Saturation | None = None
    foreign: list[Foreign] = Field(default_factory=list)
    judged: dict[str, Judged] = Field(default_factory=dict)
    alarms: list[Alarm] = Field(default_factory=list)
    reliable: bool = True
    seconds: float


class Robustness(Record):
    """A protocol on a run.

    Attributes:
        threat: the threat model: "pixel", "encoded", "encoded-binary" or "timing".
        threat_model: the same in words; the worst cases are about no other.
        epsilon: radius of the ball: of pixels of [0, 1], a whole number of the chip's input levels; of coded entries;
            or, for spikes, a number of edits, or their largest shift in steps.
        levels: the same in levels; None for coded input.
        shifts: all three budgets of spikes moved in time: "largest", "total", "touched"; None elsewhere.
        asked: the radius that was asked for.
        samples: the first so many test images.
        cascade: whether attacks tried only samples that earlier ones left.
        seed: of every attack.
        draws: of a stochastic coder that attacks with gradients averaged.
        unreceivable: why the Program was not attacked; None if it could receive what attackers make.
        examples: hash of the worst-case examples of each form, which are kept beside the record; empty before 0.3.
    """

    data: Data
    program: ProgramId
    recipe: dict[str, Any] | None
    machine: Machine
    protocol: str
    threat: str = "pixel"
    threat_model: str
    epsilon: float
    levels: int | None
    shifts: dict[str, int | None] | None = None
    asked: float
    samples: int
    cascade: bool
    seed: int
    draws: int = 1
    unreceivable: str | None = None
    forms: list[FormResult]
    examples: dict[str, str] = Field(default_factory=dict)
    summary: str
    seconds: float

    @property
    def size(self) -> str:
        """The budget, as labels of attacks end."""
        if self.shifts is not None:
            largest = self.shifts["largest"]
            assert largest is not None
            return Shifts(largest, self.shifts["total"], self.shifts["touched"]).label
        return f"{self.epsilon:g}" + "-spikes" * (self.threat == "encoded-binary")


def letters(right: Mask, tried: Mask, robust: Mask) -> str:
    """Return one letter a sample, see :data:`WRONG`."""
    found = np.where(tried, np.where(robust, SURVIVED, BROKEN), UNTRIED)
    return "".join(np.where(right, found, WRONG).tolist())


def is_letter(outcomes: str, letter: str) -> Mask:
    """Return where ``outcomes`` has ``letter``, (samples,)."""
    found: Mask = np.array(list(outcomes)) == letter
    return found


def read(path: Path) -> Robustness:
    """Return the record in ``path``.

    Raises:
        FileError: missing, corrupt, or of another schema.
    """
    return read_model(Robustness, path, "run 'spikeproof robustness --protocol'")
