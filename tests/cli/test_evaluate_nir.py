"""``spikeproof nir evaluate FILE.nir``: what must be told, what comes out, and the exit codes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest

from spikeproof.eval.agreement import foreign
from spikeproof.hw_targets.onnx import OnnxTarget
from spikeproof.hw_targets.target import get_target

TOLD = ("--origin", "snntorch", "--reset", "zero")


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    rng, (ones, three) = np.random.default_rng(0), (np.ones(8), np.ones(3))
    nodes = {
        "input": nir.Input({"input": np.array([6])}),
        "fc": nir.Affine(rng.normal(size=(8, 6)), rng.normal(size=8) / 10),
        "[lif]": nir.LIF(5e-4 * ones, 5 * ones, 0 * ones, ones, 0 * ones),
        "out": nir.Linear(rng.normal(size=(3, 8))),
        "last": nir.LIF(5e-4 * three, 5 * three, 0 * three, three, 0 * three),
        "output": nir.Output({"output": np.array([3])}),
    }
    edges = list(zip(list(nodes), list(nodes)[1:], strict=False))
    nir.write(str(tmp_path / "g.nir"), nir.NIRGraph(nodes, edges))
    return tmp_path / "g.nir"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    np.savez(tmp_path / "d.npz", x=rng.random((20, 6)), y=rng.integers(0, 3, 20))
    return tmp_path / "d.npz"


def test_everything_is_measured_and_kept(call: Callable[..., Any], graph: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "record.json"
    answer = call("nir", "evaluate", graph, *TOLD, "--data", data, "--steps", 6, "--out", out, "--json")
    assert (answer.code, answer.err) == (0, "")
    told = json.loads(answer.out)
    assert told == json.loads(out.read_text())
    assert (told["samples"], told["equal"], told["different"], told["refused"]) == (20, True, 0, {})
    assert [row["target"] for row in told["targets"]] == ["loihi", "twin", "onnx"]
    places = 6 * 20 * (8 + 3)
    assert [row["compared"] for row in told["targets"]] == [0, 3 * places, 3 * places]
    assert [row["population"] for row in told["spikes"]] == ["_lif_", "last"]
    assert [row["node"] for row in told["spikes"]] == ["[lif]", "last"]
    assert all(0 < row["float_rate"] < 1 for row in told["spikes"])
    assert (told["settings"]["dt"], told["settings"]["reset"], told["steps"]) == (1e-4, "zero", 6)
    assert (told["weight_bits"], told["input_bits"], told["origin"]) == (8, 8, "snntorch")
    assert told["float_accuracy"]["samples"] == 20
    assert str(tmp_path) not in out.read_text()


def test_options_reach_the_measurement(call: Callable[..., Any], graph: Path, data: Path) -> None:
    options = ("--steps", 5, "--bits", 4, "--input-bits", 3, "--samples", 7, "--targets", "onnx", "--dt", "2e-4")
    answer = call("nir", "evaluate", graph, *TOLD, "--data", data, *options, "--json")
    told = json.loads(answer.out)
    assert [row["target"] for row in told["targets"]] == ["onnx"]
    assert (told["steps"], told["weight_bits"], told["input_bits"], told["samples"]) == (5, 4, 3, 7)
    assert told["settings"]["dt"] == 2e-4
    assert any("not 0.0002 s" in text for text in told["warnings"])


def uneven(nodes: dict[str, Any]) -> None:
    nodes["last"].v_threshold = np.array([1.0, 1.5, 1.0])


def volts(nodes: dict[str, Any]) -> None:
    nodes["last"].v_leak, nodes["last"].v_reset = np.full(3, 0.25), np.full(3, -0.5)


def several(nodes: dict[str, Any]) -> None:
    nodes["aside"] = nir.Output({"output": np.array([8])})


def counted(nodes: dict[str, Any]) -> None:
    nodes["input"] = nir.Input({"input": np.array([1, 6])})


def lines(nodes: dict[str, Any]) -> None:
    nodes["input"] = nir.Input({"input": np.array([2, 6])})
    nodes["fc"] = nir.Conv1d(6, np.full((2, 2, 3), 0.25), 1, "valid", 1, 1, np.zeros(2))
    nodes["[lif]"] = nir.LIF(*(np.full((2, 4), value) for value in (5e-4, 5.0, 0.0, 0.5, 0.0)))
    nodes["out"] = nir.Linear(np.random.default_rng(0).random((3, 8)))


@pytest.mark.parametrize(
    ("change", "options", "warning"),
    [
        (
            uneven,
            (),
            "node 'last': neurons differ (v_threshold 1 to 1.5); Loihi has one value a population: it is split",
        ),
        (volts, ("--start", "v_reset"), ""),
        (several, ("--output", "output"), "node 'output': one of 2 outputs is read"),
        (counted, (), "its first axis is taken as a batch of one that is counted"),
        (lines, (), "a Flatten is taken to be between"),
    ],
)
def test_forms_of_others_are_read_and_said(
    call: Callable[..., Any],
    graph: Path,
    tmp_path: Path,
    change: Callable[[dict[str, Any]], None],
    options: tuple[str, ...],
    warning: str,
) -> None:
    file = nir.read(str(graph))
    change(file.nodes)
    edges = [*file.edges, *([("[lif]", "aside")] if "aside" in file.nodes else [])]
    nir.write(str(graph), nir.NIRGraph(file.nodes, edges, type_check=False))
    shape = (2, 6) if change is lines else (6,)
    np.savez(tmp_path / "s.npz", x=np.random.default_rng(1).integers(0, 2, (8, 10, *shape)))
    answer = call("nir", "evaluate", graph, *TOLD, *options, "--data", tmp_path / "s.npz", "--json")
    assert answer.code == 0, answer.err
    told = json.loads(answer.out)
    assert (told["equal"], [row["node"] for row in told["spikes"]]) == (True, ["[lif]", "last"])
    assert not warning or any(warning in text for text in told["warnings"])
    assert all(row["share"] < 0.05 for row in told["spikes"])
    # The same options give the same verdict without samples.
    assert call("nir", "check", graph, *TOLD, *options).code == 0
    for missing in (True, False) if options else ():
        wrong = () if missing else (options[0], "nonsense")
        refused = call("nir", "evaluate", graph, *TOLD, *wrong, "--data", tmp_path / "s.npz", "--json")
        assert refused.code == 2
        assert call("nir", "check", graph, *TOLD, *wrong).code == 2


def test_a_terminal_gets_tables(call: Callable[..., Any], graph: Path, data: Path) -> None:
    answer = call("nir", "evaluate", graph, *TOLD, "--data", data, "--steps", 6)
    assert answer.code == 0
    for text in ("float, as told", "program, onnx", "_lif_", "same class as in float", "equal, bit for bit"):
        assert text in " ".join(answer.out.split())


def test_spikes_need_no_number_of_steps(call: Callable[..., Any], graph: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", x=np.random.default_rng(0).integers(0, 2, (6, 4, 6)))
    told = json.loads(call("nir", "evaluate", graph, *TOLD, "--data", tmp_path / "s.npz", "--json").out)
    assert (told["steps"], told["input_bits"], told["samples"], told["float_accuracy"]) == (6, 0, 4, None)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ((), "needs a time step, which NIR does not hold: give --dt SECONDS or --origin"),
        (("--origin", "snntorch"), "say it with --reset"),
        (("--origin", "snntorch", "--reset", "subtract_later"), "which Loihi does not have"),
        (("--origin", "sinabs", "--dt", "1e-4", "--reset", "zero"), "several spikes a step"),
        (("--origin", "nowhere"), "origin 'nowhere' is unknown"),
        (TOLD, "say what to run it on with --data"),
        ((*TOLD, "--data", "DATA"), "say how many with --steps"),
        ((*TOLD, "--data", "DATA", "--steps", "4", "--input-bits", "0"), "not all 0 or 1"),
        ((*TOLD, "--data", "DATA", "--steps", "4", "--targets", "torch"), "runs no Programs"),
        ((*TOLD, "--data", "DATA", "--steps", "4", "--targets", "nowhere"), "target 'nowhere': unknown"),
        ((*TOLD, "--data", "DATA", "--steps", "4", "--targets", ","), "no target can run the Program: none was named"),
    ],
)
def test_what_is_missing_or_impossible_is_one_line(
    call: Callable[..., Any], graph: Path, data: Path, options: tuple[str, ...], reason: str
) -> None:
    answer = call("nir", "evaluate", graph, *(data if option == "DATA" else option for option in options), "--json")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("error: ")
    assert reason in answer.err
    assert answer.err.count("\n") == 1


def test_absent_and_damaged_files_are_refused(call: Callable[..., Any], graph: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.nir").write_bytes(graph.read_bytes()[:700])
    for name in ("bad.nir", "absent.nir"):
        answer = call("nir", "evaluate", tmp_path / name, *TOLD)
        assert answer.code == 2
        assert name in answer.err


def test_targets_that_differ_give_exit_code_4_after_the_result(
    call: Callable[..., Any], graph: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Liar:
        form = "program"

        def refused(self, program: Any) -> list[str]:
            return []

        def compile(self, program: Any) -> Any:
            first = program.synapses[0]
            bent = first.model_copy(update={"weight": -first.weight})
            return OnnxTarget().compile(program.model_copy(update={"synapses": (bent, *program.synapses[1:])}))

    monkeypatch.setattr(foreign, "get_target", lambda name: Liar() if name == "liar" else get_target(name))
    options = ("--data", data, "--steps", 6, "--targets", "loihi,liar", "--out", tmp_path / "r.json", "--json")
    answer = call("nir", "evaluate", graph, *TOLD, *options)
    assert answer.code == 4
    assert "liar differs from loihi" in answer.err
    told = json.loads(answer.out)
    assert told["different"] > 0
    assert not told["equal"]
    assert json.loads((tmp_path / "r.json").read_text()) == told


def test_a_target_that_refuses_gives_exit_code_2_after_the_others_ran(
    call: Callable[..., Any], graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OnnxTarget, "unsupported", lambda self, program: ["sums are not exact in float32"])
    np.savez(tmp_path / "s.npz", x=np.random.default_rng(0).random((4, 6)))
    wide = ("--data", tmp_path / "s.npz", "--steps", 4, "--input-bits", 15, "--targets", "loihi,onnx", "--json")
    answer = call("nir", "evaluate", graph, *TOLD, *wide)
    told = json.loads(answer.out)
    assert answer.code == 2
    assert list(told["refused"]) == ["onnx"]
    assert "not exact in float32" in answer.err
    assert [row["target"] for row in told["targets"]] == ["loihi"]


def test_a_run_folder_is_not_a_file(call: Callable[..., Any], tmp_path: Path) -> None:
    answer = call("nir", "evaluate", tmp_path, *TOLD)
    assert answer.code == 2
    assert str(tmp_path) in answer.err


GRID = ["node 'w': weights are on no grid of 9 bits; they will be rounded: train with 'spikeproof quantize' or compare"]


def chain(path: Path, weight: Any, decay: float = 0.5, threshold: float = 1.0) -> None:
    """Write input, weights, LIF (v <- decay v + W x at dt = 1e-4), output."""
    out, n = weight.shape
    tau = 1e-4 / (1 - decay)
    lif = nir.LIF(
        np.full(out, tau), np.full(out, tau / 1e-4), np.zeros(out), np.full(out, threshold), v_reset=np.zeros(out)
    )
    nodes = {
        "input": nir.Input(np.array([n])),
        "w": nir.Linear(weight),
        "lif": lif,
        "output": nir.Output(np.array([out])),
    }
    nir.write(str(path), nir.NIRGraph(nodes, list(zip(list(nodes), list(nodes)[1:], strict=False))))


def spiking(weight: Any, x: Any, decay: float = 0.5, threshold: float = 1.0) -> Any:
    """Spikes (time, samples, neurons) of the same network in NumPy."""
    v, found = np.zeros((x.shape[1], len(weight))), []
    for step in x.astype(np.float64):
        v = decay * v + step @ weight.T
        found.append(v > threshold)
        v[found[-1]] = 0
    return np.stack(found)


@pytest.mark.parametrize("kind", ["uint8", "int16", "float32"])
def test_counts_of_events_keep_their_rate(call: Callable[..., Any], tmp_path: Path, kind: str) -> None:
    rng = np.random.default_rng(2)
    weight = rng.normal(0.6, 0.3, (4, 6)).astype(np.float32)
    counts = rng.choice([0, 0, 0, 0, 1, 1, 2, 3], (30, 10, 6))
    chain(tmp_path / "net.nir", weight)
    np.savez(tmp_path / "c.npz", x=counts.astype(kind))
    right = spiking(weight.astype(np.float64), counts).mean()
    assert right > 0.9
    for bits in ((), ("--input-bits", 2), ("--input-bits", 8)):
        answer = call("nir", "evaluate", tmp_path / "net.nir", *TOLD, "--data", tmp_path / "c.npz", *bits, "--json")
        told = json.loads(answer.out)
        (row,) = told["spikes"]
        assert row["float_rate"] == pytest.approx(right, abs=1e-12)
        assert row["program_rate"] == pytest.approx(right, abs=0.01)
        assert (told["input_levels"], told["equal"], told["warnings"]) == (1, True, GRID)


def test_silence_is_no_agreement(call: Callable[..., Any], tmp_path: Path) -> None:
    chain(tmp_path / "net.nir", np.full((1, 6), 0.01, np.float32))
    np.savez(tmp_path / "s.npz", x=np.ones((4, 3, 6)))
    answer = call("nir", "evaluate", tmp_path / "net.nir", *TOLD, "--data", tmp_path / "s.npz", "--json")
    told = " ".join(json.loads(answer.out)["warnings"])
    assert "population 'lif': no neuron fires, neither in float nor in the Program" in told
    assert "one output neuron: every sample has the same class" in told


def test_a_loss_beyond_the_intervals_gets_a_sentence_and_a_command(call: Callable[..., Any], tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    # On 2 bits small weights beside a large one are 0: the classes that they decide are lost.
    weight = np.array([[2.0, 0.6, 0, 0], [2.0, 0, 0.6, 0], [2.0, 0, 0, 0.6]], np.float32)
    x = (rng.random((20, 200, 4)) < [0.1, 0.6, 0.6, 0.6]).astype(np.float32)
    counts = spiking(weight.astype(np.float64), x).sum(0)
    chain(tmp_path / "net.nir", weight)
    np.savez(tmp_path / "d.npz", x=x, y=counts.argmax(1))
    common = ("nir", "evaluate", tmp_path / "net.nir", *TOLD, "--data", tmp_path / "d.npz", "--json")
    eight, two = (json.loads(call(*common, "--bits", bits).out) for bits in (8, 2))
    assert eight["targets"][0]["accuracy"]["low"] > two["targets"][0]["accuracy"]["high"]
    assert not any("intervals" in text for text in eight["warnings"])
    assert "more than the intervals explain" in " ".join(two["warnings"])
    assert "'spikeproof nir evaluate net.nir --bits 8 ...' says what they cost" in " ".join(two["warnings"])


def test_the_origins_own_outputs_are_checked(call: Callable[..., Any], tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    weight = rng.normal(0.3, 0.3, (3, 6)).astype(np.float32)
    x = rng.integers(0, 2, (8, 5, 6))
    chain(tmp_path / "net.nir", weight)
    np.savez(tmp_path / "x.npz", x=x)
    own = spiking(weight.astype(np.float64), x)
    np.savez(tmp_path / "own.npz", lif=own, output=own.astype(np.float32))
    common = (
        "nir",
        "evaluate",
        tmp_path / "net.nir",
        "--data",
        tmp_path / "x.npz",
        "--reference",
        tmp_path / "own.npz",
    )
    answer = call(*common, *TOLD, "--json")
    assert (answer.code, answer.err) == (0, "")
    found = json.loads(answer.out)["reference"]
    assert found == [{"node": name, "compared": own.size, "different": 0, "first": None} for name in ("lif", "output")]
    assert "float, its origin's" in call(*common, *TOLD).out
    wrong = own.copy()
    wrong[5, 2, 1] ^= True
    np.savez(tmp_path / "own.npz", lif=wrong)
    answer = call(*common, *TOLD)
    assert answer.code == 4
    assert "node 'lif' differs from the origin's own output: 1 of 120 values, first at step 5, sample 2" in answer.err
    for name, array, reason in (("lof", own, "no node of that name"), ("lif", own[:4], "expected (time, samples")):
        np.savez(tmp_path / "own.npz", **{name: array})
        answer = call(*common, *TOLD)
        assert (answer.code, reason in answer.err) == (2, True)


def test_a_soft_reset_can_be_compared_with_the_hard_one_of_the_chip(call: Callable[..., Any], tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    # The largest is 127 steps of 8-bit weights, so that none is rounded.
    weight = rng.integers(-40, 128, (3, 6)).astype(np.float32) / 128
    weight[0, 0] = 127 / 128
    x = rng.integers(0, 2, (20, 5, 6))
    chain(tmp_path / "net.nir", weight, threshold=1.0625)
    np.savez(tmp_path / "x.npz", x=x)
    v, soft = np.zeros((5, 3)), []
    for step in x.astype(np.float64):
        v = 0.5 * v + step @ weight.T
        soft.append(v > 1.0625)
        v = v - 1.0625 * soft[-1]
    hard = spiking(weight.astype(np.float64), x, threshold=1.0625)
    common = ("nir", "evaluate", tmp_path / "net.nir", "--origin", "snntorch", "--data", tmp_path / "x.npz", "--json")
    refused = call(*common, "--reset", "subtract")
    assert refused.code == 2
    assert "'nir evaluate --as-hard' says how many" in refused.err
    answer = call(*common, "--reset", "subtract", "--as-hard")
    assert answer.code == 0, answer.err
    told = json.loads(answer.out)
    (row,) = told["spikes"]
    assert (row["float_rate"], row["program_rate"]) == (np.mean(soft), hard.mean())
    assert row["different"] == int((np.stack(soft) != hard).sum()) > 0
    assert (told["settings"]["reset"], told["settings"]["deployed_reset"]) == ("subtract", "zero")
    assert any(f"{row['different']:,} of {row['compared']:,} spikes differ" in text for text in told["warnings"])
    assert "--as-hard" in told["command"]
