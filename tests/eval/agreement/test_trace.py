"""Recorded traces against the Program: a board's, and ones with planted differences."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import spikeproof as sp
from spikeproof.export.program import Dense, Input, Population, Program, Readout
from spikeproof.hw_targets.loihi.simulator import LoihiTarget
from spikeproof.toolkit.errors import FileError, InputError

BOARD = Path(__file__).resolve().parents[3] / "examples" / "board" / "nir_paper_loihi.csv"
NAMES = ("input", "v/lif", "spikes/lif")
Arrays = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def neuron() -> Program:
    """The one that was on the board: du 4095, dv 163, vth 25, weight 10."""
    return Program(
        input=Input(shape=(1,), message_bits=0),
        populations=(Population(name="lif", shape=(1,), du=4095, dv=163, vth=25, bias=np.zeros(1, int)),),
        synapses=(Dense(source="input", target="lif", weight=np.array([[10]]), sign="excitatory"),),
        readout=Readout(population="lif"),
        steps=1000,
    )


def test_the_board_of_the_nir_paper_differs_where_its_neuron_fires_and_nowhere_else(neuron: Program) -> None:
    """996 of 1000 steps are equal; in the four spike steps the board probes 128."""
    table = np.loadtxt(BOARD, delimiter=",")
    fires = np.flatnonzero(table[:, 2])
    assert len(table) == 1000
    assert len(fires) == 4
    found = sp.compare_trace(neuron, BOARD, columns=NAMES, clock=True)
    v, spikes = found.values
    assert (v.quantity, v.equal_steps, v.steps, v.different, v.at_spikes) == ("v", 996, 1000, 4, 4)
    assert (spikes.quantity, spikes.equal_steps, spikes.different) == ("spikes", 1000, 0)
    first = found.first
    assert first is not None
    assert (first.step, first.neuron, first.quantity, first.found, first.expected, first.spike) == (
        fires[0],
        (0,),
        "v",
        128,
        0,
        True,
    )
    assert not found.equal
    text = " ".join(found.verdict)
    assert "996 of 1,000 steps equal" in text
    assert "only in steps in which that neuron fires" in text
    assert "Its spikes are equal" in text


def test_the_same_trace_a_step_late_is_not_the_same(neuron: Program) -> None:
    """Without --clock its rows would be those of the neuron's window, which begins a step later."""
    found = sp.compare_trace(neuron, BOARD, columns=NAMES)
    assert sum(one.different for one in found.values) > 100
    assert found.first is not None
    assert found.first.window == 60


@pytest.fixture(scope="module")
def program() -> Program:
    rng = np.random.default_rng(4)
    sizes = (5, 6, 4)
    names = ("input", "a", "b")
    return Program(
        input=Input(shape=(5,), message_bits=4),
        populations=tuple(
            Population(name=name, shape=(size,), du=2047, dv=512, vth=60, bias=rng.integers(-9, 9, size))
            for name, size in zip(names[1:], sizes[1:], strict=True)
        ),
        synapses=tuple(
            Dense(
                source=source,
                target=target,
                weight=2 * rng.integers(-60, 90, (after, before)),
                exponent=0,
                delay=number,
            )
            for number, (source, target, before, after) in enumerate(
                zip(names[:-1], names[1:], sizes[:-1], sizes[1:], strict=True)
            )
        ),
        readout=Readout(population="b"),
        steps=9,
    )


@pytest.fixture(scope="module")
def arrays(program: Program) -> Arrays:
    """What the Program does on three samples."""
    messages = np.random.default_rng(5).integers(0, 16, (9, 3, 5)).astype(np.int32)
    trace = LoihiTarget(latency=1).compile(program).run(messages, rasters=True)
    found: Arrays = {"input": messages}
    for name, raster in trace.rasters.items():
        assert raster.u is not None
        assert raster.v is not None
        found |= {f"spikes/{name}": raster.spikes, f"u/{name}": raster.u, f"v/{name}": raster.v}
    return found


def test_its_own_trace_is_equal(program: Program, arrays: Arrays, tmp_path: Path) -> None:
    found = sp.compare_trace(program, arrays)
    assert found.equal
    assert found.first is None
    assert sum(one.compared for one in found.values) == 9 * 3 * 3 * (6 + 4)
    np.savez(tmp_path / "t.npz", **arrays)
    from_file = sp.compare_trace(program, tmp_path / "t.npz")
    assert from_file.values == found.values
    assert from_file.sha256 is not None
    # Without its messages, on those that are given.
    without = {name: part for name, part in arrays.items() if name != "input"}
    assert sp.compare_trace(program, without, arrays["input"]).equal
    # A trace that ends early, and has some quantities only.
    early = {name: part[:4] for name, part in arrays.items() if name != "u/a"}
    assert sp.compare_trace(program, {**early, "input": arrays["input"]}).equal


