"""The plots of a stability study: how far twins part over steps and n, the gap, both sides of the inequality."""

from collections.abc import Callable, Sequence

from markupsafe import Markup

from ...toolkit.extras import extra
from ..records.stability import Point, Row, Stability, mean_at, mean_of, rows_of, sides, sizes, slope
from ..report.drawing import BLUE, GREY, ORANGE, style, svg

with extra("report"):
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter

COLOURS = (BLUE, ORANGE, "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#999999")


def _band(axes: Axes, rows: Sequence[Row], quantity: Callable[[Point], float], colour: str, label: str | None) -> None:
    """Draw a mean over seeds over steps, with its spread."""
    steps = rows[0].steps
    found = [mean_at(rows, step, quantity) for step in steps]
    axes.plot(steps, [one.value for one in found], color=colour, linewidth=1.3, marker="o", markersize=3, label=label)
    if all(one.spread is not None for one in found):
        low, high = ([one.value + side * (one.spread or 0.0) for one in found] for side in (-1, 1))
        axes.fill_between(steps, low, high, color=colour, alpha=0.15, linewidth=0)


def curves(record: Stability, network: str, number: int) -> Markup:
    """Draw a network's distance over steps and over n, its gap with its training loss, and its input gradient.

    Args:
        record: the study.
        network: of which.
        number: makes the ids of the drawing differ from others of the page.
    """
    key = f"curves{number}"
    unit = next(row.unit for row in record.rows if row.network == network)
    known = sizes(record, network)
    with style(key):
        figure = Figure(figsize=(7.4, 5.4), layout="constrained")
        (away, over), (gap, inward) = figure.subplots(2, 2)
        for colour, size in zip(COLOURS * len(known), known, strict=False):
            rows = rows_of(record, network, size)
            steps = rows[0].steps
            _band(away, rows, lambda point: point.distance, colour, f"n = {size}")
            gaps = [mean_of([row.at(step).gap - row.points[0].gap for row in rows]).value for step in steps]
            losses = [mean_at(rows, step, lambda point: point.train_loss).value for step in steps]
            gap.plot(steps, gaps, color=colour, linewidth=1.3, marker="o", markersize=3)
            gap.plot(steps, losses, color=colour, linewidth=1, linestyle="--")
            inward.plot(steps, [mean_at(rows, step, lambda point: point.density).value for step in steps], color=colour)
            large = [mean_at(rows, step, lambda point: point.large).value for step in steps]
            inward.plot(steps, large, color=colour, linestyle=":")
        rows = rows_of(record, network, known[0])
        for step in rows[0].steps:
            means = [mean_at(rows_of(record, network, size), step, lambda point: point.distance) for size in known]
            found = slope(record, network, step)
            tilt = "" if found is None else f", slope {found.value:.2f}"
            over.errorbar(
                known,
                [one.value for one in means],
                [one.spread or 0.0 for one in means],
                color=GREY,
                linewidth=1,
                marker="o",
                markersize=3,
            )
            over.annotate(
                f"{step}{tilt}", (known[-1], means[-1].value), textcoords="offset points", xytext=(5, -3), fontsize=7
            )
        for axes in (away, over):
            axes.set_yscale("log")
            # Powers of ten would be formulas, which names in plots must never be.
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter(NullFormatter())
        for axes in (away, over, gap, inward):
            axes.set_xscale("log")
            axes.grid()
            axes.set_xlabel(f"{unit}s")
        over.set_xlabel("n")
        over.set_xlim(right=known[-1] * 2.6)
        for axes, ticks in ((over, known), *((axes, rows[0].steps) for axes in (away, gap, inward))):
            axes.set_xticks(ticks, map(str, ticks))
            axes.minorticks_off()
        away.set_title("distance of twins")
        over.set_title(f"over n, after so many {unit}s")
        gap.set_title("gap; dashed: training loss")
        inward.set_title("input gradient, not 0; dotted: large")
        inward.set_ylim(0, 1.04)
        figure.legend(loc="outside lower center", ncols=len(known), fontsize=8)
        return svg(figure, key, f"{network}: distance of twins, gap and input gradient; figures as in the table", 1.3)


def inequality(record: Stability, network: str, number: int) -> Markup | None:
    """Draw both sides of the stability inequality over steps, a panel a sample size; None where no bound is known.

    Args:
        record: the study.
        network: of which.
        number: see :func:`curves`.
    """
    key, known = f"sides{number}", sizes(record, network)
    if any(row.smoothness is None for row in record.rows if row.network == network):
        return None
    with style(key):
        figure = Figure(figsize=(7.6, 2.4), layout="constrained")
        panels = figure.subplots(1, len(known), sharey=True, squeeze=False)[0]
        for axes, size in zip(panels, known, strict=True):
            rows = rows_of(record, network, size)
            steps = rows[0].steps
            for step in steps:
                found = sides(rows, step)
                assert found is not None
                axes.plot([step, step], [found.gap.value, found.right], color=GREY, linewidth=0.8)
                axes.plot([step], [found.right], "v", color=ORANGE, label="right side" if step == steps[0] else None)
                axes.plot([step], [found.gap.value], "o", color=BLUE, label="gap" if step == steps[0] else None)
                told = "by twins" if step == steps[0] else None
                axes.plot([step], [found.replaced.value], "x", color=BLUE, label=told)
            axes.set_xscale("log")
            axes.set_xticks(steps, map(str, steps), fontsize=7)
            # Logarithmic, but for gaps about 0 and below, which chance makes.
            axes.set_yscale("symlog", linthresh=0.01)
            axes.yaxis.set_major_formatter("{x:g}")
            axes.minorticks_off()
            axes.set_title(f"n = {size}")
            axes.set_xlabel("steps")
            axes.grid(axis="y")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8)
        return svg(figure, key, f"{network}: both sides of the stability inequality over steps", 1.3)
