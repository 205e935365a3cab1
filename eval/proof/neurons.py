"""What neurons and the read-out do, as constraints: see :mod:`.encode`."""

from fractions import Fraction
from math import ceil, floor
from typing import Any

import numpy as np

from .encode import Encoder
from .layers import Layer, Window
from .region import Edits
from .sets import arrivals
from .sums import Literal, Sum, of_literal
from .trains import Trains, trains


def finish(encoder: Encoder) -> None:
    """Add the constraints of all neurons whose spikes are used, and of those that these depend on."""
    while encoder._waiting:
        layer, neuron = encoder._waiting.popleft()
        bits = encoder.bits(layer, neuron)
        if encoder.prepared.table(layer, encoder.region) is not None:
            _steps(encoder, layer, neuron, bits)
            continue
        _allowed(encoder, layer, neuron, bits)
        source = encoder.prepared.named.get(layer.wires[0].source) if layer.either else None
        if source is not None and not source.graded:
            _either(encoder, layer, neuron, bits)
        else:
            _fires(encoder, layer, neuron, bits)
    if isinstance(encoder.region, Edits):
        _budget(encoder, encoder.region)


def _steps(encoder: Encoder, layer: Layer, neuron: int, bits: list[Literal]) -> None:
    """Encode a train that is a step function of one integer: one Boolean a threshold that the region crosses."""
    table = encoder.prepared.table(layer, encoder.region)
    assert table is not None
    model, region = encoder.model, encoder.region
    if layer.wires:
        low, high = (
            ends[neuron] for ends in arrivals(encoder.prepared, layer, region, encoder.bounds.sent, layer.steps - 1)
        )
        factors = [int(t == layer.steps - 1) for t in range(layer.steps)]
        value, exponent = encoder._arriving(layer, layer.wires[0], neuron, factors), layer.wires[0].exponent
    else:
        low, high = region.sent.low[0, neuron], region.sent.high[0, neuron]
        value, exponent = encoder._input(0, neuron), 0
    entries = table.entries(neuron, int(low), int(high))
    over: list[Literal] = [1]
    for start, _ in entries[1:]:
        passed = encoder.boolean()
        # floor(value 2^exponent) >= start
        least = ceil(Fraction(start) / Fraction(2) ** exponent)
        encoder.at_least(value, least, [passed])
        encoder.at_most(value, least - 1, [~passed])
        if not isinstance(over[-1], int):
            model.add_implication(passed, over[-1])
        over.append(passed)
    over.append(0)
    for t, bit in enumerate(bits):
        if isinstance(bit, int):
            continue
        fired = [bool(train[t]) for _, train in entries]
        for place, fires in enumerate(fired):
            # In this interval: its threshold is passed, and the next one is not.
            inside = [literal for literal in (over[place], _not(over[place + 1])) if not isinstance(literal, int)]
            model.add_bool_or([*[~literal for literal in inside], bit if fires else ~bit])


def _not(literal: Literal) -> Literal:
    return 1 - literal if isinstance(literal, int) else ~literal


def _allowed(encoder: Encoder, layer: Layer, neuron: int, bits: list[Literal]) -> None:
    """Allow only the trains that the sets have."""
    sent = encoder.bounds.sent[layer.name]
    assert isinstance(sent, Trains)
    if sent.mask is None:
        return
    free = [t for t, bit in enumerate(bits) if not isinstance(bit, int)]
    rows = np.unique(trains(layer.steps)[sent.mask[neuron]][:, free].astype(int), axis=0)
    if len(rows) < 2 ** len(free):
        encoder.model.add_allowed_assignments([bits[t] for t in free], rows.tolist())


