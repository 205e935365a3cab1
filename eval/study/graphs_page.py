"""The study of capacity as a page: accuracies, transfer, sensitive neurons, decision surfaces, and ways of training."""

import statistics
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from markupsafe import Markup

from ...toolkit.extras import extra
from ...toolkit.files import write_text
from ..records.base import FORMS, FormName
from ..records.graphs import CLEAN, GraphStudy, Trained
from ..report import environment
from ..report.drawing import INK, style, svg

with extra("report"):
    from matplotlib.figure import Figure

Table = tuple[list[str], list[list[str]]]
"""Headings and rows."""


def mean(values: Sequence[float], digits: int = 1) -> str:
    """Return mean ± sample standard deviation; a dash for no values."""
    if not values:
        return "\u2013"
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.{digits}f}{spread}"


def _shown(form: FormName) -> str:
    return "Program" if form == "program" else form


def _own(study: GraphStudy, name: str) -> list[str]:
    """Return the conditions of a network's own table: clean, its own attacks, and as much by chance."""
    attacks = [(f"{attack} from {name}", f"{attack} by chance") for attack in study.attacks]
    return [CLEAN, *(condition for pair in attacks for condition in pair)]


def accuracies(study: GraphStudy) -> Table:
    """Return accuracy in % of every network and form: clean, under its own attacks, under as much change by chance."""
    head = ["network", "form", CLEAN, *(f"{attack}{by}" for attack in study.attacks for by in ("", " by chance"))]
    rows = [
        [name, _shown(form), *(mean(study.accuracies(name, form, condition)) for condition in _own(study, name))]
        for name in study.names
        for form in FORMS
        if study.accuracies(name, form, CLEAN)
    ]
    return head, rows


def sensitive(study: GraphStudy) -> Table:
    """Return the share in % of hidden neurons whose rate moves by more than 0.25 under a network's own attacks."""
    head, rows = ["network", "form"], []
    for name in study.names:
        conditions = _own(study, name)[1:]
        for form in FORMS:
            found = [study.sensitive(name, form, condition) for condition in conditions]
            if any(found):
                rows.append([name, _shown(form), *map(mean, found)])
    return head + [f"{attack}{by}" for attack in study.attacks for by in ("", " by chance")], rows


def transfers(study: GraphStudy) -> list[tuple[str, Table]]:
    """Return a matrix of ATR for each attack and form: rows make the attack, columns meet it."""
    found = []
    for attack in study.attacks:
        for form in FORMS:
            rates = study.transfer(attack, form)
            rows = [
                [
                    source,
                    *("\u2013" if (rate := rates[source, target]) is None else f"{rate:.2f}" for target in study.names),
                ]
                for source in study.names
            ]
            found.append((f"{attack}, {_shown(form)}", (["made on", *study.names], rows)))
    return found


def trained(study: GraphStudy) -> Table:
    """Return what each way of training a GCN gives, means over seeds."""
    head = ["training", "accuracy, %", "training loss", "test loss", "gap", "feature sharpness", "weight sharpness"]
    rows = []
    for way in dict.fromkeys(each.training for each in study.trained):
        of: list[Trained] = [each for each in study.trained if each.training == way]
        losses = [(e.train_loss, e.test_loss, e.gap, e.feature_sharpness, e.weight_sharpness) for e in of]
        cells = (mean(values, 3) for values in zip(*losses, strict=True))
        rows.append([way, mean([100 * each.accuracy.value for each in of]), *cells])
    return head, rows


def surfaces(study: GraphStudy) -> list[tuple[str, Markup]]:
    """Return the decision surfaces of every spiking network of the first seed, float beside Program."""
    found = []
    for name in study.names:
        network = study.of(name)[0]
        for form, rows in network.surfaces.items():
            key = f"surface-{name}-{form}"
            label = f"{name}, {_shown(form)}"
            with style(key):
                figure = Figure(figsize=(2.9, 2.5), layout="constrained")
                axes = figure.subplots()
                edges = np.linspace(-2, 2, len(rows))
                values = np.array(rows)
                filled = axes.contourf(edges, edges, values, np.linspace(-1, 1, 11), cmap="PuOr")
                if values.min() < 0 < values.max():
                    axes.contour(edges, edges, values, [0.0], colors=[INK], linewidths=1)
                axes.plot([0], [0], "o", color=INK, markersize=3)
                axes.set_xlabel("along the attack")
                axes.set_ylabel("across")
                figure.colorbar(filled, ax=axes, ticks=[-1, 0, 1])
                found.append((label, svg(figure, key, f"{label}: margin of the true class around one sample")))
    return found


def markdown(table: Table) -> str:
    """Return a table as Markdown."""
    head, body = table
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in body)]) + "\n"


def render(study: GraphStudy) -> str:
    """Return the page as HTML."""
    page = (
        environment()
        .get_template("graphs.html.j2")
        .render(
            study=study,
            seeds=", ".join(map(str, study.plan["seeds"])),
            accuracies=accuracies(study),
            sensitive=sensitive(study),
            transfers=transfers(study),
            trained=trained(study) if study.trained else None,
            surfaces=surfaces(study),
        )
    )
    return page.strip() + "\n"


def write_page(path: Path, study: GraphStudy) -> None:
    """Write the page.

    Raises:
        FileError: ``path`` cannot be written.
    """
    write_text(path, render(study))
