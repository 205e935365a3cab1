"""Weights that are on the chip's grid already are not rounded again."""

import nir
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeproof.export.lowering.lower import Deployment, lower_parts
from spikeproof.export.nir.dynamics import Settings
from spikeproof.export.nir.graph import flatten
from spikeproof.hw_targets.loihi.simulator import LoihiTarget

from .conftest import DT, STEPS, agree, chain, fired, lif, run, spikes, stepped


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([(-128, 127), (-4, 3), (-1, 0), (0, 255), (-255, 0), (-256, 254), (0, 1)]),
    st.floats(1e-3, 10),
    st.integers(0, 999),
)
def test_weights_on_a_grid_are_not_rounded_again(span: tuple[int, int], step: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    q = rng.integers(span[0], span[1] + 1, (4, 12))
    q[0, 0] = span[0] or span[1]
    threshold = 2.5 * float(np.abs(q).max())
    # Real numbers as a file holds them; the integers fire as exact arithmetic on q does.
    node = lif(4, v_threshold=np.float32(threshold * step))
    graph = flatten(chain((12,), nir.Linear((q * step).astype(np.float32)), node, outputs=4), "g")
    x = spikes(12, seed=seed)
    lowered, trace = run(graph, x, Settings(DT))
    (synapse,) = lowered.program.synapses
    weight = synapse.weight.astype(float)
    np.testing.assert_array_equal(weight * np.abs(q).max(), q * np.abs(weight).max())
    expected = stepped(x @ q.T, 0.5, 1.0, 0.0, threshold, 0.0, 0.0)
    agree(fired(lowered, trace, "n1"), expected, share=5e-3)


@pytest.mark.parametrize(("low", "high", "over"), [(-127, 127, 128), (-128, 127, 128), (-3, 3, 4), (-4, 3, 4)])
def test_none_of_14400_spikes_differs_where_nothing_need_be_rounded(low: int, high: int, over: int) -> None:
    rng = np.random.default_rng(0)
    q = rng.integers(-min(-low, high), high + 1, (10, 64))
    q[0, 0] = low
    weight, x = q / over, (rng.random((60, 24, 64)) < 0.3).astype(np.int32)
    graph = flatten(chain((64,), nir.Linear(weight.astype(np.float32)), lif(10, v_threshold=3), outputs=10), "g")
    program = lower_parts(graph, Deployment(60, 0, Settings(DT))).program
    found = LoihiTarget().compile(program).run(x, rasters=True).rasters["n1"].spikes != 0
    expected = stepped(x @ weight.T, 0.5, 1.0, 0.0, 3.0, 0.0, 0.0)
    assert expected.size == 14400
    np.testing.assert_array_equal(found, expected)


def test_fewer_bits_that_were_asked_for_are_kept() -> None:
    graph = flatten(chain((12,), nir.Linear(np.arange(-24, 24).reshape(4, 12) / 8), lif(4), outputs=4), "g")
    (synapse,) = lower_parts(graph, Deployment(STEPS, 0, Settings(DT), bits=4)).program.synapses
    assert synapse.bits == 4
    assert len(np.unique(synapse.weight)) <= 15
