"""Why the forms of a network differ, as a record."""

import time
from typing import Any

from numpy.typing import NDArray

from ...hw_targets.family import loihi_only
from ...hw_targets.target import get_target
from ...toolkit.data import Images
from ...toolkit.progress import Track, silent
from ...toolkit.task import CLASSES, Task
from ..measure.forms import Deployed, Forms
from ..records.explanation import Explanation
from .explainer import Overlay, explain
from .judge import Judge
from .sensitivity import LOSS, find_sensitivity

FEW = 300
"""Below so many samples intervals are too wide to quote."""


def explain_forms(
    forms: Forms | Deployed,
    images: Images,
    labels: NDArray[Any],
    about: dict[str, Any],
    *,
    task: Task = CLASSES,
    lava: bool | None = None,
    slow: int = 64,
    batch: int = 250,
    loss: float | None = LOSS,
    track: Track = silent,
) -> tuple[Explanation, list[Overlay]]:
    """Explain why the forms differ, walking on to Lava where it can be.

    Args:
        forms: float network, quantized network, and the Program that should be theirs; or a Program alone.
        images: (samples, channels, height, width), in [0, 1].
        labels: (samples,), or the task's targets.
        about: the record's header, see :func:`..records.base.header`.
        task: what outputs are for.
        lava: whether Lava is run; None: where it is installed.
        slow: samples that Lava gets at most.
        batch: samples a run.
        loss: points of accuracy that a layer may cost when it alone is quantized; None: layers are not looked at.
        track: progress.

    Returns:
        The record, and the spikes of each pair of stages that differs, on the sample where they part first.

    Raises:
        TargetError: Lava was asked for and is not there.
    """
    begun = time.perf_counter()
    loihi_only(forms.program, "explain")
    target, notes, most = get_target("lava"), list[str](), 0
    if lava:
        target.compile(forms.program)  # Unavailable or refused: said now.
    missing = target.unavailable()
    reasons = ["--no-lava"] if lava is False else [missing] if missing else target.refused(forms.program)
    if reasons:
        notes.append(f"Lava was not run: {reasons[0]}.")
    else:
        most = min(slow, len(labels))
        if most < len(labels):
            notes.append(f"Lava was run on the first {most} samples only.")
    if len(labels) < FEW:
        notes.append(f"Only {len(labels)} test samples: intervals are wide, do not quote.")
    notes += [said] if (said := Judge(task).note) else []
    found, overlays = explain(forms, images, labels, task=task, lava=most, batch=batch, track=track)
    layers = None
    if isinstance(forms, Deployed):
        notes.append("Layers were not quantized alone: that needs weights before they were rounded.")
    elif loss is not None:
        known: dict[str, Any] = {"task": task, "loss": loss, "batch": batch, "track": track}
        layers = find_sensitivity(forms.network, forms.quantized, images, labels, **known)
    record = Explanation(**about, **dict(found), layers=layers, notes=notes, seconds=time.perf_counter() - begun)
    return record, overlays
