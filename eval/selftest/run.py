"""Runs the self-test: half a minute of comparisons whose right answers are known."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...export.program import Program
from ...hw_targets.target import Raster, Target, Trace, get_target, target_names
from ...toolkit.cache import cache_folder
from ...toolkit.errors import FileError, MissingExtraError, TargetError
from ...toolkit.kernels import native
from ...toolkit.progress import Track, silent
from ..agreement.targets import difference
from ..records.base import command_line, header, write_record
from ..records.selftest import Check, Selftest, read
from . import recorded, sizes

PATIENCE = 120.0
"""Seconds that one of the two trainings may take."""
SAMPLES = 16
"""Images that the Program of larger sizes is run on."""
FILE = "selftest.json"
SLOW = ("lava", "netx")
"""Targets whose answers were recorded instead, or that need minutes."""

Work = Callable[[], Check]


def last(folder: Path | None = None) -> Selftest | None:
    """Return what the last self-test of this user found here, or None."""
    path = (folder or cache_folder()) / FILE
    return read(path) if path.exists() else None


def stale(found: Selftest) -> list[str]:
    """Return what has changed since a self-test, in words; empty if it still says something."""
    now = header("selftest", "")
    changed = [
        f"{name} {found.packages.get(name, 'absent')} is now {version}"
        for name, version in now["packages"].items()
        if found.packages.get(name, "absent") != version
    ]
    if found.processor != native.processor():
        changed.append("another processor")
    if found.code != now["code"]:
        changed.append("other code of spikeproof")
    return changed


def tested() -> dict[str, object]:
    """Return what ``spikeproof doctor`` says of the last self-test."""
    try:
        found = last()
    except FileError as error:
        return {"last": str(error)}
    if found is None:
        return {"last": "never; run 'spikeproof selftest'"}
    wrong = [f"{check.check}: {check.first}" for check in found.checks if check.different]
    changed = stale(found)
    return {
        "last": found.created,
        "differs": "; ".join(wrong) or "nothing",
        "not run": "; ".join(check.check for check in found.checks if check.missing) or "nothing",
        "changed since": f"{', '.join(changed)}; run 'spikeproof selftest' again" if changed else "nothing",
    }


def selftest(*, folder: Path | None = None, track: Track = silent) -> Selftest:
    """Compare what this machine computes with what is known to be right, and keep the result for ``doctor``.

    Every target that runs Programs here, against what lava-nc did with one small Program a construct, and against
    64-bit integers of NumPy on a Program of larger sizes; training with the compiled loops against PyTorch alone.

    Args:
        folder: where the result is kept; the user's cache by default.
        track: progress.
    """
    begun = time.monotonic()
    works = list(_works())
    checks = [_timed(work) for work in track(works, "compare", len(works))]
    found = Selftest(
        **header("selftest", command_line("selftest")),
        checks=tuple(checks),
        processor=native.processor(),
        seconds=time.monotonic() - begun,
    )
    write_record((folder or cache_folder()) / FILE, found)
    return found


def _timed(work: Work) -> Check:
    begun = time.monotonic()
    return work().model_copy(update={"seconds": round(time.monotonic() - begun, 2)})


def _works() -> Iterator[Work]:
    for name in target_names():
        target = get_target(name)
        if target.form == "program" and name not in SLOW and "lava" in target.profiles:
            yield lambda target=target: _small(target)  # type: ignore[misc]
    for name in target_names():
        target = get_target(name)
        if target.form == "program" and name not in SLOW and "lava" in target.profiles:
            yield lambda target=target: _large(target)  # type: ignore[misc]
    yield _loops


def _small(target: Target[Program]) -> Check:
    check, against = f"target {target.name}, a Program of every construct", "Lava, recorded"
    if missing := target.unavailable():
        return Check(check=check, against=against, missing=missing)
    cases = [case for case in recorded.recorded() if not target.refused(case[1])]
    return _compared(check, against, target, [(program, given, trace) for _, program, given, trace in cases])


def _large(target: Target[Program]) -> Check:
    check, against = f"target {target.name}, convolutions of 32 channels", "NumPy's integers"
    program = sizes.sized()
    missing = target.unavailable() or "; ".join(target.refused(program))
    if missing:
        return Check(check=check, against=against, missing=missing)
    return _compared(check, against, target, [(program, *_known())])


@cache
def _known() -> tuple[NDArray[np.int32], Trace]:
    """Return messages for the Program of larger sizes, and what NumPy says it does."""
    program = sizes.sized()
    rng = np.random.default_rng(1)
    given = rng.integers(0, program.input.peak + 1, (program.steps, SAMPLES, *program.input.shape), dtype=np.int32)
    rasters = {name: Raster(*parts) for name, parts in sizes.by_numpy(program, given).items()}
    counts = {name: raster.spikes.sum(0, dtype=np.int64) for name, raster in rasters.items()}
    return given, Trace(counts[program.readout.population], counts, None, rasters)


def _compared(
    check: str, against: str, target: Target[Program], cases: list[tuple[Program, NDArray[np.int32], Trace]]
) -> Check:
    compared = different = 0
    first = ""
    for program, given, expected in cases:
        try:
            trace = target.compile(program).run(given, rasters=True)
        except (TargetError, MissingExtraError) as error:
            return Check(check=check, against=against, missing=str(error))
        for bits in difference(target.name, expected, trace):
            compared += bits.compared
            different += bits.different
            if bits.first is not None and not first:
                first = f"{bits.quantity} of {bits.population!r} at (step, sample, ...) = {bits.first}"
        wrong = int((trace.output != expected.output).sum())
        compared, different = compared + expected.output.size, different + wrong
        if wrong and not first:
            first = "the read-out"
    return Check(check=check, against=against, compared=compared, different=different, first=first)


def _loops() -> Check:
    check, against = "training, with the compiled loops", "PyTorch alone"
    try:
        compiled, alone = _trained("1"), _trained("0")
    except subprocess.TimeoutExpired:
        return Check(check=check, against=against, missing=f"not done within {PATIENCE:.0f} s")
    if not compiled["compiled"]:
        return Check(check=check, against=against, missing="no compiled loops here; 'spikeproof doctor' says why")
    wrong = [name for name, value in alone["found"].items() if compiled["found"].get(name) != value]
    return Check(
        check=check, against=against, compared=len(alone["found"]), different=len(wrong), first=", ".join(wrong[:1])
    )


def _trained(switch: str) -> dict[str, Any]:
    """Return what :mod:`.training` says in a process of its own, with the loops ("1") or without ("0")."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "spikeproof.eval.selftest.training"],
            env=os.environ | {native.VARIABLE: switch, native.REQUIRE_VARIABLE: "0"},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=True,
        )
        found: dict[str, Any] = json.loads(done.stdout)
    except (subprocess.CalledProcessError, ValueError) as error:
        lines = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
        raise TargetError(f"self-test: the process that trains failed: {lines[-1]}") from error
    return found
