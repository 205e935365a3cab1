"""Target ``lava``: Intel's lava-nc 0.10.0 in a worker process on Python 3.10."""

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray

from ...export.program import Convolution, Graded, Population, Program, write_program
from ...toolkit.errors import FileError, TargetError
from ...toolkit.files import read_arrays, write_arrays
from ...toolkit.progress import Track, silent
from ..target import Compiled, CompiledProgram, Raster, Target, Trace, join
from .environment import Kind, environment_python, status
from .leftovers import job_folder, remove_segments, sweep

WORKER = Path(__file__).with_name("worker.py")
CHUNK = 16
"""Samples a Lava run: it keeps every probe of every step in memory, and progress moves in these steps."""


@dataclass(frozen=True)
class Script:
    """What the workers of one target run.

    Args:
        target: its name, for messages.
        path: of the script.
        prepare: writes the network of a Program into a job's folder and returns more settings for the job.
    """

    target: str
    path: Path
    prepare: Callable[[Path, Program], dict[str, Any]]


def _write(folder: Path, program: Program) -> dict[str, Any]:
    write_program(folder / "program.safetensors", program)
    return {}


LAVA = Script("lava", WORKER, _write)


class _Pool:
    """Worker processes that share the jobs in a folder; all are gone, with what they started, when the block ends.

    Args:
        folder: holds ``job-0``, ``job-1``...; worker w of W does the jobs w, w + W, w + 2 W...
        jobs: how many jobs there are.
        python: interpreter with lava-nc.
        workers: how many processes.
        start_limit: seconds until a worker must have imported Lava.
        run_limit: seconds that one job may take.
        script: what they run.
    """

    def __init__(
        self, folder: Path, jobs: int, python: Path, workers: int, start_limit: float, run_limit: float, script: Script
    ) -> None:
        self.script = script
        self.folder, self.jobs, self.python = folder, jobs, python
        self.workers = min(workers, jobs)
        self.start_limit, self.run_limit = start_limit, run_limit
        self.processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> "_Pool":
        for number in range(self.workers):
            with (self.folder / f"log-{number}").open("wb") as log:
                words = [str(self.python), str(self.script.path), str(self.folder), str(number), str(self.workers)]
                try:
                    process = subprocess.Popen(
                        words,
                        stdin=subprocess.PIPE,
                        stdout=log,
                        stderr=log,
                        start_new_session=True,
                        env={**os.environ, "PYTHONPATH": "", "OMP_NUM_THREADS": "1"},
                    )
                except OSError as error:
                    self.__exit__()
                    raise TargetError(f"target {self.script.target!r}: the worker cannot start: {error}") from error
            self.processes.append(process)
        return self

    def __exit__(self, *ignored: object) -> None:
        for process in self.processes:
            # The whole process group: Lava starts a process for every part of a network.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if process.stdin is not None:
                process.stdin.close()
        remove_segments(self.folder.name)

    def _last_words(self, number: int) -> str:
        lines = (self.folder / f"log-{number}").read_text(errors="replace").strip().splitlines()
        return f"its last words: {lines[-1]}" if lines else "it said nothing"

    def wait(self, job: int) -> Path:
        """Return the trace file of ``job`` once it is there.

        Raises:
            TargetError: its worker died, hangs, or ended without it.
        """
        number = job % self.workers
        process, ready = self.processes[number], self.folder / f"ready-{number}"
        trace = self.folder / f"job-{job}" / "trace.safetensors"
        begun, started = time.monotonic(), ready.exists()
        while not trace.exists():
            code = process.poll()
            # The worker may have written the trace between the two looks.
            if code is not None and not trace.exists():
                what = f"died with status {code}" if code else "ended without an answer"
                raise TargetError(f"target {self.script.target!r}: the worker {what}; {self._last_words(number)}")
            if not started and ready.exists():
                begun, started = time.monotonic(), True
            limit = self.run_limit if started else self.start_limit
            if time.monotonic() - begun > limit:
                what = "did not finish" if started else "did not start"
                raise TargetError(
                    f"target {self.script.target!r}: the worker {what} within {limit:g} s; {self._last_words(number)}"
                )
            time.sleep(0.02)
        return trace


