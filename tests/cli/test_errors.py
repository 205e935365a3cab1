"""Bad input of every kind: one line that names it, the exit code, and nothing else has changed."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from spikeproof.eval.run import steps
from spikeproof.export.formats.onnx import write_onnx
from spikeproof.export.program import Population, Program, read_program
from spikeproof.hw_targets import TARGETS
from spikeproof.hw_targets.loihi.simulator import LoihiTarget
from spikeproof.toolkit.errors import DisagreementError, SpikeproofError

Spoil = Callable[[Path], Any]


def cut(name: str) -> Spoil:
    return lambda run: (run / name).write_bytes((run / name).read_bytes()[:-1])


def flip(name: str) -> Spoil:
    def spoil(run: Path) -> None:
        content = bytearray((run / name).read_bytes())
        content[len(content) // 2] ^= 1
        (run / name).write_bytes(content)

    return spoil


def text(name: str, content: str) -> Spoil:
    return lambda run: (run / name).write_text(content)


def copy(source: str, name: str) -> Spoil:
    return lambda run: shutil.copy(run / source, run / name)


def foreign(name: str) -> Spoil:
    return lambda run: save_file({"x": np.zeros(3)}, run / name)


def remove(name: str) -> Spoil:
    return lambda run: (run / name).unlink()


def npz(**arrays: Any) -> Spoil:
    return lambda run: np.savez(run / "mine.npz", **arrays)


def other_onnx(run: Path) -> None:
    program = read_program(run / "program.safetensors")
    write_onnx(run / "network.onnx", Program(**{**dict(program), "steps": 1}))


def other_program(run: Path) -> None:
    arrays = dict(read_program(run / "program.safetensors"))
    first, *rest = arrays["populations"]
    changed = Program(**{**arrays, "populations": (Population(**{**dict(first), "vth": first.vth + 1}), *rest)})
    steps.write_program(run / "program.safetensors", changed)


X = np.random.default_rng(0).random((4, 8, 8), dtype=np.float32)
MODEL, QUANTIZED, PROGRAM, ONNX = "model.safetensors", "quantized.safetensors", "program.safetensors", "network.onnx"
SIMULATE = ("simulate", "RUN", "--images", "RUN/mine.npz")

CASES = [
    ("model cut", cut(MODEL), ("attack", "RUN"), MODEL),
    ("model flipped", flip(MODEL), ("quantize", "RUN"), MODEL),
    ("model foreign", foreign(MODEL), ("attack", "RUN"), MODEL),
    (
        "model of another kind",
        copy(QUANTIZED, MODEL),
        ("attack", "RUN"),
        f"{MODEL}: holds 'quantized'",
    ),
    ("model missing", remove(MODEL), ("evaluate", "RUN"), MODEL),
    ("quantized cut", cut(QUANTIZED), ("export", "RUN"), QUANTIZED),
    ("quantized of another kind", copy(MODEL, QUANTIZED), ("evaluate", "RUN"), QUANTIZED),
    ("program cut", cut(PROGRAM), ("simulate", "RUN"), PROGRAM),
    ("program foreign", foreign(PROGRAM), ("agree", "RUN", "-t", "loihi,onnx"), PROGRAM),
    ("program of another kind", copy(MODEL, PROGRAM), ("evaluate", "RUN"), PROGRAM),
    ("program of another run", other_program, ("agree", "RUN", "-t", "loihi,onnx"), f"{PROGRAM}: changed since"),
    ("onnx cut", cut(ONNX), ("evaluate", "RUN"), ONNX),
    ("onnx empty", text(ONNX, ""), ("evaluate", "RUN"), ONNX),
    ("onnx of another program", other_onnx, ("evaluate", "RUN"), f"{ONNX}: changed since step 'export' wrote it"),
    ("nir flipped", flip("network.nir"), ("evaluate", "RUN"), "network.nir: changed since step 'export' wrote it"),
    ("side-car changed", text("network.json", "{}"), ("evaluate", "RUN"), "network.json: changed since"),
    ("attack cut", cut("attack-fgsm-0.1.safetensors"), ("evaluate", "RUN"), "attack-fgsm-0.1.safetensors"),
    ("attacks changed", text("attacks.json", "{}"), ("evaluate", "RUN"), "attacks.json: changed since step 'attack'"),
    ("recipe in the run", text("recipe.json", "[]"), ("train", "RECIPE", "-o", "RUN"), "recipe.json"),
    ("recipe changed", text("recipe.json", "{}"), ("attack", "RUN"), "recipe.json: changed since step 'train'"),
    ("another recipe", text("b.toml", "train.epochs = 7"), ("train", "RUN/b.toml", "-o", "RUN"), "another recipe"),
    ("manifest broken", text("run.json", "{"), ("attack", "RUN"), "run.json: not a JSON file"),
    ("manifest foreign", text("run.json", "[]"), ("attack", "RUN"), "run.json: not a run's manifest"),
    ("manifest empty", text("run.json", "{}"), ("attack", "RUN"), "step 'train' has not been run"),
    ("manifest half made", text("run.json", '{"train": {"read": [1]}}'), ("attack", "RUN"), "run.json"),
    ("no run", None, ("attack", "RUN/absent"), "absent: no run here"),
    ("no recipe", None, ("train", "absent.toml", "-o", "RUN/new"), "absent.toml: no such file; built-in recipes:"),
    ("recipe not toml", text("b.toml", "= 3"), ("train", "RUN/b.toml", "-o", "RUN/new"), "b.toml: not valid TOML"),
    (
        "recipe key",
        text("b.toml", "train.epoch = 3"),
        ("train", "RUN/b.toml", "-o", "RUN/n"),
        "train.epoch: ",
    ),
    ("recipe type", text("b.toml", "train.epochs = '3'"), ("run", "RUN/b.toml", "-o", "RUN/n"), "train.epochs: "),
    ("recipe value", text("b.toml", "quantize.bits = 9"), ("train", "RUN/b.toml", "-o", "RUN/n"), "quantize.bits: "),
    ("out is a file", None, ("train", "RECIPE", "-o", "RUN/run.json"), "run.json: is a file; give --out a folder"),
    ("out in a file", None, ("train", "RECIPE", "-o", "RUN/run.json/x"), "run.json/x"),
    ("unknown target", None, ("simulate", "RUN", "-t", "gpu"), "target 'gpu': unknown; known targets: torch, loihi"),
    ("float target", None, ("simulate", "RUN", "-t", "torch"), "target 'torch': runs the float network"),
    ("unknown in compare", None, ("agree", "RUN", "-t", "loihi,gpu"), "target 'gpu': unknown"),
    ("one to compare", None, ("agree", "RUN", "-t", "loihi"), "targets: loihi; name at least two"),
    ("unknown in evaluate", None, ("evaluate", "RUN", "-t", "gpu"), "target 'gpu': unknown"),
    ("device", None, ("evaluate", "RUN", "--device", "nonsense"), "nonsense"),
    ("no images file", None, SIMULATE, "mine.npz: no such file"),
    ("images no archive", text("mine.npz", "x"), SIMULATE, "mine.npz: not a readable .npz archive"),
    ("images unnamed", npz(images=X), SIMULATE, "mine.npz: no array named x; it has images"),
    ("images NaN", npz(x=np.where(X > 0.5, np.nan, X)), SIMULATE, "mine.npz: x: NaN or infinity in image 0"),
    ("images too small", npz(x=X[:, :7]), SIMULATE, "mine.npz: x: images of shape (1, 7, 8), expected (1, 8, 8)"),
    ("images too bright", npz(x=X * 255), SIMULATE, "mine.npz: x: values from"),
    ("images of integers", npz(x=np.ones((4, 8, 8), int)), SIMULATE, "mine.npz: x: values of type int64"),
    ("images pickled", npz(x=np.array([{}])), SIMULATE, "mine.npz: not a readable .npz archive"),
    ("labels out of range", npz(x=X, y=np.array([0, 1, 2, 10])), SIMULATE, "mine.npz: y: label 10 at index 3"),
    ("labels too few", npz(x=X, y=np.arange(3)), SIMULATE, "mine.npz: y: int64 of shape (3,), expected 4 integers"),
    ("labels of floats", npz(x=X, y=np.arange(4.0)), SIMULATE, "mine.npz: y: float64"),
    ("labels pickled", npz(x=X, y=np.array([{}, 1, 2, 3])), SIMULATE, "mine.npz: "),
]


@pytest.mark.parametrize(
    ("spoil", "arguments", "named"), [pytest.param(*case[1:4], id=case[0], marks=case[4:]) for case in CASES]
)
def test_bad_input_is_refused_in_one_line_and_changes_nothing(
    run_folder: Path,
    recipe_file: Path,
    call: Callable[..., Any],
    contents: Callable[[Path], dict[str, str]],
    spoil: Spoil | None,
    arguments: tuple[str, ...],
    named: str,
) -> None:
    if spoil is not None:
        spoil(run_folder)
    before = contents(run_folder)
    places = {"RUN": str(run_folder), "RECIPE": str(recipe_file)}
    given = [part.replace("RUN", places["RUN"]).replace("RECIPE", places["RECIPE"]) for part in arguments]
    answer = call(*given, "--json")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("error: ")
    assert answer.err.count("\n") == 1
    assert named in answer.err
    assert contents(run_folder) == before


@pytest.mark.parametrize("options", [("-t", "gpu"), ("--images", "absent.npz")])
def test_progress_bars_add_no_line_where_there_is_no_terminal(
    run_folder: Path, call: Callable[..., Any], options: tuple[str, ...]
) -> None:
    answer = call("simulate", run_folder, *options)
    assert answer.err.count("\n") == 1
    assert answer.err.startswith("error: ")


@pytest.mark.parametrize("command", ["agree", "simulate", "evaluate"])
def test_a_target_that_is_absent_says_how_to_get_it(
    run_folder: Path,
    call: Callable[..., Any],
    contents: Callable[[Path], dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    command: str,
) -> None:
    monkeypatch.setenv("SPIKEPROOF_CACHE", str(tmp_path / "empty"))
    before = contents(run_folder)
    answer = call(command, run_folder, "-t", "lava" if command == "simulate" else "loihi,lava", "--json")
    assert (answer.code, answer.out) == (3, "")
    assert answer.err.startswith("error: target 'lava': unavailable: ")
    assert "spikeproof lava install" in answer.err
    assert contents(run_folder) == before


class Bent(LoihiTarget.__mro__[1]):  # type: ignore[misc, name-defined]
    """Has every threshold one higher."""

    name = "bent"
    summary = "almost right"

    def unsupported(self, network: Program) -> list[str]:
        return []

    def _compile(self, network: Program) -> Any:
        higher = (Population(**{**dict(p), "vth": p.vth // 2}) for p in network.populations)
        return LoihiTarget().compile(Program(**{**dict(network), "populations": tuple(higher)}))


@pytest.fixture
def with_bent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TARGETS.built_in, "bent", "loihi.simulator:Bent")
    monkeypatch.setattr("spikeproof.hw_targets.loihi.simulator.Bent", Bent, raising=False)


@pytest.mark.usefixtures("with_bent")
def test_forms_that_differ_are_told_with_the_place_and_code_4(run_folder: Path, call: Callable[..., Any]) -> None:
    answer = call("agree", run_folder, "-t", "loihi,onnx,bent", "-n", 4, "--json")
    assert answer.code == 4
    assert not json.loads(answer.out)["equal"]
    assert answer.err.startswith("error: bent differs from loihi: ")
    assert "population 'lif1' at step 0" in answer.err
    assert answer.err.count("\n") == 1


@pytest.mark.usefixtures("with_bent")
def test_a_difference_is_shown_before_it_fails(run_folder: Path, call: Callable[..., Any]) -> None:
    answer = call("agree", run_folder, "-t", "loihi,bent", "-n", 4)
    assert answer.code == 4
    assert "NOT equal" in answer.out


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (RuntimeError("oh\nno"), 1, "error: internal failure, please report it: RuntimeError: oh no"),
        (SpikeproofError("several\n  lines"), 2, "error: several lines"),
        (DisagreementError("x"), 4, "error: x"),
        (KeyboardInterrupt(), 130, "error: interrupted; run the same command again to go on"),
    ],
    ids=["bug", "refused", "different", "interrupted"],
)
def test_every_error_ends_in_one_line_and_its_own_code(
    run_folder: Path, call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, error: Any, code: int, line: str
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(steps, "attack", fail)
    answer = call("attack", run_folder, "--json")
    assert (answer.code, answer.out) == (code, "")
    assert answer.err.splitlines()[-1] == line
    assert code == 1 or answer.err == line + "\n"


def test_an_internal_failure_shows_where_it_happened(
    run_folder: Path, call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "attack", lambda *_, **__: {}["missing"])
    assert "Traceback" in call("attack", run_folder, "--json").err


@pytest.mark.parametrize("arguments", [("attak",), ("attack",), ("attack", "x", "--bogus"), ("train", "digits")])
def test_wrong_usage_is_code_2_and_prints_nothing_on_standard_output(
    call: Callable[..., Any], arguments: tuple[str, ...]
) -> None:
    answer = call(*arguments)
    assert (answer.code, answer.out) == (2, "")
    assert "Usage" in answer.err
