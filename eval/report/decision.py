"""The page of decisions: accuracy over the steps of a sample, and when answers stay."""

from pathlib import Path

from ...toolkit.files import write_text
from ..records.decision import Decision
from . import environment


def render_decision(record: Decision) -> str:
    """Return the page of the record as HTML."""
    return environment().get_template("decision.html.j2").render(record=record).strip() + "\n"


def write_decision(path: Path, record: Decision) -> None:
    """Write the page of the record; ``path`` is replaced atomically."""
    write_text(path, render_decision(record))
