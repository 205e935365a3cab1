"""A Program without a network: what its roundings and limits do, against a computation in Python's own numbers."""

from dataclasses import dataclass
from fractions import Fraction
from math import floor
from typing import Any

import numpy as np
import pytest

import spikeproof as sp
from spikeproof.eval.explain.explainer import explain
from spikeproof.eval.explain.limits import alone
from spikeproof.eval.measure.forms import Deployed
from spikeproof.export.program import Program
from spikeproof.export.program.parts import Dense, Input, Population, Readout
from spikeproof.toolkit.coding import Direct
from spikeproof.toolkit.errors import UnsupportedError

STEPS = 5
CAUSES = frozenset({"sum_rounding", "state_rounding", "current_wrap", "voltage_clip"})
RNG = np.random.default_rng(3)
WEIGHTS = 2 * RNG.integers(-127, 128, (6, 9))


def program(exponent: int, dv: int = 300, du: int = 3000, vth: int = 2000, step: int = 1) -> Program:
    return Program(
        input=Input(shape=(1, 3, 3), message_bits=8),
        populations=(Population(name="n", shape=(6,), bias=np.arange(6) - 3, bias_exponent=6, du=du, dv=dv, vth=vth),),
        synapses=(Dense(source="input", target="n", weight=WEIGHTS // (2 * step) * 2, exponent=exponent),),
        readout=Readout(population="n"),
        steps=STEPS,
    )


def neuron(given: Program, row: int, messages: np.ndarray, on: frozenset[str]) -> list[bool]:
    """One neuron's spikes in exact fractions, written from the equations in docs/program.md."""
    (part,), (synapse,) = given.spiking, given.synapses
    u, v, fired = Fraction(0), Fraction(0), []
    for _ in range(STEPS):
        total = Fraction(int(synapse.weight[row] @ messages)) * Fraction(2) ** synapse.exponent
        a = Fraction(floor(total)) if "sum_rounding" in on else total
        kept = [u * (4095 - part.du) / 4096, v * (4096 - part.dv) / 4096]
        kept = [Fraction(int(x)) for x in kept] if "state_rounding" in on else kept  # int() cuts toward zero.
        u = kept[0] + 64 * a
        if "current_wrap" in on and abs(u) > 2**23:
            u -= 2**24 if u > 0 else -(2**24)
        v = kept[1] + u + (int(part.bias[row]) << part.bias_exponent)
        if "voltage_clip" in on:
            v = max(min(v, Fraction(2**23 - 1)), Fraction(1 - 2**23))
        fired.append(v > 64 * part.vth)
        v = Fraction(0) if fired[-1] else v
    return fired


def spikes(given: Program, messages: np.ndarray, on: frozenset[str]) -> np.ndarray:
    return np.array([[neuron(given, row, one, on) for row in range(6)] for one in messages])


@pytest.mark.parametrize(
    ("settings", "can"),
    [
        ({"exponent": 0, "step": 32}, {"state_rounding"}),
        ({"exponent": -6, "vth": 5}, {"state_rounding", "sum_rounding"}),
        ({"exponent": 3, "vth": 100_000}, {"state_rounding", "current_wrap", "voltage_clip"}),
        ({"exponent": 1, "dv": 0, "du": 4095, "vth": 131_071, "step": 8}, {"voltage_clip"}),
    ],
)
def test_every_switch_does_what_exact_fractions_say(settings: dict[str, int], can: set[str]) -> None:
    given = program(**settings)
    messages = RNG.integers(0, 256, (20, 9))
    images = (messages / 255).astype(np.float32).reshape(20, 1, 3, 3)
    found, overlays = explain(Deployed(given, Direct(STEPS)), images, np.zeros(20, dtype=np.int64))
    assert {one.code for one in found.causes} == can
    real, integers = (spikes(given, messages, on) for on in (frozenset(), CAUSES))
    assert found.total == int((real != integers).sum()) == found.pairs[0].effect.different
    assert (found.program_differs, found.base_differs, found.base) == (0, 0, "real numbers")
    for one in found.causes:
        alone = spikes(given, messages, frozenset({one.code}))
        repaired = spikes(given, messages, CAUSES - {one.code})
        assert one.alone.different == int((alone != real).sum()), one.code
        assert one.repaired.different == int((repaired != integers).sum()), one.code
        assert one.left == int((repaired != real).sum()), one.code
    if "current_wrap" in can:
        assert found.overflow["n"]["wraps"] > 0
        assert any(text.startswith("Current wrap: ") for text in found.verdict)
        first = found.pairs[0].effect.first
        assert first is not None
        assert overlays[0].sample == first.sample
    assert set(found.exact) == CAUSES - can | {"input_rounding"}
    assert "target" not in found.unknown
    assert "weight_rounding" in found.unknown


def test_images_off_the_grid_are_a_cause() -> None:
    images = RNG.random((4, 1, 3, 3), dtype=np.float32)
    found, _ = explain(Deployed(program(0, step=32), Direct(STEPS)), images, np.zeros(4, dtype=np.int64))
    assert {one.code for one in found.causes} == {"state_rounding", "input_rounding"}


def test_from_python_it_shows_itself() -> None:
    images = (RNG.integers(0, 256, (4, 1, 3, 3)) / 255).astype(np.float32)
    shown: Any = sp.explain(
        sp.Deployed(program(0, step=32), Direct(STEPS)), (images, np.zeros(4, dtype=np.int64)), lava=False
    )
    assert [row["to"] for row in shown.rows] == ["Program"]
    assert "Not known without the network" in shown.page()
    assert shown.record.layers is None


def test_a_kind_without_real_numbers_is_named() -> None:
    @dataclass(frozen=True)
    class Other:
        name: str = "delta"

    given = program(0, step=32).model_copy(update={"populations": (Other(),)})
    with pytest.raises(UnsupportedError, match="population 'delta': 'explain' has no real numbers for a Other"):
        alone(given)
