from collections.abc import Callable
from math import sqrt
from statistics import NormalDist

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import assume, given, settings

from spikeproof.eval.measure.metrics import Accuracy, Metric, SpikeRate, SynapticOperations, fan_out
from spikeproof.export.program import Convolution, Dense, Input, Population, Program, Readout, Sparse, Synapse
from spikeproof.hw_targets.loihi.simulator import LoihiTarget
from spikeproof.hw_targets.target import Trace
from spikeproof.toolkit.errors import InputError

Programs = Callable[..., st.SearchStrategy[Program]]
Messages = Callable[..., np.ndarray]
Z = NormalDist().inv_cdf(0.975)


def wilson(correct: int, samples: int) -> tuple[float, float]:
    p, spread = correct / samples, Z * Z / samples
    middle = (p + spread / 2) / (1 + spread)
    half = Z * sqrt(p * (1 - p) / samples + spread / samples / 4) / (1 + spread)
    return middle - half, middle + half


@given(st.data())
def test_accuracy_is_a_share_with_its_wilson_interval(data: st.DataObject) -> None:
    samples = data.draw(st.integers(1, 5000))
    correct = data.draw(st.integers(0, samples))
    metric = Accuracy()
    metric.update(np.zeros(samples, int), (np.arange(samples) >= correct).astype(int))
    found = metric.compute()
    assert (found.value, found.correct, found.samples) == (correct / samples, correct, samples)
    assert (found.low, found.high) == pytest.approx(wilson(correct, samples), abs=1e-9)
    assert 0 <= found.low <= found.value <= found.high <= 1


def test_batches_add_up() -> None:
    rng = np.random.default_rng(0)
    classes, labels = rng.integers(0, 3, (2, 100))
    whole, parts = Accuracy(), Accuracy()
    whole.update(classes, labels)
    for part in range(0, 100, 30):
        parts.update(classes[part : part + 30], labels[part : part + 30])
    assert parts.compute() == whole.compute()
    assert whole.compute().value == (classes == labels).mean()


def test_predictions_and_labels_must_match_in_number() -> None:
    with pytest.raises(InputError, match=r"metric 'accuracy': \(3,\) predictions for \(1,\) labels"):
        Accuracy().update(np.zeros(3, int), np.zeros(1, int))


def program_of(synapse: Synapse, source: tuple[int, ...], target: tuple[int, ...]) -> Program:
    neurons = Population(name="b", shape=target, du=4095, dv=0, vth=9, bias=np.zeros(target, int))
    first = Input(name="a", shape=source, message_bits=8)
    return Program(input=first, populations=(neurons,), synapses=(synapse,), readout=Readout(population="b"), steps=2)


