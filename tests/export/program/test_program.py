from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from pydantic import ValidationError

from spikeproof.export.program import Dense, Input, Population, Program, Readout, read_program, write_program
from spikeproof.hw_targets.target import get_target
from spikeproof.toolkit.errors import FileError

Programs = Callable[..., st.SearchStrategy[Program]]
Rewrite = Callable[..., None]


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("program") / "program.safetensors"


@given(st.data())
def test_a_program_comes_back_bit_for_bit(programs: Programs, scratch: Path, data: st.DataObject) -> None:
    program = data.draw(programs())
    write_program(scratch, program)
    found = read_program(scratch)
    assert found.header() == program.header()
    assert found.sha256() == program.sha256()
    for name, array in program.arrays().items():
        np.testing.assert_array_equal(found.arrays()[name], array, strict=True)


def test_arrays_of_a_program_are_its_own_and_cannot_be_written() -> None:
    bias = np.zeros(3, dtype=np.int64)
    population = Population(name="a", shape=(3,), du=0, dv=0, vth=1, bias=bias)
    bias[0] = 7
    assert population.bias.tolist() == [0, 0, 0]
    assert population.bias.dtype == np.int32
    with pytest.raises(ValueError, match="read-only"):
        population.bias[0] = 1


def test_the_order_of_memory_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    bias, weight = rng.integers(-9, 99, (2, 3, 4)), 2 * rng.integers(-9, 99, (24, 5))
    traces = []
    for order in (np.ascontiguousarray, np.asfortranarray):
        program = Program(
            input=Input(shape=(5,), message_bits=0),
            populations=(Population(name="a", shape=(2, 3, 4), du=4095, dv=400, vth=3, bias=order(bias)),),
            synapses=(Dense(source="input", target="a", weight=order(weight)),),
            readout=Readout(population="a"),
            steps=6,
        )
        messages = np.random.default_rng(1).integers(0, 2, (6, 3, 5)).astype(np.int32)
        traces.append(get_target("loihi").compile(program).run(messages).output)
    assert traces[0].any()
    assert np.array_equal(*traces)


@pytest.mark.parametrize(
    ("bits", "scale", "full"), [(8, 1 / 255, 255), (7, 1 / 76, 76), (8, 1.0, 255), (0, 1.0, 1), (4, 1 / 200, 15)]
)
def test_the_message_of_1_is_known_from_the_scale(bits: int, scale: float, full: int) -> None:
    assert Input(shape=(1,), message_bits=bits, scale=scale).full == full


def part(values: Any, *path: str | int) -> Any:
    for key in path:
        values = values[key]
    return values


def header(path: tuple[str | int, ...], value: Any) -> Callable[[Any, dict[str, Any]], Any]:
    return lambda values, arrays: part(values, *path[:-1]).__setitem__(path[-1], value)


def array(name: str, value: Any) -> Callable[[Any, dict[str, Any]], Any]:
    return lambda values, arrays: arrays.__setitem__(name, np.asarray(value))


A, B, TO_A, TO_B = ("populations", 0), ("populations", 1), ("synapses", 0), ("synapses", 1)
FIELDS: list[tuple[tuple[Any, ...], list[Any]]] = [
    ((*A, "du"), [-2, 4096, 1.0, True]),
    ((*A, "dv"), [-1, 4097]),
    ((*A, "vth"), [-1, 131072]),
    ((*A, "bias_exponent"), [-1, 8]),
    ((*TO_A, "bits"), [0, 10]),
    ((*TO_A, "exponent"), [-9, 8]),
    ((*TO_A, "stride"), [[-1, 1], [1025, 1], [1], 1]),
    ((*TO_A, "padding"), [[-1, 1], [1, 1025]]),
    ((*TO_A, "groups"), [0, 65537]),
    (("input", "message_bits"), [-1, 25]),
    (("input", "scale"), [0.0, -1.0, "1"]),
    (("input", "shape"), [[], [0, 3, 3], [2, 3, 3, 1], [2, 3, 2**21]]),
    (("steps",), [0, 65537, "4"]),
    (("profile",), ["loihi1"]),
    (("readout", "kind"), ["potential"]),
    (("extra",), [1]),
]


CASES = [pytest.param(path, value) for path, values in FIELDS for value in values]


