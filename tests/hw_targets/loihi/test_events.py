"""Spikes added one by one give what int64 tensors give step by step (``latency=1``), at every density and shape."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from spikeproof.export.program import Convolution, Dense, Input, Population, Program, Readout
from spikeproof.hw_targets.loihi import events, neurons
from spikeproof.hw_targets.loihi.simulator import LoihiTarget
from spikeproof.hw_targets.target import Trace
from spikeproof.toolkit.kernels.native import Status

needs_loops = pytest.mark.usefixtures("loops")
CELLS = {
    "halves": {"du": 4095, "dv": 2048, "vth": 90},
    "0.9": {"du": 4095, "dv": 410, "vth": 150},
    "no leak, saturates": {"du": 4095, "dv": 0, "vth": 131071},
    "no memory": {"du": 4095, "dv": 4096, "vth": 40},
    "current with memory": {"du": 1000, "dv": 100, "vth": 200},
    "nothing decays, wraps": {"du": -1, "dv": 2048, "vth": 131071},
}
SYNAPSES: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "8 channels": ((2, 7, 9), (8, 2, 3, 3), {"padding": (1, 1)}),
    "5 channels": ((3, 6, 6), (5, 3, 3, 2), {}),
    "16 channels, stride": ((4, 9, 8), (16, 4, 3, 3), {"stride": (2, 3), "padding": (1, 0)}),
    "20 channels, dilation": ((2, 9, 9), (20, 2, 2, 3), {"dilation": (3, 2)}),
    "groups of 10": ((4, 6, 5), (20, 2, 3, 3), {"groups": 2, "padding": (2, 2)}),
    "channel by channel": ((6, 6, 6), (6, 1, 2, 2), {"groups": 6, "stride": (2, 2)}),
    "70 channels to 8": ((70, 3, 3), (8, 70, 3, 3), {"padding": (1, 1)}),
    "dense to 10": ((3, 5, 5), (10, 75), {}),
    "dense to 200": ((150,), (200, 150), {}),
}


def network(synapse: str, cells: dict[str, int], exponent: int = 0, steps: int = 9) -> Program:
    """A synapse on binary input; what it feeds sends through a second one, whose source has channels last in memory."""
    rng = np.random.default_rng(0)
    source, shape, extra = SYNAPSES[synapse]
    weight = 2 * rng.integers(-100, 128, shape)
    if len(shape) == 2:
        first: Dense | Convolution = Dense(source="input", target="a", weight=weight, exponent=exponent)
        target: tuple[int, ...] = shape[:1]
        second: Dense | Convolution = Dense(source="a", target="b", weight=2 * rng.integers(-90, 128, (33, shape[0])))
        last: tuple[int, ...] = (33,)
    else:
        first = Convolution(source="input", target="a", weight=weight, exponent=exponent, **extra)
        target = first.output_shape(source)
        pooled = 2 * rng.integers(-90, 128, (7, target[0], 2, 2))
        second = Convolution(source="a", target="b", weight=pooled, padding=(1, 1))
        last = second.output_shape(target)
    size = int(np.prod(last))
    parts = [
        Population(name="a", shape=target, bias_exponent=3, bias=rng.integers(-40, 90, target), **cells),
        Population(name="b", shape=last, bias=np.zeros(last, int), **cells),
        Population(name="c", shape=(4,), bias=np.zeros(4, int), du=4095, dv=2048, vth=60),
    ]
    return Program(
        input=Input(shape=source, message_bits=0),
        populations=tuple(parts),
        synapses=(first, second, Dense(source="b", target="c", weight=2 * rng.integers(-90, 128, (4, size)))),
        readout=Readout(population="c"),
        steps=steps,
    )


def spikes(program: Program, density: float, batch: int = 3) -> np.ndarray:
    rng = np.random.default_rng(1)
    return (rng.random((program.steps, batch, *program.input.shape)) < density).astype(np.int32)


def assert_same(found: Trace, expected: Trace) -> None:
    np.testing.assert_array_equal(found.output, expected.output)
    assert found.overflow == expected.overflow
    for name, counts in expected.spike_counts.items():
        np.testing.assert_array_equal(found.spike_counts[name], counts, err_msg=name)
    for name, raster in found.rasters.items():
        for what in ("spikes", "u", "v"):
            np.testing.assert_array_equal(getattr(raster, what), getattr(expected.rasters[name], what), err_msg=name)


@pytest.fixture
def fed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Have every population fed spike by spike that can be; return the names of those that were."""
    done: list[str] = []
    run = events.Feed.run

    def watched(feed: events.Feed, *given: Any) -> neurons.Done | None:
        found = run(feed, *given)
        done.extend([feed.population.name] if found is not None else [])
        return found

    monkeypatch.setattr(events, "DENSITY", dict.fromkeys(events.DENSITY, 1.0))
    monkeypatch.setattr(events.Feed, "run", watched)
    return done


