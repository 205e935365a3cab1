"""The step ``explain``: why the deployed number differs."""

from ...toolkit.progress import Track, silent
from ..explain.forms import explain_forms
from ..explain.sensitivity import LOSS
from ..records.base import command_line, header, write_record
from ..records.explanation import Explanation
from ..records.imported import read_imported
from ..report.explain import write_explanation
from .folder import Run


def _told(run: Run) -> list[str]:
    """Return what a reader must know of a Program from elsewhere, and what was read otherwise than its file says it."""
    given = read_imported(run.path("import.json"))
    unlabelled = "No labels: accuracies are shares of the Program's own answers, of which it gives all."
    return [*([unlabelled] if given.labels == "program" else []), *given.warnings]


def explain(
    run: Run,
    *,
    samples: int | None = None,
    lava: bool | None = None,
    loss: float | None = LOSS,
    track: Track = silent,
) -> Explanation:
    """Explain a run and write explain.json and explain.html.

    Of a Program from elsewhere, which has no network, its own roundings and limits are explained.

    Args:
        run: trained, quantized and exported; or imported.
        samples: the first so many test images; all if None.
        lava: whether Lava is run; None: where it is installed.
        loss: points of accuracy that a layer may cost when it alone is quantized; None: layers are not looked at.
        track: progress.

    Raises:
        InputError: a loss that is none.
        FileError: a step is missing, or a file has changed since.
        TargetError: Lava was asked for and is not there.
    """
    recipe, forms, data = run.recipe(), run.deployed(), run.data()
    switches = {"lava": lava} if lava else {"no-lava": lava is False}
    how = {"no-layers": True} if loss is None else {"loss": loss} if loss != LOSS else {}
    typed = command_line("explain", "DIR", samples=samples, **switches, **how)
    record, overlays = explain_forms(
        forms,
        data.test_images[:samples],
        data.test_labels[:samples],
        header(recipe.name, typed, data=data, program=forms.program, recipe=run.recipe_on_record()),
        task=data.task,
        lava=lava,
        slow=recipe.evaluate.lava_samples,
        batch=recipe.evaluate.batch,
        loss=loss,
        track=track,
    )
    if run.imported:
        record = record.model_copy(update={"notes": [*_told(run), *record.notes]})
    write_record(run.path("explain.json"), record)
    write_explanation(run.path("explain.html"), record, overlays)
    run.finished("explain")
    return record
