"""Sigma-delta neurons: one step against int32 arithmetic in NumPy, the twin's gradient, what a Program refuses."""

from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given

from spikeproof.export.program import (
    Dense,
    Input,
    Population,
    Program,
    Readout,
    SigmaDelta,
    read_program,
    write_program,
)
from spikeproof.hw_targets.loihi.arithmetic import sigma_delta
from spikeproof.hw_targets.loihi.simulator import LoihiTarget
from spikeproof.hw_targets.twin import Twin
from spikeproof.toolkit.errors import UnsupportedError

edges = st.sampled_from([-(2**31), -(2**31) + 1, -1, 0, 1, 2**30, 2**31 - 1])
states = edges | st.integers(-(2**31), 2**31 - 1) | st.integers(-(2**14), 2**14)


def neurons(name: str = "a", size: int = 1, **fields: object) -> SigmaDelta:
    return SigmaDelta(**{"name": name, "shape": (size,), "vth": 0, "bias": np.zeros(size, int), **fields})  # type: ignore[arg-type]


@given(states, states, states, states, st.integers(-4096, 4095), st.data())
def test_a_step_is_that_of_32_bit_integers(
    sigma: int, act: int, residue: int, a: int, bias: int, data: st.DataObject
) -> None:
    """NumPy's own int32, which wraps, in the order of Lava's models."""
    spike, state = data.draw(st.integers(0, 7)), data.draw(st.integers(0, 7))
    vth = data.draw(st.sampled_from([0, 1, 40, 131071]) | st.integers(0, 131071))
    activation = data.draw(st.sampled_from(["relu", "unit"]))
    part = neurons(vth=vth, activation=activation, spike_exponent=spike, state_exponent=state)
    one = [np.array([value], dtype=np.int32) for value in (sigma, act, residue, a, bias)]
    held = one[0] + one[3]
    new = held + (one[4] << np.int32(spike + state))
    new = np.maximum(new, np.int32(0)) if activation == "relu" else new
    delta = new - one[1] + one[2]
    kept = np.where(np.abs(delta) >= np.int32(vth << (spike + state)), delta, np.int32(0))
    expected = held, new, delta - kept, kept >> np.int32(state)
    x = [torch.from_numpy(value.astype(np.int64)) for value in one]
    found = sigma_delta(x[0], x[1], x[2], x[3], x[4], part)
    assert [int(value) for value in found[:4]] == [int(value[0]) for value in expected]


def chain(**fields: object) -> Program:
    rng = np.random.default_rng(3)
    return Program(
        input=Input(shape=(6,), message_bits=6, scale=1 / 63),
        populations=(
            neurons("in", 6, activation="unit", input_bias=True, bias=np.full(6, -20), **fields),
            neurons("a", 8, bias=rng.integers(-30, 30, 8), **fields),
            neurons("out", 3, activation="unit", sends="sigma"),
        ),
        synapses=(
            Dense(source="in", target="a", weight=2 * rng.integers(-60, 60, (8, 6))),
            Dense(source="a", target="out", weight=2 * rng.integers(-60, 60, (3, 8))),
        ),
        readout=Readout(kind="membrane", population="out"),
        steps=4,
    )


def test_what_they_hold_is_the_network_of_relu() -> None:
    """The same image at every step: without thresholds the read-out is W relu(W x + b), to the units of a message."""
    program = chain()
    first, hidden, _ = program.populations
    messages = np.random.default_rng(0).integers(0, 64, (1, 5, 6)).repeat(4, 0).astype(np.int32)
    found = LoihiTarget().compile(program).run(messages).output
    x = (messages[0] - 20).astype(np.int64) << 6
    one, two = (synapse.weight.astype(np.int64) for synapse in program.synapses)
    held = np.maximum(x @ one.T + (hidden.bias.astype(np.int64) << 12), 0)  # type: ignore[union-attr]
    assert np.array_equal(found, (held >> 6) @ two.T)
    assert first.vth == 0
    assert len(set(found.argmax(1).tolist())) > 1


@pytest.mark.parametrize("vth", [0, 3])
def test_the_twins_gradient_is_that_of_the_network_of_relu(vth: int) -> None:
    program = chain(vth=vth)
    twin = Twin(program)
    image = torch.from_numpy(np.random.default_rng(1).integers(0, 64, (4, 6)) / 63).float().requires_grad_()
    twin(image)[:, 1].sum().backward()
    exact = image.detach().double().requires_grad_()
    one, two = (torch.from_numpy(synapse.weight.astype(np.float64)) for synapse in program.synapses)
    bias = torch.from_numpy(program.populations[1].bias.astype(np.float64))  # type: ignore[union-attr]
    held = torch.relu((63 * exact - 20) @ one.T + 64 * bias)
    (held @ two.T)[:, 1].sum().mul(twin.gain / 4096).backward()
    assert image.grad is not None
    assert exact.grad is not None
    assert exact.grad.abs().max() > 0
    assert torch.allclose(image.grad.double(), exact.grad, rtol=1e-5)


def test_a_threshold_saves_messages_and_keeps_what_it_holds_back() -> None:
    """A rising input in steps of 1, sent once 3 have come together; a change that was not sent is not lost."""
    program = Program(
        input=Input(shape=(1,), message_bits=6),
        populations=(neurons("in", vth=3, activation="unit", input_bias=True, spike_exponent=0, state_exponent=0),),
        synapses=(),
        readout=Readout(kind="membrane", population="in"),
        steps=8,
    )
    messages = np.arange(1, 9, dtype=np.int32).reshape(8, 1, 1)
    trace = LoihiTarget().compile(program).run(messages, rasters=True)
    assert trace.rasters["in"].spikes.ravel().tolist() == [0, 0, 3, 0, 0, 3, 0, 0]
    assert trace.spike_counts["in"].ravel().tolist() == [2]
    assert trace.output.tolist() == [[8]]


def test_a_file_holds_them(tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    program = chain(vth=5, state_exponent=4)
    write_program(path, program)
    read = read_program(path)
    assert read.sha256() == program.sha256()
    assert isinstance(read.populations[1], SigmaDelta)
    assert read.populations[1].state_exponent == 4


def test_what_does_not_fit_together_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="sends sigma itself, so it has no bias, threshold or activation"):
        neurons(sends="sigma")
    program = chain()
    whole = dict(program)
    behind = Population(name="b", shape=(3,), du=4095, dv=0, vth=1, bias=np.zeros(3, int))
    more = Dense(source="out", target="b", weight=np.full((3, 3), 2))
    for changes, reason in (
        ({"readout": Readout(population="out")}, "read its membrane, not 'spike_count'"),
        (
            {"populations": (*program.populations, behind), "synapses": (*program.synapses, more)},
            "its source sends sigma itself",
        ),
    ):
        with pytest.raises(UnsupportedError, match=reason):
            Program(**(whole | changes))  # type: ignore[arg-type]
