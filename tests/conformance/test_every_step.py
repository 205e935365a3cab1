"""The law of read-outs at every step: on any target they are what the raster of the same Program, read once, shows."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spikeproof.eval.measure.decision import program_at_every_step
from spikeproof.export.program import Program, read_program, write_program
from spikeproof.export.program.parts import Dense, Input, Population, Readout
from spikeproof.hw_targets.loihi.simulator import LoihiTarget
from spikeproof.hw_targets.onnx import OnnxTarget
from spikeproof.hw_targets.target import get_target
from spikeproof.hw_targets.twin import Twin
from spikeproof.toolkit.errors import UnsupportedError


def test_every_target_reads_at_each_step_what_the_raster_shows(
    programs: Callable[..., st.SearchStrategy[Program]],
    messages: Callable[..., np.ndarray],
    tmp_path: Path,
    share: float,
) -> None:
    seen = set()

    @settings(max_examples=int(150 * share), deadline=None, suppress_health_check=list(HealthCheck))
    @given(programs(changes=True), st.integers(1, 3), st.integers(0, 2**16))
    def check(program: Program, batch: int, seed: int) -> None:
        every = program_at_every_step(program)
        inputs = messages(program, batch, seed)
        name = program.readout.population
        once = LoihiTarget().compile(program).run(inputs, rasters=True)
        raster = once.rasters[name]
        each = raster.v if every.readout.kind == "membrane" else raster.spikes
        assert each is not None
        wanted = each.astype(np.int64).swapaxes(0, 1).reshape(batch, -1)
        for target in ("loihi", "onnx", "twin"):
            found = get_target(target)
            if not found.unsupported(every):
                np.testing.assert_array_equal(found.compile(every).run(inputs).output, wanted)
                seen.add((target, every.readout.kind, program.recurrent))
        np.testing.assert_array_equal(LoihiTarget(latency=1).compile(every).run(inputs).output, wanted)
        with_rasters = LoihiTarget().compile(every).run(inputs, rasters=True)
        np.testing.assert_array_equal(with_rasters.output, wanted)
        np.testing.assert_array_equal(with_rasters.rasters[name].spikes, raster.spikes)
        write_program(tmp_path / "every.safetensors", every)
        assert read_program(tmp_path / "every.safetensors").sha256() == every.sha256() != program.sha256()

    check()
    assert {(target, kind) for target, kind, _ in seen} == {
        (target, kind) for target in ("loihi", "onnx", "twin") for kind in ("spike_count", "membrane")
    }


def _membrane(dv: int = 0) -> Program:
    weight = np.array([[4, -2], [6, 8], [-8, 2]])
    return Program(
        input=Input(shape=(2,), message_bits=4),
        populations=(
            Population(name="last", shape=(3,), du=4095, dv=dv, vth=2**17 - 1, bias=np.zeros(3, dtype=np.int32)),
        ),
        synapses=(Dense(source="input", target="last", weight=weight),),
        readout=Readout(kind="membrane", population="last", scale=0.5, every_step=True),
        steps=4,
    )


def test_the_twin_has_the_gradient_of_every_steps_membrane() -> None:
    program = _membrane()
    twin = Twin(program, gain=1.0)
    sent = torch.tensor([[[1.0, 2.0]], [[3.0, 0.0]], [[0.0, 1.0]], [[5.0, 5.0]]], requires_grad=True)
    logits = twin.answer(sent)
    weight = torch.tensor(program.synapses[0].matrix(), dtype=torch.float32)
    wanted = (64 * (sent[:, 0] @ weight.T).cumsum(0)).detach()
    assert torch.allclose(logits.view(4, 3), wanted * 0.5)
    picked = logits.view(4, 3)[1, 2]
    (gradient,) = torch.autograd.grad(picked, sent)
    assert torch.allclose(gradient[:2, 0], (0.5 * 64 * weight[2]).expand(2, 2))
    assert not gradient[2:].any()


def test_what_a_step_has_no_answer_for_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="first spike of a sample is no answer at every step"):
        Readout(kind="first_spike", population="last", every_step=True)


def test_onnx_says_how_many_answers_there_are() -> None:
    program = _membrane(dv=100)
    inputs = np.arange(16).reshape(4, 2, 2).astype(np.int32) % 16
    found = OnnxTarget().compile(program).run(inputs).output
    assert found.shape == (2, 12)
    np.testing.assert_array_equal(found, LoihiTarget().compile(program).run(inputs).output)
