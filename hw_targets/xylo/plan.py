"""How real numbers become Xylo's integers, population by population: units, weight steps and shifts."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ...toolkit.errors import UnsupportedError
from .arithmetic import SHIFT_MAX

FINE = 2**10
"""Weights are shifted until a threshold has about this many units: leaks round little; 16 bits hold 32 thresholds."""


@dataclass(frozen=True)
class Wanted:
    """What a population asks for.

    Attributes:
        dash_syn: shift of its current's leak.
        dash_mem: shift of its membrane's leak.
        charge: how much more a membrane gains from 1 that arrives than the network's does.
        threshold: None for neurons that never fire.
        bias: real, added to the membrane in each step.
        grad: from v - threshold to spikes.
        changes: what is not as the network has it.
    """

    dash_syn: int
    dash_mem: int
    charge: float
    threshold: float | None
    bias: Tensor | None
    grad: Any
    changes: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """Numbers of all populations.

    Attributes:
        wanted: what each asks for.
        units: real value of 1 of a population's current.
        shifts: bits by which its finest source's weights are shifted.
        steps: of each weight layer's weights.
    """

    wanted: Mapping[str, Wanted]
    units: Mapping[str, float]
    shifts: Mapping[str, int]
    steps: Mapping[str, float]


def exponent(step: float, worth: float, unit: float) -> int:
    """Return the weight shift of a source: log2 of how many units one step of its weights is worth."""
    return round(math.log2(step * worth / unit))


def planned(
    wanted: Mapping[str, Wanted],
    arriving: Mapping[str, Mapping[str, float]],
    steps: dict[str, float],
    *,
    first: Collection[str],
    last: str,
) -> Plan:
    """Choose units and shifts such that all weights of a kind - input, hidden, read-out - share one shift.

    Args:
        wanted: by population.
        arriving: the weight layers into each, with the real value of a message that they receive.
        steps: of the weight layers; those from hidden neurons into one population get the largest among them.
        first: the weight layers that receive the input.
        last: the population that is read.

    Raises:
        UnsupportedError: no shifts fit.
    """
    hidden = {name: [source for source in sources if source not in first] for name, sources in arriving.items()}
    for alike in hidden.values():
        steps |= dict.fromkeys(alike, max((steps[source] for source in alike), default=0.0))
    finest = {
        name: min(steps[source] * worth for source, worth in sources.items()) for name, sources in arriving.items()
    }
    # Of each population and kind, the shift at a unit of its finest source.
    own: dict[str, dict[str, int]] = {}
    for name, sources in arriving.items():
        own[name] = {}
        for source, worth in sources.items():
            kind = "readout" if name == last else "hidden" if source in hidden[name] else "input"
            own[name][kind] = exponent(steps[source], worth, finest[name])
    shifts = {name: _room(wanted[name], finest[name]) for name in wanted}
    for kind in ("input", "hidden", "readout"):
        members = [name for name in shifts if kind in own[name]]
        if not members:
            continue
        free = [name for name in members if kind == "input" or "input" not in own[name]]
        settled = {own[name][kind] + shifts[name] for name in members if name not in free}
        shift = min((own[name][kind] + shifts[name] for name in free), default=0) if not settled else settled.pop()
        if settled or not 0 <= shift <= SHIFT_MAX or any(shift < own[name][kind] for name in free):
            raise UnsupportedError(
                f"populations {', '.join(members)}: their {kind} weights differ too much in size for one shift of 0 to "
                f"{SHIFT_MAX} bits, which is all that Xylo has"
            )
        for name in free:
            shifts[name] = shift - own[name][kind]
    return Plan(wanted, {name: finest[name] / 2.0 ** shifts[name] for name in wanted}, shifts, steps)


def _room(wanted: Wanted, unit: float) -> int:
    """Return by how many bits a unit can be refined until a threshold has :data:`FINE` of them."""
    if wanted.threshold is None:
        return 0
    units = wanted.threshold * wanted.charge / unit
    return min(max(math.floor(math.log2(FINE / units)), 0), SHIFT_MAX)
