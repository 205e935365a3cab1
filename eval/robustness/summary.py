"""One sentence that says what a protocol found."""

import numpy as np

from ..records.robustness import FormResult
from .alarms import clearly


def summary(results: list[FormResult], unreceivable: str | None = None) -> str:
    """Return one sentence: what deployment did to robustness, or why that is not known."""
    forms = {result.form: result for result in results}
    if len(results) == 1 and not {"float", "quantized", "program"} & set(forms):
        (only,) = results
        doubt = "" if only.reliable else "; alarms make it unreliable"
        return (
            f"Worst case: {only.form} {100 * only.worst.value:.1f} %, of {100 * only.clean.value:.1f} % clean{doubt}."
        )
    if unreceivable is not None:
        return f"The Program was not attacked: {unreceivable}."
    if not {"float", "program"} <= set(forms):
        alone = forms.get("program")
        found = f" Worst case of the Program: {100 * alone.worst.value:.1f} %." if alone is not None else ""
        return f"The float network was not attacked, so what deployment did to robustness is not known.{found}"
    before, after = (np.array(list(forms[name].outcomes)) == "o" for name in ("float", "program"))
    lost, gained = int((before & ~after).sum()), int((after & ~before).sum())
    change = 100 * (int(after.sum()) - int(before.sum())) / len(before)
    rounded = forms["float"].worst_on_grid
    aside = (
        f" ({100 * rounded.value:.1f} % once rounded to the chip's input)" if rounded != forms["float"].worst else ""
    )
    text = (
        f"Worst case: float {100 * forms['float'].worst.value:.1f} %{aside}, "
        f"Program {100 * forms['program'].worst.value:.1f} %. Under this protocol, deployment "
    )
    if clearly(max(lost, gained), min(lost, gained), len(before)):
        text += f"{'raised' if change > 0 else 'lowered'} it by {abs(change):.1f} points"
    else:
        text += f"did not clearly change it ({change:+.1f} points)"
    doubtful = [name for name in ("float", "program") if not forms[name].reliable]
    doubt = f"; alarms make {' and '.join(doubtful)} unreliable" if doubtful else ""
    return f"{text}: {lost} samples robust in float are not on the Program, {gained} the other way round{doubt}."
