"""Rows of what answers are worth: accuracy or quality, clean and under attack."""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from ..records.base import Share
from ..records.evaluation import Condition, Evaluation, MeasuredForm
from ..records.quality import QualityUnderAttack
from ..records.robustness import FormResult, Robustness
from .cells import Cell, Row, column, missing


def _share(share: Share, doubt: str = "") -> Cell:
    return Cell("measured", share.value, share.low, share.high, share.samples, doubt, bool(doubt))


def _judged(one: Condition) -> Cell:
    if not one.known:
        return missing("the samples have no labels")
    if one.accuracy is not None:
        return _share(one.accuracy)
    return Cell("measured", one.judged.value, one.judged.low, one.judged.high, one.judged.samples)


def accuracy_rows(record: Evaluation | None, columns: Sequence[str], folder: str) -> Iterator[Row]:
    """Yield accuracy, or the task's quality, by condition."""
    if record is None:
        why = missing(f"not measured: run 'spikeproof evaluate {folder}'")
        yield Row("accuracy", "accuracy", "clean", "share", "higher", dict.fromkeys(columns, why))
        return
    forms = {column(form.form, form.target, form.device): form for form in record.forms}
    for name in dict.fromkeys(name for form in record.forms for name in form.conditions):
        cells = {}
        for each in columns:
            form: MeasuredForm | None = forms.get(each)
            if form is None or name not in form.conditions:
                device = "cuda" if each.endswith("cuda") else "cpu"
                cells[each] = missing(f"not measured: run 'spikeproof evaluate {folder} --device {device}'")
            else:
                cells[each] = _judged(form.conditions[name])
        judged = record.forms[0].conditions[name].quality
        told = (judged.name, judged.unit, judged.higher_is_better) if judged else ("accuracy", "share", True)
        yield Row("accuracy", told[0], name, told[1], "higher" if told[2] else "lower", cells)


def robustness_rows(record: Robustness | None, columns: Sequence[str], folder: str) -> Iterator[Row]:
    """Yield the worst case of a protocol, of attacks by what they know, and of each attack."""
    if record is None:
        why = missing(f"not measured: run 'spikeproof robustness {folder} --protocol standard'")
        yield Row("robustness", "worst case of all attacks", "", "share", "higher", dict.fromkeys(columns, why))
        return
    forms = {column(form.form, form.target): form for form in record.forms}
    absent = missing("the protocol attacked other forms")
    budget = f"@{record.epsilon:g}"

    def row(name: str, read: Callable[[FormResult], Share | None], why: str) -> Row:
        cells = {}
        for each in columns:
            form = forms.get(each)
            share = form and read(form)
            doubt = "" if form is None or form.reliable else "unreliable: an alarm was raised, see robustness.html"
            cells[each] = absent if form is None else _share(share, doubt) if share else missing(why)
        return Row("robustness", name, f"epsilon {record.epsilon:.4f}", "share", "higher", cells)

    yield row(f"worst case, protocol {record.protocol}", lambda form: form.worst, "")
    for access in dict.fromkeys(one.access for form in record.forms for one in form.attacks):
        yield row(
            f"worst case, {access}",
            lambda form, access=access: form.worst_by.get(access),  # type: ignore[misc]
            "not tried on all samples, or not at all",
        )
    for label in dict.fromkeys(one.label for form in record.forms for one in form.attacks):
        yield row(
            f"{label.replace(budget, '')} alone",
            lambda form, label=label: next(  # type: ignore[misc]
                (one.accuracy for one in form.attacks if one.label == label), None
            ),
            "tried only on samples that earlier attacks left, or not on this form",
        )


def quality_rows(record: QualityUnderAttack, columns: Sequence[str]) -> Iterator[Row]:
    """Yield the quality of the worst of all answers under a protocol."""
    forms = {column(form.form, form.target): form for form in record.forms}
    cells = {}
    for each in columns:
        form = forms.get(each)
        if form is None:
            cells[each] = missing("the protocol attacked other forms")
            continue
        worst, doubt = form.worst, "; ".join(form.notes)
        cells[each] = Cell("measured", worst.value, worst.low, worst.high, worst.samples, doubt, bool(doubt))
    told = record.forms[0].worst
    name = f"{told.name}, worst case, protocol {record.protocol}"
    better: Literal["higher", "lower"] = "higher" if told.higher_is_better else "lower"
    within = f"epsilon {record.epsilon:.4f}" if record.threat == "pixel" else f"{record.threat}, {record.epsilon:g}"
    yield Row("robustness", name, within, told.unit, better, cells)
