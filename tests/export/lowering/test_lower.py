import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import nir
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spikeproof.export.lowering.lower import Deployment, lower, lower_graph
from spikeproof.export.nir.dynamics import Settings
from spikeproof.export.nir.execute import run_graph
from spikeproof.export.nir.graph import flatten
from spikeproof.export.nir.layers import Grid
from spikeproof.export.nir.write import SideCar, to_nir
from spikeproof.export.program import Convolution, Graded, Program
from spikeproof.hw_targets.loihi.simulator import LoihiTarget
from spikeproof.toolkit.coding import direct_integers
from spikeproof.toolkit.errors import UnsupportedError
from spikeproof.toolkit.network.network import SpikingNetwork

Make = Callable[..., SpikingNetwork]
BITS, STEP = 4, 0.25


def sidecar(steps: int = 4, **grids: Grid) -> SideCar:
    return SideCar(sha256="", time_step=1e-4, steps=steps, gain=1.0, grids=grids)


def lif(shape: tuple[int, ...], beta: float = 0.5, threshold: float = 1.0, **changes: Any) -> nir.LIF:
    tau = np.full(shape, 1e-4 / (1 - beta))
    values = {"tau": tau, "r": tau / 1e-4, "v_leak": np.zeros(shape), "v_reset": np.zeros(shape)}
    return nir.LIF(**{**values, "v_threshold": np.full(shape, threshold), **changes})


def convolution(rng: np.random.Generator, shape: tuple[int, ...], **options: Any) -> nir.Conv2d:
    weight = rng.integers(-8, 8, shape) * STEP
    geometry = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1, "bias": np.zeros(shape[0])}
    return nir.Conv2d(input_shape=None, weight=weight, **{**geometry, **options})


def graph(shape: tuple[int, ...], **nodes: nir.NIRNode) -> nir.NIRGraph:
    full = {"input": nir.Input({"input": np.array(shape)}), **nodes, "output": nir.Output({"output": np.array([1])})}
    names = list(full)
    return nir.NIRGraph(full, list(itertools.pairwise(names)), type_check=False)


