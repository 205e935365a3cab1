"""Forms of other frameworks' files: what the Program fires is what NumPy computes by itself, from the equations."""

from dataclasses import replace
from typing import Any

import nir
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeproof.eval.support import graphs
from spikeproof.export.lowering.lower import Deployment, lower_parts
from spikeproof.export.nir.dynamics import Settings
from spikeproof.export.nir.execute import run_graph
from spikeproof.export.nir.graph import flatten
from spikeproof.export.nir.nodes import SPIKING
from spikeproof.hw_targets.loihi.simulator import LoihiTarget
from spikeproof.hw_targets.onnx import OnnxTarget
from spikeproof.hw_targets.twin import TwinTarget
from spikeproof.toolkit.errors import UnsupportedError

from .conftest import BATCH, DT, STEPS, agree, chain, fired, lif, run, spikes, stepped

WEIGHT = np.random.default_rng(0).integers(-5, 9, (4, 6)) / 8 + 0.25
BIAS = np.array([0.25, -0.125, 0.5, 0.125])


# --- rests, resets and parameters a neuron


@settings(max_examples=25, deadline=None)
@given(
    st.integers(-8, 6), st.integers(-8, 8), st.sampled_from(["v_leak", "v_reset"]), st.sampled_from([0.5, 0.75, 0.875])
)
def test_membranes_are_counted_from_where_they_reset_to(reset: int, rest: int, start: str, keep: float) -> None:
    leak, to = (reset if start == "v_leak" else rest) / 8, reset / 8
    node = lif(4, tau=DT / (1 - keep), r=1 / (1 - keep), v_leak=leak, v_reset=to)
    graph = flatten(chain((6,), nir.Linear(WEIGHT), node), "g")
    x = spikes(6)
    lowered, trace = run(graph, x, Settings(DT, start=start))
    expected = stepped(x @ WEIGHT.T, keep, 1.0, leak, 1.0, to, to)
    agree(fired(lowered, trace, "n1"), expected)
    executed = run_graph(graph, torch.from_numpy(x), Settings(DT, start=start), torch.float64)["n1"].numpy()
    np.testing.assert_array_equal(executed != 0, expected)


def test_textbook_volts_fire_what_the_same_network_fires_counted_from_rest() -> None:
    rng = np.random.default_rng(0)
    weight, x = rng.normal(0.3, 0.5, (6, 10)), (rng.random((120, 8, 10)) < 0.25).astype(np.int32)
    rasters = []
    for rest in (-0.07, 0.0):
        node = lif(6, tau=0.02, r=0.1, v_leak=rest, v_reset=rest, v_threshold=rest + 0.015)
        graph = flatten(chain((10,), nir.Linear(weight), node, outputs=6), "g")
        lowered = lower_parts(graph, Deployment(120, 0, Settings(1e-3)))
        trace = LoihiTarget().compile(lowered.program).run(x, rasters=True)
        rasters.append(trace.rasters["n1"].spikes != 0)
    np.testing.assert_array_equal(rasters[0], rasters[1])
    expected = stepped(x @ weight.T, 0.95, 0.05 * 0.1, -0.07, -0.055, -0.07, -0.07)
    assert 0.1 < expected.mean() < 0.3
    assert (rasters[0] != expected).mean() < 0.03


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_neurons_that_differ_become_a_population_for_each_set(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, 7))
    keep = np.array(data.draw(st.lists(st.sampled_from([0.5, 0.75]), min_size=size, max_size=size)))
    threshold = np.array(data.draw(st.lists(st.sampled_from([1.0, 1.5, 2.0]), min_size=size, max_size=size)))
    gain = np.array(data.draw(st.lists(st.sampled_from([1.0, 2.0]), min_size=size, max_size=size)))
    reset = np.array(data.draw(st.lists(st.sampled_from([0.0, -0.5]), min_size=size, max_size=size)))
    loop, last = data.draw(st.booleans()), data.draw(st.booleans())
    rng = np.random.default_rng(size)
    enter, back, leave = (rng.integers(-5, 8, shape) / 8 for shape in ((size, 6), (size, size), (3, size)))
    bias = rng.integers(-2, 5, size) / 8
    cells = lif(size, tau=DT / (1 - keep), r=gain / (1 - keep), v_threshold=threshold, v_leak=reset, v_reset=reset)
    more = () if last else (nir.Linear(leave), lif(3))
    made = chain((6,), nir.Affine(enter, bias), cells, *more, outputs=size if last else 3)
    if loop:
        made.nodes["back"] = nir.Linear(back)
        made.edges += [("n1", "back"), ("back", "n1")]
    graph, x = flatten(made, "g"), spikes(6)
    lowered, trace = run(graph, x, Settings(DT))
    sets = len({*zip(keep, gain, threshold - reset, strict=True)})
    assert len(lowered.parts["n1"]) == sets
    v, before, expected = np.tile(reset, (BATCH, 1)), np.zeros((BATCH, size)), []
    for now in x:
        v = keep * v + (1 - keep) * reset + gain * (now @ enter.T + bias + (before @ back.T if loop else 0))
        before = (v > threshold).astype(float)
        expected.append(before)
        v = np.where(before > 0, reset, v)
    found = fired(lowered, trace, "n1")
    agree(found, np.array(expected) != 0, share=1e-2)
    if last:
        # One population is read, in the order of the node; it fires what the parts fire.
        np.testing.assert_array_equal(trace.output, found.sum(0))
    for target in (TwinTarget(), OnnxTarget()):
        other = target.compile(lowered.program).run(x, rasters=True)
        np.testing.assert_array_equal(other.output, trace.output)


