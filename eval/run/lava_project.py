"""The step behind ``export --lava-project``: a folder that runs a run's Program on Lava without spikeproof."""

from pathlib import Path

from ...export.program import read_program
from ...hw_targets.lava.project import FILES, write_project
from ...toolkit.progress import Track, silent
from .folder import Run
from .results import LavaProject
from .simulate import chip_input
from .steps import export

SAMPLES = 4
"""Test images that go with a project."""


def lava_project(run: Run, *, place: Path, track: Track = silent) -> LavaProject:
    """Write a run's Program as a Lava project; exports first, if that is not done.

    Args:
        run: quantized.
        place: folder to write; see :func:`.project.write_project`.
        track: progress.

    Raises:
        FileError: a step is missing, or a file has changed since.
        UnsupportedError: Lava cannot run the Program exactly.
        InputError: the folder holds something else.
    """
    if not run.is_done("export"):
        export(run, track)
    run.require("export")
    program = read_program(run.path("program.safetensors"))
    inputs = chip_input(run, SAMPLES)
    write_project(place, program, inputs, run.recipe().name)
    return LavaProject(str(place), list(FILES), inputs.shape[1], program.sha256())
