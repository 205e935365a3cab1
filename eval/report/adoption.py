"""The page of an adoption: what a network was read as, and how it was compared."""

from pathlib import Path

from ...toolkit.files import write_text
from ..records.adoption import Adoption
from . import environment, words


def render_adoption(record: Adoption) -> str:
    """Return the page of a record as HTML."""
    page = (
        environment()
        .get_template("adoption.html.j2")
        .render(
            record=record,
            compared=sum(layer.spikes or 0 for layer in record.layers),
            differing=sum(layer.differing or 0 for layer in record.layers),
            refused=[layer for layer in record.layers if layer.refused],
            noted=[layer for layer in record.layers if layer.notes],
            accuracy=None if record.accuracy is None else words.percent(record.accuracy.value),
        )
    )
    return page.strip() + "\n"


def write_adoption(path: Path, record: Adoption) -> None:
    """Write the page of a record.

    Args:
        path: replaced atomically.
        record: of an adoption.

    Raises:
        FileError: ``path`` cannot be written.
    """
    write_text(path, render_adoption(record))
