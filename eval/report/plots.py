"""The report's charts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..records.base import MeanQuality
from ..records.evaluation import Condition, MeasuredForm
from .drawing import BLUE, FAINT, GREY, INK, ORANGE, style, svg
from .words import share_text

# Okabe and Ito's palette, told apart by colour-blind readers too; known forms keep their colour from report to report.
FORM_COLOURS = {
    "float torch": INK,
    "quantized torch": ORANGE,
    "program loihi": BLUE,
    "program onnx": "#009E73",
    "program lava": "#CC79A7",
}
SPARE_COLOURS = ("#D55E00", "#56B4E9", "#999999")
CONDITION_COLOURS = (BLUE, "#D55E00", "#56B4E9", "#999999", "#F0E442", "#009E73")
MARKERS = "osD^vPX*"


@dataclass(frozen=True)
class Series:
    """One colour of a grouped bar chart: a value a group, None where there is none."""

    label: str
    colour: str
    values: Sequence[float | None]


def form_styles(forms: Sequence[MeasuredForm]) -> list[tuple[str, str]]:
    """Return (colour, marker) of every form."""
    spare = iter(SPARE_COLOURS * len(forms))
    keys = [f"{form.form} {form.target}" for form in forms]
    return [(FORM_COLOURS.get(key) or next(spare), MARKERS[i % len(MARKERS)]) for i, key in enumerate(keys)]


def accuracy_plot(forms: Sequence[MeasuredForm], labels: Sequence[str], conditions: Sequence[str]) -> Markup:
    """Draw points with 95 % intervals: conditions along x, forms side by side.

    Args:
        forms: what was measured; those on fewer samples than the largest are drawn hollow.
        labels: a form's name, in the order of ``forms``.
        conditions: in the order of the x axis.
    """
    largest = max(form.samples for form in forms)
    with style("accuracy"):
        figure = Figure(figsize=(max(5.6, 1.4 * len(conditions)), 3.1), layout="constrained")
        axes = figure.subplots()
        places = np.linspace(-0.3, 0.3, len(forms)) if len(forms) > 1 else [0.0]
        for form, label, (colour, marker), place in zip(forms, labels, form_styles(forms), places, strict=True):
            found: list[tuple[float, MeanQuality]] = [
                (x + place, form.conditions[name].judged)
                for x, name in enumerate(conditions)
                if name in form.conditions and form.conditions[name].known
            ]
            middle = [judged.value for _, judged in found]
            # Rounding may put an end of the interval a hair inside the value.
            below = [max(0.0, judged.value - judged.low) for _, judged in found]
            above = [max(0.0, judged.high - judged.value) for _, judged in found]
            axes.errorbar(
                [x for x, _ in found],
                middle,
                yerr=[below, above],
                fmt=marker,
                color=colour,
                markerfacecolor=colour if form.samples == largest else "white",
                markersize=6,
                capsize=3,
                linewidth=1.4,
                label=label if form.samples == largest else f"{label} (n = {form.samples})",
            )
        for x in range(1, len(conditions)):
            axes.axvline(x - 0.5, color=FAINT, linewidth=0.8)
        axes.set_xticks(range(len(conditions)), conditions, rotation=30 if len(conditions) > 6 else 0)
        axes.tick_params(axis="x", length=0)
        axes.set_xlim(-0.5, len(conditions) - 0.5)
        first = next(iter(forms[0].conditions.values()))
        what, unit = first.measure
        if first.quality is None:
            axes.set_ylim(-2, 102)
            axes.set_yticks(range(0, 101, 20))
        axes.set_ylabel(f"{what}, {unit}")
        axes.grid(axis="y")
        figure.legend(loc="outside upper left", ncols=3, fontsize=8, handletextpad=0.3, columnspacing=1.2)
        label = f"{what[0].upper()}{what[1:]} with 95 % intervals for each form and condition, as in the table"
        return svg(figure, "accuracy", label, 1.35)


def _bars(axes: Any, groups: Sequence[str], series: Sequence[Series]) -> None:
    """Draw vertical bars side by side for each group."""
    width = 0.84 / len(series)
    for index, part in enumerate(series):
        place = (index - (len(series) - 1) / 2) * width
        shown = [(x + place, value) for x, value in enumerate(part.values) if value is not None]
        heights = [value for _, value in shown]
        axes.bar([x for x, _ in shown], heights, width * 0.9, color=part.colour, label=part.label)
    axes.set_xticks(range(len(groups)), groups, rotation=30 if len(groups) > 8 else 0)
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="y")


def rates_plot(key: str, label: str, populations: Sequence[str], series: Sequence[Series]) -> Markup:
    """Draw the spike rate of every population as grouped bars.

    Args:
        key: begins every id of the SVG; one key a plot of the page.
        label: what the plot shows, for screen readers.
        populations: the groups.
        series: the bars of a group.
    """
    with style(key):
        figure = Figure(figsize=(5.4, 3.1), layout="constrained")
        axes = figure.subplots()
        _bars(axes, populations, series)
        axes.set_ylim(bottom=0)
        axes.set_ylabel("spikes per neuron and step")
        figure.legend(
            loc="outside upper left", ncols=3, fontsize=8, handlelength=1, handletextpad=0.5, columnspacing=1.2
        )
        return svg(figure, key, label)


def rates(conditions: Sequence[Condition | None], populations: Sequence[str]) -> list[list[float | None]]:
    """Return the spike rates of each condition, in the order of ``populations``; None where not measured."""
    return [[None if one is None else one.spike_rates.get(name) for name in populations] for one in conditions]


def gradients_plot(layers: Sequence[str], series: Sequence[Series], bold: Sequence[str]) -> Markup:
    """Draw the zero-gradient share of every layer as horizontal bars, in the order of computation.

    Args:
        layers: from the input down to the output.
        series: one a form; None where the form has no such layer.
        bold: layers whose name is set bold.
    """
    with style("gradients"):
        height = 0.86 / len(series)
        figure = Figure(figsize=(5.6, 0.8 + 0.19 * len(layers) * max(len(series), 2)), layout="constrained")
        axes = figure.subplots()
        for index, part in enumerate(series):
            place = (index - (len(series) - 1) / 2) * height
            ys = [y + place for y in range(len(layers))]
            axes.barh(ys, [value or 0.0 for value in part.values], height * 0.88, color=part.colour, label=part.label)
            for y, value in zip(ys, part.values, strict=True):
                text = "no such layer" if value is None else share_text(value)
                colour = GREY if value is None else INK
                axes.text((value or 0.0) + 0.01, y, text, va="center", fontsize=7.5, color=colour)
        axes.set_yticks(range(len(layers)), layers)
        for tick in axes.get_yticklabels():
            tick.set_fontweight("bold" if tick.get_text() in bold else "normal")
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(layers) - 0.4, -0.6)
        axes.set_xlim(0, 1.09)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
        axes.set_xlabel("share of exact zeros in the gradient at the layer's output")
        axes.grid(axis="x")
        figure.legend(loc="outside upper left", ncols=2, handlelength=1, handletextpad=0.5)
        return svg(figure, "gradients", "Share of exact zeros in the gradient at each layer's output, by form", 1.2)


def training_plot(name: str, title: str, epochs: Sequence[float], values: Sequence[float]) -> Markup:
    """Draw one curve over epochs.

    Args:
        name: which quantity; begins the ids.
        title: axis label with the unit.
        epochs: x.
        values: y.
    """
    with style(f"training-{name}"):
        figure = Figure(figsize=(5.0, 2.5), layout="constrained")
        axes = figure.subplots()
        axes.plot(epochs, values, color=BLUE, linewidth=1.6, marker="o" if len(epochs) < 40 else "", markersize=3.5)
        axes.set_ylim(0, 102 if name == "accuracy" else None)
        axes.set_xlim(min(epochs) - 0.5, max(epochs) + 0.5)
        axes.set_xlabel("epoch")
        axes.set_ylabel(title)
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
        axes.grid(axis="y")
        return svg(figure, f"training-{name}", f"{title} over {len(epochs)} epochs")
