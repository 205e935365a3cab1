"""Random Programs on real Lava: shortcuts, delays, loops, every field over its whole range; one batch of runs."""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis.errors import Flaky, NoSuchExample

from spikeproof.eval.agreement.targets import Bits, difference
from spikeproof.export.program import Program
from spikeproof.hw_targets.lava.client import LavaTarget, run_jobs
from spikeproof.hw_targets.loihi.simulator import LoihiTarget
from spikeproof.hw_targets.target import Trace

COUNT = 150
DRAWN = 175
"""Some are refused: sums beyond 32 bits are undefined in Lava's convolution."""


@pytest.fixture(scope="module")
def drawn(programs: Any) -> list[Any]:
    """Draw the Programs first, so that one start of Lava serves them all; Hypothesis makes the same ones each time."""
    found: list[Any] = []

    @settings(max_examples=DRAWN, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(st.data())
    def collect(data: st.DataObject) -> None:
        found.append(data.draw(programs()))

    collect()
    return found


def smallest(strategy: Any, disagrees: Callable[[Program], bool], seconds: float = 240) -> Program:
    """Return the smallest Program found that disagrees; after that many seconds nothing more is tried."""
    end = time.monotonic() + seconds
    found: list[Program] = []

    def tried(program: Program) -> bool:
        wrong = time.monotonic() < end and disagrees(program)
        if wrong:
            found.append(program)
        return wrong

    with suppress(NoSuchExample, Flaky):
        find(strategy, tried, settings=settings(max_examples=DRAWN, suppress_health_check=list(HealthCheck)))
    return found[-1]


def wrong(target: LavaTarget, program: Program, inputs: np.ndarray) -> list[Bits]:
    (trace,) = run_jobs([(program, inputs)], python=target.python, rasters=True)
    return different(program, inputs, trace)


def different(program: Program, inputs: np.ndarray, trace: Trace) -> list[Bits]:
    expected = LoihiTarget().compile(program).run(inputs, rasters=True)
    output = (expected.output != trace.output).sum()
    read = [
        Bits(
            target="lava",
            population=program.readout.population,
            quantity="read-out",
            compared=trace.output.size,
            different=int(output),
            first=None,
        )
    ]
    return [bits for bits in difference("lava", expected, trace) + read if bits.different]


@pytest.mark.usefixtures("need_lava")
def test_lava_agrees_on_random_programs(drawn: list[Any], programs: Any, messages: Any, share: float) -> None:
    target, count = LavaTarget(), int(COUNT * share)
    accepted = [program for program in drawn[: int(DRAWN * share)] if not target.unsupported(program)]
    jobs = [(program, messages(program, batch=2, seed=index)) for index, program in enumerate(accepted)]
    assert len(jobs) >= count
    traces = run_jobs(jobs, python=target.python, rasters=True, workers=2)
    bad = [different(program, inputs, trace) for (program, inputs), trace in zip(jobs, traces, strict=True)]
    if any(bad):
        small = smallest(
            programs(), lambda p: not target.unsupported(p) and bool(wrong(target, p, messages(p, batch=2)))
        )
        pytest.fail(f"{sum(map(bool, bad))} Programs differ, the first: {next(filter(None, bad))}; smallest: {small!r}")
    # The batch must not be trivial.
    assert sum(any(program.lag(synapse) for synapse in program.synapses) for program, _ in jobs) > count / 5
    assert sum(any(raster.spikes.any() for raster in trace.rasters.values()) for trace in traces) > count / 3


def test_a_disagreement_is_shrunk(programs: Any) -> None:
    """Planted: a target that forgets delays is wrong on every delayed Program; the smallest has one delayed synapse."""
    small = smallest(programs(), lambda program: any(synapse.delay for synapse in program.synapses))
    assert sum(synapse.delay > 0 for synapse in small.synapses) == 1
    assert len(small.spiking) <= 2
    assert small.steps == 1
