"""A study as Markdown and as a page: trade-off, trail, layers, and the table with intervals."""

from pathlib import Path

from ...toolkit.files import write_text
from ..records.base import FORMS
from ..records.study import Mean, Study, accuracy, conditions, fact, families, rows_of, title
from ..report import environment
from . import plots

FACTS = {
    plots.ZEROS: ("zeros", 2),
    "spike rate": ("spike rate", 3),
    "gradient L1": ("gradient L1", 2),
}


def shown(mean: Mean | None, digits: int = 1) -> str:
    """Return mean ± spread, "!" behind it if an alarm was raised, a dash where nothing was measured."""
    if mean is None:
        return "\u2013"
    text = f"{mean.value:.{digits}f}"
    if mean.spread is not None:
        text += f" ± {mean.spread:.{digits}f}"
    return text + (" !" if mean.alarms else "")


def table(study: Study) -> tuple[list[str], list[list[str]]]:
    """Return headings and rows: a line a family and form; accuracies in %, then facts; means over seeds."""
    names = conditions(study)
    head = ["network", "form", *names, *(label for label, _ in FACTS.values())]
    body = []
    for family in families(study):
        rows = rows_of(study, family)
        for form in FORMS:
            if any(form in row.forms for row in rows):
                cells = [shown(accuracy(rows, form, name)) for name in names]
                cells += [shown(fact(rows, form, name), digits) for name, (_, digits) in FACTS.items()]
                body.append([title(family), form if form != "program" else "Program", *cells])
    return head, body


def markdown(study: Study) -> str:
    """Return the table as Markdown."""
    head, body = table(study)
    lines = ["| " + " | ".join(head) + " |", "| --- | --- |" + " ---: |" * (len(head) - 2)]
    lines += ["| " + " | ".join(row) + " |" for row in body]
    return "\n".join(lines) + "\n"


def render(study: Study) -> str:
    """Return the page as HTML."""
    attacked = [name for name in conditions(study) if name != "clean"]
    trades = [(name, plots.trade_off(study, name)) for name in reversed(attacked)]
    head, body = table(study)
    seeds = sorted({row.seed for row in study.rows})
    intervals = [
        (row.name, form, name, share)
        for row in study.rows
        for form, found in row.forms.items()
        for name, share in found.accuracy.items()
    ]
    page = (
        environment()
        .get_template("study.html.j2")
        .render(
            study=study,
            seeds=", ".join(map(str, seeds)),
            trades=[(name, plot) for name, plot in trades if plot is not None],
            trail=plots.trail(study),
            layers=plots.layers(study),
            head=head,
            body=body,
            intervals=intervals,
            refused=[(row.name, row.refused) for row in study.rows if row.refused],
        )
    )
    return page.strip() + "\n"


def write_page(path: Path, study: Study) -> None:
    """Write the page.

    Raises:
        FileError: ``path`` cannot be written.
    """
    write_text(path, render(study))
