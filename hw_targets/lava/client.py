"""Target ``lava``: Intel's lava-nc 0.10.0 in a worker process on Python 3.10."""

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import ClassVar, final

import numpy as np
from numpy.typing import NDArray

from ...export.program import Program, write_program
from ...toolkit.errors import FileError, TargetError
from ...toolkit.files import read_arrays, write_arrays
from ...toolkit.progress import Track
from ..target import Compiled, CompiledProgram, Raster, Target, Trace, join
from .environment import environment_python, status

WORKER = Path(__file__).with_name("worker.py")
CHUNK = 16
"""Samples a worker run: Lava keeps every probe of every step in memory, and progress moves in these steps."""


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Kill the worker's whole process group: Lava starts a process for every part of a network."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class _Worker(CompiledProgram):
    def __init__(self, program: Program, python: Path, start_limit: float, run_limit: float) -> None:
        super().__init__(program)
        self.python = python
        self.start_limit = start_limit
        self.run_limit = run_limit

    def _run(self, inputs: NDArray[np.int32], rasters: bool, track: Track) -> Trace:
        starts = range(0, inputs.shape[1], CHUNK)
        return join([self._chunk(inputs[:, s : s + CHUNK], rasters) for s in track(starts, "run on lava", len(starts))])

    def _chunk(self, inputs: NDArray[np.int32], rasters: bool) -> Trace:
        with tempfile.TemporaryDirectory(prefix="spikeproof-lava-") as name:
            folder = Path(name)
            write_program(folder / "program.safetensors", self.program)
            readout = self.program.readout
            membranes = [readout.population] if readout.kind == "membrane" else []
            settings = {"states": bool(rasters), "membranes": membranes}
            write_arrays(folder / "input.safetensors", "input", {"input": inputs}, settings)
            self._work(folder)
            try:
                arrays, _ = read_arrays(folder / "trace.safetensors", "trace")
            except FileError as error:
                raise TargetError(f"target 'lava': the worker ended without an answer; {self._log(folder)}") from error
            return self._trace(arrays, inputs.shape[1], rasters)

    def _log(self, folder: Path) -> str:
        lines = (folder / "log").read_text(errors="replace").strip().splitlines()
        return f"its last words: {lines[-1]}" if lines else "it said nothing"

    def _work(self, folder: Path) -> None:
        """Run the worker in ``folder`` to its end, within the time limits."""
        with (folder / "log").open("wb") as log:
            try:
                process = subprocess.Popen(
                    [str(self.python), str(WORKER), str(folder)],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    env={**os.environ, "PYTHONPATH": "", "OMP_NUM_THREADS": "1"},
                )
            except OSError as error:
                raise TargetError(f"target 'lava': the worker cannot start: {error}") from error
            begun = time.monotonic()
            try:
                while process.poll() is None:
                    ready = (folder / "ready").exists()
                    limit = self.run_limit if ready else self.start_limit
                    if time.monotonic() - begun > limit:
                        what = "did not finish" if ready else "did not start"
                        raise TargetError(f"target 'lava': the worker {what} within {limit:g} s; {self._log(folder)}")
                    time.sleep(0.02)
            finally:
                _end(process)
                if process.stdin is not None:
                    process.stdin.close()
        if process.returncode != 0:
            raise TargetError(f"target 'lava': the worker died with status {process.returncode}; {self._log(folder)}")

    def _trace(self, arrays: dict[str, NDArray[np.int32]], batch: int, rasters: bool) -> Trace:
        spikes: dict[str, NDArray[np.bool_]] = {}
        states: dict[tuple[str, str], NDArray[np.int64]] = {}
        readout = self.program.readout
        for population in self.program.populations:
            name, shape = population.name, (self.program.steps, batch, *population.shape)
            membrane = readout.kind == "membrane" and readout.population == name
            for what in ("spikes", "u", "v") if rasters else ("spikes", "v") if membrane else ("spikes",):
                key = f"{what}/{name}"
                if key not in arrays or arrays[key].shape != shape:
                    raise TargetError(f"target 'lava': the worker's answer lacks {key!r} of shape {shape}")
                if what == "spikes":
                    spikes[name] = arrays[key].astype(bool)
                else:
                    states[what, name] = arrays[key].astype(np.int64)
        return Trace(
            readout.output(spikes[readout.population], states.get(("v", readout.population))),
            {name: raster.sum(0, dtype=np.int64) for name, raster in spikes.items()},
            None,
            {name: Raster(spikes[name], states["u", name], states["v", name]) for name in spikes} if rasters else {},
        )


@final
class LavaTarget(Target[Program]):
    """The public reference simulator, one sample at a time.

    Args:
        start_limit: seconds until the worker must have imported Lava.
        run_limit: seconds until it must have run up to 16 samples.
        python: interpreter with lava-nc; the installed environment's by default.
    """

    name: ClassVar[str] = "lava"
    summary: ClassVar[str] = "Intel's lava-nc 0.10.0, fixed-point models, Python 3.10 worker process"

    def __init__(self, *, start_limit: float = 90, run_limit: float = 600, python: Path | None = None) -> None:
        self.start_limit = start_limit
        self.run_limit = run_limit
        self.python = python or environment_python()

    def unavailable(self) -> str | None:
        """Return how to install Lava if it is not."""
        return None if self.python is not None else status().how

    def unsupported(self, program: Program) -> list[str]:
        """Return the reasons why Lava cannot run ``program`` exactly."""
        return [
            f"{synapse.label}: convolution from 1-d populations does not exist in Lava"
            for synapse in program.synapses
            if synapse.kind == "convolution" and len(program.shape_of(synapse.source)) != 3
        ] + [
            f"population {name!r}: 2-d shapes have no defined order in Lava"
            for name in [program.input.name, *(population.name for population in program.populations)]
            if len(program.shape_of(name)) == 2
        ]

    def _compile(self, program: Program) -> Compiled:
        assert self.python is not None
        return _Worker(program, self.python, self.start_limit, self.run_limit)