Job = tuple[Program, NDArray[np.int32]]


def run_jobs(
    jobs: list[Job],
    *,
    python: Path,
    rasters: bool,
    workers: int = 1,
    start_limit: float = 90,
    run_limit: float = 600,
    track: Track = silent,
    script: Script = LAVA,
) -> list[Trace]:
    """Run several Programs, each on its own messages, in one go of one or more workers.

    Args:
        jobs: Programs that the target accepts, with messages (time, batch, ...).
        python: interpreter with lava-nc.
        rasters: whether to keep spikes, u and v of every step.
        workers: processes side by side.
        start_limit: seconds until a worker must have imported Lava.
        run_limit: seconds that one job may take.
        track: progress.
        script: what the workers run.

    Raises:
        TargetError: a worker cannot start, dies, hangs or answers nonsense.
    """
    sweep()
    with tempfile.TemporaryDirectory(prefix=job_folder()) as name:
        folder = Path(name)
        for number, (program, inputs) in enumerate(jobs):
            readout = program.readout
            membranes = [readout.population] if readout.kind == "membrane" else []
            settings = {"states": rasters, "membranes": membranes}
            settings |= script.prepare(folder / f"job-{number}", program)
            write_arrays(folder / f"job-{number}" / "input.safetensors", "input", {"input": inputs}, settings)
        traces = []
        with _Pool(folder, len(jobs), python, workers, start_limit, run_limit, script) as pool:
            for number, (program, inputs) in track(enumerate(jobs), f"run on {script.target}", len(jobs)):
                try:
                    arrays, _ = read_arrays(pool.wait(number), "trace")
                except FileError as error:
                    raise TargetError(f"target {script.target!r}: the worker answered nonsense: {error}") from error
                traces.append(_trace(script.target, program, arrays, inputs.shape[1], rasters))
        return traces


def _trace(target: str, program: Program, arrays: dict[str, NDArray[np.int32]], batch: int, rasters: bool) -> Trace:
    spikes: dict[str, NDArray[Any]] = {}
    states: dict[tuple[str, str], NDArray[np.int64]] = {}
    readout = program.readout
    for population in program.populations:
        name, shape = population.name, (program.steps, batch, *population.shape)
        membrane = readout.kind == "membrane" and readout.population == name
        graded = isinstance(population, Graded)
        for what in ("spikes", "u", "v") if rasters and not graded else ("spikes", "v") if membrane else ("spikes",):
            key = f"{what}/{name}"
            if key not in arrays or arrays[key].shape != shape:
                raise TargetError(f"target {target!r}: the worker's answer lacks {key!r} of shape {shape}")
            if what == "spikes":
                spikes[name] = arrays[key].astype(bool if isinstance(population, Population) else np.int64)
            else:
                states[what, name] = arrays[key].astype(np.int64)
    _check_sums(target, program, spikes)
    return Trace(
        readout.output(spikes[readout.population], states.get(("v", readout.population))),
        {name: (raster != 0).sum(0, dtype=np.int64) for name, raster in spikes.items()},
        None,
        {name: Raster(spikes[name], states.get(("u", name)), states.get(("v", name))) for name in spikes}
        if rasters
        else {},
    )


