"""The step ``decision``: after how many steps the answers of a run are right and stay so."""

from ...toolkit.errors import InputError
from ...toolkit.progress import Track, silent
from ..measure.decision import measure_decision
from ..records.base import command_line, header, write_record
from ..records.decision import Decision
from ..report.decision import write_decision
from .folder import Run


def decision(
    run: Run, *, targets: list[str] | None = None, samples: int | None = None, track: Track = silent
) -> Decision:
    """Read every form of a run at every step, and write decision.json and decision.html.

    Args:
        run: exported.
        targets: that run the Program; "loihi" if None.
        samples: the first so many test samples; all if None.
        track: progress.

    Raises:
        InputError: answers are no classes.
        FileError: a step is missing, or a file has changed since.
    """
    data = run.data()
    if data.task.by_step:
        raise InputError("decision: every step of these data has a label; 'evaluate' says how many are right")
    data.task.needs_classes("decision")
    forms = run.deployed()
    recipe = run.recipe()
    record = measure_decision(
        forms,
        data.test_images[:samples],
        data.test_labels[:samples],
        header(
            recipe.name,
            command_line("decision", "DIR", targets=targets, samples=samples),
            data=data,
            program=forms.program,
            recipe=run.recipe_on_record(),
        ),
        targets=targets or ["loihi"],
        slow=recipe.evaluate.lava_samples,
        track=track,
    )
    write_record(run.path("decision.json"), record)
    write_decision(run.path("decision.html"), record)
    run.finished("decision")
    return record
