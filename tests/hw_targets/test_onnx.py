from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import assume, given, settings

from spikeproof.export.formats.onnx import to_onnx, write_onnx
from spikeproof.export.program import Convolution, Dense, Input, Population, Program, Readout
from spikeproof.hw_targets.loihi.simulator import LoihiTarget
from spikeproof.hw_targets.onnx import OnnxTarget
from spikeproof.toolkit.errors import FileError, TargetError

Programs = Callable[..., st.SearchStrategy[Program]]
Messages = Callable[..., np.ndarray]
SIZES = {Dense: 2, Convolution: 4}


def test_onnx_runtime_agrees_with_the_simulator_bit_for_bit(
    programs: Programs, messages: Messages, share: float
) -> None:
    @settings(max_examples=int(500 * share))
    @given(programs(message_bits=8))
    def law(program: Program) -> None:
        # Which examples come depends on what else was imported; a few have sums that float32 cannot hold, see below.
        assume(not OnnxTarget().unsupported(program))
        sent = messages(program, batch=3)
        found = OnnxTarget().compile(program).run(sent, rasters=True)
        expected = LoihiTarget().compile(program).run(sent, rasters=True)
        np.testing.assert_array_equal(found.output, expected.output)
        for name, raster in expected.rasters.items():
            np.testing.assert_array_equal(found.spike_counts[name], expected.spike_counts[name])
            for what in ("spikes", "u", "v"):
                np.testing.assert_array_equal(getattr(found.rasters[name], what), getattr(raster, what))

    law()


@pytest.mark.parametrize("kind", [Dense, Convolution])
@pytest.mark.parametrize("weight", [2, 254, -2, -256])
@pytest.mark.parametrize("exponent", [0, -3, 3])
def test_onnx_runtime_agrees_where_sums_and_currents_overflow(
    kind: type[Dense | Convolution], weight: int, exponent: int
) -> None:
    bits = 22 if abs(weight) == 2 else 16
    edges = [2**n + d for n in range(11, bits + 1) for d in (-1, 0, 1) if 2**n + d < 2**bits]
    sent = np.array(edges, dtype=np.int32).reshape(1, -1, 1, 1, 1)
    program = Program(
        input=Input(shape=(1, 1, 1), message_bits=bits),
        populations=(Population(name="a", shape=(1, 1, 1), du=4095, dv=0, vth=9, bias=np.zeros((1, 1, 1), int)),),
        synapses=(kind(source="input", target="a", weight=np.full([1] * SIZES[kind], weight), exponent=exponent),),
        readout=Readout(population="a"),
        steps=1,
    )
    found = OnnxTarget().compile(program).run(sent, rasters=True).rasters["a"]
    expected = LoihiTarget().compile(program).run(sent, rasters=True).rasters["a"]
    np.testing.assert_array_equal(found.u, expected.u)
    np.testing.assert_array_equal(found.v, expected.v)


def neuron(message_bits: int = 8, weight: int = 2) -> Program:
    return Program(
        input=Input(shape=(1,), message_bits=message_bits),
        populations=(Population(name="a", shape=(1,), du=4095, dv=0, vth=9, bias=np.zeros(1, int)),),
        synapses=(Dense(source="input", target="a", weight=np.array([[weight]])),),
        readout=Readout(population="a"),
        steps=2,
    )


SENT = np.full((2, 3, 1), 7, dtype=np.int32)


def test_without_rasters_counts_are_the_same() -> None:
    compiled = OnnxTarget().compile(neuron())
    bare, full = compiled.run(SENT), compiled.run(SENT, rasters=True)
    assert bare.rasters == {}
    assert bare.overflow is None
    np.testing.assert_array_equal(bare.output, full.output)
    np.testing.assert_array_equal(bare.spike_counts["a"], full.rasters["a"].spikes.sum(0))


def test_the_written_file_is_run_and_only_for_its_own_program(tmp_path: Path) -> None:
    write_onnx(tmp_path / "network.onnx", neuron())
    target = OnnxTarget(path=tmp_path / "network.onnx")
    np.testing.assert_array_equal(target.compile(neuron()).run(SENT).output, [[2]] * 3)
    with pytest.raises(FileError, match=r"network\.onnx: was not made from this Program"):
        target.compile(neuron(weight=4))


def test_a_runtime_that_refuses_the_model_is_a_target_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("no such operator")

    monkeypatch.setattr(onnxruntime, "InferenceSession", refuse)
    with pytest.raises(TargetError, match="target 'onnx': ONNX Runtime refused the model: no such operator"):
        OnnxTarget().compile(neuron())


