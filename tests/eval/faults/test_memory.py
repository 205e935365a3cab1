"""Stored bits: widths and encodings from the definition, every pattern a Program, flips undo themselves."""

from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from spikeproof.eval.faults.memory import WIDTH, Memory
from spikeproof.export.program import Convolution, Dense, Input, Population, Program, Readout
from spikeproof.hw_targets.target import get_target
from spikeproof.toolkit.errors import InputError


def one(weight: Any, bits: int, sign: Any = "mixed", **neurons: Any) -> Program:
    """A Program of one neuron a row of ``weight``."""
    matrix = np.asarray(weight)
    values = {"vth": 100, "du": 4095, "dv": 0, "bias": np.zeros(len(matrix), int)} | neurons
    return Program(
        input=Input(shape=(matrix.shape[1],), message_bits=0),
        populations=(Population(name="out", shape=(len(matrix),), **values),),
        synapses=(Dense(source="input", target="out", bits=bits, sign=sign, weight=matrix),),
        readout=Readout(population="out"),
        steps=2,
    )


def again(program: Program) -> Program:
    """The same Program from its parts, every range checked once more."""
    parts = []
    for population in program.populations:
        values = {name: getattr(population, name) for name in type(population).model_fields}
        parts.append(type(population)(**values))
    synapses = [type(s)(**{name: getattr(s, name) for name in type(s).model_fields}) for s in program.synapses]
    rest = {name: getattr(program, name) for name in ("input", "readout", "steps", "profile")}
    return Program(populations=tuple(parts), synapses=tuple(synapses), **rest)


def of(memory: Memory, kind: str) -> Any:
    return next(field for field in memory.fields if field.kind == kind)


@pytest.mark.parametrize("bits", range(1, 10))
@pytest.mark.parametrize("sign", ["mixed", "excitatory", "inhibitory"])
def test_the_patterns_of_a_weight_are_the_integers_that_a_synapse_takes(bits: int, sign: str) -> None:
    if bits == 9 and sign != "mixed":
        return
    grid = 2 ** (9 - bits) if sign == "mixed" else 2 ** (8 - bits)
    allowed = {
        "mixed": range(-256, 256, grid),
        "excitatory": range(0, 256, grid),
        "inhibitory": range(0, -256, -grid),
    }[sign]
    memory = Memory(one([[0]], bits, sign))
    field = of(memory, "weight")
    assert (field.bits, field.words) == (bits, 1)
    reached = set()
    for pattern in range(2**bits):
        flips = [field.first + bit for bit in range(bits) if pattern >> bit & 1]
        made = memory.flipped(flips)
        again(made)
        reached.add(int(made.synapses[0].weight[0, 0]))
    assert reached == set(allowed)


def test_eight_mixed_bits_are_twos_complement_of_half_the_weight() -> None:
    memory = Memory(one([[10, -2]], 8))
    first = of(memory, "weight").first
    # -2 is q = -1, all ones: without its sign bit 127, so 254; 10 is q = 5 = 101.
    assert memory.flipped([first + 8 + 7]).synapses[0].weight.tolist() == [[10, 254]]
    assert memory.flipped([first]).synapses[0].weight.tolist() == [[8, -2]]
    assert memory.flipped([first + 7]).synapses[0].weight.tolist() == [[-246, -2]]
    assert memory.flipped([first, first]).sha256() == memory.program.sha256()


@pytest.mark.parametrize(
    ("kind", "lowest", "highest"), [("bias", -4096, 4095), ("vth", 0, 131071), ("du", 0, 4095), ("dv", 0, 4095)]
)
def test_a_word_of_a_neuron_holds_its_whole_range_and_nothing_else(kind: Any, lowest: int, highest: int) -> None:
    memory = Memory(one([[2]], 8, **{kind: np.array([0]) if kind == "bias" else 0}))
    field = of(memory, kind)
    reached = []
    for mask in (0, 1, 2 ** (field.bits - 1), 2 ** (field.bits - 1) - 1, 2**field.bits - 1):
        made = memory.flipped([field.first + bit for bit in range(field.bits) if mask >> bit & 1])
        again(made)
        reached.append(int(np.asarray(getattr(made.populations[0], kind)).ravel()[0]))
    assert field.bits == WIDTH[kind]
    assert (min(reached), max(reached)) == (lowest, highest)
    assert reached[1] == 1
    assert reached[-1] == (-1 if kind == "bias" else highest)


