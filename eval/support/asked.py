"""Whether something runs somewhere, and how a Program is put to every target and chip of its arithmetic."""

from dataclasses import dataclass

from ...export.chip import chips
from ...export.program import Program
from ...hw_targets.target import get_target, target_names


@dataclass(frozen=True)
class Answer:
    """Whether a construct runs somewhere.

    Attributes:
        construct: its name.
        where: a target, a chip, or the family of chips that a network is exported for.
        reason: why not; empty where it does.
    """

    construct: str
    where: str
    reason: str


def everywhere(construct: str, program: Program) -> list[Answer]:
    """Return where a Program runs: each target that computes its profile, and each chip that does."""
    targets = [target for target in map(get_target, target_names()) if target.form == "program"]
    return [
        *(
            Answer(construct, target.name, "; ".join(target.unsupported(program)))
            for target in targets
            if program.profile in target.profiles
        ),
        *(Answer(construct, chip, "; ".join(chips.unsupported(program, chip))) for chip in chips.alike(program)),
    ]
