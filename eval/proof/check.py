"""A second look at certificates: train by train of each neuron, in fractions, without the code of :mod:`.sets`.

A certificate is what every neuron may fire on a region. Each train that it excludes is refuted again, from the trains
that it leaves to the neuron's sources: so what it says holds, step after step, from the input to the read-out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from math import gcd

import numpy as np

from ...export.program import Graded, Population, Program
from ...export.program.connections import connections
from ...hw_targets.target import CompiledProgram
from ...toolkit.errors import DisagreementError, UnsupportedError
from .region import Ball, Edits, Region
from .search import margins, run
from .sets import Bounds
from .trains import STEPS, Trains

NEURONS = 48
"""Of a population that are looked at, drawn; those of the read-out are all looked at."""

Train = tuple[int, ...]


@dataclass(frozen=True)
class _Path:
    """What reaches one neuron over one synapse: (source neuron, weight), exponent, steps late."""

    source: str
    weights: tuple[tuple[int, int], ...]
    exponent: int
    lag: int


class Checker:
    """Refutes again what the certificate of a region excludes.

    Args:
        program: whose neurons.
        region: of the input.
        bounds: the certificate.
    """

    def __init__(self, program: Program, region: Region, bounds: Bounds) -> None:
        if program.steps > STEPS:
            raise UnsupportedError(f"--check: covers Programs of up to {STEPS} steps, this one has {program.steps}")
        self.program, self.region, self.bounds = program, region, bounds
        self.steps = program.steps
        self.matrices = {
            population.name: [(synapse, connections(program, synapse)) for synapse in program.incoming(population.name)]
            for population in program.populations
        }

    def paths(self, name: str, neuron: int) -> list[_Path]:
        """Return what reaches a neuron."""
        found = []
        for synapse, matrix in self.matrices[name]:
            span = slice(matrix.indptr[neuron], matrix.indptr[neuron + 1])
            pairs = zip(matrix.indices[span].tolist(), matrix.data[span].tolist(), strict=True)
            found.append(_Path(synapse.source, tuple(pairs), synapse.exponent, self.program.lag(synapse)))
        return found

    def sent(self, source: str, neuron: int) -> list[Train]:
        """Return every train that a neuron may send, or the two ends of its messages."""
        found = self.bounds.sent[source]
        if isinstance(found, Trains):
            assert found.mask is not None
            numbers = np.flatnonzero(found.mask[neuron])
            return [tuple(int(number) >> t & 1 for t in range(self.steps)) for number in numbers]
        return [tuple(found.low[:, neuron].tolist()), tuple(found.high[:, neuron].tolist())]

    def ends(self, path: _Path, factors: Sequence[Fraction]) -> tuple[Fraction, Fraction]:
        """Return least and most of the sum over steps of factors (0 or more) times what a synapse brings, unrounded."""
        late = [factors[t + path.lag] if t + path.lag < self.steps else Fraction(0) for t in range(self.steps)]
        if path.source == self.program.input.name and isinstance(self.region, Edits):
            return self._edited(path, self.region, late)
        low = high = Fraction(0)
        for source, weight in path.weights:
            values = [
                sum((factor * message for factor, message in zip(late, train, strict=True)), Fraction(0)) * weight
                for train in self.sent(path.source, source)
            ]
            low, high = low + min(values), high + max(values)
        return low, high

    def _edited(self, path: _Path, region: Edits, late: list[Fraction]) -> tuple[Fraction, Fraction]:
        """Return the same for spikes with a budget: the best edits one by one."""
        base, gains = Fraction(0), []
        for source, weight in path.weights:
            train = region.spikes[:, source].tolist()
            base += weight * sum((factor * spike for factor, spike in zip(late, train, strict=True)), Fraction(0))
            for t in range(self.steps):
                if region.edit == "flip":
                    gains.append(weight * late[t] * (1 - 2 * train[t]))
                elif t + 1 < self.steps and train[t] != train[t + 1]:
                    gains.append(weight * (late[t] - late[t + 1]) * (1 - 2 * train[t]))
        gains.sort()
        low = sum((gain for gain in gains[: region.budget] if gain < 0), Fraction(0))
        high = sum((gain for gain in gains[::-1][: region.budget] if gain > 0), Fraction(0))
        return base + low, base + high

    def step(self, paths: list[_Path], t: int) -> tuple[int, int]:
        """Return least and most that arrives at step ``t``, exponents and their floors included."""
        low = high = 0
        factors = [Fraction(int(r == t)) for r in range(self.steps)]
        for path in paths:
            bottom, top = self.ends(path, factors)
            low += int(bottom * Fraction(2) ** path.exponent // 1)
            high += int(top * Fraction(2) ** path.exponent // 1)
        return low, high

    def voltage(self, part: Population, neuron: int, paths: list[_Path], window: tuple[int, int]) -> tuple[int, int]:
        """Return least and most voltage at the end of a window: by steps, and as a sum over all arrivals."""
        s, t = window
        keep_u, keep_v = 4095 - part.du, 4096 - part.dv
        bias = int(part.bias.ravel()[neuron]) << part.bias_exponent
        u, v = [0, 0], [0, 0]
        for r in range(t + 1):
            arrives, driven = self.step(paths, r), self._driven(part, neuron, r)
            for side in (0, 1):
                u[side] = _decayed(u[side], keep_u) + 64 * arrives[side]
                v[side] = _decayed(v[side], keep_v) + u[side] + bias + driven[side] if r > s else 0
            if s < r < t:
                v[1] = min(v[1], 64 * part.vth)
        low, high = self._sum(part, neuron, paths, window)
        return max(v[0], -int(-low // 1)), min(v[1], int(high // 1))

    def _driven(self, part: Population, neuron: int, t: int) -> tuple[int, int]:
        if not part.input_bias:
            return 0, 0
        sent = self.region.sent
        return int(sent.low[t, neuron]) << part.bias_exponent, int(sent.high[t, neuron]) << part.bias_exponent

    def response(self, part: Population, window: tuple[int, int]) -> list[Fraction]:
        """Return what one unit that arrives at each step adds to the voltage, by running the linear equations."""
        s, t = window
        alpha, beta = Fraction(4095 - part.du, 4096), Fraction(4096 - part.dv, 4096)
        found = []
        for tau in range(self.steps):
            u = v = Fraction(0)
            for r in range(t + 1):
                u = alpha * u + (64 if r == tau else 0)
                v = beta * v + u if r > s else Fraction(0)
            found.append(v)
        return found

    def _sum(
        self, part: Population, neuron: int, paths: list[_Path], window: tuple[int, int]
    ) -> tuple[Fraction, Fraction]:
        response = self.response(part, window)
        low, high = self._rest(part, int(part.bias.ravel()[neuron]) << part.bias_exponent, paths, window)
        for path in paths:
            ends = self.ends(path, [factor * Fraction(2) ** path.exponent for factor in response])
            low, high = low + ends[0], high + ends[1]
        if part.input_bias:
            s, t = window
            beta = Fraction(4096 - part.dv, 4096)
            for r in range(s + 1, t + 1):
                driven = self._driven(part, neuron, r)
                low, high = low + beta ** (t - r) * driven[0], high + beta ** (t - r) * driven[1]
        return low, high

    def _rest(
        self, part: Population, bias: int, paths: list[_Path], window: tuple[int, int]
    ) -> tuple[Fraction, Fraction]:
        """Return what the bias adds, less and plus what truncation and floors may take or give."""
        s, t = window
        keep_u, keep_v = 4095 - part.du, 4096 - part.dv
        alpha, beta = Fraction(keep_u, 4096), Fraction(keep_v, 4096)
        lost_u, lost_v = Fraction(4096 - gcd(keep_u, 4096), 4096), Fraction(4096 - gcd(keep_v, 4096), 4096)
        off_u = off_v = total = Fraction(0)
        for r in range(t + 1):
            off_u = alpha * off_u + (lost_u if r and keep_u else 0)
            total = beta * total + bias if r > s else Fraction(0)
            off_v = beta * off_v + (lost_v if r > s + 1 and keep_v else 0) + off_u if r > s else Fraction(0)
        # Weights that are multiples of what the exponent takes away leave nothing to round.
        rounds = [
            1 - Fraction(2) ** path.exponent
            for path in paths
            if path.exponent < 0 and any(weight % 2**-path.exponent for _, weight in path.weights)
        ]
        floors = sum(rounds, Fraction(0)) * sum(self.response(part, window), Fraction(0))
        return total - off_v - floors, total + off_v

    def refute(self, part: Population, neuron: int) -> int:
        """Refute every train that the certificate excludes for a neuron, and return how many.

        Raises:
            DisagreementError: one of them cannot be refuted.
        """
        allowed = set(self.sent(part.name, neuron))
        paths = self.paths(part.name, neuron)
        excluded = [train for train in product((0, 1), repeat=self.steps) if train not in allowed]
        if not excluded:
            return 0
        ends = {(s, t): self.voltage(part, neuron, paths, (s, t)) for t in range(self.steps) for s in range(-1, t)}
        left = [train for train in excluded if not _contradicts(train, ends, 64 * part.vth)]
        for ways in (self._by_levels, self._by_or):
            if left:
                possible = ways(part, neuron, paths)
                left = left if possible is None else [train for train in left if train in possible]
        if left:
            raise DisagreementError(
                f"prove --check: population {part.name!r}, neuron {neuron}: train {left[0]} is excluded by the "
                "bounds and not by the check; please report it"
            )
        return len(excluded)

    def _by_levels(self, part: Population, neuron: int, paths: list[_Path]) -> set[Train] | None:
        """Return the trains for every integer that may arrive at every step, where that is what happens."""
        if not isinstance(self.region, Ball):
            return None
        if paths and (len(paths) > 1 or paths[0].source != self.program.input.name or part.input_bias):
            return None
        low, high = self.step(paths, self.steps - 1) if paths else (0, 0)
        if not paths:
            low, high = int(self.region.low[neuron]), int(self.region.high[neuron])
        lag = paths[0].lag if paths else 0
        bias = int(part.bias.ravel()[neuron]) << part.bias_exponent
        found = set()
        for value in range(low, high + 1):
            u = v = 0
            train = []
            for t in range(self.steps):
                u = _decayed(u, 4095 - part.du) + (64 * value if paths and t >= lag else 0)
                v = _decayed(v, 4096 - part.dv) + u + bias + (0 if paths else value << part.bias_exponent)
                train.append(int(v > 64 * part.vth))
                v = 0 if train[-1] else v
            found.add(tuple(train))
        return found

    def _by_or(self, part: Population, neuron: int, paths: list[_Path]) -> set[Train] | None:
        """Return all trains of a neuron without memory, from all pairs of trains of its sources."""
        bias = int(part.bias.ravel()[neuron]) << part.bias_exponent
        if len(paths) != 1 or part.du != 4095 or part.input_bias:
            return None
        path = paths[0]
        arrives = [int(weight * Fraction(2) ** path.exponent // 1) for _, weight in path.weights]
        # Every spike alone is enough, nothing at all is not, and what stays below the threshold decays to 0.
        if any(64 * one + bias <= 64 * part.vth for one in arrives) or bias > 64 * part.vth or min(arrives) <= 0:
            return None
        if _decayed(64 * part.vth, 4096 - part.dv) or _decayed(min(bias, 0), 4096 - part.dv):
            return None
        found: set[Train] = {(0,) * self.steps}
        for source, _ in path.weights:
            trains = [((0,) * path.lag + train)[: self.steps] for train in self.sent(path.source, source)]
            found = {tuple(a | b for a, b in zip(one, two, strict=True)) for one in found for two in trains}
        return found

    def excludes(self, label: int, rival: int) -> bool:
        """Return whether the certificate of the read-out's sources excludes that ``rival`` wins."""
        readout = self.program.readout
        part = self.program.population(readout.population)
        assert isinstance(part, Population)
        own, other = self.sent(part.name, label), self.sent(part.name, rival)
        least = int(rival > label)
        if readout.kind != "membrane":
            value = sum if readout.kind == "spike_count" else self._first
            return max(map(value, other)) - min(map(value, own)) < least
        last = self.steps - 1
        if all(not any(train) for train in [*own, *other]):
            window, top = (-1, last), Fraction(0)
            weights = {neuron: self.paths(part.name, neuron) for neuron in (label, rival)}
            for mine, theirs in zip(weights[label], weights[rival], strict=True):
                both = dict(theirs.weights)
                for source, weight in mine.weights:
                    both[source] = both.get(source, 0) - weight
                path = _Path(mine.source, tuple(both.items()), mine.exponent, mine.lag)
                response = [factor * Fraction(2) ** mine.exponent for factor in self.response(part, window)]
                top += self.ends(path, response)[1]
            bias = part.bias.ravel().astype(int) << part.bias_exponent
            ends = [self._rest(part, int(bias[neuron]), weights[neuron], window) for neuron in (rival, label)]
            if top + ends[0][1] - ends[1][0] < least and not part.input_bias:
                return True
        return self._last(part, rival)[1] - self._last(part, label)[0] < least

    def _first(self, train: Train) -> int:
        return self.steps - train.index(1) if 1 in train else 0

    def _last(self, part: Population, neuron: int) -> tuple[int, int]:
        """Return least and most voltage after the last step, over the trains that are left."""
        last, ends = self.steps - 1, [0, 0]
        found = []
        for train in self.sent(part.name, neuron):
            if not train[last]:
                s = max((t for t in range(last) if train[t]), default=-1)
                ends = list(self.voltage(part, neuron, self.paths(part.name, neuron), (s, last)))
                found.append((ends[0], min(ends[1], 64 * part.vth)))
            else:
                found.append((0, 0))
        return min(low for low, _ in found), max(high for _, high in found)

    def graded(self, part: Graded, neuron: int) -> None:
        """Check that a graded neuron's messages are within the certificate's ends; raises as :meth:`refute`."""
        paths = self.paths(part.name, neuron)
        sent = self.bounds.sent[part.name]
        for t in range(self.steps):
            ends = [value if value > part.vth else 0 for value in self.step(paths, t)]
            if ends[0] < sent.low[t, neuron] or ends[1] > sent.high[t, neuron]:
                raise DisagreementError(
                    f"prove --check: population {part.name!r}, neuron {neuron}, step {t}: messages {ends} leave the "
                    "bounds; please report it"
                )