def test_what_does_not_fit_its_bits_is_left_out_by_name() -> None:
    memory = Memory(one([[2]], 8, du=-1, dv=4096))
    assert {field.kind for field in memory.fields} == {"weight", "bias", "vth"}
    assert "du = -1" in memory.left_out[0]
    assert "dv = 4096" in memory.left_out[1]
    coded = Program(
        input=Input(shape=(2,), message_bits=8),
        populations=(Population(name="p", shape=(2,), vth=1, du=0, dv=0, bias=np.zeros(2, int), input_bias=True),),
        synapses=(),
        readout=Readout(population="p"),
        steps=1,
    )
    assert "biases" in Memory(coded).left_out[0]


def test_a_kernel_is_stored_once() -> None:
    kernel = Convolution(source="input", target="out", bits=4, weight=np.full((2, 1, 3, 3), 32), padding=(1, 1))
    population = Population(name="out", shape=(2, 5, 5), vth=1, du=4095, dv=0, bias=np.zeros((2, 5, 5), int))
    program = Program(
        input=Input(shape=(1, 5, 5), message_bits=8),
        populations=(population,),
        synapses=(kernel,),
        readout=Readout(population="out"),
        steps=1,
    )
    memory = Memory(program)
    assert of(memory, "weight").words == 18
    assert of(memory, "bias").words == 50
    assert memory.bits == 18 * 4 + 50 * 13 + 17 + 12 + 12


def test_selections_are_disjoint_and_cover_everything() -> None:
    memory = Memory(one([[32, 64], [96, 0]], 4))
    kinds = [memory.select(kind=kind) for kind in ("weight", "bias", "vth", "du", "dv")]
    assert np.array_equal(np.sort(np.concatenate(kinds)), np.arange(memory.bits))
    signs = memory.select("out", "weight", 3)
    assert [memory.place(address)[1:] for address in signs] == [(word, 3) for word in range(4)]
    for wrong in ({"layer": "no"}, {"kind": "no"}, {"bit": 17}, {"kind": "weight", "bit": 4}, {"bit": -1}):
        with pytest.raises(InputError, match="--"):
            memory.select(**wrong)


@given(data=st.data())
def test_any_flips_of_any_program_give_a_program_and_undo_themselves(data: Any, programs: Any) -> None:
    program = data.draw(programs())
    memory = Memory(program)
    flips = data.draw(st.lists(st.integers(0, memory.bits - 1), min_size=1, max_size=30, unique=True))
    made = memory.flipped(flips)
    assert again(made).sha256() == made.sha256() != program.sha256()
    assert Memory(made).flipped(flips).sha256() == program.sha256()
    for address in flips[:3]:
        field, word, bit = memory.place(address)
        before, after = (m.values(field)[word] for m in (memory, Memory(memory.flipped([address]))))
        worth = int(field.worth(np.array([bit]))[0])
        set_before = int(field.codes(np.array([before]))[0]) >> bit & 1
        assert after - before == (-worth if set_before else worth)


def test_a_program_with_flips_runs_alike_on_targets_of_different_code(programs: Any, messages: Any) -> None:
    """What was not checked again is none the less a Program: onnx builds its graph from the same parts."""

    @settings(max_examples=10)
    @given(data=st.data())
    def check(data: Any) -> None:
        program = data.draw(programs(chain=True, message_bits=0))
        memory = Memory(program)
        flips = np.random.default_rng(data.draw(st.integers(0, 99))).integers(0, memory.bits, 20)
        made, x = memory.flipped(flips), messages(program, 3)
        loihi, onnx = (get_target(name).compile(made).run(x) for name in ("loihi", "onnx"))
        assert np.array_equal(loihi.output, onnx.output)
        for name, counts in loihi.spike_counts.items():
            assert np.array_equal(counts, onnx.spike_counts[name])

    check()
