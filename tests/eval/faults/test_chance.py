"""Random flips: interpolation on known curves, nested choices, and groups whose cost can be worked out by hand."""

import itertools
from typing import Any

import numpy as np
import pytest

from spikeproof.eval.faults.chance import Judge, counts, crossing, groups, price, random_flips
from spikeproof.eval.faults.memory import Memory
from spikeproof.export.program import Dense, Input, Population, Program, Readout
from spikeproof.toolkit.progress import silent


@pytest.fixture
def judge() -> Judge:
    """Two neurons, each fed by an input of its own: class 0 or 1 is whichever input spikes."""
    program = Program(
        input=Input(shape=(2,), message_bits=0),
        populations=(Population(name="out", shape=(2,), vth=90, du=4095, dv=4095, bias=np.zeros(2, int)),),
        synapses=(Dense(source="input", target="out", bits=3, weight=np.array([[128, 0], [0, 128]])),),
        readout=Readout(population="out"),
        steps=2,
    )
    messages = np.tile(np.eye(2, dtype=np.int32)[None], (2, 1, 1))
    return Judge(Memory(program), messages, np.array([0, 1]))


@pytest.mark.parametrize(
    ("accuracies", "expected"),
    [
        ([0.9, 0.9, 0.8], 3.0),  # half the way between 2 and 4
        ([0.8, 0.9, 0.9], 0.5),  # half the way from no flip to the first
        ([0.95, 0.85, 0.2], 2.0),
        ([0.95, 0.9, 0.86], None),
    ],
)
def test_the_price_of_five_points_lies_on_the_line_between_what_was_measured(
    accuracies: list[float], expected: float | None
) -> None:
    found = crossing([1, 2, 4], accuracies, 0.9, 0.05)
    assert found == (None if expected is None else pytest.approx(expected))


def test_counts_are_powers_of_two() -> None:
    assert counts(1) == [1]
    assert counts(11) == [1, 2, 4, 8]


def test_a_seed_flips_what_it_flipped_before_and_more(judge: Judge) -> None:
    seen: list[set[int]] = []
    judge.accuracy = lambda flips: seen.append({*map(int, flips)}) or 1.0  # type: ignore[method-assign,func-returns-value]
    random_flips(judge, judge.memory.select(), 8, 3, 1.0, silent)
    by_seed = [seen[seed::3] for seed in range(3)]
    for sets in by_seed:
        assert [len(one) for one in sets] == [1, 2, 4, 8]
        assert all(a < b for a, b in itertools.pairwise(sets))
    assert by_seed[0][-1] != by_seed[1][-1]


def test_random_flips_of_everything_that_is_selected_are_exact(judge: Judge) -> None:
    """Both sign bits of the weights that matter: nothing fires, both samples are answered 0."""
    signs = np.array([judge.memory.fields[0].first + word * 3 + 2 for word in (0, 3)])
    found = random_flips(judge, signs, 2, 4, 1.0, silent)
    assert [one.flips for one in found] == [1, 2]
    # Without neuron 0, class 0 is still the lowest index; without neuron 1, sample 1 is lost.
    expected = [[judge.accuracy([np.random.default_rng(s).permutation(signs)[0]]) for s in range(4)], [0.5] * 4]
    assert [one.accuracies for one in found] == expected
    cost = price(found, 1.0)
    assert cost.flips is not None
    assert cost.flips <= 1
    assert price(random_flips(judge, judge.memory.select(kind="du", bit=0), 1, 2, 1.0, silent), 1.0).flips is None


def test_a_group_has_only_bits_of_its_own(judge: Judge, monkeypatch: Any) -> None:
    asked: list[list[int]] = []
    monkeypatch.setattr(judge, "accuracy", lambda flips: asked.append([*map(int, flips)]) or 0.5)  # type: ignore[func-returns-value]
    found = groups(judge, 2, 3, 1.0, silent)
    # A word of its own needs no "any": weights 1 + 3 positions, bias 1 + 13, threshold 17, decays 12 each.
    assert len(found) == 4 + 14 + 17 + 24
    calls = iter(asked)
    for group in found:
        assert group.lost == 0.5
        assert len(group.accuracies) == (1 if group.bits == group.flips else 3)
        for _ in group.accuracies:
            flips = next(calls)
            assert len(set(flips)) == group.flips
            for address in flips:
                field, _, bit = judge.memory.place(address)
                assert (field.kind, group.bit in (None, bit)) == (group.field, True)


def test_a_threshold_out_of_reach_silences_the_layer(judge: Judge) -> None:
    lost = {(g.field, g.bit): g.lost for g in groups(judge, 1, 2, judge.accuracy([]), silent)}
    assert lost["vth", 16] == 0.5
    assert lost["vth", 0] == 0.0
