"""The page of proofs: robust accuracy as an interval, and how each sample was decided."""

from pathlib import Path

from ...toolkit.files import write_text
from ..records.proof import Proof, decided_by
from . import environment, words

WORDS = {
    "proved": "no input of the ball changes the class",
    "broken": "an example changes it, judged by loihi",
    "open": "not known",
    "wrong": "wrong without any change",
}
BY = {"run": "a run", "sets": "sets of spike trains", "solver": "the exact solver", "search": "search"}


def render_proof(record: Proof) -> str:
    """Return the page of a record of proofs as HTML."""
    groups = [
        (status, WORDS[status], BY[by], len(seconds), sum(seconds), max(seconds))
        for (status, by), seconds in decided_by(record.samples).items()
    ]
    page = (
        environment()
        .get_template("proof.html.j2")
        .render(
            record=record,
            groups=sorted(groups, key=lambda group: (list(WORDS).index(group[0]), -group[3])),
            open=[(index, one.reason) for index, one in enumerate(record.samples) if one.status == "open"],
            width=words.percent(record.width),
            low=words.percent(record.proved.value),
            high=words.percent(record.unbroken.value),
            size=f"{record.radius} levels" if record.threat == "pixel" else f"{record.radius} edits",
        )
    )
    return page.strip() + "\n"


def write_proof(path: Path, record: Proof) -> None:
    """Write the page of a record of proofs.

    Args:
        path: replaced atomically.
        record: what was decided.

    Raises:
        FileError: ``path`` cannot be written.
    """
    write_text(path, render_proof(record))