def check(
    program: Program, region: Region, bounds: Bounds, label: int, random: np.random.Generator, neurons: int = NEURONS
) -> int:
    """Look at a certificate again and return how many trains were refuted again.

    Args:
        program: that it is about.
        region: of the input.
        bounds: the certificate.
        label: the class that wins.
        random: draws neurons.
        neurons: of a population that are looked at.

    Raises:
        DisagreementError: something of it cannot be found again.
    """
    checker, refuted = Checker(program, region, bounds), 0
    for part in program.populations:
        size = int(np.prod(part.shape))
        drawn = range(size)
        if part.name != program.readout.population and size > neurons:
            drawn = sorted(random.choice(size, neurons, replace=False).tolist())  # type: ignore[assignment]
        for neuron in drawn:
            if isinstance(part, Graded):
                checker.graded(part, neuron)
            elif isinstance(part, Population):
                refuted += checker.refute(part, neuron)
    for rival in range(int(np.prod(program.shape_of(program.readout.population)))):
        if rival != label and rival not in bounds.rivals and not checker.excludes(label, rival):
            raise DisagreementError(f"prove --check: class {rival} is excluded by the bounds and not by the check")
    return refuted


def draw_inside(compiled: CompiledProgram, region: Region, label: int, random: np.random.Generator, count: int) -> None:
    """Run random inputs of a proved region.

    Raises:
        DisagreementError: one of them changes the class.
    """
    for corners in (False, True):
        messages = region.draw(random, count - count // 2 if corners else count // 2, corners)
        if messages.shape[1] and margins(run(compiled, messages), label).min() <= 0:
            raise DisagreementError("prove --check: an input of a proved ball changes the class; please report it")


def _decayed(x: int, keep: int) -> int:
    return (abs(x) * keep >> 12) * (1 if x >= 0 else -1)


def _contradicts(train: Train, ends: dict[tuple[int, int], tuple[int, int]], threshold: int) -> bool:
    """Return whether some step of a train cannot be, given all before it."""
    s = -1
    for t, spike in enumerate(train):
        low, high = ends[s, t]
        if (spike and high <= threshold) or (not spike and low > threshold):
            return True
        s = t if spike else s
    return False
