"""What Lava did with small Programs, one of each construct: recorded once, and shipped."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...export.program import Program
from ...hw_targets.target import Counts, Raster, Trace, get_target
from ...toolkit.errors import FileError
from ...toolkit.files import read_arrays, write_arrays
from ..support.constructs import PROGRAMS

FILE = Path(__file__).with_name("lava.safetensors")
KIND = "selftest"
SAMPLES = 2
QUANTITIES = ("spikes", "u", "v")


def programs() -> dict[str, Program]:
    """Return the Programs that Lava runs, by construct."""
    lava = get_target("lava")
    made = {construct: make() for construct, make in PROGRAMS.items()}
    return {construct: program for construct, program in made.items() if not lava.unsupported(program)}


def messages(program: Program) -> NDArray[np.int32]:
    """Return random messages (time, samples, ...), up to the largest that the input may send."""
    rng = np.random.default_rng(0)
    shape = (program.steps, SAMPLES, *program.input.shape)
    return rng.integers(0, program.input.peak + 1, shape, dtype=np.int32)


def write(path: Path) -> None:
    """Record Lava anew.

    Raises:
        TargetError: Lava is not installed, or failed.
    """
    arrays: dict[str, NDArray[np.int32]] = {}
    made = programs()
    for construct, program in made.items():
        given = messages(program)
        trace = get_target("lava").compile(program).run(given, rasters=True)
        arrays[f"{construct}/messages"] = given
        arrays[f"{construct}/output"] = trace.output.astype(np.int32)
        for name, raster in trace.rasters.items():
            for quantity in QUANTITIES:
                if (values := getattr(raster, quantity)) is not None:
                    arrays[f"{construct}/{name}/{quantity}"] = values.astype(np.int32)
    hashes = {construct: program.sha256() for construct, program in made.items()}
    write_arrays(path, KIND, arrays, {"programs": hashes, "source": "lava-nc 0.10.0"})


def recorded() -> Iterator[tuple[str, Program, NDArray[np.int32], Trace]]:
    """Yield every construct, its Program, the messages, and what Lava did with them.

    Raises:
        FileError: the file is damaged, or of other Programs than this version makes.
    """
    arrays, header = read_arrays(FILE, KIND)
    for construct, expected in header["programs"].items():
        program = PROGRAMS[construct]()
        if program.sha256() != expected:
            raise FileError(f"{FILE.name}: recorded of another Program than {construct!r} is; install spikeproof again")
        rasters = {}
        for population in program.populations:
            parts = [arrays.get(f"{construct}/{population.name}/{quantity}") for quantity in QUANTITIES]
            spikes, u, v = (None if part is None else part.astype(np.int64) for part in parts)
            if spikes is not None:
                rasters[population.name] = Raster(spikes, u, v)
        output: Counts = arrays[f"{construct}/output"].astype(np.int64)
        counts = {name: (raster.spikes != 0).sum(0, dtype=np.int64) for name, raster in rasters.items()}
        yield construct, program, arrays[f"{construct}/messages"], Trace(output, counts, None, rasters)
