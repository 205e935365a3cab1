"""The page of float, quantized and deployed side by side."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from ...export.chip import CHIPS
from ...export.chip.limits import load_limits
from ...toolkit.files import write_text
from ..cost.cells import ANN, Cell, Row
from ..cost.constants import Table, table
from ..cost.table import SideBySide
from ..records.cost import ChipCost, Cost
from ..records.evaluation import Evaluation
from . import environment, plots, words
from .drawing import BLUE, GREY, ORANGE, style, svg

TITLES = {
    "accuracy": "Accuracy",
    "robustness": "Robustness",
    "sparsity": "Sparsity in four views",
    "latency": "Latency",
    "energy": "Energy",
    "memory": "Memory",
}
TERMS = {
    "synapse": "synaptic operations",
    "active": "active neuron updates",
    "idle": "idle neuron updates",
    "spike": "spikes",
    "message": "messages to a core",
    "hop": "hops between tiles",
    "static": "static power",
}


def render_compare(found: SideBySide, cost: Cost, record: Evaluation | None, links: Mapping[str, str]) -> str:
    """Return the page as HTML.

    Args:
        found: the table.
        cost: what it took the costs from.
        record: of ``evaluate``, for the plot of accuracies; None if it was not run.
        links: titles of the run's other pages, by file name.
    """
    if record is not None and "record.json" not in found.sources:
        record = None  # Of another Program.
    groups = {title: _group(found, key) for key, title in TITLES.items() if key != "energy"}
    page = (
        environment()
        .get_template("compare.html.j2")
        .render(
            found=found,
            cost=cost,
            links=links,
            lead=_lead(found, cost, record),
            tiles=list(_tiles(found, cost)),
            groups=groups,
            accuracy_plot=_accuracy_plot(record),
            elsewhere=_part(found, [row for row in found.rows if row.name == "an image, elsewhere"]),
            energy_plot=_energy_plot(found, cost),
            chips=[_chip(chip) for chip in cost.chips],
            sources=_sources(table()),
            constants=list(_constants(table())),
        )
    )
    return page.strip() + "\n"


def write_compare(
    path: Path, found: SideBySide, cost: Cost, record: Evaluation | None, links: Mapping[str, str]
) -> None:
    """Write the page, see :func:`render_compare`.

    Raises:
        FileError: ``path`` cannot be written.
    """
    write_text(path, render_compare(found, cost, record, links))


def _cell(cell: Cell | None, unit: str) -> dict[str, Any] | None:
    if cell is None:
        return None
    figure, ends = words.figure(cell, unit)
    return {
        "figure": figure,
        "ends": ends,
        "how": cell.how,
        "note": cell.note,
        "samples": cell.samples,
        "doubtful": cell.doubtful,
    }


def _part(found: SideBySide, rows: Sequence[Row]) -> dict[str, Any]:
    columns = [name for name in found.columns if any(name in row.cells for row in rows)]
    missing = {one.note: None for row in rows for one in row.cells.values() if one.how == "missing" and one.note}
    notes = {one.note: None for row in rows for one in row.cells.values() if one.how != "missing" and one.note}
    return {
        "columns": columns,
        "rows": [
            {
                "name": row.name,
                "condition": row.condition,
                "cells": [_cell(row.cells.get(name), row.unit) for name in columns],
            }
            for row in rows
        ],
        "missing": list(missing),
        "notes": list(notes),
    }


def _group(found: SideBySide, key: str) -> dict[str, Any]:
    return {"id": key, **_part(found, [row for row in found.rows if row.group == key])}


def _first(found: SideBySide, name: str, condition: str, column: str) -> Cell | None:
    rows = (row for row in found.rows if row.name.startswith(name) and row.condition == condition)
    cell = next((row.cells.get(column) for row in rows), None)
    return None if cell is None or cell.how == "missing" else cell


def _program(found: SideBySide) -> str:
    return next(name for name in found.columns if name.startswith("Program"))


def _estimated(cost: Cost) -> ChipCost | None:
    return next((chip for chip in cost.chips if not chip.absent), None)


def _dearest(chip: ChipCost) -> str | None:
    attacks = {name: ends[1] for name, ends in chip.total.items() if name != "clean"}
    return max(attacks, key=lambda name: attacks[name], default=None)


def _lead(found: SideBySide, cost: Cost, record: Evaluation | None) -> str:
    program = _program(found)
    right = _first(found, "accuracy", "clean", program)
    beside = _first(found, "accuracy", "clean", found.columns[0])
    parts = []
    if right is not None and beside is not None:
        parts.append(
            f"As integers this network gets {words.percent(right.value or 0.0)} % of {right.samples} images right, in "
            f"float {words.percent(beside.value or 0.0)} %."
        )
    else:
        parts.append("Accuracy was not measured.")
    chip = _estimated(cost)
    if chip is not None:
        name = load_limits(chip.chip).title
        parts.append(f"At the public prices of {name} an image would cost {words.interval(*chip.total['clean'], 'J')}")
        dearest = _dearest(chip)
        ratio = dearest and _first(found, "what the attack costs", dearest, program)
        if dearest and ratio and ratio.low is not None and ratio.high is not None:
            parts[-1] += f", and {words.interval(ratio.low, ratio.high, 'times clean')} that under {dearest}"
        parts[-1] += f"; an INT8 ANN of the same layers {words.interval(*cost.ann.joules, 'J')}."
    return " ".join(parts)


def _tiles(found: SideBySide, cost: Cost) -> Iterator[words.Tile]:
    program = _program(found)
    for title, name, unit in (
        ("Neuron steps without a spike", "neuron steps without", "share"),
        ("Synaptic operations saved", "synaptic operations saved", "share"),
    ):
        cell = _first(found, name, "clean", program)
        if cell is not None:
            yield words.Tile(title, words.amount(cell.value or 0.0, unit), "Program, clean images")
    rows = [row for row in found.rows if row.name.startswith("worst case, protocol")]
    worst = rows[0].cells[program] if rows else None
    if worst is not None and worst.how == "measured":
        note = "Program, right and surviving every attack" + ("; unreliable" if worst.doubtful else "")
        yield words.Tile("Worst case", words.amount(worst.value or 0.0, "share"), note, bad=worst.doubtful)
    chip = _estimated(cost)
    if chip is not None:
        name = load_limits(chip.chip).title
        ends = words.interval(*chip.total["clean"], "J")
        yield words.Tile(f"Energy an image, {name}", ends, "estimate, clean images", bad=bool(chip.unsuitable))
        ends = words.interval(*chip.time["clean"], "s")
        yield words.Tile(f"Time an image, {name}", ends, f"estimate, {chip.steps} time steps")
        dearest = _dearest(chip)
        ratio = dearest and _first(found, "what the attack costs", dearest, program)
        if ratio:
            value, _ = words.figure(ratio, "times clean")
            yield words.Tile("What an attack costs", value, f"energy under {dearest} / clean")


def _chip(chip: ChipCost) -> dict[str, Any]:
    """Return the table of one chip: a row a term, a column a condition, and beside each attack what it costs."""

    def cells(ends: Mapping[str, tuple[float, float]]) -> list[str]:
        row = []
        for name, (low, high) in ends.items():
            row.append(words.interval(low, high, "J"))
            if name != "clean":
                pairs = zip((low, high), ends["clean"], strict=True)
                ratios = [part / whole for part, whole in pairs if whole]
                row.append(words.interval(min(ratios), max(ratios), "times clean") if ratios else "\u2013")
        return row

    def term(name: str) -> dict[str, tuple[float, float]]:
        return {condition: terms[name] for condition, terms in chip.terms.items()}

    return {
        "name": load_limits(chip.chip).title,
        "chip": chip,
        "conditions": list(chip.total),
        "rows": [(TERMS[name], cells(term(name))) for name in next(iter(chip.terms.values()), {})],
        "total": cells(chip.total),
        "step": [words.interval(*ends, "s") for ends in chip.step.values()],
    }


def _sources(constants: Table) -> list[tuple[str, Any]]:
    return list(constants.sources.items())


def _constants(constants: Table) -> Iterator[dict[str, Any]]:
    for one in constants.constants:
        low, high = (f"{end:g}" for end in one.value)
        yield {
            "one": one,
            "chip": load_limits(one.chip).title if one.chip in CHIPS.names() else ANN,
            "value": low if low == high else f"{low} to {high}",
            "url": constants.sources[one.source].url,
        }


def _accuracy_plot(record: Evaluation | None) -> Markup | None:
    if record is None:
        return None
    forms = [form for form in record.forms if form.form != "program" or form.target == "loihi"]
    conditions = list(dict.fromkeys(name for form in forms for name in form.conditions))
    return plots.accuracy_plot(forms, [words.label(form) for form in forms], conditions)


def _energy_plot(found: SideBySide, cost: Cost) -> Markup | None:
    """Draw every energy of an image as a bar from its low to its high end, on one logarithmic axis."""
    bars: list[tuple[str, float, float, str]] = []
    for chip in cost.chips:
        bars += [
            (f"Program, {load_limits(chip.chip).title}, {name}", low, high, BLUE)
            for name, (low, high) in chip.total.items()
        ]
    row = next(row for row in found.rows if row.name == "an image, elsewhere")
    for name, cell in row.cells.items():
        if cell.low is not None and cell.high is not None:
            colour = ORANGE if cell.how == "estimated" else GREY
            bars.append((f"{name}, {cell.how}", cell.low, cell.high, colour))
    bars = [bar for bar in bars if bar[2] > 0]
    if not bars:
        return None
    with style("energy"):
        figure = Figure(figsize=(6.4, 0.9 + 0.36 * len(bars)), layout="constrained")
        axes = figure.subplots()
        axes.set_xscale("log")
        for index, (_, low, high, colour) in enumerate(bars):
            # A low end of 0 has no place on a logarithmic axis; the bar then begins at its left edge.
            axes.barh(index, high - max(low, high * 1e-6), 0.6, left=max(low, high * 1e-6), color=colour)
        axes.set_yticks(range(len(bars)), [name for name, *_ in bars])
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(bars) - 0.4, -0.6)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: words.amount(value, "J")))
        axes.set_xlabel("energy of an image, from the low to the high end")
        axes.grid(axis="x")
        return svg(
            figure, "energy", "Energy of an image by form and condition, as intervals on a logarithmic axis", 1.2
        )
