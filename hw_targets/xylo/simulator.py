"""Targets ``xylo`` and ``xylosim``: Programs of profile ``xylo``, in our arithmetic and in SynSense's own simulator."""

from pathlib import Path
from typing import ClassVar, Literal, final

import numpy as np
from numpy.typing import NDArray

from ...export.program import Program
from ...toolkit.progress import Track
from ..lava.environment import environment_python, status
from ..target import Compiled, CompiledProgram, Overflow, Raster, Target, Trace, join
from .arithmetic import Core, Recording, simulate
from .lower import core, places, unsupported
from .oracle import record

AT_ONCE = 2**23
"""Neurons times steps times samples that run at once."""


class _Run(CompiledProgram):
    """A Program as a core; a population's window is taken from the core's time."""

    def __init__(self, program: Program) -> None:
        super().__init__(program)
        self.core = core(program)
        self.places = places(program)
        # The first hidden neurons see the input in the step in which it comes; everything else is a step late.
        self.starts = {name: depth - 1 for name, depth in program.depths().items() if name != program.input.name}

    def record(self, given: Core, inputs: NDArray[np.int32]) -> Recording:
        """Return what the core does."""
        raise NotImplementedError

    def _run(self, inputs: NDArray[np.int32], rasters: bool, track: Track) -> Trace:
        size = sum(int(np.prod(population.shape)) for population in self.program.populations)
        batch = max(1, AT_ONCE // (size * self.program.steps))
        starts = range(0, inputs.shape[1], batch)
        parts = track(starts, "run on xylo", len(starts)) if len(starts) > 1 else starts
        return join([self._part(inputs[:, start : start + batch], rasters) for start in parts])

    def _part(self, inputs: NDArray[np.int32], rasters: bool) -> Trace:
        program, steps = self.program, self.program.steps
        flat = inputs.reshape(*inputs.shape[:2], -1)
        late = max(self.starts.values())
        found = self.record(self.core, np.concatenate([flat, np.zeros((late, *flat.shape[1:]), flat.dtype)]))
        made: dict[str, Raster] = {}
        for population in program.populations:
            name, start = population.name, self.starts[population.name]
            window = slice(start, start + steps)
            if name == program.readout.population:
                spikes, i, v = found.spikes_out[window], found.i_out[window], found.v_out[window]
            else:
                place = self.places[name]
                spikes, v = found.spikes[window, :, place], found.v[window, :, place]
                i = found.i[window, :, place].sum(-1)
            shape = (steps, inputs.shape[1], *population.shape)
            made[name] = Raster(spikes.reshape(shape), i.reshape(shape), v.reshape(shape))
        last = made[program.readout.population]
        return Trace(
            program.readout.output(last.spikes, last.v),  # type: ignore[arg-type]
            {name: raster.spikes.sum(0, dtype=np.int64) for name, raster in made.items()},
            self._overflow(found),
            made if rasters else {},
        )

    def _overflow(self, found: Recording) -> dict[str, Overflow] | None:
        """Return how many states were clipped: all hidden neurons under the name of the first population."""
        hidden, last = next(iter(self.places)), self.program.readout.population
        events = found.clipped
        return {
            **{name: Overflow(0, 0, 0) for name in self.places},
            hidden: Overflow(0, events[0] + events[1], 0),
            last: Overflow(0, events[2] + events[3], 0),
        }


@final
class _Own(_Run):
    def __init__(self, program: Program, device: str) -> None:
        super().__init__(program)
        self.device = device

    def record(self, given: Core, inputs: NDArray[np.int32]) -> Recording:
        return simulate(given, inputs, self.device)


@final
class XyloTarget(Target[Program]):
    """Batched exact simulation of a Program of profile ``xylo``.

    Args:
        device: a torch device.
    """

    name: ClassVar[str] = "xylo"
    summary: ClassVar[str] = "batched exact integer simulation of SynSense's Xylo, profile xylo"
    profiles: ClassVar[tuple[Literal["lava", "xylo"], ...]] = ("xylo",)

    def __init__(self, *, device: str = "cpu") -> None:
        self.device = device

    def unsupported(self, program: Program) -> list[str]:
        """Return why a Program has no configuration of one core."""
        return unsupported(program)

    def _compile(self, program: Program) -> Compiled:
        return _Own(program, self.device)


@final
class _Theirs(_Run):
    def __init__(self, program: Program, python: Path) -> None:
        super().__init__(program)
        self.python = python

    def record(self, given: Core, inputs: NDArray[np.int32]) -> Recording:
        return record([(given, inputs)], python=self.python)[0]

    def _overflow(self, found: Recording) -> None:
        return None


@final
class XylosimTarget(Target[Program]):
    """SynSense's xylosim 0.1.3, one sample after the other, in a process of its own environment.

    Args:
        python: interpreter with xylosim; that of the installed environment by default.
    """

    name: ClassVar[str] = "xylosim"
    summary: ClassVar[str] = "SynSense's xylosim 0.1.3 in a worker process of its own, profile xylo"
    profiles: ClassVar[tuple[Literal["lava", "xylo"], ...]] = ("xylo",)
    slow: ClassVar[bool] = True

    def __init__(self, *, python: Path | None = None) -> None:
        self.python = python or environment_python("xylosim")

    def unavailable(self) -> str | None:
        """Return how to install xylosim, None if it is there."""
        return None if self.python is not None else status("xylosim").how

    def unsupported(self, program: Program) -> list[str]:
        """Return why a Program has no configuration of one core."""
        return unsupported(program)

    def _compile(self, program: Program) -> Compiled:
        assert self.python is not None
        return _Theirs(program, self.python)
