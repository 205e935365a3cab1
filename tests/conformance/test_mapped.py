"""The law of mappings: a Program cut into slices does what the whole one does, value for value, on any target."""

from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from spikeproof.eval.agreement.targets import difference
from spikeproof.export.chip.mapping import Core, Mapping, Slice
from spikeproof.export.chip.split import split, whole
from spikeproof.export.program import (
    Convolution,
    Dense,
    Graded,
    Input,
    Population,
    Program,
    Readout,
    Sparse,
    read_program,
    write_program,
)
from spikeproof.hw_targets.loihi.simulator import LoihiTarget
from spikeproof.hw_targets.mapped import together
from spikeproof.hw_targets.onnx import OnnxTarget
from spikeproof.hw_targets.target import Target
from spikeproof.toolkit.coding import direct_integers
from spikeproof.toolkit.config import DataSettings
from spikeproof.toolkit.data import load_data
from spikeproof.toolkit.errors import UnsupportedError


def cut_at_random(program: Program, rng: np.random.Generator, most: int = 4) -> Mapping:
    """Cut every population that may be cut at random places, and put the slices on random cores."""
    cores: dict[int, list[Slice]] = {}
    uncut = whole(program)
    for population in program.populations:
        size = int(np.prod(population.shape))
        places = [] if population.name in uncut else rng.integers(0, size + 1, rng.integers(1, most)).tolist()
        ends = sorted({0, size, *places})
        for start, stop in pairwise(ends):
            cores.setdefault(int(rng.integers(0, 128)), []).append(Slice(population.name, start, stop))
    return Mapping("loihi1", tuple(Core(number, tuple(parts)) for number, parts in cores.items()))


def assert_same(program: Program, mapping: Mapping, inputs: np.ndarray, target: Target[Program]) -> Any:
    expected = LoihiTarget().compile(program).run(inputs, rasters=True)
    run = target.compile(split(program, mapping)).run(inputs, rasters=True)
    found = together(run, program, mapping)
    assert [bits for bits in difference("split", expected, found) if bits.different] == []
    np.testing.assert_array_equal(found.output, expected.output)
    assert set(found.spike_counts) == set(expected.spike_counts)
    for name, counts in expected.spike_counts.items():
        np.testing.assert_array_equal(found.spike_counts[name], counts)
    if found.overflow is not None:
        assert found.overflow == expected.overflow
    return expected


