"""The page of an adaptation: every change and what it costs."""

from pathlib import Path
from typing import Any

from ...toolkit.files import write_text
from ..records.adaptation import Adaptation
from .table import render_table


def rows(record: Adaptation) -> list[dict[str, Any]]:
    """Return a row for every change."""
    return [
        {
            "layer": one.layer,
            "what": one.kind,
            "was": one.was,
            "is": one.becomes,
            "exact": one.exact,
            "accuracy alone, %": None if one.accuracy is None else 100 * one.accuracy.value,
            "same class, %": None if one.same is None else 100 * one.same,
        }
        for one in record.changes
    ]


def render_adaptation(record: Adaptation) -> str:
    """Return the page as HTML."""
    notes = [f"{one.layer}, {one.kind}: {one.why}." for one in record.changes]
    notes += [f"Left: {one}." for one in record.left]
    return render_table(record, "adapt", "What was changed, and what it costs", record.sentences, rows(record), notes)


def write_adaptation(path: Path, record: Adaptation) -> None:
    """Write the page.

    Args:
        path: replaced atomically.
        record: of a run.

    Raises:
        FileError: ``path`` cannot be written.
    """
    write_text(path, render_adaptation(record))
