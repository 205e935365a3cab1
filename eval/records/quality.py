"""The record of a protocol on answers that are no classes: how much of their quality attacks take inside a ball."""

from pathlib import Path
from typing import Any

from pydantic import Field

from .base import Data, Machine, MeanQuality, Part, ProgramId, Record, read_model


class Attempt(Part):
    """One attack on one form.

    Attributes:
        label: the attack's.
        access: what it knows of the victim; "transfer" for examples that were made on the float network.
        settings: all of them.
        quality: of the answers to its examples.
        distance: largest distance to the clean images.
        seconds: wall time.
    """

    label: str
    access: str
    settings: dict[str, Any]
    quality: MeanQuality
    distance: float
    seconds: float


class FormQuality(Part):
    """All attacks on one form.

    Attributes:
        form: "float", "quantized" or "program".
        target: what answered.
        clean: quality on the images, as the chip receives them.
        attacks: in the order they were run.
        worst: quality where every sample has the worst of its answers, the clean one among them.
        loss: the largest loss of quality of a sample, clean minus worst; of errors worst minus clean.
        scores: (clean, worst) of every sample.
        answers_differ: samples, clean and worst together, to which another target answers otherwise, by its name.
        left_out: attacks of the protocol that look for another class, which there is not.
        notes: why what attacks found cannot be believed to be near the worst.
        seconds: wall time.
    """

    form: str
    target: str
    clean: MeanQuality
    attacks: list[Attempt]
    worst: MeanQuality
    loss: float
    scores: list[tuple[float, float]]
    answers_differ: dict[str, int]
    left_out: list[str]
    notes: list[str] = Field(default=[], exclude_if=lambda found: not found)
    seconds: float


class QualityUnderAttack(Record):
    """A protocol on all forms of a network whose answers are no classes.

    Attributes:
        task: what outputs are for.
        protocol: its name.
        threat_model: what the attacker may do, in words.
        epsilon: radius of the ball, a whole number of the chip's input levels.
        levels: the same in levels; 0 where spikes are changed: then the radius is a number of edits, or of steps.
        asked: the radius that was asked for.
        samples: the first so many test images.
        seed: added to that of every attack.
        threat: "pixel", "encoded-binary" or "timing".
        forms: what was found.
        examples: hash of the worst examples of each form, which are kept beside the record.
        summary: one sentence.
        seconds: wall time.
    """

    data: Data
    program: ProgramId
    recipe: dict[str, Any] | None
    machine: Machine
    task: str
    protocol: str
    threat_model: str
    epsilon: float
    levels: int
    asked: float
    samples: int
    seed: int
    threat: str = Field(default="pixel", exclude_if=lambda found: found == "pixel")
    forms: list[FormQuality]
    examples: dict[str, str]
    summary: str
    seconds: float


def read(path: Path) -> QualityUnderAttack:
    """Return the record in ``path``.

    Raises:
        FileError: missing, corrupt, or of another schema.
    """
    return read_model(QualityUnderAttack, path, "run 'spikeproof robustness'")
