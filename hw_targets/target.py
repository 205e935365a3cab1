"""The contract of every target, the Trace that a run answers with, and the registry."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Literal, TypeVar, final

import numpy as np
from numpy.typing import NDArray

from ..export.program import Program
from ..toolkit.errors import InputError, TargetError, UnsupportedError
from ..toolkit.network.network import SpikingNetwork
from ..toolkit.progress import Track, silent
from . import TARGETS

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Raster:
    """All that one population did: spikes (time, batch, ...), and u and v after each step where exposed.

    A graded population has no u and v, and its messages, integers, in the place of spikes.
    """

    spikes: NDArray[np.bool_] | NDArray[np.int64]
    u: NDArray[np.int64] | None = None
    v: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Overflow:
    """How often the numbers' limits showed, over neurons, steps and samples.

    Attributes:
        wraps: the current left its width and wrapped.
        saturations: the voltage was clipped.
        swallowed: a leak rounded a state that was not 0 to 0 (the dead zone of decay toward zero).
    """

    wraps: int
    saturations: int
    swallowed: int


@dataclass(frozen=True)
class Trace:
    """What a run gave.

    Attributes:
        output: (batch, classes), the read-out.
        spike_counts: how many messages each neuron sent over all steps, a population, (batch, ...).
        overflow: a population's events; None where the target does not expose them.
        rasters: on request, a population's raster.
    """

    output: Counts
    spike_counts: Mapping[str, Counts]
    overflow: Mapping[str, Overflow] | None = None
    rasters: Mapping[str, Raster] = field(default_factory=dict)

    @property
    def classes(self) -> Counts:
        """Predicted classes (batch,), ties to the lowest index."""
        return np.asarray(self.output.argmax(axis=1), dtype=np.int64)


def join(traces: list[Trace]) -> Trace:
    """Return one Trace of several batches, in order."""

    def cat(parts: list[NDArray[Any] | None], axis: int) -> Any:
        return None if any(part is None for part in parts) else np.concatenate(parts, axis)  # type: ignore[arg-type]

    first = traces[0]
    overflow = None
    if first.overflow is not None:
        events = {name: [trace.overflow[name] for trace in traces if trace.overflow] for name in first.overflow}
        overflow = {
            name: Overflow(
                sum(event.wraps for event in parts),
                sum(event.saturations for event in parts),
                sum(event.swallowed for event in parts),
            )
            for name, parts in events.items()
        }
    return Trace(
        np.concatenate([trace.output for trace in traces]),
        {name: np.concatenate([trace.spike_counts[name] for trace in traces]) for name in first.spike_counts},
        overflow,
        {
            name: Raster(
                np.concatenate([trace.rasters[name].spikes for trace in traces], 1),
                cat([trace.rasters[name].u for trace in traces], 1),
                cat([trace.rasters[name].v for trace in traces], 1),
            )
            for name in first.rasters
        },
    )


class Compiled(ABC):
    """A network made ready for one target."""

    @abstractmethod
    def run(self, inputs: NDArray[Any], *, rasters: bool = False, track: Track = silent) -> Trace:
        """Run on a batch; every sample starts from state 0."""


class CompiledProgram(Compiled):
    """A Program made ready for one target; the final :meth:`run` checks the input for all of them alike."""

    def __init__(self, program: Program) -> None:
        self.program = program

    @abstractmethod
    def _run(self, inputs: NDArray[np.int32], rasters: bool, track: Track) -> Trace: ...

    @final
    def run(self, inputs: NDArray[Any], *, rasters: bool = False, track: Track = silent) -> Trace:
        """Run the Program on a batch; every sample starts from state 0.

        Args:
            inputs: integer messages (time, batch, ...).
            rasters: whether to keep spikes (and u, v) of every step.
            track: progress.

        Raises:
            InputError: shape, type or range of ``inputs`` is wrong.
            TargetError: the target failed.
        """
        expected = self.program.input
        if inputs.ndim < 2 or inputs.shape[0] != self.program.steps or inputs.shape[2:] != expected.shape:
            raise InputError(
                f"input {expected.name!r}: shape {inputs.shape}, expected "
                f"({self.program.steps}, batch, {', '.join(map(str, expected.shape))})"
            )
        if inputs.shape[1] == 0:
            raise InputError(f"input {expected.name!r}: no samples")
        if inputs.dtype.kind not in "iu":
            raise InputError(f"input {expected.name!r}: type {inputs.dtype}, expected integers; encode images first")
        if inputs.min() < 0 or inputs.max() > expected.peak:
            raise InputError(
                f"input {expected.name!r}: values {inputs.min()} to {inputs.max()}, expected 0 to {expected.peak}"
            )
        if inputs.strides[0] == 0:  # the same messages at every step: no copy of each
            inputs = np.broadcast_to(inputs[0].astype(np.int32), inputs.shape)
        return self._run(inputs.astype(np.int32, copy=False), rasters, track)


Form = TypeVar("Form", Program, SpikingNetwork)


class Target(ABC, Generic[Form]):
    """Something that runs networks of one form, in two phases; the class is final and its settings frozen.

    ``Form`` is :class:`Program` for every target that claims anything about the deployed network, and
    :class:`SpikingNetwork` for the float reference ``torch``.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    form: ClassVar[Literal["program", "network"]] = "program"
    slow: ClassVar[bool] = False
    """Whether it takes seconds a sample, so that callers ask it for fewer."""

    profiles: ClassVar[tuple[Literal["lava", "xylo"], ...]] = ("lava",)
    """Of which arithmetic a Program must be; others are refused by :meth:`refused`."""

    @final
    def refused(self, network: Form) -> list[str]:
        """Return every reason why this target cannot run ``network``: another chip's arithmetic, or its own reasons."""
        if isinstance(network, Program) and network.profile not in self.profiles:
            known = ", ".join(self.profiles)
            return [f"the Program is in the integers of profile {network.profile!r}; this target computes {known}"]
        return self.unsupported(network)

    def unavailable(self) -> str | None:
        """Return how to get what this target needs, or None if it can be used now."""
        return None

    @abstractmethod
    def unsupported(self, network: Form) -> list[str]:
        """Return the reasons why this target cannot run ``network`` exactly; empty when it can."""

    @abstractmethod
    def _compile(self, network: Form) -> Compiled: ...

    @final
    def compile(self, network: Form) -> Compiled:
        """Make ``network`` ready to run.

        Raises:
            TargetError: the target is unavailable; the message says how to get it.
            UnsupportedError: the target cannot run it; the message holds every reason.
        """
        missing = self.unavailable()
        if missing is not None:
            raise TargetError(f"target {self.name!r}: unavailable: {missing}")
        reasons = self.refused(network)
        if reasons:
            raise UnsupportedError(f"target {self.name!r}: " + "; ".join(reasons))
        return self._compile(network)


def target_names() -> list[str]:
    """Return the names of all targets: built-ins first, then those of other packages.

    Raises:
        InputError: another package's target has the name of a built-in one.
    """
    return TARGETS.names()


def get_target(name: str) -> Target[Any]:
    """Return the target called ``name``.

    Raises:
        InputError: there is none of that name, or it is not a Target.
        TargetError: another package fails to load or to make it.
    """
    kind: type[Target[Any]] = TARGETS.get(name)
    if name in TARGETS.built_in:
        return kind()
    try:
        return kind()
    except Exception as error:  # whatever another package's code raises
        raise TargetError(f"target {name!r}: cannot be made ({type(error).__name__}: {error})") from error
