"""The page of ``spikeproof faults``: accuracy against flips, what each layer and bit position costs, what is proved."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ...toolkit.files import write_text
from ..records.faults import Faults, Group
from . import environment, words
from .drawing import BLUE, GREY, INK, ORANGE, style, svg

SEARCHED = (ORANGE, "#CC79A7")


def render_faults(record: Faults) -> str:
    """Return the page of a record as HTML."""
    page = (
        environment()
        .get_template("faults.html.j2")
        .render(
            record=record,
            curves=curves_plot(record),
            bits=groups_plot(record.groups),
            proof=None if record.proof.absent else proof_plot(record),
            costliest=[_group(group) for group in sorted(record.groups, key=lambda group: -group.lost)[:15]],
            percent=words.percent,
            points=_points,
            selection=_selection(record),
        )
    )
    return page.strip() + "\n"


def write_faults(path: Path, record: Faults) -> None:
    """Write the page of a record.

    Args:
        path: replaced atomically.
        record: what was measured.

    Raises:
        FileError: ``path`` cannot be written.
    """
    write_text(path, render_faults(record))


def _selection(record: Faults) -> str:
    chosen = record.selection
    parts = [("layer", chosen.layer), ("field", chosen.field), ("bit", chosen.bit)]
    named = [f"{name} {value}" for name, value in parts if value is not None]
    return words.listed(named) or "any stored bit"


def _points(share: float) -> str:
    """Return points to one decimal, without a sign before 0."""
    return f"{round(100 * share, 1) + 0.0:.1f}"


def _group(group: Group) -> dict[str, Any]:
    place = "any" if group.bit is None else str(group.bit)
    return {"group": group, "bit": place, "lost": _points(group.lost)}


def curves_plot(record: Faults) -> Markup:
    """Draw accuracy against the number of flips: by chance with the range over seeds, and by search."""
    with style("curves"):
        figure = Figure(figsize=(6.4, 3.3), layout="constrained")
        axes = figure.subplots()
        for chance, (colour, marker) in zip(
            record.chances, ((GREY, "^"), (BLUE, "o"))[-len(record.chances) :], strict=True
        ):
            sizes = [one.flips for one in chance.random]
            low, high = [100 * one.least for one in chance.random], [100 * one.most for one in chance.random]
            axes.fill_between(sizes, low, high, color=colour, alpha=0.15, linewidth=0)
            mean = [100 * one.mean for one in chance.random]
            label = f"random, {chance.field or 'any field'}"
            axes.plot(sizes, mean, marker=marker, color=colour, markersize=4, label=label)
        for search, colour in zip(record.searches, SEARCHED, strict=False):
            numbers = range(1, len(search.flips) + 1)
            values = [100 * flip.accuracy for flip in search.flips]
            what = search.field or "any field"
            axes.plot(numbers, values, "s-", color=colour, markersize=4, label=f"searched, {what}")
        axes.axhline(100 * record.clean.value, color=GREY, linewidth=1, linestyle="--", label="no flips")
        axes.set_xscale("log", base=2)
        ticks = [one.flips for one in max((chance.random for chance in record.chances), key=len)]
        axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks], fontsize=8)
        axes.set_xlabel("flipped bits")
        axes.set_ylabel("accuracy, %")
        axes.set_ylim(-2, 102)
        axes.grid(axis="y")
        figure.legend(loc="outside upper left", ncols=2, fontsize=8)
        return svg(figure, "curves", "Accuracy against the number of flipped bits, by chance and by search", 1.2)


def groups_plot(groups: Sequence[Group]) -> Markup:
    """Draw points of accuracy lost, a row a layer and field, a column a bit position."""
    rows = list(dict.fromkeys((group.layer, group.field) for group in groups))
    widest = max((group.bit or 0) for group in groups) + 1
    values = np.full((len(rows), widest + 1), np.nan)
    for group in groups:
        values[rows.index((group.layer, group.field)), 0 if group.bit is None else group.bit + 1] = 100 * group.lost
    with style("bits"):
        figure = Figure(figsize=(7.6, 0.9 + 0.24 * len(rows)), layout="constrained")
        axes = figure.subplots()
        top = max(1.0, float(np.nanmax(values)))
        # Rectangles, not an image: the page holds nothing but vectors.
        drawn = axes.pcolormesh(values, cmap="YlOrRd", vmin=0, vmax=top, edgecolors="none")
        for (y, x), value in np.ndenumerate(values):
            if not np.isnan(value):
                colour = "white" if value > 0.65 * top else "black"
                axes.text(x + 0.5, y + 0.5, str(round(value)), ha="center", va="center", fontsize=6.5, color=colour)
        axes.set_xticks(np.arange(widest + 1) + 0.5, ["any", *map(str, range(widest))])
        axes.set_yticks(np.arange(len(rows)) + 0.5, [f"{layer}, {field}" for layer, field in rows], fontsize=7.5)
        axes.tick_params(length=0)
        axes.invert_yaxis()
        axes.set_xlabel("bit position, 0 the least significant")
        bar = figure.colorbar(drawn, ax=axes, shrink=0.6, label="points lost")
        if bar.solids is not None:
            bar.solids.set_edgecolor("face")
        return svg(figure, "bits", "Points of accuracy lost by flips in one layer, field and bit position", 1.2)


def proof_plot(record: Faults) -> Markup:
    """Draw for how many samples so many flips of the read-out layer change no class, proved and not broken."""
    most = record.proof.most
    numbers = np.arange(1, most + 1)
    proved = [100 * sum(one >= k for one in record.proof.proved) / record.samples for k in numbers]
    unbroken = [100 * sum(one is None or one > k for one in record.proof.broken) / record.samples for k in numbers]
    with style("proof"):
        figure = Figure(figsize=(5.4, 2.7), layout="constrained")
        axes = figure.subplots()
        axes.fill_between(numbers, proved, unbroken, color=GREY, alpha=0.2, linewidth=0, label="open")
        axes.plot(numbers, unbroken, "s-", color=ORANGE, markersize=4, label="not broken by our search")
        axes.plot(numbers, proved, "o-", color=INK, markersize=4, label="proved")
        axes.set_ylim(-2, 102)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("flipped bits of the read-out layer, whichever they are")
        axes.set_ylabel("samples that keep their class, %")
        axes.grid(axis="y")
        figure.legend(loc="outside upper left", ncols=3, fontsize=8)
        return svg(figure, "proof", "Samples that keep their class under any so many flips of the read-out layer", 1.2)