def _either(encoder: Encoder, layer: Layer, neuron: int, bits: list[Literal]) -> None:
    """Encode an OR of sources."""
    wire = layer.wires[0]
    span = slice(wire.weight.indptr[neuron], wire.weight.indptr[neuron + 1])
    source = encoder.prepared.named[wire.source]
    spikes = [encoder.bits(source, int(index)) for index in wire.weight.indices[span]]
    for t, bit in enumerate(bits):
        if isinstance(bit, int) and not bit:
            # That none of the sources fires may be news to them.
            for train in spikes:
                if t >= wire.lag and not isinstance(train[t - wire.lag], int):
                    encoder.model.add_bool_and([~train[t - wire.lag]])
            continue
        given = [train[t - wire.lag] for train in spikes] if t >= wire.lag else []
        if 1 in [literal for literal in given if isinstance(literal, int)]:
            continue
        given = [literal for literal in given if not isinstance(literal, int)]
        if isinstance(bit, int):
            encoder.model.add_bool_or(given)
            continue
        encoder.model.add_bool_or([*given, ~bit])
        for literal in given:
            encoder.model.add_implication(literal, bit)


def histories(encoder: Encoder, layer: Layer, neuron: int, t: int) -> list[tuple[int, list[Literal]]]:
    """Return each step of a last spike before ``t`` that is possible, with the literals that say so."""
    bits = encoder.bits(layer, neuron)
    found = []
    for s in range(-1, t):
        given = ([bits[s]] if s >= 0 else []) + [_not(bits[r]) for r in range(s + 1, t)]
        if all(literal for literal in given if isinstance(literal, int)) and 0 not in [
            literal for literal in given if isinstance(literal, int)
        ]:
            found.append((s, [literal for literal in given if not isinstance(literal, int)]))
    return found


def _fires(encoder: Encoder, layer: Layer, neuron: int, bits: list[Literal]) -> None:
    """Demand a spike exactly where the voltage is above the threshold, whatever the last spike was."""
    voltages = encoder.bounds.voltages[layer.name]
    for t, bit in enumerate(bits):
        for s, given in histories(encoder, layer, neuron, t):
            alive, low, high = (part[neuron] for part in voltages.windows[s, t])
            if not alive:
                encoder.at_least(Sum(-1), 0, given)
            elif low > layer.threshold:
                _imply(encoder, given, bit)
            elif high <= layer.threshold:
                _imply(encoder, given, _not(bit))
            else:
                _threshold(encoder, layer, neuron, (s, t), given, bit)


def _imply(encoder: Encoder, given: list[Literal], then: Literal) -> None:
    if isinstance(then, int):
        if not then:
            encoder.at_least(Sum(-1), 0, given)
        return
    encoder.model.add_bool_or([*[~literal for literal in given], then])


def _threshold(encoder: Encoder, layer: Layer, neuron: int, window: Window, given: list[Literal], bit: Literal) -> None:
    value, scale, above, below = encoder.voltage(layer, neuron, window)
    # true <= value / scale + above and true >= value / scale - below
    encoder.at_least(value, ceil(scale * (layer.threshold + 1 - above)), [*given, bit])
    encoder.at_most(value, floor(scale * (layer.threshold + below)), [*given, _not(bit)])


def _budget(encoder: Encoder, region: Edits) -> None:
    edits = encoder._edits
    total = Sum()
    for (t, neuron), literal in edits.items():
        total.add(of_literal(literal))
        if region.edit == "shift" and (t + 1, neuron) in edits:
            encoder.model.add_bool_or([~literal, ~edits[t + 1, neuron]])
    encoder.at_most(total, region.budget, [])


def some_rival(encoder: Encoder, label: int, rivals: list[int]) -> None:
    """Demand that one of ``rivals`` wins instead of ``label``."""
    wins = []
    for rival in rivals:
        won = encoder.boolean()
        wins.append(won)
        least = int(rival > label)
        for margin, scale, above in _margins(encoder, label, rival):
            encoder.at_least(margin, ceil(scale * (least - above)), [won])
    encoder.model.add_bool_or(wins)


