"""The plots of a study: trade-off, trail, and zeros layer by layer."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from ...toolkit.extras import extra
from ..records.study import Study, accuracy, fact, families, rows_of, title
from ..report.drawing import BLUE, GREY, INK, ORANGE, style, svg

with extra("report"):
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

ZEROS = "zero-gradient share"
COLOURS = (BLUE, ORANGE, "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#999999", INK)


def trade_off(study: Study, condition: str) -> Markup | None:
    """Draw clean against robust accuracy, coloured by zero-gradient share; float and Program are joined by a line.

    Args:
        study: what was measured.
        condition: under which attack; where no row has it, there is no plot (None).
    """
    points = []
    for number, family in enumerate(families(study), start=1):
        rows = rows_of(study, family)
        places = [(accuracy(rows, form, "clean"), accuracy(rows, form, condition)) for form in ("float", "program")]
        zeros = fact(rows, "float", ZEROS)
        if places[0][0] is not None and places[0][1] is not None and zeros is not None:
            points.append((number, title(family), places, zeros.value))
    if not points:
        return None
    key = f"trade-{condition.replace(' ', '-')}"
    colours, scale = colormaps["viridis"], Normalize(0, 1)
    with style(key):
        figure = Figure(figsize=(6.4, 4.2), layout="constrained")
        axes = figure.subplots()
        for number, name, places, share_of_zeros in points:
            found = [(x.value, y.value) for x, y in places if x is not None and y is not None]
            xs, ys = zip(*found, strict=True)
            axes.plot(xs, ys, color=GREY, linewidth=1, zorder=1)
            for (x, y), marker in zip(found, "os", strict=False):
                axes.scatter(
                    [x], [y], s=60, marker=marker, color=[colours(scale(share_of_zeros))], edgecolor=INK, zorder=2
                )
            axes.annotate(str(number), found[0], textcoords="offset points", xytext=(6, 5), fontsize=8)
            axes.plot([], [], " ", label=f"{number}  {name}")
        axes.set_xlabel("clean accuracy, %")
        axes.set_ylabel(f"accuracy under {condition}, %")
        low, high = axes.get_ylim()
        axes.set_ylim(min(0.0, low), high + 0.06 * (high - min(0.0, low)))
        axes.grid()
        figure.colorbar(ScalarMappable(scale, colours), ax=axes, label="zero-gradient share (float)", shrink=0.8)
        figure.legend(loc="outside upper left", ncols=2, fontsize=8, handlelength=0, handletextpad=0)
        return svg(figure, key, f"Clean accuracy against accuracy under {condition}; figures as in the table", 1.2)


def trail(study: Study) -> Markup | None:
    """Draw zero-gradient share, clean and robust accuracy over epochs, a panel each; None if no trail was kept."""
    rows = [row for row in study.rows if row.trail]
    if not rows:
        return None
    known = families(study)
    panels = (("zero_gradient", ZEROS), ("clean", "clean accuracy, %"), ("robust", "robust accuracy, %"))
    with style("trail"):
        figure = Figure(figsize=(7.6, 3.0), layout="constrained")
        for axes, (name, label) in zip(figure.subplots(1, 3), panels, strict=True):
            for index, family in enumerate(known):
                of = [row for row in rows if row.family == family]
                for place, row in enumerate(of):
                    values = [(1 if name == "zero_gradient" else 100) * _value(point, name) for point in row.trail]
                    axes.plot(
                        [point["epoch"] for point in row.trail],
                        values,
                        color=COLOURS[index % len(COLOURS)],
                        linestyle=("-", "--", ":")[index // len(COLOURS) % 3],
                        linewidth=1.2,
                        marker="o",
                        markersize=3,
                        label=title(family) if place == 0 and name == "clean" else None,
                    )
            axes.set_title(label)
            axes.set_xlabel("epoch")
            axes.set_ylim(0, 1.02 if name == "zero_gradient" else 102)
            axes.grid(axis="y")
        figure.legend(loc="outside lower left", ncols=2, fontsize=8)
        return svg(
            figure, "trail", "Zero-gradient share, clean and robust accuracy over epochs, one line a network", 1.3
        )


def _value(point: dict[str, Any], name: str) -> float:
    value = point[name]
    if value is None:  # No layer that it could be of: a gap in the line.
        return float("nan")
    return float(value["value"] if isinstance(value, dict) else value)


def layers(study: Study) -> list[tuple[str, Markup]]:
    """Return a bar chart of zeros in the gradient at every layer's output, for each family; means over seeds."""
    found = []
    for number, family in enumerate(families(study)):
        rows = [row.forms["float"].layers for row in rows_of(study, family)]
        names = list(rows[0])
        if names:
            values = [float(np.mean([row[name] for row in rows])) for name in names]
            found.append((title(family), _bars(f"layers{number}", title(family), names, values)))
    return found


def _bars(key: str, what: str, names: Sequence[str], values: Sequence[float]) -> Markup:
    with style(key):
        figure = Figure(figsize=(3.6, 0.6 + 0.17 * len(names)), layout="constrained")
        axes = figure.subplots()
        axes.barh(range(len(names)), values, 0.7, color=BLUE)
        axes.set_yticks(range(len(names)), names, fontsize=7)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_xlim(0, 1)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x")
        return svg(figure, key, f"{what}: share of exact zeros in the gradient at each layer's output")