def test_more_than_64_sets_are_refused_with_the_way_out() -> None:
    node = lif(65, v_threshold=1 + np.arange(65) / 8)
    graph = flatten(chain((6,), nir.Linear(np.ones((65, 6))), node, outputs=65), "g")
    with pytest.raises(UnsupportedError, match=r"node 'n1': .* 65 different sets .* at most 64 .*: round them"):
        lower_parts(graph, Deployment(STEPS, 0, Settings(DT)))


def test_membranes_of_neurons_that_differ_cannot_be_read() -> None:
    node = nir.LI(np.array([2.0, 4, 2]) * DT, np.array([2.0, 4, 2]), np.zeros(3))
    graph = flatten(chain((6,), nir.Linear(WEIGHT), lif(4), nir.Linear(np.ones((3, 4))), node), "g")
    with pytest.raises(UnsupportedError, match=r"node 'n3': its membranes are read, .* differ"):
        lower_parts(graph, Deployment(STEPS, 0, Settings(DT)))


# --- a bias through a current


def cuba(size: int, keep: float, current: float, threshold: float = 2.0) -> nir.CubaLIF:
    values = {"tau_syn": DT / (1 - current), "tau_mem": DT / (1 - keep), "r": 1 / (1 - keep), "v_leak": 0.0}
    values |= {"v_threshold": threshold, "w_in": 1 / (1 - current), "v_reset": 0.0}
    return nir.CubaLIF(**{name: np.full(size, value) for name, value in values.items()})


@settings(max_examples=25, deadline=None)
@given(st.sampled_from([0.5, 0.75]), st.sampled_from([0.5, 0.75]), st.booleans(), st.booleans())
def test_a_bias_through_a_current_is_there_from_the_first_step_on(
    keep: float, current: float, loop: bool, deep: bool
) -> None:
    back, back_bias = np.eye(4)[::-1] / 4, np.array([0.25, 0, -0.25, 0.5])
    layers = [nir.Affine(WEIGHT, BIAS), cuba(4, keep, current)]
    if deep:
        layers = [nir.Linear(np.eye(6)), lif(6, v_threshold=0.5), *layers]
    made = chain((6,), *layers, outputs=4)
    cell = f"n{len(layers) - 1}"
    if loop:
        made.nodes["back"] = nir.Affine(back, back_bias)
        made.edges += [(cell, "back"), ("back", cell)]
    graph, x = flatten(made, "g"), spikes(6)
    lowered, trace = run(graph, x, Settings(DT))
    # The first layer fires with each spike that arrives.
    i, v, before, expected = np.zeros((BATCH, 4)), np.zeros((BATCH, 4)), np.zeros((BATCH, 4)), []
    for now in x:
        fed = before @ back.T + back_bias if loop else 0
        i = current * i + now @ WEIGHT.T + BIAS + fed
        v = keep * v + i
        before = (v > 2).astype(float)
        expected.append(before)
        v = v * (1 - before)
    wrong = fired(lowered, trace, cell) != (np.array(expected) != 0)
    # A current that decays is cut to integers, which a membrane at its threshold notices.
    assert wrong.mean() < 5e-3
    np.testing.assert_array_equal(fired(lowered, trace, cell)[0], np.array(expected)[0] != 0)
    executed = run_graph(graph, torch.from_numpy(x), Settings(DT), torch.float64)[cell].numpy()
    np.testing.assert_array_equal(executed, np.array(expected))
    assert trace.rasters["always"].spikes.all()
    for target in (TwinTarget(), OnnxTarget()):
        other = target.compile(lowered.program).run(x, rasters=True)
        np.testing.assert_array_equal(other.rasters[cell].spikes, trace.rasters[cell].spikes)


