"""A Program made ready for bounds: sparse integer matrices, and what each step's input adds to each later voltage.

Between two spikes a voltage is linear in what arrives, but for the truncation of decays. For a neuron that was last
reset after step s (-1: never) and fires nothing before step t,

    v(t) = sum over arrivals tau <= t of kappa(s, t, tau) a(tau) + bias(s, t) + error,
    kappa = 64 sum over r = max(s + 1, tau)...t of beta^(t - r) alpha^(r - tau),

with alpha = (4095 - du) / 4096 and beta = (4096 - dv) / 4096; the current is not reset. Factors are exact fractions.
"""

from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from math import gcd

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from ...export.program import Convolution, Graded, Population, Program
from ...export.program.connections import connections
from ...hw_targets.loihi.arithmetic import LIMIT
from ...toolkit.errors import UnsupportedError

Int = NDArray[np.int64]
Window = tuple[int, int]
"""Last reset, and the step that is looked at."""
LONGEST = 64
"""Time steps that are covered: there are half as many windows as their square."""
BITS = 61
"""Of sums in fixed point: two of 64 are kept free."""


@dataclass(frozen=True)
class Wire:
    """One synapse: floor((W m) 2^exponent) arrives ``lag`` steps later.

    Attributes:
        source: name of the input or population.
        exponent: of the weights.
        lag: in steps of the target's window.
        weight: (target neurons, source neurons).
        peak: largest message.
    """

    source: str
    exponent: int
    lag: int
    weight: csr_array
    peak: int

    @cached_property
    def excitatory(self) -> csr_array:
        """The positive weights."""
        return self.weight.maximum(0)

    @cached_property
    def inhibitory(self) -> csr_array:
        """The negative weights."""
        return self.weight.minimum(0)

    @cached_property
    def rounds(self) -> bool:
        """Whether the exponent's floor can take something away."""
        return self.exponent < 0 and bool((self.weight.data % 2**-self.exponent).any())

    @cached_property
    def padded(self) -> tuple[Int, Int]:
        """Sources and weights of each target in rows of one length; what is missing has weight 0."""
        weight = self.weight
        counts = np.diff(weight.indptr)
        columns = np.zeros((weight.shape[0], max(int(counts.max(initial=0)), 1)), dtype=np.int64)
        values = np.zeros_like(columns)
        rows = np.repeat(np.arange(weight.shape[0]), counts)
        place = np.arange(len(weight.data)) - np.repeat(weight.indptr[:-1], counts)
        columns[rows, place], values[rows, place] = weight.indices, weight.data
        return columns, values

    def shifted(self, sums: Int) -> Int:
        """Return floor(sums 2^exponent)."""
        return sums << self.exponent if self.exponent >= 0 else sums >> -self.exponent

    @cached_property
    def reach(self) -> tuple[Int, Int]:
        """Least and most that arrives in a step, a target neuron."""
        ones = np.full(self.weight.shape[1], self.peak, dtype=np.int64)
        return self.shifted(self.inhibitory @ ones), self.shifted(self.excitatory @ ones)


@dataclass(frozen=True)
class Facts:
    """The voltage at the end of a window, as exact fractions.

    Attributes:
        kappa: what one unit that arrives at each step adds.
        driven: what one unit of bias-coded input at each step adds.
        constant: what a bias of 1 adds.
        error: what truncated decays may add or take, at most.
        floors: what floors of exponents may take, at most.
    """

    kappa: tuple[Fraction, ...]
    driven: tuple[Fraction, ...]
    constant: Fraction
    error: Fraction
    floors: Fraction


@dataclass(frozen=True)
class Layer:
    """A population with its incoming wires.

    Attributes:
        name: of the population.
        size: neurons.
        steps: of a sample.
        wires: in the order of the Program's synapses.
        bias: mantissa 2^exponent, (neurons,).
        keep_u: 4095 - du.
        keep_v: 4096 - dv.
        threshold: 64 vth; of a graded population vth.
        drive: exponent of bias-coded input; None where there is none.
        graded: whether it sends its input itself.
    """

    name: str
    size: int
    steps: int
    wires: tuple[Wire, ...]
    bias: Int
    keep_u: int
    keep_v: int
    threshold: int
    drive: int | None
    graded: bool
    _facts: dict[Window, "Facts"] = field(default_factory=dict, compare=False, repr=False)

    @property
    def windows(self) -> list[Window]:
        """All pairs of a last reset and a later step."""
        return [(s, t) for t in range(self.steps) for s in range(-1, t)]

    def facts(self, window: Window) -> "Facts":
        """Return what a window's voltage is made of."""
        if window not in self._facts:
            self._facts[window] = _facts(self, window)
        return self._facts[window]

    @cached_property
    def reach(self) -> tuple[Int, Int]:
        """Least and most synaptic input in a step, a neuron."""
        zero = np.zeros(self.size, dtype=np.int64)
        return sum((w.reach[0] for w in self.wires), zero), sum((w.reach[1] for w in self.wires), zero)

    @cached_property
    def memoryless(self) -> bool:
        """Whether nothing of a step is left in the next one, whatever arrives."""
        if self.graded or self.keep_u:
            return False
        low = int((64 * self.reach[0] + self.bias).min())
        return self.keep_v * max(self.threshold, -low) < 4096

    @cached_property
    def either(self) -> bool:
        """Whether it is an OR: it fires in a step exactly if any of its sources did."""
        if not self.memoryless or len(self.wires) != 1 or self.drive is not None:
            return False
        wire = self.wires[0]
        if wire.peak != 1 or (wire.weight.data <= 0).any():
            return False
        least = wire.shifted(wire.weight.data.astype(np.int64)) * 64
        rows = np.repeat(np.arange(self.size), np.diff(wire.weight.indptr))
        return bool((least + self.bias[rows] > self.threshold).all() and (self.bias <= self.threshold).all())


