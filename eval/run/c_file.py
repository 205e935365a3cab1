"""The step behind ``export --c``: a run's Program as one file of C99, its sizes, and samples to try it on."""

from dataclasses import asdict
from pathlib import Path

import numpy as np

from ...export.c import sizes, to_c
from ...export.c.layout import message_type
from ...export.program import read_program
from ...hw_targets.c.build import compiled_sizes
from ...hw_targets.c.target import CTarget
from ...hw_targets.loihi.simulator import LoihiTarget
from ...toolkit.errors import DisagreementError, InputError, TargetError
from ...toolkit.files import atomic, write_text
from ...toolkit.kernels.compiler import NotCompiled
from ...toolkit.progress import Track, silent
from ..measure.metrics import SynapticOperations
from .folder import Run
from .results import CFile
from .simulate import chip_input
from .steps import export

SAMPLES = 16
"""Test images that go with a file, and that it is compared on."""


def c_file(run: Run, *, place: Path, track: Track = silent) -> CFile:
    """Write a run's Program as C99, beside it samples for its ``main`` (.bin) and what it prints on them (.txt).

    The run is exported first, if it is not. Where there is a C compiler the file is compiled, and must give what
    ``loihi`` gives on the samples.

    Args:
        run: quantized.
        place: the file to write; its name ends in ``.c``.
        track: progress.

    Raises:
        FileError: a step is missing, or a file has changed since.
        InputError: ``place`` does not end in ``.c``.
        UnsupportedError: C cannot run the Program exactly.
        DisagreementError: the compiled file gives other numbers.
    """
    if place.suffix != ".c":
        raise InputError(f"{place}: the file must end in .c; its samples are written beside it, in .bin and .txt")
    if not run.is_done("export"):
        export(run, track)
    run.require("export")
    program = read_program(run.path("program.safetensors"))
    text = to_c(program, run.recipe().name)
    inputs = chip_input(run, SAMPLES)
    samples = inputs.shape[1]
    trace = LoihiTarget().compile(program).run(inputs)
    target = CTarget()
    missing = target.unavailable()
    if missing is None:
        found = target.compile(program).run(inputs)
        if not np.array_equal(found.output, trace.output):
            raise DisagreementError("target 'c' differs from loihi; this is a fault of spikeproof or of the compiler")
    try:
        compiled = compiled_sizes(text)
    except NotCompiled as error:
        raise TargetError(f"target 'c': {error}") from error
    write_text(place, text)
    data = place.with_suffix(".bin")
    with atomic(data) as temporary:
        temporary.write_bytes(inputs.swapaxes(0, 1).astype(message_type(program)).tobytes())
    expected = place.with_suffix(".txt")
    lines = zip(trace.classes.tolist(), trace.output.tolist(), strict=True)
    write_text(expected, "".join(" ".join(map(str, (best, *row))) + "\n" for best, row in lines))
    metric = SynapticOperations(program)
    metric.update(trace, inputs)
    needs = sizes(program)
    return CFile(
        file=str(place),
        samples_file=str(data),
        samples=samples,
        program_sha256=program.sha256(),
        expected_file=str(expected),
        equal_to_loihi=None if missing else True,
        without_compiler=missing or "",
        constant_bytes=needs.constants,
        state_bytes=needs.state,
        compiled=[asdict(one) for one in compiled],
        updates_a_step=sum(int(np.prod(part.shape)) for part in program.populations),
        additions_a_step=sum(metric.operations.values()) / samples / program.steps,
        most_additions_a_step=sum(int(reached.sum()) for _, _, reached in metric.fan_outs),
    )
