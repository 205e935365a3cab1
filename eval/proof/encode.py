"""A Program on a region as constraints of OR-tools' CP-SAT: every real run satisfies them.

What the sets of trains have fixed is a constant. A voltage is a linear expression under the condition that its neuron
fired last at a certain step; the error of truncated decays is a slack, so a solution may be spurious. With ``exact``
the truncation is encoded too, and none is.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import lcm
from typing import Any

import numpy as np

from ...toolkit.extras import extra
from .layers import Layer, Window, Wire
from .region import Ball, Edits, Region
from .sets import Bounds, Prepared
from .sums import Literal, Sum, of_literal

FINE = 2**16
"""Largest common denominator that is kept; beyond it factors are rounded, and the error is slack."""
ROOM = 2**31
"""No sum that a wire delivers, and no state, is as large: what covers no such Program is refused. More would overflow
the solver's products."""
COARSE = 2**12


@dataclass(frozen=True)
class _Fixed:
    """Factors of a window times ``denominator``, rounded, and what rounding may do to a unit, a wire or a drive."""

    denominator: int
    factors: list[list[int]]
    off: list[Fraction]
    driven: list[int]
    driven_off: Fraction


def _off(rounded: Sequence[int], exact: Sequence[Fraction], denominator: int) -> Fraction:
    return sum((abs(Fraction(a, denominator) - b) for a, b in zip(rounded, exact, strict=True)), Fraction(0))


