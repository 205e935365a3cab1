"""The page of a network whose answers are no classes, under attack."""

from pathlib import Path

from ...toolkit.files import write_text
from ..records.quality import QualityUnderAttack
from . import environment


def render_quality(record: QualityUnderAttack) -> str:
    """Return the page of the record as HTML."""
    rows = {form.form: [(one.label, one.access, one.quality) for one in form.attacks] for form in record.forms}
    return environment().get_template("quality.html.j2").render(record=record, rows=rows).strip() + "\n"


def write_quality(path: Path, record: QualityUnderAttack) -> None:
    """Write the page of the record; ``path`` is replaced atomically."""
    write_text(path, render_quality(record))