def correlate(x: np.ndarray, weight: np.ndarray, stride: tuple[int, int], padding: tuple[int, int], groups: int) -> Any:
    """Cross-correlate (C, H, W) with (O, C / groups, h, w), one output at a time."""
    x = np.pad(x, [(0, 0), *((p, p) for p in padding)])
    out, per, h, w = weight.shape
    sizes = [(n - k) // s + 1 for n, k, s in zip(x.shape[1:], (h, w), stride, strict=True)]
    y = np.zeros((out, *sizes), dtype=np.int64)
    for o, i, j in np.ndindex(y.shape):
        first = o // (out // groups) * per
        patch = x[first : first + per, i * stride[0] : i * stride[0] + h, j * stride[1] : j * stride[1] + w]
        y[o, i, j] = (patch * weight[o]).sum()
    return y


def sum_pool(x: np.ndarray, k: int) -> np.ndarray:
    channels, height, width = x.shape
    return x.reshape(channels, height // k, k, width // k, k).sum((2, 4))


@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.integers(1, 2), st.integers(0, 1), st.sampled_from([1, 2]))
def test_an_average_pool_folds_exactly_into_the_convolution_behind_it(
    seed: int, k: int, stride: int, padding: int, groups: int
) -> None:
    rng = np.random.default_rng(seed)
    side = 3 * k
    second = convolution(rng, (4, 2 // groups, 2, 3), stride=(stride, 1), padding=(padding, 1), groups=groups)
    program = lower(
        graph(
            (1, side, side),
            conv1=convolution(rng, (2, 1, 1, 1)),
            lif1=lif((2, side, side)),
            pool=nir.AvgPool2d(np.array([k, k]), np.array([k, k]), np.array([0, 0])),
            conv2=second,
            lif2=lif((4, (3 + 2 * padding - 2) // stride + 1, 3)),
        ),
        sidecar(conv1=Grid(bits=BITS, step=STEP), conv2=Grid(bits=BITS, step=STEP)),
    )
    assert [population.name for population in program.populations] == ["lif1", "lif2"]
    folded = program.synapses[1]
    assert isinstance(folded, Convolution)
    spikes = rng.integers(0, 2, (2, side, side))
    integers = np.rint(second.weight / STEP).astype(np.int64) * 2 ** (9 - BITS)
    expected = correlate(sum_pool(spikes, k), integers, (stride, 1), (padding, 1), groups)
    found = correlate(spikes, folded.weight, folded.stride, folded.padding, folded.groups)
    np.testing.assert_array_equal(found, expected)


@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.integers(1, 3))
def test_an_average_pool_folds_exactly_into_the_dense_weights_behind_it(seed: int, k: int, extra: int) -> None:
    rng = np.random.default_rng(seed)
    rows, columns = 2, extra
    weight = rng.integers(-8, 8, (3, 2 * rows * columns)) * STEP
    height, width = rows * k + (extra - 1) % k, columns * k
    program = lower(
        graph(
            (1, height, width),
            conv1=convolution(rng, (2, 1, 1, 1)),
            lif1=lif((2, height, width)),
            pool=nir.AvgPool2d(np.array([k, k]), np.array([k, k]), np.array([0, 0])),
            flatten=nir.Flatten({"input": np.array([2, rows, columns])}, 0, -1),
            fc=nir.Affine(weight, np.zeros(3)),
            lif2=lif((3,)),
        ),
        sidecar(conv1=Grid(bits=BITS, step=STEP), fc=Grid(bits=BITS, step=STEP)),
    )
    spikes = rng.integers(0, 2, (2, height, width))
    pooled = sum_pool(spikes[:, : rows * k, : columns * k], k).ravel()
    expected = (np.rint(weight / STEP).astype(np.int64) * 2 ** (9 - BITS)) @ pooled
    np.testing.assert_array_equal(program.synapses[1].weight @ spikes.ravel(), expected)


def loihi_rasters(program: Program, images: np.ndarray) -> dict[str, np.ndarray]:
    trace = LoihiTarget().compile(program).run(direct_integers(images, program.steps), rasters=True)
    assert all(events.wraps == 0 for events in trace.overflow.values())
    return {name: raster.spikes for name, raster in trace.rasters.items()}


@pytest.mark.parametrize("pool", ["max", "avg"])
@pytest.mark.parametrize("seed", range(3))
def test_where_every_number_is_exact_the_integers_fire_the_spikes_of_the_network(
    exact: Make, binary_images: np.ndarray, pool: str, seed: int
) -> None:
    network = exact(pool, seed)
    nodes, grids = to_nir(network, (1, 8, 8))
    found = loihi_rasters(lower(nodes, sidecar(network.steps, **grids)), binary_images)
    expected: dict[str, torch.Tensor] = {}
    with torch.no_grad():
        network.spikes(torch.from_numpy(binary_images), lambda name, signal: expected.update({name: signal}))
    for name in network.populations():
        np.testing.assert_array_equal(found[name], expected[name].bool().numpy(), err_msg=name)


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(2, 2, 0), (3, 1, 1), (3, 2, 1), (2, 1, 0)])
def test_an_or_of_spikes_equals_max_pooling_of_them(images: np.ndarray, kernel: int, stride: int, padding: int) -> None:
    side = (8 + 2 * padding - kernel) // stride + 1
    program = lower(
        graph(
            (1, 8, 8),
            conv=convolution(np.random.default_rng(0), (3, 1, 3, 3), padding=(1, 1)),
            lif=lif((3, 8, 8), threshold=0.6),
            pool_sum=nir.SumPool2d(np.array([kernel] * 2), np.array([stride] * 2), np.array([padding] * 2)),
            pool=nir.Threshold(np.full((3, side, side), 0.5)),
        ),
        sidecar(steps=6, conv=Grid(bits=BITS, step=STEP)),
    )
    found = loihi_rasters(program, images)
    spikes = torch.from_numpy(found["lif"]).float().flatten(0, 1)
    expected = torch.nn.functional.max_pool2d(spikes, kernel, stride, padding).reshape(found["pool"].shape)
    np.testing.assert_array_equal(found["pool"], expected.bool().numpy())
    assert 0 < found["pool"].mean() < 1


@pytest.mark.parametrize("pool", ["max", "avg"])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_integers_are_the_nearest_to_their_real_values(exact: Make, pool: str, bits: int) -> None:
    network = exact(pool, bits=bits)
    nodes, grids = to_nir(network, (1, 8, 8))
    program = lower(nodes, sidecar(network.steps, **grids))
    lifs = [name for name in network.populations() if "lif" in name]
    for name, layer, area in zip(lifs, ("conv1", "conv2", "linear"), (1, 4 if pool == "avg" else 1, 1), strict=True):
        population, neuron = program.population(name), getattr(network.layers, name)
        (synapse,) = program.incoming(name)
        scale = 255 if layer == "conv1" else 1
        unit = grids[layer].step / 2 ** (9 - bits) / area / scale * 2.0**-synapse.exponent
        assert population.vth == round(neuron.threshold / unit)
        assert population.dv == round((1 - neuron.beta) * 4096)
        assert population.du == 4095
        bias = getattr(network.layers, layer).bias.detach().double().numpy()
        bias = bias.reshape(-1, *[1] * (len(population.shape) - 1))
        found = population.bias * 2.0**population.bias_exponent * unit / 64
        assert np.abs(found - bias).max() <= 2.0**population.bias_exponent * unit / 128
        assert program.bound(synapse) * 64 * 2.0**synapse.exponent < 2**23


def one_layer(node: nir.NIRNode, **grids: Grid) -> Program:
    weights = convolution(np.random.default_rng(0), (3, 1, 1, 1))
    return lower(graph((1, 4, 4), conv=weights, cell=node), sidecar(**(grids or {"conv": Grid(bits=BITS, step=STEP)})))


SHAPE = (3, 4, 4)


def cuba(**changes: Any) -> nir.CubaLIF:
    values = {name: np.ones(SHAPE) for name in ("tau_syn", "tau_mem", "r", "v_threshold", "w_in")}
    return nir.CubaLIF(**{**values, "v_leak": np.zeros(SHAPE), "v_reset": np.zeros(SHAPE), **changes})


UNEVEN = np.full(SHAPE, 2e-4)
UNEVEN[1, 2, 3] = 3e-4


@pytest.mark.parametrize(
    ("node", "why"),
    [
        (lif(SHAPE, tau=np.full(SHAPE, np.nan)), "tau holds NaN"),
        (lif(SHAPE, v_reset=np.full(SHAPE, np.nan)), "v_reset holds NaN"),
        (lif(SHAPE, tau=np.full(SHAPE, 1e-5)), "needs 0 < dt/tau <= 1"),
        (lif(SHAPE, tau=np.full(SHAPE, -1e-3)), "tau must be above 0"),
        (lif(SHAPE, r=np.full(SHAPE, -1.0)), "needs .*R > 0"),
        (lif(SHAPE, threshold=0.0), "needs .*threshold > v_reset"),
        (lif(SHAPE, threshold=1e6), "threshold .* units, allowed are 1 to 131071"),
        (lif(SHAPE, threshold=1e-9), "threshold .* units, allowed are 1 to 131071"),
        (cuba(tau_syn=np.full(SHAPE, 1e-5)), "needs 0 < dt/tau_syn <= 1"),
        (cuba(w_in=-np.ones(SHAPE)), "needs R > 0"),
        (nir.LI(tau=np.ones(SHAPE), r=np.zeros(SHAPE), v_leak=np.zeros(SHAPE)), "needs R > 0"),
    ],
)
def test_a_neuron_without_an_exact_form_is_refused_by_its_node(node: nir.NIRNode, why: str) -> None:
    with pytest.raises(UnsupportedError, match=rf"^graph: node 'cell': .*{why}"):
        one_layer(node)


def test_a_membrane_that_does_not_start_where_it_resets_to_is_refused() -> None:
    grids = {"conv": Grid(bits=BITS, step=STEP)}
    for cell, why in (
        (lif(SHAPE, v_leak=UNEVEN), r"starts at 0\.0002 and resets to v_reset = 0; .* --start v_reset"),
        (lif(SHAPE, v_reset=np.full(SHAPE, -0.1)), r"starts at 0 and resets to v_reset = -0\.1"),
    ):
        flat = flatten(graph((1, 4, 4), conv=CONV, cell=cell), "graph")
        with pytest.raises(UnsupportedError, match=f"node 'cell': {why}"):
            lower_graph(flat, Deployment(4, 8, Settings(1e-4), grids))


REST = np.full(SHAPE, -0.25)
RESTS = np.where(np.arange(REST.size).reshape(SHAPE) % 3, REST, 0.5)
HALF = np.full(SHAPE, 2e-4)


@pytest.mark.parametrize(
    ("node", "options"),
    [
        (nir.IF(r=np.full(SHAPE, 1e4), v_threshold=np.full(SHAPE, 1.5), v_reset=np.zeros(SHAPE)), {}),
        (lif(SHAPE, v_leak=REST, v_reset=REST), {}),
        (lif(SHAPE, v_leak=REST), {"start": "v_reset"}),
        (lif(SHAPE, v_leak=RESTS), {"start": "v_reset"}),
        (lif(SHAPE, v_leak=-REST, v_reset=REST), {"start": "v_reset"}),
        (cuba(tau_syn=HALF, tau_mem=HALF, r=np.full(SHAPE, 2.0), w_in=np.full(SHAPE, 2.0)), {}),
        (cuba(tau_syn=HALF, tau_mem=HALF, r=np.full(SHAPE, 2.0)), {"added": frozenset({"CubaLIF"})}),
        (nir.Threshold(np.full(SHAPE, 0.75)), {}),
    ],
)
def test_every_neuron_fires_what_its_executed_node_fires(node: nir.NIRNode, options: dict[str, Any]) -> None:
    rng = np.random.default_rng(5)
    nodes = graph((1, 4, 4), conv=convolution(rng, (3, 1, 1, 1)), cell=node)
    settings = Settings(1e-4, **options)
    flat = flatten(nodes, "graph")
    program = lower_graph(flat, Deployment(5, 0, settings, {"conv": Grid(bits=BITS, step=STEP)}))
    inputs = rng.integers(0, 2, (5, 40, 1, 4, 4))
    expected = run_graph(flat, torch.from_numpy(inputs), settings, torch.float64)["cell"].bool().numpy()
    trace = LoihiTarget().compile(program).run(inputs, rasters=True)
    np.testing.assert_array_equal(trace.rasters["cell"].spikes, expected)
    assert 0.02 < expected.mean() < 0.98


@pytest.mark.parametrize("spiking", [True, False])
def test_input_without_weights_is_bias_coded(spiking: bool) -> None:
    cell = lif((1, 4, 4), threshold=1.1) if spiking else None
    li = nir.LI(tau=np.full((1, 4, 4), 2e-4), r=np.full((1, 4, 4), 2.0), v_leak=np.zeros((1, 4, 4)))
    flat = flatten(graph((1, 4, 4), cell=cell or li), "graph")
    program = lower_graph(flat, Deployment(6, 3, Settings(1e-4)))
    (population,) = program.spiking
    assert (population.input_bias, program.synapses) == (True, ())
    inputs = np.random.default_rng(6).integers(0, 8, (6, 30, 1, 4, 4))
    found = run_graph(flat, torch.from_numpy(inputs) / 7, Settings(1e-4), torch.float64)
    trace = LoihiTarget().compile(program).run(inputs, rasters=True)
    if spiking:
        # 7 levels are no power of two, so a membrane may fall on the other side of the threshold now and then.
        wrong = trace.rasters["cell"].spikes != found["cell"].bool().numpy()
        assert wrong.mean() < 0.01
        assert 0.1 < trace.rasters["cell"].spikes.mean() < 0.9
    else:
        assert program.readout.kind == "membrane"
        real = found["output"][-1].flatten(1).numpy()
        scale = np.polyfit(trace.output.ravel(), real.ravel(), 1)[0]
        np.testing.assert_allclose(trace.output * scale, real, atol=0.01)


@pytest.mark.parametrize(
    ("grid", "why"),
    [
        ({"other": Grid(bits=BITS, step=STEP)}, "the side-car names no weight grid"),
        ({"conv": Grid(bits=BITS, step=0.3)}, "weights are not on the grid"),
        ({"conv": Grid(bits=2, step=STEP)}, "weights are not on the grid"),
    ],
)
def test_weights_off_the_side_cars_grid_are_refused_by_their_node(grid: dict[str, Grid], why: str) -> None:
    with pytest.raises(UnsupportedError, match=rf"node 'conv': {why}"):
        one_layer(lif(SHAPE), **grid)


def pool(kind: type[nir.NIRNode], k: int, stride: int, padding: int = 0) -> nir.NIRNode:
    return kind(*(np.array([n, n]) for n in (k, stride, padding)))


AVG, SUM = nir.AvgPool2d, nir.SumPool2d
CELL, CONV = lif(SHAPE), convolution(np.random.default_rng(0), (3, 1, 1, 1))
NEXT = convolution(np.random.default_rng(0), (3, 3, 1, 1))


@pytest.mark.parametrize(
    ("nodes", "why"),
    [
        ({"conv": CONV, "next": NEXT, "a": CELL}, "node 'next': two weight nodes"),
        (
            {"conv": CONV, "a": CELL, "p": pool(AVG, 2, 2), "q": pool(AVG, 2, 2)},
            "node 'q': pooling",
        ),
        ({"conv": CONV, "p": pool(AVG, 2, 2), "a": lif((3, 2, 2))}, "node 'p': pooling must follow a spiking node"),
        ({"conv": CONV, "a": CELL, "next": NEXT}, "the last node before the output must be LIF"),
        ({"conv": CONV, "a": CELL, "p": pool(AVG, 2, 2)}, "the last node before the output must be LIF"),
        pytest.param(
            {"flatten": nir.Flatten({"input": np.array([1, 4, 4])}, 0, -1), "conv": CONV, "a": CELL},
            "node 'conv'",
        ),
        (
            {"conv": CONV, "li": nir.LI(CELL.tau, CELL.r, CELL.v_leak), "next": NEXT, "b": lif(SHAPE)},
            "node 'b': receives from a node that does not spike",
        ),
        ({}, "the last node before the output must be LIF"),
    ],
)
def test_orders_without_an_exact_form_are_refused_by_the_node(nodes: dict[str, nir.NIRNode], why: str) -> None:
    grids = {name: Grid(bits=BITS, step=STEP) for name in ("conv", "next")}
    with pytest.raises(UnsupportedError, match=rf"^graph: .*{why}"):
        lower(graph((1, 4, 4), **nodes), sidecar(**grids))


@pytest.mark.parametrize(("moves", "size"), [((3, 3), 1), ((2, 1), 3)])
def test_pools_that_do_not_fold_count_in_graded_units(moves: tuple[int, int], size: int) -> None:
    parts = {"conv": CONV, "a": CELL, "p": pool(AVG, *moves), "next": NEXT, "b": lif((3, size, size))}
    grids = {name: Grid(bits=BITS, step=STEP) for name in ("conv", "next")}
    units = lower(graph((1, 4, 4), **parts), sidecar(**grids)).population("p")
    assert isinstance(units, Graded)
    assert units.shape == (3, size, size)
    assert 2 ** (units.message_bits - 1) <= moves[0] ** 2 < 2**units.message_bits


def test_a_bias_beyond_its_field_is_refused() -> None:
    huge = replace(CONV, bias=np.array([0.0, 1e6, 0.0]))
    with pytest.raises(UnsupportedError, match=r"node 'cell': bias 1e\+06 does not fit 13 bits"):
        lower(graph((1, 4, 4), conv=huge, cell=CELL), sidecar(conv=Grid(bits=BITS, step=STEP)))


def test_sums_that_would_wrap_are_scaled_down_until_they_do_not(images: np.ndarray) -> None:
    wide = nir.Affine(np.full((2, 64), 7 * STEP), np.zeros(2))
    flat = nir.Flatten({"input": np.array([1, 8, 8])}, 0, -1)
    program = lower(
        graph((1, 8, 8), flatten=flat, fc=wide, cell=lif((2,), threshold=40.0)),
        sidecar(fc=Grid(bits=BITS, step=STEP)),
    )
    (synapse,) = program.synapses
    largest = 64 * 255 * 7 * 2 ** (9 - BITS)
    assert synapse.exponent == -math.ceil(math.log2((largest * 64 + 1) / 2**23))
    loihi_rasters(program, np.ones_like(images))
