"""The step ``fit``: whether a run's Program fits a chip, and where it lies."""

from ...export.chip import CHIPS
from ...export.chip.mapper import MAPPERS
from ...export.program import read_program
from ...toolkit.errors import FileError, InputError
from ...toolkit.files import write_json
from ..fit import Fit, read_fit
from ..fit import fit as place
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
    record = place(program, chip, mapper, chip_input(run, samples))
    write_json(run.path(f"fit-{chip}.json"), record.model_dump(mode="json"))
    records = []
    for name in CHIPS.names():
        try:
            records.append(read_fit(run.path(f"fit-{name}.json")))
        except FileError:
            continue  # Not asked for yet, or by another version.
    write_fit(run.path("fit.html"), run.recipe().name, [one for one in records if one.program == record.program])
    run.finished("fit", [f"fit-{chip}.json"])
    return record
