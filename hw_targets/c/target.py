"""Target ``c``: the Program's C file, compiled here, sample after sample in a process with a time limit."""

import subprocess
from pathlib import Path
from typing import ClassVar, final

import numpy as np
from numpy.typing import NDArray

from ...export.c import to_c, unsupported
from ...export.c.layout import Node, message_type, nodes
from ...export.c.write import Main
from ...export.program import Program
from ...toolkit.errors import TargetError
from ...toolkit.kernels.compiler import NotCompiled, compiler
from ...toolkit.progress import Track
from ..target import Compiled, CompiledProgram, Counts, Raster, Target, Trace, join
from .build import FAST, build

AT_ONCE = 2**24
"""Numbers that a process may write: what is in memory at once is bounded."""


class _Executable(CompiledProgram):
    def __init__(self, program: Program, flags: tuple[str, ...], seconds: float) -> None:
        super().__init__(program)
        self.flags, self.seconds = flags, seconds
        self.made: dict[Main, Path] = {}
        self.at = nodes(program)
        self.populations = [self.at[part.name] for part in program.populations]
        self.stateful = {part.name for part in program.stateful}
        self.inputs = self.at[program.input.name].size
        self.message = message_type(program)

    def _program(self, main: Main) -> Path:
        """Return the compiled program; again, if those of others have driven it out of the cache.

        "counts" is the C file as users get it but for its ``main``; "rasters" keeps currents, too, that have no memory.
        """
        made = self.made.get(main)
        if made is None or not made.exists():
            try:
                made = self.made[main] = build(to_c(self.program, main=main), self.flags)
            except NotCompiled as error:
                raise TargetError(f"target 'c': {error}") from error
        return made

    def _run(self, inputs: NDArray[np.int32], rasters: bool, track: Track) -> Trace:
        numbers = sum(map(self._numbers, self.populations)) * self.program.steps
        batch = max(1, AT_ONCE // numbers) if rasters else max(1, AT_ONCE // self.program.steps // self.inputs)
        starts = range(0, inputs.shape[1], batch)
        parts = track(starts, "run on c", len(starts)) if len(starts) > 1 else starts
        run = self._with_rasters if rasters else self._with_counts
        return join([run(inputs[:, start : start + batch]) for start in parts])

    def _numbers(self, node: Node) -> int:
        """Return how many numbers tell what a population did in a step: messages, and u and v where there are."""
        return node.size * (3 if node.name in self.stateful else 1)

    def _with_counts(self, inputs: NDArray[np.int32]) -> Trace:
        widths = [node.size for node in self.populations]
        counts, output = self._answer("counts", inputs, sum(widths))
        parts = np.split(counts, np.cumsum(widths)[:-1], 1)
        sent = {node.name: _restored(node, given) for node, given in zip(self.populations, parts, strict=True)}
        return Trace(output, sent)

    def _with_rasters(self, inputs: NDArray[np.int32]) -> Trace:
        widths = [self._numbers(node) for node in self.populations]
        told, output = self._answer("rasters", inputs, sum(widths) * len(inputs))
        steps = told.reshape(inputs.shape[1], len(inputs), -1).swapaxes(0, 1)
        found, sent = {}, {}
        for node, given in zip(self.populations, np.split(steps, np.cumsum(widths)[:-1], 2), strict=True):
            messages, *states = (_restored(node, part) for part in np.split(given, given.shape[2] // node.size, 2))
            sent[node.name] = (messages != 0).sum(0, dtype=np.int64)
            found[node.name] = Raster(messages.astype(np.bool_) if node.bits else messages, *states)
        return Trace(output, sent, None, found)

    def _answer(
        self, main: Main, inputs: NDArray[np.int32], numbers: int
    ) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Return what the program writes on messages (time, batch, ...): so many numbers a sample, and outputs."""
        sent = np.ascontiguousarray(inputs.swapaxes(0, 1), dtype=self.message)
        try:
            done = subprocess.run(
                [str(self._program(main))], input=sent.tobytes(), capture_output=True, timeout=self.seconds, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise TargetError(
                f"target 'c': {inputs.shape[1]} samples took more than {self.seconds:g} s; give it fewer at once"
            ) from error
        except OSError as error:
            raise TargetError(f"target 'c': the compiled program cannot be run: {error}") from error
        if done.returncode != 0:
            words = done.stderr.decode(errors="replace").strip().splitlines()
            raise TargetError(
                f"target 'c': it ended with status {done.returncode}: {words[-1] if words else 'no word'}"
            )
        rows = np.frombuffer(done.stdout, dtype=np.int32)
        width = numbers + self.at[self.program.readout.population].size
        if rows.size != inputs.shape[1] * width:
            raise TargetError(f"target 'c': it wrote {rows.size} numbers, expected {inputs.shape[1] * width}")
        told, output = np.split(rows.reshape(-1, width), [numbers], 1)
        return told, output.astype(np.int64)


def _restored(node: Node, values: NDArray[np.int32]) -> Counts:
    """Return numbers in the order and shape of the Program."""
    return values[..., node.place].astype(np.int64).reshape(*values.shape[:-1], *node.shape)


@final
class CTarget(Target[Program]):
    """The Program as C99, compiled by the system's compiler; see docs/c.md.

    Args:
        flags: of the compiler, beside the standard and warnings, which are errors.
        seconds: that a process may take.
    """

    name: ClassVar[str] = "c"
    summary: ClassVar[str] = "one file of C99 that needs no library, compiled here"

    def __init__(self, *, flags: tuple[str, ...] = FAST, seconds: float = 600) -> None:
        self.flags, self.seconds = flags, seconds

    def unavailable(self) -> str | None:
        """Return how to get a C compiler, or None if one is here."""
        return None if compiler() else "no C compiler ($CC, cc, gcc or clang); install one, for example gcc"

    def unsupported(self, program: Program) -> list[str]:
        """Return reasons: sums beyond 32 bits that nothing wraps, tables that are too long."""
        return unsupported(program)

    def _compile(self, program: Program) -> Compiled:
        return _Executable(program, self.flags, self.seconds)