def test_planted_differences_are_counted_and_the_earliest_on_the_clock_is_named(
    program: Program, arrays: Arrays
) -> None:
    rng = np.random.default_rng(9)
    depth = program.depths()
    for _ in range(20):
        sick = {name: part.astype(np.int64).copy() for name, part in arrays.items()}
        planted = []
        for _ in range(rng.integers(1, 6)):
            kind, name = str(rng.choice(["u", "v", "spikes"])), str(rng.choice(["a", "b"]))
            step, sample = int(rng.integers(9)), int(rng.integers(3))
            neuron = int(rng.integers(sick[f"v/{name}"].shape[2]))
            if (kind, name, step, sample, neuron) in planted:
                continue
            planted.append((kind, name, step, sample, neuron))
            at = sick[f"{kind}/{name}"]
            at[step, sample, neuron] = (
                1 - at[step, sample, neuron] if kind == "spikes" else at[step, sample, neuron] + 7
            )
        found = sp.compare_trace(program, sick)
        assert sum(one.different for one in found.values) == len(planted)
        rank = {"u": 0, "v": 1, "spikes": 2}
        kind, name, step, sample, neuron = min(
            planted, key=lambda one: (one[2] + depth[one[1]], one[1], rank[one[0]], one[3], one[4])
        )
        first = found.first
        assert first is not None
        assert (first.quantity, first.population, first.window, first.step) == (kind, name, step, step + depth[name])
        assert (first.sample, first.neuron) == (sample, (neuron,))
        assert first.found - first.expected in (7, 1, -1)
        assert first.spike == bool(arrays[f"spikes/{name}"][step, sample, neuron])


def test_rows_of_one_clock(program: Program, arrays: Arrays) -> None:
    """Population b starts three steps after the sample: its rows before are silence."""
    assert program.depths() == {"input": 0, "a": 1, "b": 3}
    total = 9 + 3
    late = {"input": arrays["input"]}
    for name, part in arrays.items():
        if name != "input":
            depth = program.depths()[name.split("/")[1]]
            full = np.zeros((total, *part.shape[1:]), np.int64)
            full[depth : depth + 9] = part
            # a's window ends before the last row: what it did then is nobody's business.
            full[depth + 9 :] = -77
            late[name] = full
    assert sp.compare_trace(program, late, clock=True).equal
    late["spikes/b"][1, 2, 3] = 1
    first = sp.compare_trace(program, late, clock=True).first
    assert first is not None
    assert (first.population, first.step, first.window, first.sample, first.neuron) == ("b", 1, -2, 2, (3,))


def test_single_neurons_of_a_csv(program: Program, arrays: Arrays, tmp_path: Path) -> None:
    sample = 1
    inputs = [f"input/{i}" for i in range(5)]
    lines = [",".join([*inputs, "step", "v/b/2", "spikes/b/0"]).replace("step", "-")]
    for t in range(9):
        row = [*arrays["input"][t, sample], t, arrays["v/b"][t, sample, 2], int(arrays["spikes/b"][t, sample, 0])]
        lines.append(",".join(map(str, row)))
    path = tmp_path / "probe.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    found = sp.compare_trace(program, path)
    assert found.equal
    assert [(one.population, one.quantity, one.neurons) for one in found.values] == [("b", "v", 1), ("b", "spikes", 1)]
    cells = lines[5].split(",")
    cells[6] = str(int(cells[6]) + 1)
    lines[5] = ",".join(cells)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    first = sp.compare_trace(program, path).first
    assert first is not None
    assert (first.quantity, first.window, first.neuron) == ("v", 4, (2,))


