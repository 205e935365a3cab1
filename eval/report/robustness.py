"""The robustness page: worst cases, every attack, and alarms, beside each other."""

from pathlib import Path
from typing import Any

from ...toolkit.files import write_text
from ..records.base import Share
from ..records.robustness import FormResult, Robustness
from ..robustness.attackers import family
from . import environment, words


def render_robustness(record: Robustness) -> str:
    """Return the page of a robustness record as HTML."""
    forms = [_form(form, f"@{record.size}") for form in record.forms]
    page = (
        environment()
        .get_template("robustness.html.j2")
        .render(record=record, forms=forms, doubtful=[form["name"] for form in forms if not form["reliable"]])
    )
    return page.strip() + "\n"


def write_robustness(path: Path, record: Robustness) -> None:
    """Write the page of a robustness record.

    Args:
        path: replaced atomically.
        record: what was measured.

    Raises:
        FileError: ``path`` cannot be written.
    """
    write_text(path, render_robustness(record))


def _cell(share: Share | None) -> dict[str, Any] | None:
    if share is None:
        return None
    return {
        "value": words.percent(share.value),
        "low": words.percent(share.low),
        "high": words.percent(share.high),
        "correct": share.correct,
        "samples": share.samples,
    }


def _form(form: FormResult, budget: str) -> dict[str, Any]:
    name = f"{'Program' if form.form == 'program' else form.form} · {form.target}"
    accesses = list(dict.fromkeys(one.access for one in form.attacks))
    return {
        "name": name,
        "reliable": form.reliable,
        "clean": _cell(form.clean),
        "worst": _cell(form.worst),
        "rounded": _cell(form.worst_on_grid) if form.worst_on_grid != form.worst else None,
        "by": [(access, _cell(form.worst_by.get(access))) for access in accesses],
        "alarms": form.alarms,
        "search": form.saturation.words if form.saturation else None,
        "longest": family(form.probes).many if form.probes else None,
        "rows": [
            {
                "label": one.label.replace(budget, ""),
                "access": one.access,
                "tried": one.tried,
                "broken": one.broken,
                "rounded": one.on_grid.count("x"),
                "alone": _cell(one.accuracy),
                "after": _cell(one.after),
                "seconds": one.seconds,
            }
            for one in form.attacks
        ],
        "judged": [(target, _cell(one.clean), _cell(one.worst), one) for target, one in form.judged.items()],
        "probes": form.probes,
        "probe_rows": []
        if form.probes is None
        else [(label, _cell(one)) for label, one in form.probes.accuracy.items()]
        + [(f"PGD-20, surrogate {label}", _cell(one)) for label, one in form.probes.sweep.items()],
        "seconds": form.seconds,
    }
