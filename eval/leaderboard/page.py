"""The leaderboard as Markdown and as an HTML page that sorts in the browser."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...toolkit.coding import LEVELS
from ...toolkit.files import write_text
from ..records.base import FORMS, FormName
from ..records.leaderboard import Claim, Entry
from ..report import environment

NAMES: dict[FormName, str] = {"float": "float", "quantized": "quantized", "program": "Program"}


@dataclass(frozen=True)
class Column:
    """A column: what is told of which form."""

    form: FormName
    condition: str
    quantity: str
    short: str
    digits: int
    scale: float = 1.0

    @property
    def title(self) -> str:
        """Heading, with the form."""
        return f"{NAMES[self.form]} {self.short}"


OTHERS: tuple[Column, ...] = (
    Column("program", "clean", "spike rate", "spikes a neuron and step", 3),
    Column("program", "clean", "synaptic operations", "thousand operations a sample", 1, 1e-3),
    Column("float", "clean", "zero-gradient share", "zero-gradient share", 2),
    Column("float", "clean", "gradient L1", "gradient L1", 2),
    Column("float", "training", "seconds an epoch", "processor seconds an epoch", 2),
)


def conditions(entries: Sequence[Entry]) -> list[str]:
    """Return "clean" and the protocols that were run."""
    return ["clean", *entries[0].plan["protocols"]]


def proofs(entries: Sequence[Entry]) -> list[str]:
    """Return the conditions that are proved of the Program: the lower end of its robust accuracy at each radius."""
    return [f"proved at {radius}/{LEVELS}" for radius in entries[0].plan.get("prove", ())]


def accuracies(entries: Sequence[Entry]) -> list[Column]:
    """Return the columns of accuracy: every form under every condition, and at last what is proved of the Program."""
    every = [(form, name) for form in FORMS for name in conditions(entries)]
    every += [("program", name) for name in proofs(entries)]
    return [Column(form, name, "accuracy", name, 1) for form, name in every]


@dataclass(frozen=True)
class Cell:
    """What stands in a table: text, the number it sorts by, and a doubt if there is one."""

    text: str
    value: float | None
    doubt: str = ""


def cell(claim: Claim | None, column: Column) -> Cell:
    """Return the cell of a claim: mean ± spread over seeds; a dash where nothing was measured."""
    if claim is None:
        return Cell("\u2013", None)
    value = claim.value * column.scale
    text = f"{value:.{column.digits}f}"
    if claim.spread is not None:
        text += f" ± {claim.spread * column.scale:.{column.digits}f}"
    doubt = f"alarms: {', '.join(claim.alarms)}" if claim.reliable is False else ""
    return Cell(text, value, doubt)


def rows(entries: Sequence[Entry], columns: Sequence[Column]) -> list[tuple[Entry, list[Cell]]]:
    """Return a row of cells for each method."""
    return [(entry, [cell(entry.find(c.form, c.condition, c.quantity), c) for c in columns]) for entry in entries]


def markdown(entries: Sequence[Entry]) -> str:
    """Return the leaderboard as Markdown: accuracies by form and condition, then sparsity and cost, then papers."""
    parts = [_about(entries), _table(entries, accuracies(entries)), MARKS, _table(entries, OTHERS), _deploys(entries)]
    reported = _claimed(entries)
    if reported:
        parts.append(_reported(reported))
    return "\n\n".join(parts) + "\n"


MARKS = "`!` marks a number with an alarm: it is not to be believed. Mean ± sample standard deviation over seeds."


def _about(entries: Sequence[Entry]) -> str:
    first = entries[0]
    seeds = ", ".join(str(seed) for seed in first.seeds)
    return (
        f"Data: {first.data.provenance}; the first {first.plan['samples']} test images are measured; seeds {seeds}. "
        "Accuracy in %; under attack it is the worst case over all attacks of the protocol, in pixel space, "
        f"L-infinity, radius {first.plan['epsilon']:g}."
    )


def _table(entries: Sequence[Entry], columns: Sequence[Column]) -> str:
    lines = [
        "| method | " + " | ".join(column.title for column in columns) + " |",
        "| --- |" + " ---: |" * len(columns),
    ]
    for entry, cells in rows(entries, columns):
        shown = [f"{one.text}{' !' if one.doubt else ''}" for one in cells]
        lines.append(f"| {entry.method} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def _deploys(entries: Sequence[Entry]) -> str:
    return "\n".join(["| method | on the chip |", "| --- | --- |", *(f"| {e.method} | {e.deploys} |" for e in entries)])


def _claimed(entries: Sequence[Entry]) -> list[Claim]:
    """Return what papers report, once, though "at+sr" has the claims of both."""
    found = [claim for entry in entries for claim in entry.claims if claim.kind == "reported"]
    return [claim for place, claim in enumerate(found) if claim not in found[:place]]


def _reported(claims: Sequence[Claim]) -> str:
    lines = ["| method | condition | what | reported | source |", "| --- | --- | --- | ---: | --- |"]
    lines += [f"| {c.method} | {c.condition} | {c.quantity} | {c.value:g} {c.unit} | {c.source} |" for c in claims]
    return "\n".join(lines)


def render(entries: Sequence[Entry]) -> str:
    """Return the page: one table, sorted by a click on a heading."""
    reported = _claimed(entries)
    columns = [*accuracies(entries), *OTHERS]
    more = {"program": len(proofs(entries))}
    groups = [(NAMES[form], len(conditions(entries)) + more.get(form, 0)) for form in FORMS]
    page = (
        environment()
        .get_template("leaderboard.html.j2")
        .render(
            about=_about(entries),
            title=(entries[0].data.provenance or entries[0].data.name).split(",")[0],
            columns=columns,
            groups=groups,
            others=len(OTHERS),
            rows=rows(entries, columns),
            reported=reported,
            command=entries[0].command,
        )
    )
    return page.strip() + "\n"


def write_page(path: Path, entries: Sequence[Entry]) -> None:
    """Write the page.

    Raises:
        FileError: ``path`` cannot be written.
    """
    write_text(path, render(entries))
