"""The face's verb for decisions: after how many steps answers are right and stay so."""

from collections.abc import Sequence

from ...toolkit.errors import InputError
from ...toolkit.progress import bars
from ..measure.decision import measure_decision
from ..measure.forms import Deployed, Forms
from ..records.decision import Decision
from ..report.decision import render_decision
from .measures import header_of
from .samples import Samples, task_of, test_part
from .shown import Shown


def decision(
    forms: Forms | Deployed, data: Samples, *, targets: Sequence[str] = ("loihi",), samples: int | None = None
) -> Shown[Decision]:
    """Read every form at every step, and say after how many its answers are right and stay so.

    Args:
        forms: float network, quantized network and Program; or a Program from elsewhere.
        data: whose test images, or images and labels.
        targets: that run the Program.
        samples: the first so many; all if None.

    Raises:
        InputError: answers are no classes, or every step has a label.
    """
    if task_of(data).by_step:
        raise InputError("decision: every step of these data has a label; metrics of steps say how many are right")
    task_of(data).needs_classes("decision")
    images, labels = test_part(data, samples)
    about = header_of("decision", data, forms.program, targets=tuple(targets), samples=samples)
    with bars(keep=False) as track:
        record = measure_decision(forms, images, labels, about, targets=targets, track=track)
    rows = [
        {
            "form": form.form,
            "target": form.target,
            "right at the end, %": 100 * form.right.value,
            "decided, %": 100 * form.decided.value,
            "median step": form.median,
            "mean step": form.mean,
            "95 % by step": form.late,
        }
        for form in record.forms
    ]
    return Shown(record, record.sentences[0], tuple(rows), lambda: render_decision(record))