class Encoder:
    """The constraints of the neurons that the read-out depends on.

    Args:
        prepared: the Program.
        region: of the input.
        bounds: of its neurons.
        exact: encode the truncation of decays and floors, by divisions.
    """

    def __init__(self, prepared: Prepared, region: Region, bounds: Bounds, *, exact: bool = False) -> None:
        with extra("prove"):
            from ortools.sat.python import cp_model
        self.model = cp_model.CpModel()
        self.prepared, self.region, self.bounds, self.exact = prepared, region, bounds, exact
        self.variables: dict[int, Any] = {}
        self._bits: dict[tuple[str, int], list[Literal]] = {}
        self._messages: dict[tuple[str, int, int], Sum] = {}
        self._states: dict[tuple[str, int, str, int, int], Sum] = {}
        self._waiting: deque[tuple[Layer, int]] = deque()
        self._levels: dict[int, Sum] = {}
        self._factors: dict[tuple[str, Window], _Fixed] = {}
        self._edits: dict[tuple[int, int], Any] = {}
        self._input_name = prepared.program.input.name

    def boolean(self) -> Any:
        """Return a new Boolean."""
        made = self.model.new_bool_var("")
        self.variables[made.index] = made
        return made

    def integer(self, low: int, high: int) -> Sum:
        """Return a new integer."""
        if low == high:
            return Sum(low)
        made = self.model.new_int_var(low, high, "")
        self.variables[made.index] = made
        return Sum(0, {made.index: 1})

    def expression(self, found: Sum) -> Any:
        """Return a sum as the solver's expression, without its constant."""
        from ortools.sat.python import cp_model

        terms = {index: factor for index, factor in found.terms.items() if factor}
        return cp_model.LinearExpr.weighted_sum([self.variables[i] for i in terms], list(terms.values()))

    def at_least(self, found: Sum, least: int, when: list[Literal]) -> None:
        """Demand a sum of ``least`` or more where all of ``when`` hold."""
        self._demand(found, least - found.constant, 2**62, when)

    def at_most(self, found: Sum, most: int, when: list[Literal]) -> None:
        """Demand a sum of ``most`` or less where all of ``when`` hold."""
        self._demand(found, -(2**62), most - found.constant, when)

    def _demand(self, found: Sum, low: int, high: int, when: list[Literal]) -> None:
        if any(isinstance(literal, int) and not literal for literal in when):
            return
        given = [literal for literal in when if not isinstance(literal, int)]
        if not any(found.terms.values()):
            if not low <= 0 <= high:
                self.model.add_bool_or([~literal for literal in given])
            return
        self.model.add_linear_constraint(self.expression(found), low, high).only_enforce_if(given)

    def bits(self, layer: Layer, neuron: int) -> list[Literal]:
        """Return a neuron's spikes, a literal a step; its constraints follow in :meth:`finish`."""
        key = layer.name, neuron
        if key not in self._bits:
            sent = self.bounds.sent[layer.name]
            low, high = sent.low[:, neuron], sent.high[:, neuron]
            self._bits[key] = [int(low[t]) if low[t] == high[t] else self.boolean() for t in range(layer.steps)]
            if (low != high).any():
                self._waiting.append((layer, neuron))
        return self._bits[key]

    def message(self, source: str, t: int, neuron: int) -> Sum:
        """Return what a source sends at a step."""
        if source == self._input_name:
            return self._input(t, neuron)
        layer = self.prepared.named[source]
        if not layer.graded:
            return of_literal(self.bits(layer, neuron)[t])
        key = source, t, neuron
        if key not in self._messages:
            sent = self.bounds.sent[source]
            low, high = int(sent.low[t, neuron]), int(sent.high[t, neuron])
            self._messages[key] = self.integer(low, high)
            if low < high:
                self._graded(layer, t, neuron, self._messages[key])
        return self._messages[key]

    def _input(self, t: int, neuron: int) -> Sum:
        region = self.region
        if isinstance(region, Ball):
            if neuron not in self._levels:
                self._levels[neuron] = self.integer(int(region.low[neuron]), int(region.high[neuron]))
            return self._levels[neuron]
        assert isinstance(region, Edits)
        clean = int(region.spikes[t, neuron])
        found = Sum(clean)
        for start in (t,) if region.edit == "flip" else (t, t - 1):
            if start >= 0 and region.editable[start, neuron]:
                found.add(of_literal(self._edit(start, neuron)), 1 - 2 * clean)
        return found

    def _edit(self, t: int, neuron: int) -> Any:
        if (t, neuron) not in self._edits:
            self._edits[t, neuron] = self.boolean()
        return self._edits[t, neuron]

    def _arriving(self, layer: Layer, wire: Wire, row: int, factors: list[int]) -> Sum:
        """Return the sum over steps of factors times W m, for one row of the wire."""
        span = slice(wire.weight.indptr[row], wire.weight.indptr[row + 1])
        sources, weights = wire.weight.indices[span], wire.weight.data[span]
        found = Sum()
        sent = self.bounds.sent[wire.source]
        low, high = sent.low[:, sources], sent.high[:, sources]
        fixed = low == high
        for t in range(layer.steps - wire.lag):
            factor = factors[t + wire.lag]
            if not factor:
                continue
            found.constant += factor * int(weights[fixed[t]] @ low[t, fixed[t]])
            for place in np.flatnonzero(~fixed[t]):
                found.add(self.message(wire.source, t, int(sources[place])), factor * int(weights[place]))
        return found

    def voltage(
        self, layer: Layer, neuron: int, window: Window, wires: tuple[Wire, ...] | None = None, bias: int | None = None
    ) -> tuple[Sum, int, Fraction, Fraction]:
        """Return the voltage at a step since the last reset, times a denominator, which is second.

        Third and fourth: by how much the true one may lie above and below. ``wires`` and ``bias`` take the place of
        the layer's own.
        """
        if self.exact and wires is None:
            return self._chain(layer, neuron, window), 1, Fraction(0), Fraction(0)
        bias = int(layer.bias[neuron]) if bias is None else bias
        own, wires = wires is None, layer.wires if wires is None else wires
        facts, fixed = layer.facts(window), self._fixed(layer, window)
        above, below = facts.error, facts.error + facts.floors
        found = Sum(round(bias * facts.constant * fixed.denominator))
        rest = abs(Fraction(found.constant, fixed.denominator) - bias * facts.constant)
        for wire, factors, off in zip(wires, fixed.factors, fixed.off, strict=True):
            found.add(self._arriving(layer, wire, neuron, factors))
            if off:
                weights = wire.weight.data[wire.weight.indptr[neuron] : wire.weight.indptr[neuron + 1]]
                rest += off * int(np.abs(weights).sum()) * wire.peak
        if layer.drive is not None and own:
            for t, factor in enumerate(fixed.driven):
                if factor:
                    found.add(self._input(t, neuron), factor)
            rest += fixed.driven_off * self._peak
        return found, fixed.denominator, above + rest, below + rest

    def _fixed(self, layer: Layer, window: Window) -> "_Fixed":
        """Return a window's factors as integers over one denominator, kept: fractions are slow."""
        key = layer.name, window
        if key not in self._factors:
            facts = layer.facts(window)
            exact = [[factor * Fraction(2) ** wire.exponent for factor in facts.kappa] for wire in layer.wires]
            denominator = lcm(facts.constant.denominator, *(factor.denominator for row in exact for factor in row))
            if denominator > FINE:
                denominator = COARSE
            rows = [[round(factor * denominator) for factor in row] for row in exact]
            driven = [round(factor * denominator) for factor in facts.driven]
            self._factors[key] = _Fixed(
                denominator,
                rows,
                [_off(row, true, denominator) for row, true in zip(rows, exact, strict=True)],
                driven,
                _off(driven, facts.driven, denominator),
            )
        return self._factors[key]

    @property
    def _peak(self) -> int:
        return self.prepared.program.input.peak

    def _chain(self, layer: Layer, neuron: int, window: Window) -> Sum:
        """Return the voltage as an integer of its own, decayed as the chip does it."""
        s, t = window
        key = layer.name, neuron, "v", s, t
        if key not in self._states:
            found = Sum(int(layer.bias[neuron]))
            found.add(self._current(layer, neuron, t))
            if layer.drive is not None:
                found.add(self._input(t, neuron), 2**layer.drive)
            if t > s + 1:
                found.add(self._decayed(self._chain(layer, neuron, (s, t - 1)), layer.keep_v))
            self._states[key] = found
        return self._states[key]

    def _current(self, layer: Layer, neuron: int, t: int) -> Sum:
        key = layer.name, neuron, "u", 0, t
        if key not in self._states:
            found = Sum()
            for wire in layer.wires:
                factors = [int(r == t) for r in range(layer.steps)]
                arrives = self._arriving(layer, wire, neuron, factors)
                if wire.exponent >= 0:
                    found.add(arrives, 64 << wire.exponent)
                elif t >= wire.lag:
                    # Division truncates; a multiple of the divisor beforehand makes it a floor.
                    room = ROOM
                    arrives.constant += room
                    found.add(self._divided(arrives, 2**-wire.exponent), 64)
                    found.constant -= 64 * (room >> -wire.exponent)
            if t and layer.keep_u:
                found.add(self._decayed(self._current(layer, neuron, t - 1), layer.keep_u))
            self._states[key] = found
        return self._states[key]

    def _decayed(self, state: Sum, keep: int) -> Sum:
        if keep in (0, 4096):
            return state if keep else Sum()
        times = Sum()
        times.add(state, keep)
        return self._divided(times, 4096)

    def _divided(self, number: Sum, divisor: int) -> Sum:
        """Return number / divisor, truncated toward zero."""
        if not any(number.terms.values()):
            size = abs(number.constant) // divisor
            return Sum(size if number.constant >= 0 else -size)
        found = self.integer(-4 * ROOM, 4 * ROOM)
        self.model.add_division_equality(self.expression(found), self.expression(number) + number.constant, divisor)
        return found

    def _graded(self, layer: Layer, t: int, neuron: int, sent: Sum) -> None:
        """Demand that a graded message is what arrives, or 0 where that is not above the threshold."""
        total, lost = Sum(), 0
        scale = lcm(*(2 ** max(0, -wire.exponent) for wire in layer.wires))
        for wire in layer.wires:
            if t < wire.lag:
                continue
            factors = [int(r == t) for r in range(layer.steps)]
            arrives = self._arriving(layer, wire, neuron, factors)
            if wire.exponent < 0 and self.exact:
                room = ROOM
                arrives.constant += room
                total.add(self._divided(arrives, 2**-wire.exponent), scale)
                total.constant -= scale * (room >> -wire.exponent)
                continue
            if wire.rounds:
                lost += scale - (scale >> -wire.exponent)
            total.add(arrives, scale << wire.exponent if wire.exponent >= 0 else scale >> -wire.exponent)
        over = self.boolean()
        # sent <= total / scale <= sent + lost / scale where it is above the threshold.
        difference = Sum()
        difference.add(total)
        difference.add(sent, -scale)
        self.at_least(difference, 0, [over])
        self.at_most(difference, lost, [over])
        self.at_least(sent, layer.threshold + 1, [over])
        self.at_most(sent, 0, [~over])
        self.at_most(total, scale * layer.threshold + lost, [~over])