def _facts(layer: Layer, window: Window) -> Facts:
    s, t = window
    alpha, beta = Fraction(layer.keep_u, 4096), Fraction(layer.keep_v, 4096)
    zero = Fraction(0)
    times = range(s + 1, t + 1)
    kappa = tuple(
        64 * sum((beta ** (t - r) * alpha ** (r - tau) for r in times if r >= tau), zero) for tau in range(layer.steps)
    )
    driven = tuple(
        2**layer.drive * beta ** (t - r) if layer.drive is not None and r in times else zero for r in range(layer.steps)
    )
    # A product of x and keep loses less than one unit of 1/4096, in steps of their greatest common divisor.
    lost_u, lost_v = (1 - Fraction(gcd(keep, 4096), 4096) if keep else zero for keep in (layer.keep_u, layer.keep_v))
    # u(r) lost something at steps 1...r, v at s + 2...t: a decay of 0 is exact.
    current = {r: lost_u * sum((alpha ** (r - q) for q in range(1, r + 1)), zero) for r in times}
    error = lost_v * sum((beta ** (t - r) for r in range(s + 2, t + 1)), zero)
    error += sum((beta ** (t - r) * current[r] for r in times), zero)
    floors = sum((1 - Fraction(1, 2**-wire.exponent) for wire in layer.wires if wire.rounds), zero)
    return Facts(kappa, driven, sum((beta ** (t - r) for r in times), zero), error, floors * sum(kappa, zero))


def layers_of(program: Program) -> list[Layer]:
    """Return the populations of a Program in order, made ready.

    Raises:
        UnsupportedError: something of it is not covered, see :func:`unsupported`.
    """
    if reasons := unsupported(program):
        raise UnsupportedError("prove: " + "; ".join(reasons))
    return _make(program)


def unsupported(program: Program) -> list[str]:
    """Return what of a Program proofs do not cover; empty where all is covered."""
    if program.sigma_delta:
        names = ", ".join(repr(population.name) for population in program.sigma_delta)
        return [
            f"populations {names}: sigma-delta neurons send changes with a sign and keep what they did not send, and "
            "no bound of theirs is known here; robustness says what attacks find"
        ]
    return _reasons(program, _make(program))


def _make(program: Program) -> list[Layer]:
    made = []
    for part in program.populations:
        size = int(np.prod(part.shape))
        wires = tuple(
            Wire(
                synapse.source,
                synapse.exponent,
                program.lag(synapse),
                csr_array(connections(program, synapse).astype(np.int64)),
                program.peak(synapse.source),
            )
            for synapse in program.incoming(part.name)
        )
        if isinstance(part, Graded):
            zero = np.zeros(size, dtype=np.int64)
            made.append(Layer(part.name, size, program.steps, wires, zero, 0, 0, part.vth, None, True))
            continue
        assert isinstance(part, Population)  # All else is refused before.
        made.append(
            Layer(
                part.name,
                size,
                program.steps,
                wires,
                part.bias.astype(np.int64).ravel() << part.bias_exponent,
                4095 - part.du,
                4096 - part.dv,
                64 * part.vth,
                part.bias_exponent if part.input_bias else None,
                False,
            )
        )
    return made


def _reasons(program: Program, made: list[Layer]) -> list[str]:
    reasons = []
    if program.steps > LONGEST:
        reasons.append(f"{program.steps} time steps, covered are {LONGEST}")
    if int(np.prod(program.population(program.readout.population).shape)) < 2:
        reasons.append("a read-out of one neuron has no other class")
    for synapse in program.synapses:
        narrow = isinstance(synapse, Convolution) and synapse.exponent == 0
        bound = program.bound(synapse)
        if bound >= (LIMIT if narrow else 2**31) or bound << max(synapse.exponent, 0) >= 2**31:
            reasons.append(f"{synapse.label}: sums up to {bound} could wrap")
    for layer, part in zip(made, program.populations, strict=True):
        if not isinstance(part, Population):
            continue
        # Neuron by neuron: the lowest sum and the lowest bias of a population need not meet in one.
        low, high = (end.astype(np.int64) for end in layer.reach)
        least, most, v = (np.zeros_like(low) for _ in range(3))
        for _ in range(program.steps):
            least, most = kept(least, layer.keep_u) + 64 * low, kept(most, layer.keep_u) + 64 * high
            v = np.minimum(0, kept(v, layer.keep_v) + least + layer.bias)
        if least.min() <= -LIMIT or most.max() >= LIMIT:
            reasons.append(f"population {layer.name!r}: its current could wrap")
        if v.min() <= -LIMIT + 1:
            reasons.append(f"population {layer.name!r}: its voltage could be clipped from below")
    return reasons


def kept(x: Int, keep: int) -> Int:
    """Return what a decay leaves of x: the magnitude times keep / 4096, truncated."""
    found: Int = np.sign(x) * (np.abs(x) * keep >> 12)
    return found