@pytest.mark.parametrize(("path", "value"), CASES, ids=str)
def test_a_field_out_of_its_documented_range_is_refused_by_its_path(
    scratch: Path, rewrite: Rewrite, path: tuple[str | int, ...], value: Any
) -> None:
    rewrite(scratch, header(path, value))
    name = r".*\.".join([str(path[0]), *map(str, path[-1:] if len(path) > 1 else [])])
    with pytest.raises(FileError, match=rf"program\.safetensors: Program part {name}[.0-9]*: "):
        read_program(scratch)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ((*A, "du"), -1),
        ((*A, "du"), 4095),
        ((*A, "dv"), 4096),
        ((*A, "vth"), 131071),
        ((*A, "bias_exponent"), 7),
        ((*TO_A, "exponent"), -8),
        ((*TO_A, "exponent"), 7),
        (("input", "message_bits"), 24),
        (("steps",), 65536),
    ],
    ids=str,
)
def test_the_ends_of_the_documented_ranges_are_accepted(
    scratch: Path, rewrite: Rewrite, path: tuple[str | int, ...], value: Any
) -> None:
    rewrite(scratch, header(path, value))
    assert part(read_program(scratch).header()["program"], *path) == value


PARTS = [
    (
        array("bias/a", np.full((2, 2, 2), 4096)),
        r"population 'a': bias: values 4096 .*allowed are -4096 to 4095",
    ),
    (array("bias/a", np.full((2, 2, 2), -4097)), "population 'a': bias: values -4097"),
    (array("bias/a", np.zeros((2, 2, 2))), "population 'a': bias: values of type float64"),
    (array("bias/a", np.zeros(8, int)), r"population 'a': bias of shape \(8,\), expected \(2, 2, 2\)"),
    (array("weight/0", np.full((2, 2, 2, 2), 256)), "synapse 'input' -> 'a': weight: values 256"),
    (array("weight/0", np.full((2, 2, 2, 2), -258)), "synapse 'input' -> 'a': weight: values -258"),
    (
        array("weight/0", np.ones((2, 2, 2, 2), int)),
        "synapse 'input' -> 'a': weights must be multiples of 2",
    ),
    (array("weight/0", np.zeros((2, 8), int)), "synapse 'input' -> 'a': weight of shape .*expected 4 dimensions"),
    (array("weight/0", np.zeros((2, 2, 0, 2), int)), "synapse 'input' -> 'a': weight of shape"),
    (
        array("weight/0", np.zeros((2, 3, 2, 2), int)),
        r"synapse 'input' -> 'a': weight .*, groups 1 on input",
    ),
    (array("weight/0", np.zeros((2, 2, 4, 4), int)), r"synapse 'input' -> 'a': kernel \(4, 4\) is larger"),
    (array("weight/0", np.zeros((3, 2, 2, 2), int)), r"'a': gives shape \(3, 2, 2\), expected \(2, 2, 2\)"),
    (
        array("weight/1", np.full((3, 8), -2)),
        "synapse 'a' -> 'b': weights must be in 0...255",
    ),
    (array("weight/1", np.ones((3, 8), int)), "synapse 'a' -> 'b': weights must be multiples of 2"),
    (array("weight/1", np.zeros((3, 7), int)), r"synapse 'a' -> 'b': gives shape \(3, 7\), expected \(3, 8\)"),
    (array("weight/2", np.zeros(1, int)), "arrays that no part names: weight/2"),
    (header((*TO_B, "sign"), "inhibitory"), "synapse 'a' -> 'b': weights must be in -255...0"),
    (header((*TO_A, "stride"), [0, 1]), "synapse 'input' -> 'a': stride"),
    (header((*TO_A, "dilation"), [1, 0]), "synapse 'input' -> 'a': .*dilation"),
    (header((*TO_A, "source"), "b"), "synapse 'b' -> 'a': weight"),
    (header((*TO_B, "source"), "b"), "synapse 'b' -> 'b': gives shape"),
    (header((*TO_B, "target"), "c"), "synapse 'a' -> 'c': no population named 'c'"),
    (header((*TO_A, "target"), "input"), "synapse 'input' -> 'input': nothing can end in the input"),
    (header((*A, "shape"), [2**20, 2**20]), "population 'a': shape .* is impossibly large"),
    (header(("readout", "population"), "input"), "read-out: no population named 'input'"),
    (header(("input", "name"), "a"), "names must differ"),
    (
        lambda values, arrays: values["synapses"].pop(1) and arrays.pop("weight/1"),
        "population 'b': no forward synapse ends in it",
    ),
    (lambda values, arrays: arrays.pop("bias/b"), "not a complete Program .*bias/b"),
    (lambda values, arrays: values.pop("input"), "not a complete Program .*input"),
    (lambda values, arrays: values["populations"].clear(), "arrays that no part names"),
]


