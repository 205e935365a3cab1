"""The trail in the report: three small plots over the same epochs."""

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..records.base import Share
from ..records.evaluation import Trail
from .drawing import BLUE, INK, ORANGE, style, svg
from .words import percent, share_text


def trail_plot(trail: Trail) -> Markup:
    """Draw zero-gradient share, clean and robust accuracy over the epochs, side by side, with 95 % intervals."""
    epochs = [point.epoch for point in trail.points]
    with style("trail"):
        figure = Figure(figsize=(8.4, 2.5), layout="constrained")
        left, middle, right = figure.subplots(1, 3)
        known = [point for point in trail.points if point.zero_gradient is not None]
        _line(left, [point.epoch for point in known], [point.zero_gradient or 0.0 for point in known], INK)
        if not known:
            left.text(0.5, 0.5, "no hidden LIF layer", transform=left.transAxes, ha="center", va="center")
        left.set_title("zero-gradient share")
        left.set_ylim(-0.02, 1.02)
        for axes, title, colour, shares in (
            (middle, "clean accuracy, %", BLUE, [point.clean for point in trail.points]),
            (right, f"accuracy under {trail.attack}, %", ORANGE, [point.robust for point in trail.points]),
        ):
            _line(axes, epochs, [100 * share.value for share in shares], colour)
            _band(axes, epochs, shares, colour)
            axes.set_title(title)
            axes.set_ylim(-2, 102)
        for axes in (left, middle, right):
            axes.set_xlim(min(epochs) - 0.5, max(epochs) + 0.5)
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
            axes.grid(axis="y")
        label = f"Zero-gradient share, clean accuracy and accuracy under {trail.attack} over {max(epochs)} epochs"
        return svg(figure, "trail", label, 1.15)


def _line(axes: Any, epochs: Sequence[int], values: Sequence[float], colour: str) -> None:
    axes.plot(epochs, values, color=colour, linewidth=1.6, marker="o", markersize=3.5)


def _band(axes: Any, epochs: Sequence[int], shares: Sequence[Share], colour: str) -> None:
    low, high = ([100 * getattr(share, end) for share in shares] for end in ("low", "high"))
    if len(epochs) > 1:
        axes.fill_between(epochs, low, high, color=colour, alpha=0.18, linewidth=0)
    else:
        axes.vlines(epochs, low, high, color=colour, alpha=0.5)


def cells(trail: Trail | None) -> dict[str, Any] | None:
    """Return what the template shows of a trail; None if there is none."""
    if trail is None or not trail.points:
        return None
    return {
        "attack": trail.attack,
        "threat_model": trail.threat_model,
        "samples": trail.samples,
        "plot": trail_plot(trail),
        "rows": [
            (
                point.epoch,
                "\u2013" if point.zero_gradient is None else share_text(point.zero_gradient),
                _text(point.clean),
                _text(point.robust),
            )
            for point in trail.points
        ],
    }


def _text(share: Share) -> tuple[str, str]:
    return percent(share.value), f"{percent(share.low)} to {percent(share.high)}"
