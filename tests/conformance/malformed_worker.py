"""Reads what test_malformed.py damaged, in a process of its own: one JSON line in, one out.

The address space is limited to what is used after the imports, and a few times what reading may take, so that a file
that asks for unbounded memory fails here and not on the machine. A case that takes too long ends the process with
a traceback. Whatever a reader accepts is checked further: it must be sound, and run alike on two targets.
"""

import faulthandler
import json
import os
import resource
import sys
import time
import traceback
import warnings
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from spikeproof.export.formats.netx import check_net
from spikeproof.export.formats.netx_read import read_net
from spikeproof.export.formats.onnx import read_onnx
from spikeproof.export.formats.onnx import unsupported as not_in_onnx
from spikeproof.export.lint import check
from spikeproof.export.lowering.lower import Deployment, lower, lower_graph
from spikeproof.export.nir.dynamics import settings_of
from spikeproof.export.nir.graph import flatten
from spikeproof.export.nir.read import read_graph
from spikeproof.export.nir.write import read_nir
from spikeproof.export.program import Program, read_program, write_program
from spikeproof.hw_targets.loihi.simulator import LoihiTarget
from spikeproof.hw_targets.onnx import OnnxTarget
from spikeproof.hw_targets.target import Trace
from spikeproof.toolkit.errors import SpikeproofError, TargetError

SECONDS = 20
HEADROOM = 3 * 2**30
RUNS = 2**16
"""Largest neurons times steps of what is run after it was read."""

Answer = dict[str, Any]


class WrongError(Exception):
    """Something was accepted that should not have been."""


def messages(program: Program) -> np.ndarray:
    shape = (program.steps, 2, *program.input.shape)
    return np.random.default_rng(0).integers(0, program.input.peak + 1, shape).astype(np.int32)


def same(one: Trace, other: Trace) -> bool:
    return np.array_equal(one.output, other.output) and all(
        np.array_equal(raster.spikes, other.rasters[name].spikes)
        and all(np.array_equal(getattr(raster, what), getattr(other.rasters[name], what)) for what in "uv")
        for name, raster in one.rasters.items()
        if raster.u is not None
    )


def sound(program: Program, original: Program | None, folder: Path) -> Answer:
    """Check a Program that was read: valid, honest about what it is, and the same on two targets."""
    write_program(folder / "again", program)
    again = read_program(folder / "again")
    if again.sha256() != program.sha256():
        raise WrongError("writing and reading gives another Program")
    if original is not None:
        arrays, known = program.arrays(), original.arrays()
        alike = (
            program.header() == original.header()
            and arrays.keys() == known.keys()
            and all(array.shape == known[name].shape and (array == known[name]).all() for name, array in arrays.items())
        )
        if alike != (program.sha256() == original.sha256()):
            raise WrongError("SHA-256 and content disagree on whether it is the original")
    size = program.steps * (prod(program.input.shape) + sum(prod(part.shape) for part in program.populations))
    # Lava, and with it the simulator, keeps what is under way as many steps as a window starts late.
    ran = size <= RUNS and max(program.depths().values()) <= 2**12 and not not_in_onnx(program)
    if ran:
        given = messages(program)
        expected = LoihiTarget().compile(program).run(given, rasters=True)
        if not same(expected, OnnxTarget().compile(program).run(given, rasters=True)):
            raise WrongError("loihi and onnx differ")
    return {"sha256": program.sha256(), "ran": ran}


PLANTED = {
    "raises": lambda: {}["key"],
    "takes too much": lambda: np.ones(2 * HEADROOM, dtype=np.uint8),
    "takes a lot": lambda: np.zeros(HEADROOM * 2 // 3, dtype=np.uint8)[::4096].fill(1),
    "dies": os.abort,
    "hangs": lambda: (faulthandler.dump_traceback_later(1, exit=True), time.sleep(100)),
}
"""Faults of a reader, to see that they are noticed."""


def read(case: dict[str, str], folder: Path) -> Answer:
    """Read one file; raises what the reader raises."""
    kind, path = case["kind"], Path(case["path"])
    if kind in PLANTED:
        PLANTED[kind]()
        return {}
    original = read_program(Path(case["original"])) if "original" in case else None
    if kind == "program":
        return sound(read_program(path), original, folder)
    if kind == "lava-dl":
        return sound(read_net(path, steps=3).program, None, folder)
    if kind == "nir":
        return sound(lower(*read_nir(path), str(path)), original, folder)
    if kind == "foreign":
        settings = settings_of("spikeproof")
        report = check(path, origin="spikeproof", reset="zero")
        try:
            graph = flatten(read_graph(path), str(path))
            program = lower_graph(graph, Deployment(3, 8, settings))
        except Exception as error:
            # The linter raises on nothing that is in a file, and passes nothing that fails later.
            if not report.refused():
                raise WrongError(f"the linter passes what is refused later: {error}") from error
            raise
        return sound(program, None, folder)
    assert original is not None
    if kind == "net":
        check_net(path, original)
        return {}
    assert kind == "onnx"
    given = messages(original)
    expected = LoihiTarget().compile(original).run(given, rasters=True)
    read_onnx(path, original)
    if not same(expected, OnnxTarget(path=path).compile(original).run(given, rasters=True)):
        raise WrongError("the file is accepted, and its answer differs from the Program's")
    return {"ran": True}


def peak() -> int:
    """Return the largest resident memory of this process since it was last cleared, in bytes."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return 1024 * int(line.split()[1])


def answer(case: dict[str, str], folder: Path) -> Answer:

    # What an earlier case took must not hide what this one takes: the peak starts anew (proc(5), clear_refs).
    Path("/proc/self/clear_refs").write_text("5")
    before = peak()
    try:
        found = {"outcome": "accepted", **read(case, folder)}
    except TargetError as error:
        found = {"outcome": "bug", "message": f"a target failed on what a reader accepted: {error}"}
    except SpikeproofError as error:
        found = {"outcome": "refused", "type": type(error).__name__, "message": str(error)}
    except BaseException:
        found = {"outcome": "bug", "message": traceback.format_exc(limit=-6)}

    found["grown"] = peak() - before
    return found


def main() -> None:
    folder = Path(sys.argv[1])
    # Nothing but answers may reach standard output, and HDF5 and ONNX Runtime are talkative.
    warnings.simplefilter("error")
    onnxruntime.set_default_logger_severity(4)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + HEADROOM, used + HEADROOM))
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        found = answer(json.loads(line), folder)
        faulthandler.cancel_dump_traceback_later()
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
