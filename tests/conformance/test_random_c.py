"""Random Programs in C, every field over its whole range: no warning, nothing undefined, the integers of ``loihi``."""

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from spikeproof.eval.agreement.targets import difference
from spikeproof.export.c.layout import nodes, wires
from spikeproof.export.program import Program
from spikeproof.hw_targets.c.target import CTarget
from spikeproof.hw_targets.loihi.simulator import LoihiTarget

COUNT = 300
FLAGS = ("-O1", "-fsanitize=undefined", "-fno-sanitize-recover")


def drawn(programs: Any, count: int, **options: Any) -> list[Program]:
    """Return Programs; Hypothesis makes the same ones each time."""
    found: list[Program] = []

    @settings(max_examples=count, phases=[Phase.generate], suppress_health_check=list(HealthCheck), database=None)
    @given(programs(**options))
    def collect(program: Program) -> None:
        found.append(program)

    collect()
    return found


@pytest.mark.usefixtures("need_compiler")
@pytest.mark.parametrize(("changes", "part"), [(False, 0.6), (True, 0.4)], ids=["spiking", "sigma-delta"])
def test_c_agrees_on_random_programs(programs: Any, messages: Any, share: float, changes: bool, part: float) -> None:
    target, count = CTarget(flags=FLAGS), round(COUNT * part * share)
    compared = lagging = spiking = wrapped = apart = 0
    for index, program in enumerate(drawn(programs, round(1.3 * count), changes=changes)):
        if LoihiTarget().unsupported(program) or target.unsupported(program) or compared == count:
            continue
        inputs = messages(program, batch=3, seed=index)
        expected = LoihiTarget().compile(program).run(inputs, rasters=True)
        found = target.compile(program).run(inputs, rasters=True)
        assert [bits for bits in difference("c", expected, found) if bits.different] == [], program
        assert np.array_equal(expected.output, found.output), program
        for name, counts in expected.spike_counts.items():
            assert np.array_equal(counts, found.spike_counts[name]), program
        compared += 1
        lagging += any(program.lag(synapse) for synapse in program.synapses)
        spiking += any(raster.spikes.any() for raster in expected.rasters.values())
        assert expected.overflow is not None
        wrapped += any(events.wraps or events.saturations for events in expected.overflow.values())
        apart += any(wire.apart for wire in wires(program, nodes(program)))
    assert compared == count
    # The corners must be among them.
    assert min(lagging, apart) > count / 5
    assert spiking > count / 3
    assert wrapped > count / 10
