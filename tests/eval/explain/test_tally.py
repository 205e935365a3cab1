"""Counting, places and McNemar's test, against counts made by hand."""

import numpy as np
import pytest
from scipy.stats import binom

from spikeproof.eval.explain.model import Outcome
from spikeproof.eval.explain.tally import Tally, mcnemar
from spikeproof.eval.records.explanation import Place

ORDER = {"a": (2, 2), "b": (3,)}
STEPS = 3


def outcome(classes: list[int], *fired: tuple[str, int, int, int]) -> Outcome:
    """Spikes at (population, step, sample, neuron), all else silent."""
    spikes = {name: np.zeros((STEPS, len(classes), int(np.prod(shape))), dtype=bool) for name, shape in ORDER.items()}
    for name, step, sample, neuron in fired:
        spikes[name][step, sample, neuron] = True
    # A flat population and one of three dimensions are the same neurons.
    shaped = {name: raster.reshape(STEPS, len(classes), *ORDER[name]) for name, raster in spikes.items()}
    return Outcome(shaped if fired else spikes, np.array(classes))


def test_the_first_population_and_in_it_the_first_step() -> None:
    silent = outcome([0, 0, 0])
    fired = outcome([0, 0, 0], ("b", 0, 0, 1), ("a", 2, 0, 0), ("a", 1, 2, 3), ("a", 1, 1, 2), ("a", 1, 1, 3))
    labels = np.zeros(3, dtype=np.int64)
    by_layer, by_step = Tally(ORDER, by_step=False), Tally(ORDER, by_step=True)
    for tally in (by_layer, by_step):
        tally.update(silent, fired, labels)
    assert by_layer.effect().first == Place(population="a", step=1, neuron=(1, 0), sample=1, fires="after")
    assert by_step.effect().first == Place(population="b", step=0, neuron=(1,), sample=0, fires="after")
    assert by_layer.by_population == {"a": 4, "b": 1}
    assert by_layer.compared == STEPS * 3 * (4 + 3)


def test_batches_add_up_and_an_earlier_place_in_a_later_batch_wins() -> None:
    tally = Tally(ORDER, by_step=False)
    labels = np.array([1, 1])
    tally.update(outcome([1, 1], ("a", 2, 1, 0)), outcome([1, 0]), labels)
    tally.update(outcome([0, 1]), outcome([1, 1], ("a", 0, 1, 3)), labels)
    effect = tally.effect()
    assert effect.first == Place(population="a", step=0, neuron=(1, 1), sample=3, fires="after")
    assert (effect.different, effect.paired.samples) == (2, 4)
    assert (effect.paired.classes_changed, effect.paired.lost, effect.paired.won) == (2, 1, 1)
    assert effect.accuracy.correct == 3


def test_the_longer_outcome_is_cut() -> None:
    tally = Tally(ORDER, by_step=False)
    tally.update(outcome([1, 1, 1]), outcome([1, 0]), np.array([1, 1, 1]))
    assert tally.effect().paired.samples == 2
    assert tally.effect().paired.lost == 1


@pytest.mark.parametrize(("lost", "won"), [(0, 0), (5, 0), (3, 9), (7, 7), (1, 30)])
def test_mcnemar_is_twice_the_tail_of_a_fair_coin(lost: int, won: int) -> None:
    tail = binom.cdf(min(lost, won), lost + won, 0.5)
    assert mcnemar(lost, won) == pytest.approx(min(1.0, 2 * tail))
    assert mcnemar(lost, won) == mcnemar(won, lost)
