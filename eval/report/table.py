"""A page of one table: what a record of rows needs, and no more."""

from collections.abc import Sequence
from typing import Any

from ..records.base import Record
from . import environment


def render_table(
    record: Record,
    kind: str,
    title: str,
    sentences: Sequence[str],
    rows: Sequence[dict[str, Any]],
    notes: Sequence[str] = (),
) -> str:
    """Return a record's page as HTML.

    Args:
        record: whose header is shown.
        kind: of record, a word.
        title: of the page.
        sentences: what was found, above the table.
        rows: one dictionary a row; the first one's keys are the columns.
        notes: below the table.
    """
    names = list(rows[0]) if rows else []
    numbers = [index for index, name in enumerate(names) if all(isinstance(row[name], int | float) for row in rows)]
    parts = {"record": record, "kind": kind, "title": title, "sentences": sentences, "notes": notes, "names": names}
    cells = [[cell_text(cell) for cell in row.values()] for row in rows]
    return environment().get_template("table.html.j2").render(parts, rows=cells, numbers=numbers).strip() + "\n"


def cell_text(cell: Any) -> str:
    """Return what a table shows for a value; a dash where there is none."""
    if cell is None:
        return "\u2013"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)
