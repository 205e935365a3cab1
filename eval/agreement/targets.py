"""Whether several targets are equal, bit for bit."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...export.program import Program
from ...hw_targets.target import Trace, get_target
from ...toolkit.errors import InputError
from ...toolkit.progress import Track, silent


@dataclass(frozen=True)
class Bits:
    """One quantity of one population on one target against the reference.

    Attributes:
        target: compared with the reference.
        population: which.
        quantity: spikes, u or v.
        compared: number of values: neurons, steps and samples.
        different: how many differ.
        first: where the first difference is: (step, sample, ...neuron); None if there is none.
    """

    target: str
    population: str
    quantity: str
    compared: int
    different: int
    first: tuple[int, ...] | None


@dataclass(frozen=True)
class Comparison:
    """Several targets against a reference, on the same inputs."""

    reference: str
    targets: tuple[str, ...]
    samples: int
    spikes: int
    values: tuple[Bits, ...]
    same_classes: Mapping[str, int]

    @property
    def equal(self) -> bool:
        """Whether not one value differs."""
        return not any(bits.different for bits in self.values)

    def compared(self, quantity: str | None = None) -> int:
        """Return how many values were compared, of one quantity or of all."""
        return sum(bits.compared for bits in self.values if quantity in (None, bits.quantity))

    def different(self) -> int:
        """Return how many values differ."""
        return sum(bits.different for bits in self.values)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            **asdict(self),
            "equal": self.equal,
            "spike_values_compared": self.compared("spikes"),
            "state_values_compared": self.compared("u") + self.compared("v"),
            "different": self.different(),
        }


def difference(target: str, reference: Trace, other: Trace) -> list[Bits]:
    """Compare every raster of two Traces.

    Raises:
        InputError: the Traces have no rasters, or not of the same populations.
    """
    if not reference.rasters or set(reference.rasters) != set(other.rasters):
        raise InputError(f"target {target!r}: its Trace has other rasters than the reference; ask both for rasters")
    found = []
    for name, raster in reference.rasters.items():
        for quantity in ("spikes", "u", "v"):
            expected, given = getattr(raster, quantity), getattr(other.rasters[name], quantity)
            if expected is None or given is None:
                continue
            if expected.shape != given.shape:
                raise InputError(
                    f"target {target!r}: {quantity} of {name!r} are {given.shape}, expected {expected.shape}"
                )
            wrong = expected != given
            first = tuple(int(i) for i in np.argwhere(wrong)[0]) if wrong.any() else None
            found.append(Bits(target, name, quantity, wrong.size, int(wrong.sum()), first))
    return found


def compare(program: Program, inputs: NDArray[np.int32], targets: list[str], *, track: Track = silent) -> Comparison:
    """Run ``inputs`` on every target and compare spikes, and u and v where exposed, with the first one's.

    Args:
        program: what runs.
        inputs: messages (time, batch, ...).
        targets: names; the first is the reference.
        track: progress.

    Raises:
        InputError: fewer than two targets, or one that runs no Programs.
        TargetError: a target is unavailable or failed.
    """
    if len(set(targets)) < 2:
        raise InputError(f"targets: {', '.join(targets)}; name at least two different ones to compare")
    for name in targets:
        if get_target(name).form != "program":
            raise InputError(f"target {name!r}: runs no Programs, so it cannot be compared bit for bit")
    # All are compiled before any runs, so that an absent target is told at once.
    compiled = {name: get_target(name).compile(program) for name in dict.fromkeys(targets)}
    traces = {name: ready.run(inputs, rasters=True, track=track) for name, ready in compiled.items()}
    first, *others = traces
    reference = traces[first]
    return Comparison(
        first,
        tuple(others),
        inputs.shape[1],
        sum(int((raster.spikes != 0).sum()) for raster in reference.rasters.values()),
        tuple(bits for name in others for bits in difference(name, reference, traces[name])),
        {name: int((traces[name].classes == reference.classes).sum()) for name in others},
    )