def test_random_programs_mapped_at_random(programs: Any, messages: Callable[..., np.ndarray]) -> None:
    seen: Counter[str] = Counter()

    @settings(max_examples=150, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(st.data())
    def law(data: st.DataObject) -> None:
        program = data.draw(programs())
        rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
        mapping = cut_at_random(program, rng)
        inputs = messages(program, batch=2, seed=int(rng.integers(2**32)))
        expected = assert_same(program, mapping, inputs, LoihiTarget())
        cut = {p.name for p in program.populations if len(mapping.slices(p.name)) > 1}
        # What the batch must not be without.
        seen["cut"] += bool(cut)
        seen["spikes"] += any(expected.rasters[name].spikes.any() for name in cut)
        for synapse in program.synapses:
            ends = cut & {synapse.source, synapse.target}
            seen[synapse.kind] += bool(ends)
            seen["both ends"] += len(ends) == 2 or (bool(ends) and synapse.source == synapse.target)
            seen["negative exponent"] += bool(ends) and synapse.exponent < 0
            seen["one sign"] += bool(ends) and synapse.sign != "mixed"
            seen["delay"] += bool(ends) and synapse.delay > 0
            seen["recurrent"] += bool(ends) and not program.forward(synapse)
            graded = synapse.target in cut and isinstance(program.population(synapse.target), Graded)
            seen["graded"] += graded

    law()
    kinds = ("dense", "sparse", "convolution", "both ends", "negative exponent", "one sign", "delay", "recurrent")
    assert seen["cut"] > 50, seen
    assert seen["spikes"] > 25, seen
    assert all(seen[kind] >= 5 for kind in (*kinds, "graded")), seen


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_a_split_program_runs_on_other_targets_and_survives_its_file(
    programs: Any, messages: Any, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    program = data.draw(programs(message_bits=8))
    mapping = cut_at_random(program, np.random.default_rng(data.draw(st.integers(0, 2**32 - 1))))
    made = split(program, mapping)
    path = tmp_path_factory.mktemp("split") / "program.safetensors"
    write_program(path, made)
    assert read_program(path).sha256() == made.sha256()
    if not OnnxTarget().unsupported(program) and not OnnxTarget().unsupported(made):
        assert_same(program, mapping, messages(program, batch=2), OnnxTarget())


def test_the_digits_network(finished: Path) -> None:
    program = read_program(finished / "program.safetensors")
    inputs = direct_integers(load_data(DataSettings()).test_images[:40], program.steps)
    rng = np.random.default_rng(0)
    cut = set()
    for _ in range(4):
        mapping = cut_at_random(program, rng, most=6)
        expected = assert_same(program, mapping, inputs, LoihiTarget())
        cut |= {p.name for p in program.populations if len(mapping.slices(p.name)) > 1}
    assert {p.name for p in program.populations} - cut == {program.readout.population}
    assert all(0 < raster.spikes.mean() < 1 for raster in expected.rasters.values())


def spiking(name: str, size: int, **fields: Any) -> Population:
    fields = {"du": 4095, "dv": 4096, "vth": 2} | fields
    return Population(name=name, shape=(size,), bias=np.zeros(size, dtype=np.int32), **fields)


def chain(synapse: Dense | Convolution, **fields: Any) -> Program:
    """Input (2) -> "a" (2) -> read-out "b" (1)."""
    identity = np.array([[4, 0], [0, 4]])
    return Program(
        input=Input(shape=(2,), message_bits=0),
        populations=(spiking("a", 2), spiking("b", 1, **fields)),
        synapses=(Dense(source="input", target="a", weight=identity), synapse),
        readout=Readout(kind="membrane", population="b"),
        steps=1,
    )


IN_TWO = Mapping("loihi1", (Core(0, (Slice("a", 0, 1), Slice("b", 0, 1))), Core(1, (Slice("a", 1, 2),))))


def test_a_floor_over_a_cut_source_is_refused_and_would_change_integers() -> None:
    """floor(6/4) + floor(6/4) = 2, floor(12/4) = 3: by hand, and by running what split refuses."""
    program = chain(Dense(source="a", target="b", weight=np.array([[6, 6]]), exponent=-2), vth=99)
    assert whole(program)["a"] == "synapse 'a' -> 'b' floors its whole sum (exponent -2)"
    with pytest.raises(UnsupportedError, match=r"'a'.*without changing integers.*floors its whole sum"):
        split(program, IN_TWO)
    inputs = np.ones((1, 1, 2), dtype=np.int32)
    parts = tuple(Dense(source=f"a.{i}", target="b", weight=np.array([[6]]), exponent=-2) for i in range(2))
    enter = tuple(Dense(source="input", target=f"a.{i}", weight=np.eye(2, dtype=int)[[i]] * 4) for i in range(2))
    naive = Program(
        **{
            **dict(program),
            "populations": (spiking("a.0", 1), spiking("a.1", 1), program.populations[1]),
            "synapses": (*enter, *parts),
        }
    )
    outputs = [int(LoihiTarget().compile(p).run(inputs).output.item()) for p in (program, naive)]
    assert outputs == [64 * 3, 64 * 2]
    # Weights on a coarser grid are floored exactly: 8/4 + 8/4 = 16/4.
    coarse = chain(Dense(source="a", target="b", weight=np.array([[8, 8]]), exponent=-2), vth=99)
    assert "a" not in whole(coarse)
    assert_same(coarse, IN_TWO, inputs, LoihiTarget())


def test_the_sign_mode_is_passed_on() -> None:
    """A block of one sign in a mixed synapse stays mixed: inferred, its grid would be another."""
    program = chain(Dense(source="a", target="b", weight=np.array([[-6, 6]])))
    made = split(program, IN_TWO)
    assert {synapse.sign for synapse in made.synapses} == {"mixed"}
    assert [synapse.weight.tolist() for synapse in made.synapses if synapse.target == "b"] == [[[-6]], [[6]]]


def test_a_slice_that_nothing_reaches_stays_a_population() -> None:
    program = Program(
        input=Input(shape=(2,), message_bits=0),
        populations=(spiking("a", 3, vth=0), spiking("b", 1)),
        synapses=(
            Sparse(
                source="input",
                target="a",
                shape=(3, 2),
                weight=np.array([4]),
                rows=np.array([0]),
                columns=np.array([1]),
            ),
            Dense(source="a", target="b", weight=np.array([[2, 4, 6]])),
        ),
        readout=Readout(population="b"),
        steps=3,
    )
    mapping = Mapping("loihi2", (Core(0, (Slice("a", 0, 1), Slice("b", 0, 1))), Core(3, (Slice("a", 1, 3),))))
    made = split(program, mapping)
    assert [population.name for population in made.populations] == ["a.0", "a.1", "b"]
    assert_same(program, mapping, np.ones((3, 2, 2), dtype=np.int32), LoihiTarget())


def test_a_mapping_without_a_cut_gives_the_same_program() -> None:
    program = chain(Dense(source="a", target="b", weight=np.array([[6, 6]]), exponent=-2))
    mapping = Mapping("loihi1", (Core(9, (Slice("a", 0, 2),)), Core(11, (Slice("b", 0, 1),))))
    assert split(program, mapping).sha256() == program.sha256()


def test_what_must_stay_whole_says_why() -> None:
    shape = (1, 4, 4)
    wide = Convolution(source="coded", target="a", weight=np.full((1, 1, 1, 1), 200, dtype=np.int32) + 54)
    zeros = np.zeros(shape, dtype=np.int32)
    common: dict[str, Any] = {"du": 4095, "dv": 0, "vth": 1}
    program = Program(
        input=Input(shape=shape, message_bits=16),
        populations=(
            Population(name="a", shape=shape, bias=zeros, **common),
            Population(name="b", shape=shape, bias=zeros, **common),
        ),
        synapses=(
            wide.model_copy(update={"source": "input"}),
            wide.model_copy(update={"source": "a", "target": "b"}),
        ),
        readout=Readout(population="b"),
        steps=1,
    )
    # 254 times 65535 leaves 24 bits, 254 times 1 does not.
    assert whole(program) == {
        "a": "synapse 'input' -> 'a' is a convolution whose sums may leave 24 bits",
        "b": "the read-out is of one population",
    }
