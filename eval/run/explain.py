"""The step ``explain``: why the deployed number differs."""

import time

from ...hw_targets.target import get_target
from ...toolkit.progress import Track, silent
from ..explain.explainer import explain as find
from ..records.evaluation import machine, now, packages
from ..records.explanation import Explanation, write
from ..report.explain import write_explanation
from .folder import Run


def explain(run: Run, *, samples: int | None = None, lava: bool | None = None, track: Track = silent) -> Explanation:
    """Explain a run and write explain.json and explain.html.

    Args:
        run: trained, quantized and exported.
        samples: the first so many test images; all if None.
        lava: whether Lava is run; None: where it is installed.
        track: progress.

    Raises:
        FileError: a step is missing, or a file has changed since.
        TargetError: Lava was asked for and is not there.
    """
    begun = time.perf_counter()
    recipe, forms, data = run.recipe(), run.forms(), run.data()
    program = forms.program
    images, labels = data.test_images[:samples], data.test_labels[:samples]
    target, notes, most = get_target("lava"), list[str](), 0
    if lava:
        target.compile(program)  # Unavailable or refused: said now.
    missing = target.unavailable()
    reasons = ["--no-lava"] if lava is False else [missing] if missing else target.unsupported(program)
    if reasons:
        notes.append(f"Lava was not run: {reasons[0]}.")
    else:
        most = min(recipe.evaluate.lava_samples, len(labels))
        if most < len(labels):
            notes.append(f"Lava was run on the first {most} samples only.")
    if len(labels) < 300:
        notes.append(f"Only {len(labels)} test samples: intervals are wide, do not quote.")
    found, overlays = find(forms, images, labels, lava=most, batch=recipe.evaluate.batch, track=track)
    record = Explanation(
        **dict(found),
        name=recipe.name,
        created=now(),
        data={"name": data.name, "sha256": data.sha256, "test": len(data.test_labels)},
        program={"sha256": program.sha256(), "profile": program.profile},
        recipe=recipe.model_dump(mode="json"),
        machine=machine(),
        packages=packages(),
        notes=notes,
        seconds=time.perf_counter() - begun,
    )
    write(run.path("explain.json"), record)
    write_explanation(run.path("explain.html"), record, overlays)
    run.finished("explain")
    return record