def connections(synapse: Synapse, source: tuple[int, ...], target: tuple[int, ...]) -> np.ndarray:
    """Walk over every target neuron and count each source neuron that it listens to."""
    reached = np.zeros(source, dtype=np.int64)
    if isinstance(synapse, Dense):
        for _ in np.ndindex(target):
            reached += 1
        return reached
    if isinstance(synapse, Sparse):
        for column in synapse.columns:
            reached.reshape(-1)[column] += 1
        return reached
    out, per, height, width = synapse.weight.shape
    for o, y, x in np.ndindex(target):
        for i, ky, kx in np.ndindex(per, height, width):
            sy = y * synapse.stride[0] + ky * synapse.dilation[0] - synapse.padding[0]
            sx = x * synapse.stride[1] + kx * synapse.dilation[1] - synapse.padding[1]
            if 0 <= sy < source[1] and 0 <= sx < source[2]:
                reached[o // (out // synapse.groups) * per + i, sy, sx] += 1
    return reached


small = st.integers(1, 3)


@given(small, small, small, st.tuples(small, small), st.tuples(small, small), st.data())
def test_fan_out_of_a_convolution_is_counted_connection_by_connection(
    groups: int, per: int, out: int, kernel: tuple[int, int], stride: tuple[int, int], data: st.DataObject
) -> None:
    source = (groups * per, data.draw(st.integers(1, 6)), data.draw(st.integers(1, 6)))
    padding, dilation = data.draw(st.tuples(*[st.integers(0, 2)] * 2)), data.draw(st.tuples(small, small))
    lengths = zip(source[1:], kernel, padding, dilation, strict=True)
    assume(all(n + 2 * p > d * (k - 1) for n, k, p, d in lengths))
    # Weights of 0 are connections too: they are stored and executed.
    weight = np.zeros((groups * out, per, *kernel), int)
    synapse = Convolution(
        source="a", target="b", weight=weight, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    target = synapse.output_shape(source)
    found = fan_out(program_of(synapse, source, target), synapse)
    np.testing.assert_array_equal(found, connections(synapse, source, target), strict=True)


@pytest.mark.parametrize(("source", "target"), [((3,), (4,)), ((2, 2, 3), (5,)), ((4,), (1, 2, 2))])
def test_fan_out_of_a_dense_synapse_is_every_target(source: tuple[int, ...], target: tuple[int, ...]) -> None:
    weight = np.zeros((int(np.prod(target)), int(np.prod(source))), int)
    synapse = Dense(source="a", target="b", weight=weight)
    found = fan_out(program_of(synapse, source, target), synapse)
    np.testing.assert_array_equal(found, connections(synapse, source, target), strict=True)


@settings(max_examples=25)
@given(st.data())
def test_operations_are_spikes_times_connections(programs: Programs, messages: Messages, data: st.DataObject) -> None:
    program = data.draw(programs())
    sent = messages(program, batch=3)
    trace = LoihiTarget().compile(program).run(sent, rasters=True)
    active = {"input": sent != 0, **{name: raster.spikes for name, raster in trace.rasters.items()}}
    expected: dict[str, float] = {}
    for synapse in program.synapses:
        source, target = program.shape_of(synapse.source), program.shape_of(synapse.target)
        reached = connections(synapse, source, target)
        count = sum(int(reached[tuple(place[2:])]) for place in np.argwhere(active[synapse.source]))
        key = f"{synapse.source} -> {synapse.target}"
        expected[key] = expected.get(key, 0) + count / 3
    metric = SynapticOperations(program)
    metric.update(trace, sent)
    assert metric.compute() == pytest.approx(expected)


def test_operations_a_sample_do_not_depend_on_the_batches(programs: Programs, messages: Messages) -> None:
    program = program_of(Dense(source="a", target="b", weight=np.full((2, 3), 8)), (3,), (2,))
    sent, compiled = messages(program, batch=7), LoihiTarget().compile(program)
    whole, parts = SynapticOperations(program), SynapticOperations(program)
    whole.update(compiled.run(sent), sent)
    for part in (sent[:, :3], sent[:, 3:]):
        parts.update(compiled.run(part), part)
    assert parts.compute() == whole.compute() == {"a -> b": np.count_nonzero(sent) * 2 / 7}


def test_spike_rate_is_spikes_per_sample_step_and_neuron() -> None:
    rng = np.random.default_rng(0)
    rasters = [rng.random((5, batch, 2, 3)) < 0.3 for batch in (4, 2)]
    metric = SpikeRate(steps=5)
    for raster in rasters:
        silent = np.zeros((len(raster[0]), 1), int)
        metric.update(Trace(raster.sum((0, 2, 3))[:, None], {"a": raster.sum(0), "b": silent}))
    assert metric.compute() == {"a": pytest.approx(np.concatenate(rasters, 1).mean()), "b": 0.0}


@pytest.mark.parametrize(
    "metric",
    [
        Accuracy(),
        SpikeRate(4),
        SynapticOperations(program_of(Dense(source="a", target="b", weight=np.zeros((1, 1), int)), (1,), (1,))),
    ],
    ids=lambda metric: metric.name,
)
def test_a_metric_without_data_raises(metric: Metric) -> None:
    with pytest.raises(InputError, match=rf"metric '{metric.name}': nothing was measured"):
        metric.compute()


@pytest.mark.parametrize("metric", [Accuracy, SpikeRate, SynapticOperations])
def test_a_metric_states_unit_and_direction(metric: type[Metric]) -> None:
    assert metric.name
    assert metric.unit
    assert metric.higher_is_better in (True, False, None)
