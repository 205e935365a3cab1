"""What a graph's populations are in real numbers, before integers are chosen."""

from collections.abc import Mapping
from dataclasses import dataclass

import nir
import numpy as np

from ...toolkit.errors import UnsupportedError
from ..nir.dynamics import Settings, dynamics
from ..nir.layers import Grid
from ..nir.nodes import PARAMETERS, parameter
from .paths import Floats
from .wires import Wire


@dataclass(frozen=True)
class Deployment:
    """What a NIR file leaves open.

    Attributes:
        steps: time steps a sample.
        input_bits: bits of an input message; 0 means binary spikes.
        settings: time step, integration and reset.
        grids: weight grid a node; None: weights are real, and quantized here to ``bits``.
        bits: of weights without a grid.
        relays: balance paths with relay populations instead of delays.
        bias_exponent: the smallest that is used.
        input_levels: the message that stands for 1.0; None means the largest.
    """

    steps: int
    input_bits: int
    settings: Settings
    grids: Mapping[str, Grid] | None = None
    bits: int = 8
    relays: bool = False
    bias_exponent: int = 0
    input_levels: int | None = None

    @property
    def peak(self) -> int:
        """The largest input message."""
        return int(2**self.input_bits) - 1 if self.input_bits else 1

    @property
    def levels(self) -> int:
        """The input message that stands for 1.0."""
        return self.input_levels or self.peak


@dataclass(frozen=True)
class Neuron:
    """A whole population's :class:`..nir.dynamics.Dynamics`, with the membrane counted from its reset."""

    keep: float
    gain: float
    rest: float | Floats
    threshold: float | None
    current: float | None = None


@dataclass(frozen=True)
class Meaning:
    """A population in real numbers: what its node asks for, before integers are chosen.

    Attributes:
        neuron: its difference equation.
        shape: of the population.
        bias: what the membrane gains in each step, of ``shape``.
        wires: into it, with weights on their grids, or real where there are none.
        sources: names in the Program of where the wires start.
        message: what the membrane gains from a bias-coded message of 1; None where the input has synapses.
    """

    neuron: Neuron
    shape: tuple[int, ...]
    bias: Floats
    wires: tuple[Wire, ...] = ()
    sources: tuple[str, ...] = ()
    message: float | None = None


def neuron_of(name: str, node: nir.NIRNode, shape: tuple[int, ...], settings: Settings) -> Neuron:
    """Return a node's difference equation; refuse what a population of the chip cannot have neuron by neuron."""

    def one(what: str, values: Floats) -> float:
        found = np.unique(values)
        if found.size != 1:
            raise UnsupportedError(
                f"node {name!r}: {what} must be one number for the whole population, as on Loihi; "
                f"it goes from {found[0]:g} to {found[-1]:g}"
            )
        return float(found[0])

    for what in PARAMETERS[type(node)]:
        # A resting potential is a bias; only where membranes start there, it must be one number.
        if what != "v_leak" or settings.start == what:
            one(what, parameter(name, node, what, shape))
    if isinstance(node, nir.Threshold):
        return Neuron(0.0, 1.0, 0.0, one("threshold", parameter(name, node, "threshold", shape)))
    found = dynamics(name, node, shape, settings)
    keep, gain, start = (one("it", part) for part in (found.keep, found.gain, found.start))
    current, threshold, reset = None, None, start
    if found.threshold is not None and found.reset is not None:
        threshold, reset = one("v_threshold", found.threshold), one("v_reset", found.reset)
        if settings.reset != "zero" or settings.several:
            what = "several spikes a step" if settings.several else f"reset {settings.reset!r}"
            raise UnsupportedError(f"node {name!r}: {what} does not exist on Loihi's LIF; train with a hard reset")
        if start != reset:
            raise UnsupportedError(
                f"node {name!r}: starts at {start:g} and resets to v_reset = {reset:g}; on Loihi both are the same"
            )
    if found.current is not None:
        current, share = one("it", found.current[0]), one("it", found.current[1])
        gain *= share
    for what, kept in (("tau", keep), ("tau_syn", current)):
        if kept is not None and not 0 <= kept <= 1:
            raise UnsupportedError(f"node {name!r}: needs 0 < dt/{what} <= 1, is {1 - kept:g}")
    if not gain > 0 or (threshold is not None and not threshold > reset):
        raise UnsupportedError(f"node {name!r}: needs R > 0 and threshold > 0; got gain {gain:g}, {threshold}")
    # v' = v - reset:  v' <- keep v' + gain i + rest - (1 - keep) reset.
    return Neuron(
        keep, gain, found.rest - (1 - keep) * reset, None if threshold is None else threshold - reset, current
    )
