"""Random Programs with sigma-delta neurons, every field over its whole range: the same integers on every target."""

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from spikeproof.eval.agreement.targets import difference
from spikeproof.export.program import Convolution, Dense, Input, Program, Readout, SigmaDelta
from spikeproof.hw_targets.lava.client import LavaTarget, run_jobs
from spikeproof.hw_targets.loihi.simulator import LoihiTarget
from spikeproof.hw_targets.onnx import OnnxTarget
from spikeproof.hw_targets.target import Target, Trace
from spikeproof.hw_targets.twin import TwinTarget
from spikeproof.toolkit.errors import TargetError

COUNT = 120
"""Programs drawn for Lava, which needs seconds for each sample of one: neurons of this kind have no reset."""


def drawn(programs: Any, count: int) -> list[Program]:
    """Return Programs with sigma-delta neurons; Hypothesis makes the same ones each time."""
    found: list[Program] = []

    @settings(max_examples=count, phases=[Phase.generate], suppress_health_check=list(HealthCheck), database=None)
    @given(programs(changes=True).filter(lambda program: program.sigma_delta))
    def collect(program: Program) -> None:
        found.append(program)

    collect()
    return [program for program in found if not LoihiTarget().unsupported(program)]


def test_targets_agree_on_random_programs(programs: Any, messages: Any, share: float) -> None:
    targets: list[Target[Any]] = [LoihiTarget(latency=1), TwinTarget(), OnnxTarget()]
    compared: dict[str, int] = {}
    wraps, sends = 0, set()
    for index, program in enumerate(drawn(programs, int(300 * share))):
        inputs = messages(program, batch=3, seed=index)
        expected = LoihiTarget().compile(program).run(inputs, rasters=True)
        assert expected.overflow is not None
        wraps += sum(expected.overflow[population.name].wraps > 0 for population in program.sigma_delta)
        sends |= {population.sends for population in program.sigma_delta}
        for target in targets:
            if not target.unsupported(program):
                trace = target.compile(program).run(inputs, rasters=True)
                assert [bits for bits in difference(target.name, expected, trace) if bits.different] == [], program
                assert np.array_equal(expected.output, trace.output), program
                compared[target.name] = compared.get(target.name, 0) + 1
    assert min(compared[target.name] for target in targets) > 120 * share
    # The corners must be among them.
    assert wraps > 10 * share
    assert sends == {"delta", "sigma"}


def undefined(program: Program, trace: Trace) -> bool:
    """Return whether a sum of a convolution may have left the 32 bits of Lava's cast from floats."""
    return any(
        int(np.abs(trace.rasters[one.source].spikes.astype(np.int64)).max())
        * int(np.abs(one.weight).reshape(len(one.weight), -1).sum(1).max())
        >= 2**31
        for one in program.synapses
        if isinstance(one, Convolution) and one.exponent == 0 and one.source in trace.rasters
    )


@pytest.mark.usefixtures("need_lava")
def test_lava_agrees_on_random_programs(programs: Any, messages: Any, share: float) -> None:
    """Lava's own SigmaDelta, Sigma and Delta, in two workers."""
    target = LavaTarget()
    jobs, expected = [], []
    for index, program in enumerate(drawn(programs, int(COUNT * share))):
        inputs = messages(program, batch=2, seed=index)
        trace = LoihiTarget().compile(program).run(inputs, rasters=True)
        if not target.unsupported(program) and not undefined(program, trace):
            jobs.append((program, inputs))
            expected.append(trace)
    assert len(jobs) > COUNT * share / 2
    found = run_jobs(jobs, python=target.python, rasters=True, workers=2)
    wraps = 0
    for (program, _), ours, theirs in zip(jobs, expected, found, strict=True):
        assert [bits for bits in difference("lava", ours, theirs) if bits.different] == [], program
        assert np.array_equal(ours.output, theirs.output), program
        assert ours.overflow is not None
        wraps += sum(ours.overflow[population.name].wraps > 0 for population in program.sigma_delta)
    assert wraps or share < 1


@pytest.mark.usefixtures("need_lava")
def test_a_convolution_beyond_32_bits_is_refused_when_it_is_seen() -> None:
    program = Program(
        input=Input(shape=(1, 1, 2), message_bits=8),
        populations=(
            SigmaDelta(name="a", shape=(1, 1, 2), vth=0, state_exponent=0, bias=np.zeros((1, 1, 2), int)),
            SigmaDelta(name="b", shape=(1, 1, 2), vth=0, bias=np.zeros((1, 1, 2), int)),
        ),
        synapses=(
            Dense(source="input", target="a", weight=np.full((2, 2), 254), exponent=7),
            Convolution(source="a", target="b", weight=np.full((1, 1, 1, 1), 254)),
        ),
        readout=Readout(kind="membrane", population="b"),
        steps=2,
    )
    assert LavaTarget().unsupported(program) == []
    compiled = LavaTarget(workers=1).compile(program)
    few = np.ones((2, 1, 1, 1, 2), np.int32)
    assert np.array_equal(compiled.run(few).output, LoihiTarget().compile(program).run(few).output)
    with pytest.raises(TargetError, match=r"'a' -> 'b': messages up to .* beyond 32 bits"):
        compiled.run(few * 255)
