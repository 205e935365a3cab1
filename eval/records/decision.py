"""The record of decisions: after how many steps the answers of each form are right and stay so."""

from pathlib import Path
from typing import Any

from .base import Data, Machine, Part, ProgramId, Record, Share, read_model


class FormDecision(Part):
    """One form.

    Attributes:
        form: "float", "quantized" or "program".
        target: what answered.
        right: samples whose answer is right behind the last step, ties to the lowest index, as accuracy counts them.
        decided: samples whose right class has the largest output alone, from some step on to the last.
        steps: of every decided sample the first such step, from 1; None for the others.
        median: of these steps; None where nothing is decided.
        mean: of these steps.
        late: 95 of 100 decided samples are by then.
        by_step: share of samples that are right, alone, behind each step; ties are no answer.
    """

    form: str
    target: str
    right: Share
    decided: Share
    steps: list[int | None]
    median: float | None
    mean: float | None
    late: float | None
    by_step: list[float]

    @property
    def text(self) -> str:
        """What was found, in words."""
        if self.median is None:
            return f"{self.form} on {self.target} decides nothing"
        return (
            f"{self.form} on {self.target}: {100 * self.decided.value:.1f} % decided, half of them by step "
            f"{self.median:g}, 95 % by step {self.late:g}"
        )


class Decision(Record):
    """Decisions of all forms.

    Attributes:
        samples: the first so many test samples.
        time_steps: of a sample.
        start: clock steps before the Program's read-out sees the first step of a sample: its answers are that much
            later on the chip's clock.
        readout: how classes are read: "spike_count", "first_spike" or "membrane".
        forms: what was found.
        seconds: wall time.
    """

    data: Data
    program: ProgramId
    recipe: dict[str, Any] | None
    machine: Machine
    samples: int
    time_steps: int
    start: int
    readout: str
    forms: list[FormDecision]
    seconds: float

    @property
    def sentences(self) -> list[str]:
        """What was found, and what the numbers do not say."""
        return [
            f"{'; '.join(form.text for form in self.forms)}; of {self.time_steps} steps.",
            f"On the chip's clock an answer of the Program is {self.start} steps later: so long spikes travel to the "
            "read-out.",
            "Nobody knows at a step whether an answer will stay: this is when it could have been read, not a rule for "
            "reading it.",
        ]


def read(path: Path) -> Decision:
    """Return the record in ``path``.

    Raises:
        FileError: missing, corrupt, or of another schema.
    """
    return read_model(Decision, path, "run 'spikeproof decision'")
