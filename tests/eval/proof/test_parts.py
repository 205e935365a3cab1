"""Trains, tables and regions against plain enumeration."""

from itertools import product

import numpy as np
import pytest

from spikeproof.eval.proof.layers import layers_of, unsupported
from spikeproof.eval.proof.region import Ball, Edits
from spikeproof.eval.proof.table import table_of
from spikeproof.eval.proof.trains import Trains, any_of, trains
from spikeproof.export.program import Dense, Input, Population, Program, Readout
from spikeproof.hw_targets.loihi.simulator import LoihiTarget
from spikeproof.toolkit.errors import InputError


@pytest.mark.parametrize("lag", [0, 1, 3])
def test_ors_hold_every_union_and_no_other(lag: int) -> None:
    rng = np.random.default_rng(lag)
    mask = rng.random((5, 8)) < 0.4
    mask[:, 0] |= ~mask.any(1)
    groups = np.array([[0, 1, 2], [3, 4, -1], [2, -1, -1]])
    found = any_of(Trains.of_mask(mask, 3), lag, groups)
    assert found.mask is not None
    for row, group in enumerate(groups):
        sets = [[int(number) << lag & 7 for number in np.flatnonzero(mask[one])] for one in group if one >= 0]
        expected = {int(np.bitwise_or.reduce(choice)) for choice in product(*sets)}
        assert set(np.flatnonzero(found.mask[row]).tolist()) == expected


def test_spans_are_the_extremes_over_the_trains() -> None:
    rng = np.random.default_rng(0)
    mask = rng.random((20, 16)) < 0.3
    mask[:, 5] |= ~mask.any(1)
    factors = np.array([3, 0, 7, 1])
    low, high = Trains.of_mask(mask, 4).span(factors, factors)
    for neuron in range(20):
        values = trains(4)[mask[neuron]] @ factors
        assert (low[neuron], high[neuron]) == (values.min(), values.max())


@pytest.mark.parametrize(("du", "dv", "start", "delay"), [(4095, 2048, None, 0), (2000, 700, 1, 1), (-1, 0, 1, 0)])
def test_a_table_has_the_train_of_every_integer(du: int, dv: int, start: int | None, delay: int) -> None:
    population = Population(
        name="p", shape=(2,), du=du, dv=dv, vth=9, bias_exponent=6, bias=np.array([0, 3]), start=start
    )
    program = Program(
        input=Input(shape=(1,), message_bits=8),
        populations=(population,),
        synapses=(Dense(source="input", target="p", weight=np.array([[2], [-2]]), delay=delay, exponent=-3),),
        readout=Readout(population="p"),
        steps=5,
    )
    (layer,) = layers_of(program)
    table = table_of(layer, -64, 63)
    messages = np.broadcast_to(np.arange(256, dtype=np.int32)[None, :, None], (5, 256, 1))
    fired = LoihiTarget().compile(program).run(messages, rasters=True).rasters["p"].spikes
    for level in range(256):
        for neuron, value in enumerate((2 * level >> 3, -2 * level >> 3)):
            ((_, train),) = table.entries(neuron, value, value)
            np.testing.assert_array_equal(train, fired[:, level, neuron])


def test_balls_end_at_the_ends_of_the_input() -> None:
    ball = Ball(np.array([0, 3, 15]), 2, 4, 15)
    inputs = np.concatenate(list(ball.every()), axis=1)
    assert inputs.shape == (4, 3 * 5 * 3, 3)
    assert ball.holds(inputs).all()
    assert inputs.min((0, 1)).tolist() == [0, 1, 13]
    assert inputs.max((0, 1)).tolist() == [2, 5, 15]
    outside = inputs.copy()
    outside[1, :, 1] += 1  # not the same at every step
    assert not ball.holds(outside).any()
    for corners in (False, True):
        assert ball.holds(ball.draw(np.random.default_rng(0), 50, corners)).all()


@pytest.mark.parametrize("edit", ["flip", "shift"])
@pytest.mark.parametrize("budget", [1, 2, 3])
def test_edits_are_those_of_all_binary_inputs_that_need_no_more(edit: str, budget: int) -> None:
    spikes = np.random.default_rng(3).integers(0, 2, (3, 3))
    region = Edits(spikes, budget, edit)
    every = np.array(list(product((0, 1), repeat=9))).reshape(-1, 3, 3).transpose(1, 0, 2)
    held = {sample.tobytes() for sample in every[:, region.holds(every)].transpose(1, 0, 2)}
    made = {one[:, 0].astype(np.int64).tobytes() for one in region.every()}
    assert held == made
    if edit == "flip":
        assert len(made) == sum([1, 9, 36, 84][: budget + 1])
    drawn = region.draw(np.random.default_rng(0), 100)
    assert region.holds(drawn).all()


def test_what_is_not_covered_is_named() -> None:
    program = Program(
        input=Input(shape=(400,), message_bits=8),
        populations=(Population(name="p", shape=(1,), du=-1, dv=0, vth=9, bias=np.zeros(1, dtype=int)),),
        synapses=(Dense(source="input", target="p", weight=np.full((1, 400), -256), exponent=0),),
        readout=Readout(population="p"),
        steps=4,
    )
    reasons = unsupported(program)
    assert any("current could wrap" in reason for reason in reasons)
    assert any("clipped from below" in reason for reason in reasons)
    assert unsupported(program.model_copy(update={"steps": 65}))[0] == "65 time steps, covered are 64"
    with pytest.raises(InputError, match="values other than 0 and 1"):
        Edits(np.array([[2]]), 1)