@pytest.mark.parametrize(("change", "why"), PARTS, ids=[why for _, why in PARTS])
def test_parts_that_do_not_fit_are_refused_by_name(
    scratch: Path, rewrite: Rewrite, change: Callable[[Any, dict[str, Any]], Any], why: str
) -> None:
    rewrite(scratch, change)
    with pytest.raises(FileError, match=rf"program\.safetensors: .*{why}"):
        read_program(scratch)


def test_lags_of_a_shortcut_a_delay_and_a_loop_are_those_counted_by_hand(small: Program) -> None:
    def dense(source: str, target: str, delay: int = 0) -> Dense:
        size = [int(np.prod(small.shape_of(name))) for name in (target, source)]
        return Dense(source=source, target=target, weight=np.zeros(size, int), delay=delay)

    extra = (dense("input", "b"), dense("input", "b", 3), dense("b", "b"), dense("b", "a", 2))
    program = Program(**{**dict(small), "synapses": (*small.synapses, *extra)})
    assert program.depths() == {"input": 0, "a": 1, "b": 1}
    assert [program.lag(synapse) for synapse in program.synapses] == [0, 1, 0, 3, 1, 3]
    assert program.recurrent
    assert not small.recurrent


@pytest.mark.parametrize("name", ["", "a b", "a/b", "ä", "a" * 101, "a\n"])
def test_names_that_would_not_survive_other_formats_are_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="name"):
        Population(name=name, shape=(1,), du=0, dv=0, vth=1, bias=np.zeros(1, int))


@pytest.mark.parametrize("scale", [np.inf, np.nan])
def test_a_scale_that_is_not_finite_is_refused(scale: float) -> None:
    with pytest.raises(ValidationError, match="scale"):
        Input(shape=(1,), message_bits=8, scale=scale)


@given(st.data())
def test_the_hash_tells_any_two_programs_apart_that_differ_in_one_integer(
    programs: Programs, data: st.DataObject
) -> None:
    program = data.draw(programs(chain=True))
    name = data.draw(st.sampled_from(["steps", *program.arrays()]))
    if name == "steps":
        changed = Program(**{**dict(program), "steps": program.steps + 1})
    else:
        kind, key = name.split("/")
        old = program.population(key) if kind == "bias" else program.synapses[int(key)]
        values = getattr(old, kind).copy()
        place = data.draw(st.integers(0, values.size - 1))
        # Zero is on every grid; where it stands already, the grid's first other value does it.
        other = -1 if kind == "bias" else {"mixed": -256, "excitatory": 128, "inhibitory": -128}[old.sign]
        values.flat[place] = 0 if values.flat[place] else other
        new = type(old)(**{**dict(old), kind: values})
        field = "populations" if kind == "bias" else "synapses"
        parts = tuple(new if one is old else one for one in getattr(program, field))
        changed = Program(**{**dict(program), field: parts})
    assert changed.sha256() != program.sha256()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        *(((*A, key), value) for key, value in {"du": 0, "dv": 1, "vth": 8, "bias_exponent": 1}.items()),
        ((*TO_A, "exponent"), 0),
        ((*TO_A, "bits"), 9),
        (("input", "message_bits"), 7),
        (("input", "scale"), 1.0),
    ],
    ids=str,
)
def test_the_hash_depends_on_every_field(
    scratch: Path, small: Program, rewrite: Rewrite, path: tuple[str | int, ...], value: Any
) -> None:
    rewrite(scratch, header(path, value))
    assert read_program(scratch).sha256() != small.sha256()


def test_depths_bounds_and_peaks_are_those_counted_by_hand(small: Program) -> None:
    program = small
    assert program.depths() == {"input": 0, "a": 1, "b": 2}
    assert [program.peak(name) for name in ("input", "a", "b")] == [255, 1, 1]
    for synapse, peak in zip(program.synapses, (255, 1), strict=True):
        rows = [[int(w) for w in row.ravel()] for row in synapse.weight]
        sides = [abs(sum(w for w in row if sign * w > 0)) for row in rows for sign in (1, -1)]
        assert program.bound(synapse) == max(sides) * peak
