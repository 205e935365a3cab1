"""The step ``faults``: what flipped bits of the Program's memory cost."""

from ...export.program import read_program
from ...toolkit.progress import Track, silent
from ..faults.measure import MOST, SEEDS, measure_faults
from ..records.base import command_line, header, write_record
from ..records.faults import Faults
from ..report.faults import write_faults
from .folder import Run
from .pages import write_pages
from .simulate import chip_input


def faults(
    run: Run,
    *,
    samples: int | None = None,
    layer: str | None = None,
    field: str | None = None,
    bit: int | None = None,
    seeds: int = SEEDS,
    most: int = MOST,
    worst: int = 20,
    level: float | None = None,
    track: Track = silent,
) -> Faults:
    """Flip stored bits of a run's Program and write faults.json and faults.html.

    Args:
        run: exported.
        samples: the first so many test images; all if None.
        layer: flips of this population only.
        field: of this kind only: weight, bias, vth, du or dv.
        bit: at this position only, from 0, the least significant.
        seeds: of random flips.
        most: random flips, at most.
        worst: searched flips, at most; 0: no search.
        level: accuracy at which a search stops; that of guessing and a tenth if None.
        track: progress.

    Raises:
        InputError: an option does not fit the Program.
        FileError: a step is missing, or a file has changed since.
    """
    program = read_program(run.path("program.safetensors"))
    run.require("export")
    recipe, data = run.recipe(), run.data()
    data.task.needs_classes("faults")
    asked = {"layer": layer, "field": field, "bit": bit, "seeds": seeds, "most": most, "worst": worst, "level": level}
    messages = chip_input(run, samples)
    record = measure_faults(
        program,
        messages,
        data.test_labels[: messages.shape[1]],
        header(
            recipe.name,
            command_line("faults", "DIR", samples=samples, **asked),
            data=data,
            program=program,
            recipe=run.recipe_on_record(),
        ),
        layer=layer,
        field=field,
        bit=bit,
        seeds=seeds,
        most=most,
        worst=worst,
        level=level,
        track=track,
    )
    write_record(run.path("faults.json"), record)
    write_faults(run.path("faults.html"), record)
    run.finished("faults")
    write_pages(run)
    return record
