"""Where spiking pays: sums on paper, and the definition of break-even."""

import math

import numpy as np
import pytest

from spikeproof.eval.cost.constants import table
from spikeproof.eval.cost.pays import _even, _on_chip, _prices, _spiking, activity
from spikeproof.eval.records.cost import ChipCost, Counted, Gradient, Views


def views(operations: float, dense: int, updates: float) -> Views:
    return Views(
        samples=1,
        spikes={},
        places={},
        operations={"a -> b": operations},
        dense={"a -> b": dense},
        updates={"b": Counted(changed=0, active=0, all=updates)},
        gradient=Gradient(zeros=0, near_zeros=0, hoyer=None, silent=0),
    )


def test_an_operation_and_an_update_cost_what_they_cost_on_paper() -> None:
    """8-bit addition 0.03 pJ; a byte of a small memory 10/8 pJ, of a large one 100/8; a voltage has three bytes."""
    operation, update = _prices(table())
    assert [1e12 * one for one in operation] == pytest.approx([0.03 + 1.25, 0.03 + 12.5 * 7])
    assert [1e12 * one for one in update] == pytest.approx([1.25 * 6, 12.5 * 6])


def test_at_the_even_activity_both_cost_the_same() -> None:
    seen = views(operations=300.0, dense=1000, updates=40.0)
    operations, updates = _spiking(seen, table())
    now = activity(seen)
    assert now == pytest.approx(0.3)
    for end in (0, 1):
        ann = updates[end] + 0.37 * operations[end]
        even = _even(ann, updates[end], operations[end], now)
        again = views(operations=1000 * even, dense=1000, updates=40.0)
        found_operations, found_updates = _spiking(again, table())
        assert found_operations[end] + found_updates[end] == pytest.approx(ann)


def test_it_never_pays_where_updates_alone_cost_more_and_always_where_all_spikes_cost_less() -> None:
    assert _even(ann=1.0, fixed=2.0, varying=1.0, activity=0.1) == 0.0
    assert _even(ann=100.0, fixed=0.0, varying=1.0, activity=0.1) == 1.0


def test_on_a_chip_ends_are_the_worst_and_the_best_pairing() -> None:
    terms = dict.fromkeys(("synapse", "spike", "message", "hop"), (1.0, 2.0)) | {
        "active": (1.0, 3.0),
        "idle": (0.0, 0.0),
        "static": (0.5, 1.0),
    }
    chip = ChipCost(chip="loihi1", steps=4, terms={"clean": terms})
    # Dearest chip, cheapest ANN: (6 - 4) / 8; cheapest chip, dearest ANN: (10 - 1.5) / 4.
    assert _on_chip(chip, "clean", (6.0, 10.0), 0.2) == pytest.approx((0.2 * 2 / 8, 0.2 * 8.5 / 4))


def test_nothing_sent_is_no_activity() -> None:
    assert activity(views(0.0, 0, 1.0)) == 0.0
    assert math.isclose(activity(views(5.0, 10, 1.0)), np.float64(0.5))
