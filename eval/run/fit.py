"""The step ``fit``: whether a run's Program fits a chip, and where it lies."""

from typing import cast

from ...export.chip.chips import CHIPS, Chip
from ...export.chip.mapper import MAPPERS, Mapper
from ...export.program import read_program
from ...toolkit.data import load_data
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
    for option, value, known in (("chip", chip, CHIPS), ("mapper", mapper, MAPPERS)):
        if value not in known:
            raise InputError(f"--{option} {value}: unknown; choose {' or '.join(known)}")
    program = read_program(run.path("program.safetensors"))
    run.require("export")
    recipe = run.recipe()
    about = header(
        recipe.name,
        command_line("fit", "DIR", chip=chip, mapper=mapper, samples=samples),
        data=load_data(recipe.data, recipe.coding.steps) if samples else None,
        program=program,
        recipe=recipe,
    )
    record = place(program, cast(Chip, chip), cast(Mapper, mapper), chip_input(run, samples), about)
    write_record(run.path(f"fit-{chip}.json"), record)
    records = []
    for name in CHIPS:
        try:
            records.append(read_fit(run.path(f"fit-{name}.json")))
        except FileError:
            continue  # Not asked for yet, or by another version.
    write_fit(
        run.path("fit.html"), recipe.name, [one for one in records if one.program.sha256 == record.program.sha256]
    )
    run.finished("fit", [f"fit-{chip}.json"])
    return record