def test_a_runtime_that_fails_is_a_target_error(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = OnnxTarget().compile(neuron())
    monkeypatch.setattr(compiled, "session", None)
    with pytest.raises(TargetError, match="target 'onnx': ONNX Runtime failed"):
        compiled.run(SENT)


@pytest.mark.parametrize("kind", [Dense, Convolution])
@pytest.mark.parametrize("exponent", [0, -3, 3])
@pytest.mark.parametrize("bits", [17, 24])
def test_sums_that_float32_does_not_hold_are_exact_in_pieces(
    kind: type[Dense | Convolution], exponent: int, bits: int
) -> None:
    rng = np.random.default_rng(bits)
    shape = (8, 2, 2)
    sent = rng.integers(0, 2**bits, (2, 5, *shape)).astype(np.int32)
    sent[0, 0] = 2**bits - 1
    size = (3, 8, 2, 2) if kind is Convolution else (3, 32)
    weight = 2 * rng.integers(-128, 128, size)
    program = Program(
        input=Input(shape=shape, message_bits=bits),
        populations=(Population(name="a", shape=(3, 1, 1), du=4095, dv=0, vth=9, bias=np.zeros((3, 1, 1), int)),),
        synapses=(kind(source="input", target="a", weight=weight, exponent=exponent),),
        readout=Readout(population="a"),
        steps=2,
    )
    assert program.bound(program.synapses[0]) >= 2**24
    assert OnnxTarget().unsupported(program) == []
    found = OnnxTarget().compile(program).run(sent, rasters=True).rasters["a"]
    expected = LoihiTarget().compile(program).run(sent, rasters=True).rasters["a"]
    for what in ("spikes", "u", "v"):
        np.testing.assert_array_equal(getattr(found, what), getattr(expected, what))
    # The sum itself in integers: a shift to the right is a floor; 24 bits of a convolution, 32 of a product.
    sums = sent.reshape(2, 5, -1).astype(np.int64) @ weight.reshape(3, -1).T.astype(np.int64)
    sums = sums >> -exponent if exponent < 0 else sums << exponent
    width = 24 if kind is Convolution and not exponent else 32
    half = 2 ** (width - 1)
    sums = (sums + half) % 2**width - half
    current = (sums * 64 + 2**31) % 2**32 - 2**31
    current = np.where(current > 2**23, current - 2**24, np.where(current <= -(2**23), current + 2**24, current))
    np.testing.assert_array_equal(found.u.reshape(2, 5, 3), current)


def test_what_no_piece_makes_exact_is_refused() -> None:
    size = 2**17
    program = Program(
        input=Input(shape=(size,), message_bits=0),
        populations=(Population(name="a", shape=(1,), du=4095, dv=0, vth=9, bias=np.zeros(1, int)),),
        synapses=(Dense(source="input", target="a", weight=np.full((1, size), 254)),),
        readout=Readout(population="a"),
        steps=1,
    )
    (reason,) = OnnxTarget().unsupported(program)
    assert f"weights add up to {254 * size} at one neuron" in reason


@pytest.mark.parametrize("exponent", [-6, -7, -8])
def test_sums_beyond_32_bits_wrap_before_they_are_shifted(exponent: int) -> None:
    program = Program(
        input=Input(shape=(2,), message_bits=24),
        populations=(Population(name="a", shape=(1,), du=4095, dv=0, vth=131071, bias=np.zeros(1, int)),),
        synapses=(Dense(source="input", target="a", weight=np.full((1, 2), 254), exponent=exponent),),
        readout=Readout(kind="membrane", population="a"),
        steps=1,
    )
    messages = np.array([[[2**24 - 1, 2**22]]], np.int32)
    assert 2**31 < 254 * int(messages.sum()) < 2**33
    ours = LoihiTarget().compile(program).run(messages, rasters=True)
    theirs = OnnxTarget().compile(program).run(messages, rasters=True)
    assert np.array_equal(ours.rasters["a"].u, theirs.rasters["a"].u)  # type: ignore[arg-type]


def same_everywhere(program: Program, sent: np.ndarray) -> None:
    found = OnnxTarget().compile(program).run(sent, rasters=True)
    expected = LoihiTarget().compile(program).run(sent, rasters=True)
    np.testing.assert_array_equal(found.output, expected.output)
    for name, raster in expected.rasters.items():
        for what in ("spikes", "u", "v"):
            np.testing.assert_array_equal(getattr(found.rasters[name], what), getattr(raster, what))


@pytest.mark.parametrize("du", [-1, 0, 700, 4000, 4094, 4095])
@pytest.mark.parametrize("dv", [0, 1, 410, 2048, 4095, 4096])
def test_states_are_exact_on_both_sides_of_every_bound_that_chooses_a_type(du: int, dv: int) -> None:
    # Input up to peak * 256: leaks that float32 holds, or not; no wrap, one wrap (2^18), more; sums beyond 2^24.
    for bits in (0, 1, 5, 8, 10, 11, 16, 17):
        rng = np.random.default_rng(bits)
        peak = 2**bits - 1 if bits else 1
        program = Program(
            input=Input(shape=(1,), message_bits=bits),
            populations=(
                Population(
                    name="a",
                    shape=(4,),
                    du=du,
                    dv=dv,
                    vth=int(rng.integers(0, 64 * peak)) % 2**17,
                    bias=np.array([-4096, -7, 0, 4095]),
                    bias_exponent=int(rng.integers(0, 8)),
                ),
            ),
            synapses=(Dense(source="input", target="a", weight=np.array([[-256], [-2], [254], [38]])),),
            readout=Readout(population="a"),
            steps=30,
        )
        any_value = rng.integers(0, peak + 1, (30, 6, 1))
        sent = np.choose(rng.integers(0, 3, any_value.shape), [0, any_value, peak]).astype(np.int32)
        sent[:, 0] = peak  # as far as states can come
        same_everywhere(program, sent)


def test_input_that_is_the_same_at_every_step_is_summed_once_and_gives_the_same() -> None:
    rng = np.random.default_rng(0)
    weight = 2 * rng.integers(-9, 20, (3, 2, 3, 3))
    part = {"du": 4095, "dv": 512, "vth": 90}
    program = Program(
        input=Input(shape=(2, 6, 6), message_bits=8),
        populations=(
            Population(name="a", shape=(3, 6, 6), bias=np.zeros((3, 6, 6), int), **part),
            Population(name="b", shape=(5,), bias=np.zeros(5, int), **part),
        ),
        synapses=(
            Convolution(source="input", target="a", weight=weight, padding=(1, 1), exponent=-3),
            Dense(source="a", target="b", weight=2 * rng.integers(-9, 20, (5, 108))),
            Dense(source="input", target="b", weight=2 * rng.integers(-9, 20, (5, 72)), delay=2, exponent=-4),
        ),
        readout=Readout(population="b"),
        steps=6,
    )
    image = rng.integers(0, 256, (4, 2, 6, 6)).astype(np.int32)
    constant = np.repeat(image[None], 6, 0)
    same_everywhere(program, constant)
    same_everywhere(program, np.broadcast_to(image, constant.shape))
    almost = constant.copy()
    almost[-1, -1, -1, -1, -1] ^= 1
    same_everywhere(program, almost)


def test_many_samples_run_in_parts_and_many_spikes_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    program = Program.model_validate({**dict(neuron()), "steps": 300})
    sent = np.full((300, 7, 1), 5, np.int32)
    sent[:, 3] = 0
    monkeypatch.setattr("spikeproof.hw_targets.onnx.AT_ONCE", 600)
    compiled = OnnxTarget().compile(program)
    expected = LoihiTarget().compile(program).run(sent, rasters=True)
    for found in (compiled.run(sent), compiled.run(sent, rasters=True)):
        np.testing.assert_array_equal(found.output, expected.output)
        np.testing.assert_array_equal(found.spike_counts["a"], expected.spike_counts["a"])
    assert expected.spike_counts["a"].max() == 300
    np.testing.assert_array_equal(compiled.run(sent, rasters=True).rasters["a"].v, expected.rasters["a"].v)


def graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from graphs(attribute.g)


@pytest.mark.parametrize("bits", [0, 3, 7, 8])
@pytest.mark.parametrize("odd", [0, 1])
def test_products_of_bytes_cut_nothing(bits: int, odd: int) -> None:
    # Kernels for CPUs without integer products of four add pairs of bytes in 16 bits: 127 still fits, 255 would not.
    peak = 2**bits - 1 if bits else 1
    weight = np.repeat([[-256], [254 - odd], [-256 + odd], [2]], 67, 1)
    weight[:, 0] -= odd * (weight[:, 0] > 0)
    program = Program(
        input=Input(shape=(67,), message_bits=bits),
        populations=(Population(name="a", shape=(4,), du=4095, dv=4096, vth=9, bias=np.zeros(4, int)),),
        synapses=(Dense(source="input", target="a", weight=weight, bits=9 if odd else 8),),
        readout=Readout(population="a"),
        steps=2,
    )
    sent = np.full((2, 3, 67), peak, np.int32)
    sent[:, 0, ::3] = 0
    used = {node.op_type for graph in graphs(to_onnx(program).graph) for node in graph.node}
    assert ("MatMulInteger" in used) == (bits < 8 and not odd)
    same_everywhere(program, sent)
