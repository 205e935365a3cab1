"""A raster of two forms on top of each other: spikes of both, of the first alone, of the second alone."""

from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from .drawing import BLUE, FAINT, GREY, style, svg

Raster = NDArray[np.bool_]
RED, PALE = "#D55E00", "#b5b5b5"
MOST = 24
"""Neurons that are drawn one by one; of more that differ, the first."""


def _dashes(axes: Any, spikes: Raster, rows: NDArray[np.float64], colour: str, thick: float) -> None:
    """Draw spikes (time, neurons) as dashes, neuron i at height rows[i]."""
    time, neuron = np.nonzero(spikes)
    xs = np.stack([time - 0.44, time + 0.44, np.full(len(time), np.nan)], 1).flatten()
    ys = np.repeat(rows[neuron], 3)
    (line,) = axes.plot(xs, ys, color=colour, linewidth=thick, solid_capstyle="butt")
    line.set_rasterized(len(time) > 4000)


def _panel(axes: Any, before: Raster, after: Raster, thick: float) -> None:
    rows = np.arange(before.shape[1], dtype=np.float64)
    _dashes(axes, before & after, rows, PALE, thick)
    # Half a dash above and half below: told apart without colour, too.
    _dashes(axes, before & ~after, rows - 0.14, RED, max(thick, 1.6))
    _dashes(axes, after & ~before, rows + 0.14, BLUE, max(thick, 1.6))
    axes.set_xlim(-0.5, len(before) - 0.5)
    axes.set_ylim(before.shape[1] - 0.5, -0.5)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
    axes.set_xlabel("time step")


def overlay_plot(key: str, population: str, before: Raster, after: Raster, names: tuple[str, str]) -> Markup:
    """Draw one population of one sample in two forms: all of it, and beside it the neurons that differ.

    Args:
        key: begins every id of the SVG; one key a plot of the page.
        population: its name.
        before: spikes (time, ...neurons) of the first form.
        after: of the second.
        names: of the forms.
    """
    shape = before.shape[1:]
    first, second = (one.reshape(len(one), -1) for one in (before, after))
    wrong = np.flatnonzero((first != second).any(0))
    shown = wrong[:MOST]
    with style(key):
        figure = Figure(figsize=(7.4, 3.9), layout="constrained")
        whole, close = figure.subplots(1, 2, width_ratios=(1, 1.25))
        neurons = first.shape[1]
        _panel(whole, first, second, min(max(0.8 * 210 / neurons, 0.35), 6.0))
        whole.set_title(f"{population}, all {neurons:,} neurons", fontsize=8.5)
        whole.set_ylabel("neuron")
        whole.yaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
        _panel(close, first[:, shown], second[:, shown], min(0.55 * 210 / max(len(shown), 1), 8.0))
        more = f", first {MOST} of" if len(wrong) > MOST else ","
        close.set_title(f"neurons that differ{more} {len(wrong):,}", fontsize=8.5)
        labels = [", ".join(str(int(i)) for i in np.unravel_index(one, shape)) for one in shown]
        close.set_yticks(range(len(shown)), labels, fontsize=7)
        for row in range(len(shown)):
            close.axhline(row + 0.5, color=FAINT, linewidth=0.5, zorder=0)
        close.tick_params(axis="y", length=0, labelcolor=GREY)
        texts = ("both", f"{names[0]} alone", f"{names[1]} alone")
        handles = [Line2D([], [], color=colour, linewidth=4) for colour in (PALE, RED, BLUE)]
        figure.legend(handles, texts, loc="outside upper left", ncols=3, fontsize=8, handlelength=1.4)
        label = f"Spikes of population {population} in {names[0]} and {names[1]} on top of each other"
        return svg(figure, key, label, 1.2)
