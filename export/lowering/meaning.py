"""What a graph's populations are in real numbers, before integers are chosen."""

from collections.abc import Mapping
from dataclasses import dataclass

import nir
import numpy as np
from numpy.typing import NDArray

from ...toolkit.errors import UnsupportedError
from ..nir.dynamics import Settings, dynamics
from ..nir.layers import Grid
from ..nir.nodes import parameter
from .paths import Floats
from .wires import Wire

DEFAULT_BITS = 8
"""Of a weight."""
GROUP_LIMIT = 64
"""Most populations that one node is split into where its neurons differ."""


@dataclass(frozen=True)
class Deployment:
    """What a NIR file leaves open.

    Attributes:
        steps: time steps a sample.
        input_bits: bits of an input message; 0 means binary spikes.
        settings: time step, integration and reset.
        grids: weight grid a node; None: weights are real, and quantized here to ``bits``.
        bits: of weights without a grid: of all, or by node, with "default" (8) for those that are not named.
        relays: balance paths with relay populations instead of delays.
        bias_exponent: the smallest that is used.
        input_levels: the message that stands for 1.0; None means the largest.
        every_step: whether there is an answer at each step.
    """

    steps: int
    input_bits: int
    settings: Settings
    grids: Mapping[str, Grid] | None = None
    bits: int | Mapping[str, int] = DEFAULT_BITS
    relays: bool = False
    bias_exponent: int = 0
    input_levels: int | None = None
    every_step: bool = False

    def bits_of(self, node: str = "default") -> int:
        """Return the bits of a node's weights."""
        if isinstance(self.bits, int):
            return self.bits
        return self.bits.get(node, self.bits.get("default", DEFAULT_BITS))

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
    rest: Floats
    threshold: float | None
    current: float | None = None


@dataclass(frozen=True)
class Group:
    """Neurons of a node that are alike: a population of the chip.

    Attributes:
        neuron: their difference equation; ``rest`` is that of the whole node.
        members: places in the node, flattened; None: all of it.
    """

    neuron: Neuron
    members: NDArray[np.int64] | None


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


def neurons_of(name: str, node: nir.NIRNode, shape: tuple[int, ...], settings: Settings) -> list[Group]:
    """Return a node's difference equation, or several where its parameters differ: one a population of the chip.

    Membranes are counted from where they reset to, v' = v - v_reset, so that any reset and start are the chip's 0.

    Raises:
        UnsupportedError: the chip has no such neuron, or more than :data:`GROUP_LIMIT` populations would be needed.
    """
    if isinstance(node, nir.Threshold):
        still = np.zeros(shape)
        return _groups(name, still, still + 1, still, still, parameter(name, node, "threshold", shape), None)
    found = dynamics(name, node, shape, settings)
    reset = found.start
    if found.threshold is not None and found.reset is not None:
        reset = found.reset
        if settings.reset != "zero" or settings.several:
            what = "several spikes a step" if settings.several else f"reset {settings.reset!r}"
            raise UnsupportedError(f"node {name!r}: {what} does not exist on Loihi's LIF; train with a hard reset")
        other = np.flatnonzero(found.start != reset)
        if other.size:
            one, to = found.start.flat[other[0]], reset.flat[other[0]]
            raise UnsupportedError(
                f"node {name!r}: starts at {one:g} and resets to v_reset = {to:g}; on Loihi both are the same: say "
                "--start v_reset if its membranes start there"
            )
    gain, current = found.gain, None
    if found.current is not None:
        current, share = found.current
        gain = gain * share
    for what, kept in (("tau", found.keep), ("tau_syn", current)):
        if kept is not None and not (kept.min() >= 0 and kept.max() <= 1):
            worst = kept.min() if kept.min() < 0 else kept.max()
            raise UnsupportedError(f"node {name!r}: needs 0 < dt/{what} <= 1, is {1 - worst:g}")
    if not gain.min() > 0 or (found.threshold is not None and not (found.threshold > reset).all()):
        raise UnsupportedError(
            f"node {name!r}: needs R > 0 and threshold > v_reset; got gain {gain.min():g}, threshold "
            f"{'none' if found.threshold is None else format(float(found.threshold.min()), 'g')}"
        )
    # v' <- keep v' + gain i + rest - (1 - keep) reset.
    rest = found.rest - (1 - found.keep) * reset
    threshold = None if found.threshold is None else found.threshold - reset
    return _groups(name, found.keep, gain, rest, reset, threshold, current)


def _groups(
    name: str, keep: Floats, gain: Floats, rest: Floats, reset: Floats, threshold: Floats | None, current: Floats | None
) -> list[Group]:
    # A membrane that is only read is read as it is: its own zero must be the same for all.
    told = [keep, gain, *([] if current is None else [current]), reset if threshold is None else threshold]
    rows = np.stack([part.reshape(-1) for part in told], axis=1)
    # Files hold float32; numbers that differ beyond it are one.
    distinct, which = np.unique(rows.astype(np.float32), axis=0, return_inverse=True)
    if len(distinct) > GROUP_LIMIT:
        raise UnsupportedError(
            f"node {name!r}: its neurons have {len(distinct)} different sets of parameters, each a population of its "
            f"own on Loihi; at most {GROUP_LIMIT} are made: round them, or train them shared"
        )
    which = which.reshape(-1)
    groups = []
    for index in range(len(distinct)):
        members = np.flatnonzero(which == index)
        first = [float(value) for value in rows[members[0]]]
        neuron = Neuron(
            first[0],
            first[1],
            rest,
            None if threshold is None else first[-1],
            None if current is None else first[2],
        )
        groups.append(Group(neuron, None if len(distinct) == 1 else members))
    return groups
