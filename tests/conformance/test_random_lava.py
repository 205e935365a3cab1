"""Random Programs on real Lava: shortcuts, delays, loops, every field over its whole range; one batch of runs."""

from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from spikeproof.eval.compare import difference
from spikeproof.hw_targets.lava.client import LavaTarget, run_jobs
from spikeproof.hw_targets.loihi.simulator import LoihiTarget

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


@pytest.mark.usefixtures("need_lava")
def test_lava_agrees_on_random_programs(drawn: list[Any], messages: Any) -> None:
    target = LavaTarget()
    accepted = [program for program in drawn if not target.unsupported(program)]
    jobs = [(program, messages(program, batch=2, seed=index)) for index, program in enumerate(accepted)]
    assert len(jobs) >= COUNT
    traces = run_jobs(jobs, python=target.python, rasters=True, workers=2)
    lagging = spiking = 0
    for index, ((program, inputs), found) in enumerate(zip(jobs, traces, strict=True)):
        expected = LoihiTarget().compile(program).run(inputs, rasters=True)
        wrong = [bits for bits in difference("lava", expected, found) if bits.different]
        assert wrong == [], f"Program {index}: {program!r}"
        np.testing.assert_array_equal(found.output, expected.output, err_msg=f"Program {index}")
        lagging += any(program.lag(synapse) for synapse in program.synapses)
        spiking += any(raster.spikes.any() for raster in expected.rasters.values())
    # The batch must not be trivial.
    assert lagging > COUNT / 5
    assert spiking > COUNT / 3
