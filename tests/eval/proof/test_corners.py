"""What random Programs hardly draw: many wires that round, an OR of graded messages, a read-out without a rival."""

from itertools import combinations
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from spikeproof.eval.proof.decide import decide, solve
from spikeproof.eval.proof.encode import Encoder
from spikeproof.eval.proof.layers import unsupported
from spikeproof.eval.proof.neurons import finish, some_rival
from spikeproof.eval.proof.region import Ball, Region
from spikeproof.eval.proof.sets import Prepared, bound
from spikeproof.export.program import Dense, Graded, Input, Population, Program, Readout
from spikeproof.hw_targets.loihi.simulator import LoihiTarget

pytest.importorskip("ortools")


def population(name: str, size: int, du: int = 4095, dv: int = 2048, vth: int = 131071) -> Population:
    return Population(name=name, shape=(size,), du=du, dv=dv, vth=vth, bias=np.zeros(size, dtype=int))


def program(parts: list[Any], synapses: list[Dense], inputs: int, steps: int) -> Program:
    return Program(
        input=Input(shape=(inputs,), message_bits=8),
        populations=tuple(parts),
        synapses=tuple(synapses),
        readout=Readout(kind="membrane", population=parts[-1].name),
        steps=steps,
    )


def by_hand(made: Program, region: Region) -> np.ndarray:
    """Return the classes of every input of the region."""
    inputs = np.concatenate(list(region.every()), axis=1)
    return LoihiTarget().compile(made).run(inputs.reshape(made.steps, -1, *made.input.shape)).classes


@pytest.mark.parametrize("wires", [1, 6])
@pytest.mark.parametrize("du", [100, 4095])
def test_many_wires_that_round_are_not_too_large_for_the_solver(wires: int, du: int) -> None:
    rng = np.random.default_rng(wires)
    first = Dense(source="input", target="a", weight=2 * rng.integers(-60, 60, (4, 3)), exponent=-1)
    rest = [
        Dense(source="a", target="h", weight=2 * rng.integers(-60, 60, (3, 4)), exponent=-2, delay=lag)
        for lag in range(wires)
    ]
    made = program([population("a", 4, vth=3000), population("h", 3, du, 1000)], [first, *rest], 3, 6)
    region = Ball(rng.integers(40, 216, 3), 2, 6, 255)
    prepared, classes = Prepared(made), by_hand(made, region)
    label = int(classes[0])
    bounds = bound(prepared, region, label)
    for exact in (False, True):
        encoder = Encoder(prepared, region, bounds, exact=exact)
        some_rival(encoder, label, [other for other in range(3) if other != label])
        finish(encoder)
        answer, _, _ = solve(encoder, 20)
        assert answer in ({"feasible"} if (classes != label).any() else {"infeasible", *(["feasible"] * (not exact))})


def test_the_limit_counts_steps_and_no_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    from ortools.sat.python import cp_model

    model = cp_model.CpModel()
    sits = [[model.new_bool_var(f"{guest} {chair}") for chair in range(24)] for guest in range(25)]
    for row in sits:
        model.add_bool_or(row)
    for chair in zip(*sits, strict=True):
        for first, second in combinations(chair, 2):
            model.add_bool_or([~first, ~second])
    monkeypatch.setattr("spikeproof.eval.proof.decide.WALL", 1000.0)  # The guard must not be what ends it.
    asked = cast(Encoder, SimpleNamespace(model=model))
    first, again = solve(asked, 0.02), solve(asked, 0.02)
    assert first == again
    assert first[0] == "unknown"
    assert first[2] >= 0.02
    monkeypatch.setattr("spikeproof.eval.proof.decide.WALL", 0.02)
    assert solve(asked, 5.0)[0] == "stopped"


def test_an_or_of_graded_messages_is_decided_as_it_runs() -> None:
    each = np.array([[2, 0], [0, 2]])
    parts = [
        population("a", 2, vth=100),
        Graded(name="g", shape=(2,), vth=0, message_bits=2),
        population("or", 2, dv=4095, vth=1),
        population("h", 3),
    ]
    parts[1] = parts[1].model_copy(update={"message_bits": 1})
    synapses = [
        Dense(source="input", target="a", weight=each),
        Dense(source="a", target="g", weight=each // 2, bits=9),
        Dense(source="g", target="or", weight=each),
        Dense(source="or", target="h", weight=np.array([[2, 0], [0, 2], [2, -2]])),
    ]
    made = program(parts, synapses, 2, 2)
    region = Ball(np.array([50, 50]), 3, 2, 255)
    classes = by_hand(made, region)
    clean = LoihiTarget().compile(made).run(region.clean[:, None].astype(np.int32)).classes
    found = decide(Prepared(made), LoihiTarget().compile(made), region, int(clean[0]), 20)
    assert found.status == ("proved" if (classes == clean[0]).all() else "broken")


def test_a_read_out_of_one_neuron_is_refused_by_name() -> None:
    made = program([population("h", 1)], [Dense(source="input", target="h", weight=np.array([[2, 6]]))], 2, 4)
    assert unsupported(made) == ["a read-out of one neuron has no other class"]
