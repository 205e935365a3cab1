"""Figures of forms: cells, rows of them, and the names of their columns."""

from dataclasses import dataclass, field
from typing import Literal

How = Literal["measured", "counted", "estimated", "missing"]
ANN = "INT8 ANN"


@dataclass(frozen=True)
class Cell:
    """One figure of one form: a value, or an interval, or neither, and then why.

    Attributes:
        how: measured on a run, counted on the network, estimated from constants, or missing.
        value: None where there is only an interval.
        low: of the interval.
        high: of the interval.
        samples: behind it.
        note: what a reader must know; for a missing figure how to get it.
        doubtful: whether the figure cannot be believed; the note says why.
    """

    how: How
    value: float | None = None
    low: float | None = None
    high: float | None = None
    samples: int | None = None
    note: str = ""
    doubtful: bool = False


@dataclass(frozen=True)
class Row:
    """One quantity of all forms.

    Attributes:
        group: accuracy, robustness, sparsity, latency, energy or memory.
        name: the quantity.
        condition: of the images; empty where it does not matter.
        unit: "share" is shown in per cent.
        better: which direction is.
        cells: by column; a form that has no such quantity has no cell.
        part: what part of the quantity this is; empty for the whole.
    """

    group: str
    name: str
    condition: str
    unit: str
    better: Literal["higher", "lower", ""]
    cells: dict[str, Cell] = field(default_factory=dict)
    part: str = ""


def column(form: str, target: str, device: str = "cpu") -> str:
    """Return a column's name."""
    return f"Program · {target}" if form == "program" else f"{form} · {target} {device}"


def missing(why: str) -> Cell:
    """Return an empty cell with the reason."""
    return Cell("missing", note=why)