REFUSED: dict[str, tuple[Callable[[Arrays], Any], str]] = {
    "other population": (lambda a: {**a, "v/c": a["v/b"]}, r"'v/c' is none of spikes/a, spikes/b"),
    "nothing": (lambda a: {"input": a["input"]}, "nothing recorded"),
    "shape": (lambda a: {**a, "v/b": a["v/a"]}, r"'v/b' has shape \(9, 3, 6\), expected \(time, samples, 4\)"),
    "fractions": (lambda a: {**a, "v/b": a["v/b"] + 0.5}, "holds fractions"),
    "not finite": (lambda a: {**a, "v/b": a["v/b"] * np.nan}, "not finite"),
    "words": (lambda a: {**a, "v/b": a["v/b"].astype(str)}, "expected numbers"),
    "lengths": (lambda a: {**a, "v/b": a["v/b"][:5]}, r"\(time, samples\) differ"),
    "rows": (
        lambda a: {n: np.concatenate([p, 0 * p]) for n, p in a.items()},
        r"18 rows, the Program has 9 steps.*clock",
    ),
    "long input": (lambda a: {n: np.concatenate([p, p]) for n, p in a.items()}, "input goes on behind"),
    "input range": (lambda a: {**a, "input": a["input"] + 10}, "messages are 0 to 15"),
    "input samples": (lambda a: {**a, "input": a["input"][:, :2]}, "input of 2 samples, but 3"),
    "no input": (lambda a: {n: p for n, p in a.items() if n != "input"}, "no 'input'"),
    "no rows": (lambda a: {n: p[:0] for n, p in a.items()}, "no rows, or no samples"),
    "no samples": (lambda a: {n: p[:, :0] for n, p in a.items()}, "no rows, or no samples"),
    "too large": (lambda a: {**a, "v/b": a["v/b"] + 1e300}, "no value of a chip is that large"),
    "unsigned": (lambda a: {**a, "v/b": np.full((9, 3, 4), 2**64 - 1, np.uint64)}, "no value of a chip is that large"),
    "neuron": (lambda a: {**a, "v/b/4": a["v/b"][..., 0]}, "the population has 4 neurons"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused(case: str, program: Program, arrays: Arrays) -> None:
    change, said = REFUSED[case]
    with pytest.raises(InputError, match=said):
        sp.compare_trace(program, change(arrays))


FILES: dict[str, tuple[str, bytes, type[Exception], str]] = {
    "kind": ("t.txt", b"1", InputError, "a trace is an .npz, a .csv"),
    "numbers only": ("t.csv", b"1,0,0\n", InputError, "name the columns with --columns"),
    "ragged": ("t.csv", b"v/a/0,v/b/0\n1\n", InputError, "row 0 has 1 columns"),
    "twice": ("t.csv", b"v/a/0,v/a/0\n1,1\n", InputError, "two columns are called"),
    "text": ("t.csv", b"v/a/0\nx\n", InputError, "column 'v/a/0'"),
    "empty": ("t.csv", b"", InputError, "no rows"),
    "no npz": ("t.npz", b"PK\x03\x04", FileError, "not a readable .npz"),
    "NUL": ("t.csv", b"v/a/0\n\x00\n", InputError, "column 'v/a/0'"),
    "long field": ("t.csv", b"v/a/0\n" + b"1" * 200_000, FileError, "not a readable CSV"),
    "no utf-8": ("t.csv", b"\xff\xfe\x00", FileError, "UTF-8"),
    "program": ("t.safetensors", b"\x00", FileError, r"t\.safetensors"),
}


@pytest.mark.parametrize("case", FILES)
def test_files_that_are_none(case: str, program: Program, tmp_path: Path) -> None:
    name, content, kind, said = FILES[case]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(kind, match=said):
        sp.compare_trace(program, tmp_path / name)


def test_damaged_files_are_refused_in_words(program: Program, arrays: Arrays, tmp_path: Path) -> None:
    rng = np.random.default_rng(11)
    np.savez(tmp_path / "whole.npz", **arrays)
    names = [*(f"input/{i}" for i in range(5)), "v/a/0"]
    rows = [[*arrays["input"][t, 0], arrays["v/a"][t, 0, 0]] for t in range(9)]
    text = "\n".join(",".join(map(str, row)) for row in [names, *rows])
    refused = 0
    for number in range(150):
        suffix = ".npz" if number % 2 else ".csv"
        content = bytearray((tmp_path / "whole.npz").read_bytes() if number % 2 else text.encode())
        for _ in range(rng.integers(1, 6)):
            content[rng.integers(len(content))] = rng.integers(256)
        path = tmp_path / f"damaged{suffix}"
        path.write_bytes(content[: rng.integers(1, len(content))] if number % 5 == 0 else content)
        try:
            sp.compare_trace(program, path)
        except (FileError, InputError):
            refused += 1
    assert refused > 50