@pytest.fixture
def loops(need_loops: Callable[[Status], None]) -> None:
    need_loops(neurons.status())


@needs_loops
@pytest.mark.parametrize("density", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("cells", CELLS)
@pytest.mark.parametrize("synapse", SYNAPSES)
def test_spikes_one_by_one_give_the_same_bits(synapse: str, cells: str, density: float, fed: list[str]) -> None:
    program = network(synapse, CELLS[cells])
    sent = spikes(program, density)
    expected = LoihiTarget(latency=1).compile(program).run(sent, rasters=True)
    assert not fed
    compiled = LoihiTarget().compile(program)
    assert_same(compiled.run(sent, rasters=True), expected)
    assert_same(compiled.run(sent), expected)
    assert fed == ["a", "b", "c"] * 2


@needs_loops
@pytest.mark.parametrize("exponent", [-4, 2])
@pytest.mark.parametrize("synapse", ["8 channels", "dense to 10"])
def test_weight_exponents(synapse: str, exponent: int, fed: list[str]) -> None:
    program = network(synapse, CELLS["0.9"], exponent)
    sent = spikes(program, 0.3)
    assert_same(
        LoihiTarget().compile(program).run(sent), LoihiTarget(latency=1).compile(program).run(sent, rasters=True)
    )
    assert fed == ["a", "b", "c"]


@needs_loops
def test_counts_of_more_than_a_byte_of_steps(fed: list[str]) -> None:
    program = network("8 channels", {"du": 4095, "dv": 4096, "vth": 0}, steps=600)
    sent = spikes(program, 0.5, 1)
    found, expected = (LoihiTarget(latency=late).compile(program).run(sent) for late in (0, 1))
    assert max(counts.max() for counts in expected.spike_counts.values()) > 510
    assert_same(found, expected)


@needs_loops
@pytest.mark.parametrize("weights", ["all above the threshold", "one at the threshold"])
def test_pooling_is_an_or_only_where_any_spike_fires(weights: str, fed: list[str]) -> None:
    pool = np.full((3, 1, 3, 3), 4)
    pool[1, 0, 1, 1] = 2 if weights == "one at the threshold" else 4
    first = Convolution(source="input", target="a", weight=pool, groups=3, stride=(2, 2), padding=(1, 1))
    shape = first.output_shape((3, 8, 8))
    program = Program(
        input=Input(shape=(3, 8, 8), message_bits=0),
        populations=(Population(name="a", shape=shape, du=4095, dv=4095, vth=2, bias=np.zeros(shape, int)),),
        synapses=(first,),
        readout=Readout(population="a"),
        steps=12,
    )
    compiled = LoihiTarget().compile(program)
    assert compiled.feeds["a"].either == (weights == "all above the threshold")  # type: ignore[attr-defined]
    sent = spikes(program, 0.05)
    expected = LoihiTarget(latency=1).compile(program).run(sent, rasters=True)
    assert_same(compiled.run(sent), expected)
    assert_same(compiled.run(sent, rasters=True), expected)


@needs_loops
def test_where_many_spike_a_product_is_taken() -> None:
    program = network("8 channels", CELLS["halves"])
    feed = LoihiTarget().compile(program).feeds["a"]  # type: ignore[attr-defined]
    import torch

    ones = torch.ones((2, 1, *program.input.shape), dtype=torch.uint8)
    assert feed.run(ones, False) is None
    assert feed.run(torch.zeros_like(ones), False) is not None


def test_sums_that_the_narrow_arithmetic_cannot_hold_are_not_fed() -> None:
    weight = np.full((1, 1100), 254)
    program = Program(
        input=Input(shape=(1100,), message_bits=0),
        populations=(Population(name="a", shape=(1,), du=4095, dv=2048, vth=9, bias=np.zeros(1, int)),),
        synapses=(Dense(source="input", target="a", weight=weight),),
        readout=Readout(population="a"),
        steps=2,
    )
    compiled = LoihiTarget().compile(program)
    assert compiled.feeds["a"] is None  # type: ignore[attr-defined]
    sent = np.ones((2, 1, 1100), dtype=np.int32)
    assert_same(compiled.run(sent, rasters=True), LoihiTarget(latency=1).compile(program).run(sent, rasters=True))
