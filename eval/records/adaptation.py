"""The record of an adaptation: what was changed in a network so that it deploys, and what each change costs."""

from pathlib import Path

from .base import Part, Record, Share, read_model


class ChangeCost(Part):
    """One change, and the network with it alone.

    Attributes:
        layer: its name.
        kind: what was changed, a word.
        was: what it was.
        becomes: what it is.
        exact: whether no spike and no class changes, up to rounding, whatever the input.
        why: a sentence.
        accuracy: with this change alone; None where there were no data.
        same: share of samples that keep their class with this change alone; None likewise.
    """

    layer: str
    kind: str
    was: str
    becomes: str
    exact: bool
    why: str
    accuracy: Share | None
    same: float | None


class Adaptation(Record):
    """What a network became.

    Attributes:
        before: accuracy of the network as it was; None where there were no data.
        after: with all changes.
        same: share of samples that keep their class with all changes.
        changes: in the order in which they were made.
        left: what has no form on the chip still, and no known answer.
        refused: why the adapted network, rounded to 8 bits, does not lower; None if it does.
        lowered: whether that was tried as far as the Program; else only as far as its weight grid.
    """

    before: Share | None
    after: Share | None
    same: float | None
    changes: list[ChangeCost]
    left: list[str]
    refused: str | None
    lowered: bool

    @property
    def sentences(self) -> list[str]:
        """What happened, in words."""
        inexact = sum(not change.exact for change in self.changes)
        found = [f"{len(self.changes)} changes, {len(self.changes) - inexact} of them exact."]
        if self.before is not None and self.after is not None and self.same is not None:
            found.append(
                f"Accuracy {100 * self.before.value:.1f} % before, {100 * self.after.value:.1f} % after, of "
                f"{self.before.samples} samples; {100 * self.same:.1f} % keep their class."
            )
        if self.refused is not None:
            found.append(f"It does not deploy: {self.refused}.")
        elif self.lowered:
            found.append("It deploys; fine-tuning (quantize with epochs) makes up for what the changes cost.")
        else:
            found.append("Its weights have a grid; with data, or the shape of an image, it is lowered, too.")
        return found


def read_adaptation(path: Path) -> Adaptation:
    """Return the record in ``path``.

    Raises:
        FileError: missing, corrupt, or of another schema.
    """
    return read_model(Adaptation, path, "run 'spikeproof adapt'")