def _margins(encoder: Encoder, label: int, rival: int) -> list[tuple[Sum, int, Fraction]]:
    """Return ``rival``'s read-out less ``label``'s: sums, denominators, and how far the truth may be above."""
    prepared, program = encoder.prepared, encoder.prepared.program
    layer = prepared.named[program.readout.population]
    if program.readout.kind == "membrane":
        if encoder.bounds.sent[layer.name].high.any() or encoder.exact:
            margin = Sum()
            margin.add(_membrane(encoder, layer, rival))
            margin.add(_membrane(encoder, layer, label), -1)
            return [(margin, 1, Fraction(0))]
        window = -1, layer.steps - 1
        bias = int(layer.bias[rival] - layer.bias[label])
        value, scale, above, below = encoder.voltage(layer, rival, window, prepared.against(label), bias)
        extra = Fraction(0)
        if layer.drive is not None:
            for t, factor in enumerate(layer.facts(window).driven):
                part = Sum()
                part.add(encoder._input(t, rival))
                part.add(encoder._input(t, label), -1)
                value.add(part, round(factor * scale))
                extra += 2 * abs(Fraction(round(factor * scale), scale) - factor) * encoder._peak
        return [(value, scale, above + below + extra)]
    margin = Sum()
    for neuron, sign in ((rival, 1), (label, -1)):
        bits = encoder.bits(layer, neuron)
        for t, bit in enumerate(bits):
            if program.readout.kind == "spike_count":
                margin.add(of_literal(bit), sign)
            else:
                margin.add(of_literal(_first(encoder, layer, neuron, t)), sign * (layer.steps - t))
    return [(margin, 1, Fraction(0))]


def _first(encoder: Encoder, layer: Layer, neuron: int, t: int) -> Literal:
    """Return whether a neuron's first spike is at step ``t``."""
    key = f"first {layer.name}", neuron
    if key not in encoder._bits:
        bits, found = encoder.bits(layer, neuron), []
        for step, bit in enumerate(bits):
            given = [bit, *[_not(other) for other in bits[:step]]]
            found.append(_all(encoder, given))
        encoder._bits[key] = found
    return encoder._bits[key][t]


def _all(encoder: Encoder, given: list[Literal]) -> Literal:
    if any(isinstance(literal, int) and not literal for literal in given):
        return 0
    free = [literal for literal in given if not isinstance(literal, int)]
    if not free:
        return 1
    found = encoder.boolean()
    encoder.model.add_bool_and(free).only_enforce_if(found)
    encoder.model.add_bool_or([found, *[~literal for literal in free]])
    return found


def _membrane(encoder: Encoder, layer: Layer, neuron: int) -> Sum:
    """Return the voltage after the last step as an integer."""
    key = layer.name, -1, neuron
    if key in encoder._messages:
        return encoder._messages[key]
    low, high = (int(end[neuron]) for end in encoder.bounds.voltages[layer.name].last)
    found = encoder._messages[key] = encoder.integer(low, high)
    last = layer.steps - 1
    fired = encoder.bits(layer, neuron)[last]
    encoder.at_least(found, 0, [fired])
    encoder.at_most(found, 0, [fired])
    for s, given in histories(encoder, layer, neuron, last):
        value, scale, above, below = encoder.voltage(layer, neuron, (s, last))
        gap = Sum()
        gap.add(value)
        gap.add(found, -scale)
        # value / scale - below <= found <= value / scale + above
        encoder.at_least(gap, ceil(-scale * above), [*given, _not(fired)])
        encoder.at_most(gap, floor(scale * below), [*given, _not(fired)])
    return found


def values(encoder: Encoder, solver: Any) -> np.ndarray:
    """Return the input of a solution, (time, 1, neurons)."""
    region = encoder.region
    found = region.clean.astype(np.int32).copy()
    for neuron, level in encoder._levels.items():
        found[:, neuron] = _value(encoder, solver, level)
    for (t, neuron), literal in encoder._edits.items():
        if solver.boolean_value(literal):
            for step in (t, t + 1) if isinstance(region, Edits) and region.edit == "shift" else (t,):
                found[step, neuron] = 1 - found[step, neuron]
    return found[:, None]


def _value(encoder: Encoder, solver: Any, found: Sum) -> int:
    return found.constant + sum(
        factor * int(solver.value(encoder.variables[index])) for index, factor in found.terms.items()
    )
