"""The step ``fit``: whether a run's Program fits a chip, and where it lies."""

from ...export.chip import CHIPS
from ...export.chip.mapper import MAPPERS
from ...export.program import read_program
from ...toolkit.errors import FileError, InputError
from ..fit import fit as place
from ..records.base import command_line, header, write_record
from ..records.fit import Fit, read_fit
from ..report.fit import write_fit
from .folder import Run
from .simulate import chip_input


def fit(run: Run, *, chip: str = "loihi1", mapper: str = "partition", samples: int = 8) -> Fit:
    """Place a run's Program on a chip and write fit-CHIP.json and fit.html.

    Args:
        run: exported.
        chip: whose limits.
        mapper: how cores are filled.
        samples: test images to run split and whole Program on; 0: none.

    Raises:
        InputError: there is no such chip or mapper.
    """
    CHIPS.get(chip)
    if mapper not in MAPPERS:
        raise InputError(f"--mapper {mapper}: unknown; choose {' or '.join(MAPPERS)}")
    program = read_program(run.path("program.safetensors"))
    run.require("export")
    recipe = run.recipe()
    about = header(
        recipe.name,
        command_line("fit", "DIR", chip=chip, mapper=mapper, samples=samples),
        data=run.data() if samples else None,
        program=program,
        recipe=run.recipe_on_record(),
    )
    record = place(program, chip, mapper, chip_input(run, samples), about)
    write_record(run.path(f"fit-{chip}.json"), record)
    records = []
    for name in CHIPS.names():
        try:
            records.append(read_fit(run.path(f"fit-{name}.json")))
        except FileError:
            continue  # Not asked for yet, or by another version.
    write_fit(
        run.path("fit.html"), recipe.name, [one for one in records if one.program.sha256 == record.program.sha256]
    )
    run.finished("fit", [f"fit-{chip}.json"])
    return record