def _check_sums(target: str, program: Program, sent: dict[str, NDArray[Any]]) -> None:
    """Check that no convolution left 32 bits, where Lava casts a float that does not fit: no sum of it is defined.

    Messages of sigma-delta neurons are too wide to be bounded before they are seen.
    """
    for synapse in program.synapses:
        if isinstance(synapse, Convolution) and not synapse.exponent and program.signed(synapse.source):
            largest = int(np.abs(sent[synapse.source]).max()) if synapse.source in sent else 0
            if (most := program.bound(synapse) // program.peak(synapse.source) * largest) >= 2**31:
                raise TargetError(
                    f"target {target!r}: {synapse.label}: messages up to {largest} may give sums up to {most}, beyond "
                    "32 bits, where Lava's convolution is undefined; target 'loihi' defines it"
                )


class Worker(CompiledProgram):
    """A Program that workers run, chunk by chunk; ``settings`` are those of :func:`run_jobs`."""

    def __init__(self, program: Program, **settings: Any) -> None:
        super().__init__(program)
        self.settings = settings

    def _run(self, inputs: NDArray[np.int32], rasters: bool, track: Track) -> Trace:
        starts = range(0, inputs.shape[1], CHUNK)
        jobs: list[Job] = [(self.program, inputs[:, start : start + CHUNK]) for start in starts]
        return join(run_jobs(jobs, rasters=rasters, track=track, **self.settings))


class WorkerTarget(Target[Program]):
    """What targets share that run a Program in worker processes on Python 3.10, one sample at a time.

    Args:
        workers: processes side by side, each of which starts one or two for every part of a network; by default as many
            as there are cores, 4 at most.
        start_limit: seconds until the worker must have imported its simulator.
        run_limit: seconds until it must have run up to 16 samples.
        python: interpreter with the simulator; the installed environment's by default.
    """

    kind: ClassVar[Kind]
    script: ClassVar[Script]
    slow: ClassVar[bool] = True

    def __init__(
        self, *, workers: int | None = None, start_limit: float = 90, run_limit: float = 600, python: Path | None = None
    ) -> None:
        self.workers = workers or min(os.cpu_count() or 1, 4)
        self.start_limit = start_limit
        self.run_limit = run_limit
        self.python = python or environment_python(self.kind)

    def unavailable(self) -> str | None:
        """Return how to install the simulator if it is not."""
        return None if self.python is not None else status(self.kind).how

    def _compile(self, program: Program) -> Compiled:
        assert self.python is not None
        return Worker(
            program,
            script=self.script,
            python=self.python,
            workers=self.workers,
            start_limit=self.start_limit,
            run_limit=self.run_limit,
        )


@final
class LavaTarget(WorkerTarget):
    """The public reference simulator; settings as of :class:`WorkerTarget`."""

    name: ClassVar[str] = "lava"
    summary: ClassVar[str] = "Intel's lava-nc 0.10.0, fixed-point models, Python 3.10 worker process"
    kind: ClassVar[Kind] = "lava"
    script: ClassVar[Script] = LAVA

    def unsupported(self, program: Program) -> list[str]:
        """Return the reasons why Lava cannot run ``program`` exactly."""
        names = [program.input.name, *(population.name for population in program.populations)]
        reasons = [
            f"population {name!r}: 2-d shapes have no defined order in Lava"
            for name in names
            if len(program.shape_of(name)) == 2
        ]
        for synapse in program.synapses:
            if isinstance(synapse, Convolution):
                reasons += self._convolution(program, synapse)
        return reasons

    def _convolution(self, program: Program, synapse: Convolution) -> list[str]:
        bound = program.bound(synapse)
        reasons = []
        if len(program.shape_of(synapse.source)) != 3:
            reasons.append(f"{synapse.label}: convolution from 1-d populations does not exist in Lava")
        if synapse.exponent:
            return reasons  # runs as Lava's Sparse, whose rule it follows
        if bound >= 2**31 and not program.signed(synapse.source):  # Those are checked when they have been sent.
            reasons.append(f"{synapse.label}: sums up to {bound} leave 32 bits, undefined in Lava's convolution")
        # Lava has no delayed convolution, and its Conv keeps geometry in 8 bits; DelaySparse and Sparse, which run
        # instead, keep 32 bits of a sum where Conv keeps 24.
        geometry = (*synapse.weight.shape[2:], *synapse.stride, *synapse.padding, *synapse.dilation, synapse.groups)
        if bound >= 2**23 and synapse.delay and synapse.source != program.input.name:
            reasons.append(f"{synapse.label}: a delayed convolution whose sums, up to {bound}, leave 24 bits")
        if bound >= 2**23 and max(geometry) > 127:
            reasons.append(f"{synapse.label}: a geometry beyond 127, and sums up to {bound}, that leave 24 bits")
        return reasons
