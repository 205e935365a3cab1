"""``decision``: after how many steps answers are right and stay so."""

from typing import TYPE_CHECKING

from .options import Json, RunFolder, Samples, Targets, names

if TYPE_CHECKING:
    from ..eval.records.decision import Decision


def decision(run: RunFolder, targets: Targets = None, samples: Samples = None, as_json: Json = False) -> None:
    """Read every form at every step: when its answers are right and stay. Writes decision.json and decision.html."""
    from ..eval.run.folder import Run
    from . import show

    found = Run.open(run)
    with show.loading(as_json):
        from ..eval.run.decision import decision as measure
        from ..toolkit.progress import bars
    with bars(as_json, show.err, keep=False) as track:
        record = measure(found, targets=names(targets), samples=samples, track=track)
    show.record("decision", record, found.path("decision"), as_json, _print)


def _print(record: "Decision") -> None:
    from .show import out, table

    def number(value: float | None) -> str:
        return "none" if value is None else f"{value:.1f}"

    title = f"{record.name}: steps until the answer is right and stays, of {record.time_steps}"
    rows = table(title, ("form, target",), ("right, %", "decided, %", "median", "mean", "95 % by"))
    for form in record.forms:
        shares = (f"{100 * one.value:.1f}" for one in (form.right, form.decided))
        rows.add_row(f"{form.form}, {form.target}", *shares, *map(number, (form.median, form.mean, form.late)))
    out.print(rows)
    for sentence in record.sentences[1:]:
        out.print(sentence, soft_wrap=True, highlight=False)
