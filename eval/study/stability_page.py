"""A stability study as Markdown and as a page: plots, tables, and what the curves do."""

from pathlib import Path

from ...toolkit.files import write_text
from ..records.stability import (
    Stability,
    findings,
    mean_at,
    mean_of,
    networks,
    rows_of,
    sides,
    sizes,
    slope,
)
from ..records.study import Mean
from ..report import environment
from . import stability_plots as plots

Table = tuple[list[str], list[list[str]]]
"""Headings, and rows of cells."""


def shown(mean: Mean, digits: int = 3) -> str:
    """Return mean ± spread."""
    spread = "" if mean.spread is None else f" ± {mean.spread:.{digits}f}"
    return f"{mean.value:.{digits}f}{spread}"


def table(record: Stability) -> Table:
    """Return a line a network, size and step: means over seeds ± sample standard deviations."""
    head = ["network", "n", "after", "distance", "moved", "training loss", "gap", "gap by twins"]
    head += ["gradient not 0", "large", "gradient L1"]
    body = []
    for network in networks(record):
        for size in sizes(record, network):
            rows = rows_of(record, network, size)
            for step in rows[0].steps:
                gap = mean_of([row.at(step).gap - row.points[0].gap for row in rows])
                twins = mean_of([sum(row.at(step).replaced) / len(row.at(step).replaced) for row in rows])
                body.append(
                    [
                        network,
                        str(size),
                        f"{step} {rows[0].unit}s",
                        shown(mean_at(rows, step, lambda point: point.distance)),
                        shown(mean_at(rows, step, lambda point: point.moved), 2),
                        shown(mean_at(rows, step, lambda point: point.train_loss)),
                        shown(gap),
                        shown(twins),
                        shown(mean_at(rows, step, lambda point: point.density), 2),
                        shown(mean_at(rows, step, lambda point: point.large), 2),
                        shown(mean_at(rows, step, lambda point: point.gradient_l1), 2),
                    ]
                )
    return head, body


def distances(record: Stability) -> Table:
    """Return a line a network and size: the distance of twins after so many steps or epochs; then its slope in n."""
    most = max(len(row.steps) for row in record.rows)
    head = ["network", "n", *(f"point {number}" for number in range(1, most + 1))]
    body = []
    for network in networks(record):
        of = next(row for row in record.rows if row.network == network)
        body.append([network, f"{of.unit}s", *map(str, of.steps)])
        for size in sizes(record, network):
            rows = rows_of(record, network, size)
            values = [mean_at(rows, step, lambda point: point.distance).value for step in of.steps]
            body.append([network, str(size), *(f"{value:.3f}" for value in values)])
        tilts = [slope(record, network, step) for step in of.steps]
        body.append([network, "slope", *("\u2013" if tilt is None else shown(tilt, 2) for tilt in tilts)])
    return head, [[*row, *[""] * (2 + most - len(row))] for row in body]


def behaviour(record: Stability) -> Table:
    """Return what the curves of each network do, a line each."""
    head = ["network", "distance grows at each point", "gap up, loss down, at the end", "the same, point to point"]
    body = []
    for network in networks(record):
        done = findings(record, network)
        counts = ((done.monotone, done.rows), (done.apart, done.rows), (done.parting, done.intervals))
        body.append([network, *(f"{count} of {total}" for count, total in counts)])
    return head, body


def bounds(record: Stability) -> Table:
    """Return both sides of the stability inequality, a line a smooth network, size and step."""
    head = ["network", "n", "after", "L", "gap", "gap by twins", "right side", "curvature"]
    body = []
    for network in networks(record):
        for size in sizes(record, network):
            rows = rows_of(record, network, size)
            for step in rows[0].steps:
                found = sides(rows, step)
                if found is None:
                    continue
                lowest = mean_of([row.at(step).curvature or 0.0 for row in rows])
                smooth = max(row.smoothness or 0.0 for row in rows)
                values = [shown(found.gap), shown(found.replaced), f"{found.right:.3f}", shown(lowest)]
                body.append([network, str(size), f"{step} steps", f"{smooth:.1f}", *values])
    return head, body


def markdown(table: Table, left: int = 1) -> str:
    """Return a table as Markdown; the first so many columns are text."""
    head, body = table
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * left + " ---: |" * (len(head) - left)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in body)]) + "\n"


def render(record: Stability) -> str:
    """Return the page as HTML."""
    known = networks(record)
    drawn = [
        (name, plots.curves(record, name, number), plots.inequality(record, name, number))
        for number, name in enumerate(known)
    ]
    tables = [
        ("Distance of twins", distances(record)),
        ("What the curves do", behaviour(record)),
        ("Both sides of the inequality", bounds(record)),
        ("All figures", table(record)),
    ]
    page = (
        environment()
        .get_template("stability.html.j2")
        .render(
            study=record,
            seeds=", ".join(map(str, sorted({row.seed for row in record.rows}))),
            networks=drawn,
            tables=[(title, *found) for title, found in tables if found[1]],
        )
    )
    return page.strip() + "\n"


def write_page(path: Path, record: Stability) -> None:
    """Write the page.

    Raises:
        FileError: ``path`` cannot be written.
    """
    write_text(path, render(record))
