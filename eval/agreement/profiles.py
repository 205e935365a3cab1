"""Whether the choice of arithmetic changes anything: one Program under every profile."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...export.program import Program
from ...hw_targets.loihi.profiles import PROFILES, unsupported
from ...hw_targets.loihi.simulator import LoihiTarget
from ...toolkit.progress import Track, silent
from .targets import difference


@dataclass(frozen=True)
class UnderProfile:
    """One Program under one profile, beside ``lava``.

    Attributes:
        profile: name.
        source: the package that defines it.
        accuracy: share of right answers; None without labels.
        classes_changed: samples with another class than under ``lava``.
        spikes_changed: spikes (a neuron, a step, a sample) that differ.
        spikes_compared: how many were compared.
        first: the first population, step, sample and neuron that differ; None if none does.
        extrapolated: what in the Program that package could not hold; its arithmetic is applied all the same.
    """

    profile: str
    source: str
    accuracy: float | None
    classes_changed: int
    spikes_changed: int
    spikes_compared: int
    first: tuple[str, tuple[int, ...]] | None
    extrapolated: tuple[str, ...]


def compare_profiles(
    program: Program, inputs: NDArray[np.int32], labels: NDArray[Any] | None = None, *, track: Track = silent
) -> list[UnderProfile]:
    """Run ``inputs`` under every profile and compare with ``lava``.

    Args:
        program: what runs.
        inputs: messages (time, batch, ...).
        labels: (batch,).
        track: progress.
    """
    reference = LoihiTarget().compile(program).run(inputs, rasters=True)
    found = []
    for name, profile in track(PROFILES.items(), "run under profiles", len(PROFILES)):
        trace = LoihiTarget(profile=name).compile(program).run(inputs, rasters=True)
        spikes = [bits for bits in difference(name, reference, trace) if bits.quantity == "spikes"]
        first = next(((bits.population, bits.first) for bits in spikes if bits.first), None)
        found.append(
            UnderProfile(
                name,
                profile.source,
                None if labels is None else float((trace.classes == labels).mean()),
                int((trace.classes != reference.classes).sum()),
                sum(bits.different for bits in spikes),
                sum(bits.compared for bits in spikes),
                first,
                tuple(unsupported(program, profile)),
            )
        )
    return found
