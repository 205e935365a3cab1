"""The difference equations of a neuron node: what a time step does to its current and its membrane.

NIR's equations are continuous in time; files say neither how they were made discrete nor whether a spike resets or
subtracts. :class:`Settings` say it, and :data:`ORIGINS` know it of the frameworks that write such files (docs/nir.md).
"""

from dataclasses import dataclass, replace
from math import isfinite
from typing import Literal, cast, get_args

import nir
import numpy as np

from ...toolkit.errors import UnsupportedError
from ..lowering.paths import Floats
from .nodes import SPIKING, Shape, parameter

Reset = Literal["zero", "subtract", "subtract_later", "zero_later", "none"]
Start = Literal["v_leak", "v_reset"]


@dataclass(frozen=True)
class Settings:
    """What a NIR file leaves open.

    Attributes:
        dt: seconds a time step.
        integration: ``euler``: x += dt/tau (target - x); ``exponential``: x += (1 - exp(-dt/tau)) (target - x).
        reset: ``zero``: to v_reset, at once; ``subtract``: the threshold, at once; ``subtract_later``: the threshold,
            after the leak of the next step; ``zero_later``: to v_reset instead of the next step, whose input is lost;
            ``none``.
        start: membranes start at ``v_leak`` or at ``v_reset``, where a node has it.
        at_threshold: a membrane exactly at the threshold fires, too (NIR: only above it).
        several: a membrane n thresholds high sends n spikes in one step.
        added: node types whose input is added to their first state as it is, whatever R, w_in and dt are.
    """

    dt: float
    integration: Literal["euler", "exponential"] = "euler"
    reset: Reset = "zero"
    start: Start = "v_leak"
    at_threshold: bool = False
    several: bool = False
    added: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if not (isfinite(self.dt) and self.dt > 0):
            raise UnsupportedError(f"time step {self.dt} s, expected a number above 0")


ORIGINS = {
    "nir": Settings(1e-4),
    "spikeproof": Settings(1e-4, start="v_reset"),
    "snntorch": Settings(1e-4),
    "spikingjelly": Settings(1e-4, start="v_reset", at_threshold=True),
    # It writes tau as dt times the time constant in seconds, so one of its steps of 1 ms is 1e-6 s of the file.
    "norse": Settings(1e-6, added=frozenset({"CubaLIF", "IF"})),
    # It counts time in steps.
    "sinabs": Settings(1.0, "exponential", "subtract", at_threshold=True, several=True),
}
"""Defaults of the frameworks that write NIR files; ``nir`` takes the format's equations by their word."""


def settings_of(
    origin: str,
    dt: float | None = None,
    reset: str | None = None,
    *,
    one_spike: bool = False,
    unscaled: bool = False,
    start: str | None = None,
) -> Settings:
    """Return the settings of a framework, changed by what is known of a network beyond that.

    Args:
        origin: a name in :data:`ORIGINS`.
        dt: seconds a time step.
        reset: see :class:`Settings`.
        one_spike: at most one spike a step (sinabs' SingleSpike).
        unscaled: the input of LIF and LI is added as it is (sinabs' norm_input=False).
        start: where membranes start, see :class:`Settings`.

    Raises:
        UnsupportedError: an unknown framework, reset or start, or an impossible time step.
    """
    if origin not in ORIGINS:
        raise UnsupportedError(f"origin {origin!r} is unknown; choose among {', '.join(sorted(ORIGINS))}")
    settings = ORIGINS[origin]
    if reset is not None and reset not in get_args(Reset):
        raise UnsupportedError(f"reset {reset!r} is unknown; choose among {', '.join(get_args(Reset))}")
    if start is not None and start not in get_args(Start):
        raise UnsupportedError(f"start {start!r} is unknown; choose among {', '.join(get_args(Start))}")
    return replace(
        settings,
        start=cast(Start, start or settings.start),
        dt=settings.dt if dt is None else dt,
        reset=cast(Reset, reset or settings.reset),
        several=settings.several and not one_spike,
        added=settings.added | (frozenset({"LIF", "LI"}) if unscaled else frozenset()),
    )


@dataclass(frozen=True)
class Dynamics:
    """One step: i <- i_keep i + i_gain x;  v <- keep v + gain i + rest.  Without a current, i is the input x itself.

    Attributes:
        keep: share of the membrane that a step keeps.
        gain: what the membrane gains from a current of 1.
        rest: what it gains in any case.
        start: where it starts.
        current: (i_keep, i_gain), or None.
        threshold: None where nothing fires.
        reset: where a spike puts the membrane, if it resets to a value.
    """

    keep: Floats
    gain: Floats
    rest: Floats
    start: Floats
    current: tuple[Floats, Floats] | None = None
    threshold: Floats | None = None
    reset: Floats | None = None


def dynamics(name: str, node: nir.NIRNode, shape: Shape, settings: Settings) -> Dynamics:
    """Return the equations of a neuron node, each coefficient a neuron.

    Raises:
        UnsupportedError: a parameter has another shape, is not finite, or is a time constant of 0 or less.
    """
    kind = type(node).__name__

    def given(what: str) -> Floats:
        values = parameter(name, node, what, shape)
        if what.startswith("tau") and values.min() <= 0:
            raise UnsupportedError(f"node {name!r}: {what} must be above 0, is {values.min():g}")
        return values

    def taken(what: str) -> Floats:
        rate = settings.dt / given(what)
        return np.asarray(rate if settings.integration == "euler" else -np.expm1(-rate))

    as_it_is = np.ones(shape)
    current = None
    if kind.startswith("Cuba"):
        share = taken("tau_syn")
        current = 1 - share, as_it_is if kind in settings.added else share * given("w_in")
    if kind in ("I", "IF"):
        share, keep, start = np.full(shape, settings.dt), as_it_is, np.zeros(shape)
        rest = start
    else:
        share = taken("tau" if current is None else "tau_mem")
        keep, start = 1 - share, given("v_leak")
        rest = share * start
    gain = as_it_is if kind in settings.added and current is None else share * given("r")
    if not isinstance(node, SPIKING):
        return Dynamics(keep, gain, rest, start, current)
    reset = given("v_reset")
    return Dynamics(
        keep, gain, rest, reset if settings.start == "v_reset" else start, current, given("v_threshold"), reset
    )
