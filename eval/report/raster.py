"""The report's raster: every spike of one sample."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from .drawing import BLUE, style, svg

LARGE = 2048
"""Populations of more neurons than this are shaded instead of drawn spike by spike."""
VECTOR_SPIKES = 8000
"""More spikes than this are drawn as an embedded picture, so that the page stays small."""


def _shade(axes: Any, flat: NDArray[np.bool_]) -> None:
    """Draw the share of firing neurons among neighbours; single dashes would overlap and look like many more spikes."""
    steps, neurons = flat.shape
    starts = np.arange(0, neurons, -(-neurons // 256))
    shares = np.add.reduceat(flat.astype(float), starts, axis=1) / np.diff([*starts, neurons])
    colours = LinearSegmentedColormap.from_list("spikes", ["white", BLUE])
    extent = (0.5, steps + 0.5, neurons - 0.5, -0.5)
    axes.imshow(shares.T, cmap=colours, vmin=0, aspect="auto", interpolation="nearest", extent=extent)


def _raster(axes: Any, name: str, spikes: NDArray[np.bool_], height: float, vector: bool) -> None:
    """Draw one population; spikes (time, ...neurons)."""
    steps, shape = spikes.shape[0], spikes.shape[1:]
    flat = spikes.reshape(steps, -1)
    neurons = flat.shape[1]
    if neurons > LARGE:
        _shade(axes, flat)
    else:
        time, neuron = np.nonzero(flat)
        thick = min(max(0.8 * height / neurons, 0.3), 5.0)
        # One path with gaps takes a tenth of the room of as many lines.
        xs = np.stack([time + 0.58, time + 1.42, np.full(len(time), np.nan)], 1).flatten()
        (line,) = axes.plot(xs, np.repeat(neuron, 3), color=BLUE, linewidth=thick, solid_capstyle="butt")
        line.set_rasterized(not vector)
    if len(shape) == 3 and 1 < shape[0] <= 64:
        for channel in range(1, shape[0]):
            axes.axhline(channel * neurons / shape[0] - 0.5, color="#bbbbbb", linewidth=0.4, zorder=0)
    axes.set_title(f"{name}\n{neurons:,} neurons\n{flat.sum():,} spikes", fontsize=8.5, linespacing=1.25)
    axes.set_xlim(0.5, steps + 0.5)
    axes.set_ylim(neurons - 0.5, -0.5)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    if neurons <= 12:
        axes.set_yticks(range(neurons))
    else:
        axes.yaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))


def raster_plot(spikes: Mapping[str, NDArray[np.bool_]]) -> Markup:
    """Draw the spikes of one sample: neuron against time step, one panel a population.

    Args:
        spikes: (time, ...neurons) by population, at least one.
    """
    columns = min(len(spikes), 5)
    rows = -(-len(spikes) // columns)
    vector = sum(int(part.sum()) for part in spikes.values() if part[0].size <= LARGE) <= VECTOR_SPIKES
    with style("raster"):
        figure = Figure(figsize=(max(2.1 * columns, 4.0), 3.9 * rows), layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False).flatten()
        for index, (axes, (name, part)) in enumerate(zip(panels, spikes.items(), strict=False)):
            _raster(axes, name, part, 210.0, vector)
            axes.set_xlabel("time step")
            if index % columns == 0:
                axes.set_ylabel("neuron")
        for axes in panels[len(spikes) :]:
            axes.remove()
        return svg(figure, "raster", "Raster of one test sample: which neuron of each population fired at which step")
