"""The record of a self-test: what was compared on this machine, and what differed."""

from pathlib import Path
from typing import Literal

from .base import Part, Record, read_model


class Check(Part):
    """One comparison.

    Attributes:
        check: what was compared, in words.
        against: with what.
        compared: values that were compared; digests of many values where bytes are.
        different: values that differ.
        first: the first of them, in words; empty if there is none.
        missing: why it was not run; empty if it was.
        seconds: that it took.
    """

    check: str
    against: str
    compared: int = 0
    different: int = 0
    first: str = ""
    missing: str = ""
    seconds: float = 0.0

    @property
    def outcome(self) -> Literal["equal", "DIFFERS", "not run"]:
        """What became of it, in words."""
        if self.missing:
            return "not run"
        return "DIFFERS" if self.different else "equal"


class Selftest(Record):
    """All checks of one machine.

    Attributes:
        checks: in the order of the run.
        processor: what tells apart processors that need compiled loops of their own, as SHA-256.
        seconds: of all.
    """

    checks: tuple[Check, ...]
    processor: str
    seconds: float

    @property
    def equal(self) -> bool:
        """Whether nothing that was compared differs."""
        return not any(check.different for check in self.checks)


def read(path: Path) -> Selftest:
    """Return the record in ``path``.

    Raises:
        FileError: missing, corrupt, or of another schema.
    """
    return read_model(Selftest, path, "run 'spikeproof selftest'")
