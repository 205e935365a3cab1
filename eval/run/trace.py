"""The step ``compare --trace``: what a board recorded, against a run's Program or a Program by itself."""

from collections.abc import Sequence
from pathlib import Path

from ...export.program import read_program
from ...toolkit.errors import InputError
from ...toolkit.files import digest, read_bytes
from ...toolkit.progress import Track, silent
from ..agreement.recorded import read_trace, recorded
from ..agreement.trace import compare_trace
from ..records.base import command_line, header, write_record
from ..records.trace import TraceComparison
from .folder import Run
from .simulate import chip_input


def trace(
    run: Path,
    file: Path,
    *,
    columns: Sequence[str] | None = None,
    clock: bool = False,
    first: int = 0,
    track: Track = silent,
) -> TraceComparison:
    """Compare a recorded trace with a Program; of a run, write trace.json.

    Args:
        run: an exported run, or the file of a Program.
        file: ``.npz``, ``.csv``, or the ``.safetensors`` of ``simulate --rasters``.
        columns: of a CSV without a first row of names.
        clock: whether rows are steps of one clock; see :func:`..agreement.trace.compare_trace`.
        first: the test image that was shown first, for a trace without messages.
        track: progress.

    Raises:
        FileError: missing, unreadable, or not exported.
        InputError: the trace does not fit the Program.
    """
    folder = None if run.is_file() else Run.open(run)
    program = read_program(run if folder is None else folder.path("program.safetensors"))
    if folder is not None:
        folder.require("export")
    given = recorded(program, read_trace(file, columns))
    inputs, data = None, None
    if given.inputs is None and folder is not None:
        last = first + given.samples
        data = folder.data()
        if last > len(data.test_images):
            raise InputError(
                f"trace: {given.samples} samples from {first} on; there are {len(data.test_images)} test images"
            )
        inputs = chip_input(folder, last)[:, first:]
    found = compare_trace(program, given, inputs, clock=clock, file=file.name, sha256=digest(read_bytes(file)))
    name, recipe = ("program", None) if folder is None else (folder.recipe().name, folder.recipe_on_record())
    typed = command_line(
        "compare",
        "DIR" if folder is not None else "PROGRAM",
        trace=file.name,
        columns=None if columns is None else ",".join(columns),
        clock=clock,
        first=first or None,
    )
    record = TraceComparison(**header(name, typed, data=data, program=program, recipe=recipe), **dict(found))
    if folder is not None:
        write_record(folder.path("trace.json"), record)
        folder.finished("trace")
    return record