# --- shapes


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_convolutions_of_lines_are_those_of_numpy(data: st.DataObject) -> None:
    groups, per, out, kernel = (data.draw(st.integers(1, high)) for high in (2, 2, 2, 3))
    stride, padding, dilation = data.draw(st.integers(1, 2)), data.draw(st.integers(0, 2)), data.draw(st.integers(1, 2))
    channels, filters, length = groups * per, groups * out, 9
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    weight, bias = rng.integers(-5, 8, (filters, per, kernel)) / 8, rng.integers(-2, 5, filters) / 8
    size = (length + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
    conv = nir.Conv1d(None, weight, stride, padding, dilation, groups, bias)
    flat = nir.Flatten({"input": None}, 0, -1)
    fc = rng.integers(-5, 8, (3, filters * size)) / 8
    graph = flatten(chain((channels, length), conv, lif(filters, size), flat, nir.Linear(fc), lif(3)), "g")
    x = spikes(channels, length)
    lowered, trace = run(graph, x, Settings(DT))
    padded = np.pad(x, [(0, 0)] * 3 + [(padding, padding)])
    sums = np.zeros((STEPS, BATCH, filters, size)) + bias[:, None]
    for f in range(filters):
        for c in range(per):
            for k in range(kernel):
                start = k * dilation
                line = padded[:, :, f // out * per + c, start : start + stride * (size - 1) + 1 : stride]
                sums[:, :, f] += weight[f, c, k] * line
    expected = stepped(sums, 0.5, 1.0, 0.0, 1.0, 0.0, 0.0).reshape(STEPS, BATCH, -1)
    found = fired(lowered, trace, "n1")
    agree(found, expected)
    agree(fired(lowered, trace, "n4"), stepped(found @ fc.T, 0.5, 1.0, 0.0, 1.0, 0.0, 0.0))


def test_a_linear_node_takes_rows_one_by_one() -> None:
    graph = flatten(chain((3, 6), nir.Affine(WEIGHT, BIAS), lif(3, 4), outputs=12), "g")
    x = spikes(3, 6)
    lowered, trace = run(graph, x, Settings(DT))
    expected = stepped(x @ WEIGHT.T + BIAS, 0.5, 1.0, 0.0, 1.0, 0.0, 0.0)
    np.testing.assert_array_equal(fired(lowered, trace, "n1"), expected.reshape(STEPS, BATCH, -1))


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("conv", [False, True])
def test_a_scale_is_folded_into_the_weights_before_or_behind_it(conv: bool, after: bool) -> None:
    if conv:
        scale = np.array([0.5, 2.0, -1.0])[:, None, None] * np.ones((3, 2, 2))
        weight = np.random.default_rng(1).integers(-5, 9, (3, 3, 1, 1)) / 8
        node: Any = nir.Conv2d(None, weight, 1, 0, 1, 1, np.array([0.25, 0.5, 0]))
        flat = nir.Flatten({"input": None}, 0, -1)
        made = chain((3, 2, 2), *((node, nir.Scale(scale)) if after else (nir.Scale(scale), node)), lif(3, 2, 2), flat)
        x = spikes(3, 2, 2)
        summed = lambda x: np.einsum("oi,tbihw->tbohw", weight[:, :, 0, 0], x) + node.bias[:, None, None]  # noqa: E731
    else:
        scale = np.array([0.5, 2.0, -1.0, 1.0]) if after else np.array([0.5, 2.0, -1.0, 1.0, 0.25, 1.0])
        node = nir.Affine(WEIGHT, BIAS)
        made = chain((6,), *((node, nir.Scale(scale)) if after else (nir.Scale(scale), node)), lif(4), outputs=4)
        x = spikes(6)
        summed = lambda x: x @ WEIGHT.T + BIAS  # noqa: E731
    sums = summed(x) * scale if after else summed(x * scale)
    lowered, trace = run(flatten(made, "g"), x, Settings(DT))
    expected = stepped(sums, 0.5, 1.0, 0.0, 1.0, 0.0, 0.0)
    np.testing.assert_array_equal(fired(lowered, trace, "n2"), expected.reshape(STEPS, BATCH, -1))
    assert 0.1 < expected.mean() < 0.9


def test_a_flatten_that_counts_a_batch_is_taken_to_flatten_all() -> None:
    fc = np.random.default_rng(2).integers(-5, 8, (3, 8)) / 8
    conv = nir.Conv2d(None, np.ones((2, 1, 2, 2)) / 4, 1, 0, 1, 1, np.zeros(2))
    parts = (conv, lif(2, 2, 2, v_threshold=0.5), nir.Flatten({"input": None}, 1, -1), nir.Linear(fc), lif(3))
    graph = flatten(chain((1, 3, 3), *parts), "g")
    ((node, text),) = graph.assumed
    assert node == "n3"
    assert "the Flatten before it starts at axis 1, as if a batch axis were counted" in text
    right = flatten(chain((1, 3, 3), *parts[:2], nir.Flatten({"input": None}, 0, -1), *parts[3:]), "g")
    x = spikes(1, 3, 3)
    (one, trace), (other, expected) = (run(g, x, Settings(DT)) for g in (graph, right))
    np.testing.assert_array_equal(fired(one, trace, "n4"), fired(other, expected, "n4"))


# --- all forms of the support table


@pytest.mark.parametrize("construct", graphs.GRAPHS)
def test_every_form_fires_what_its_graph_fires(construct: str) -> None:
    graph = graphs.flat(construct)
    x = spikes(*graph.shapes[next(iter(graph.nodes))])
    lowered, trace = run(graph, x, graphs.SETTINGS)
    executed = run_graph(graph, torch.from_numpy(x), graphs.SETTINGS, torch.float64)
    compared = [name for name in lowered.parts if isinstance(graph.nodes[name], SPIKING)]
    assert compared
    for name in compared:
        expected = executed[name].numpy().reshape(STEPS, BATCH, -1) != 0
        assert 0.05 < expected.mean() < 0.999
        agree(fired(lowered, trace, name), expected)


def test_two_inputs_are_one_in_the_order_of_their_names() -> None:
    graph = graphs.flat("two inputs")
    assert graph.shapes["input_"] == (14,)
    assert graph.assumed[0][1].endswith("in this order: 'input' (5,), 'picture' (1, 3, 3)")
    x = spikes(14)
    lowered, trace = run(graph, x, graphs.SETTINGS)
    nodes = graph.nodes
    kernel, picture = nodes["conv"].weight[0, 0], x[:, :, 5:].reshape(STEPS, BATCH, 3, 3)
    sums = x[:, :, :5] @ nodes["enter"].weight.T
    for place, (row, column) in enumerate(np.ndindex(2, 2)):
        sums[:, :, place] += (picture[:, :, row : row + 2, column : column + 2] * kernel).sum((2, 3))
    np.testing.assert_array_equal(fired(lowered, trace, "cells"), stepped(sums, 0.5, 1.0, 0.0, 1.0, 0.0, 0.0))


def test_one_of_several_outputs_is_chosen_by_name() -> None:
    made = graphs.GRAPHS["two outputs, one chosen"]()
    with pytest.raises(UnsupportedError, match="2 Output nodes: output, other; choose one by name: --output output"):
        flatten(made, "g")
    with pytest.raises(UnsupportedError, match="output 'third': there is no Output node of this name"):
        flatten(made, "g", "third")
    graph = flatten(made, "g", "output")
    assert "aside" not in graph.nodes
    assert "left out: aside" in graph.assumed[0][1]


def test_relays_balance_split_populations_too() -> None:
    graph = graphs.flat("parameters a neuron, in a loop")
    how = Deployment(STEPS, 0, graphs.SETTINGS)
    x = spikes(5)
    rasters = []
    for one in (how, replace(how, relays=True)):
        program = lower_parts(graph, one).program
        rasters.append(LoihiTarget().compile(program).run(x, rasters=True).rasters["last"].spikes)
    np.testing.assert_array_equal(*rasters)
