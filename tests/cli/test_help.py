import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spikeproof import __version__
from spikeproof.cli.old import translated

COMMANDS = [
    "train",
    "attack",
    "quantize",
    "export",
    "simulate",
    "compare",
    "profiles",
    "agree",
    "robustness",
    "prove",
    "fit",
    "faults",
    "decision",
    "support",
    "evaluate",
    "explain",
    "run",
    "demo",
    "targets",
    "doctor",
    "list",
]
HEAVY = [
    "torch",
    "snntorch",
    "brevitas",
    "art",
    "onnx",
    "onnxruntime",
    "nir",
    "sklearn",
    "lightning_fabric",
    "networkx",
    "scipy",
]

LOADED = """
import sys
from spikeproof.cli import main
loaded = {}
for arguments in %r:
    sys.argv = ["spikeproof", *arguments]
    try:
        main()
    except SystemExit as error:
        assert not error.code, arguments
    loaded[" ".join(arguments)] = sorted(set(%r) & set(sys.modules))
import json
sys.stderr.write(json.dumps(loaded))
"""


def test_help_loads_no_heavy_library() -> None:
    asked = [
        ["--version"],
        ["--help"],
        ["lava", "--help"],
        ["nir", "check", "--help"],
        ["nir", "evaluate", "--help"],
        *([command, "--help"] for command in COMMANDS),
    ]
    code = LOADED % (asked, HEAVY)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    loaded = json.loads(done.stderr)
    assert {key: found for key, found in loaded.items() if found} == {}
    assert len(loaded) == len(asked)


def test_the_module_is_the_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "spikeproof", "--version"], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == f"spikeproof {__version__}\n"
    assert done.stderr == ""


def test_help_names_every_command_and_every_exit_code(call: Callable[..., Any]) -> None:
    answer = call("--help")
    assert answer.code == 0
    assert all(command in answer.out for command in COMMANDS)
    assert all(f"{code} " in answer.out for code in (0, 1, 2, 3, 4, 5, 130))


def test_no_command_is_wrong_usage_and_shows_help(call: Callable[..., Any]) -> None:
    answer = call()
    assert answer.code == 2
    assert "Usage" in answer.out + answer.err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(call: Callable[..., Any], command: str) -> None:
    answer = call(command, "--help")
    assert (answer.code, answer.err) == (0, "")
    assert "--json" in answer.out


OLD = [
    (["check", "x.nir", "--strict"], ["nir", "check", "x.nir", "--strict"]),
    (["evaluate", "x.nir", "--data", "d.npz"], ["nir", "evaluate", "x.nir", "--data", "d.npz"]),
    (["evaluate", "run", "--protocol", "quick", "-n", "3"], ["robustness", "run", "--protocol", "quick", "-n", "3"]),
    (["evaluate", "run", "--protocol=quick"], ["robustness", "run", "--protocol=quick"]),
    (["compare", "run", "--bitwise"], ["agree", "run"]),
    (["compare", "--bitwise", "run", "-t", "loihi,onnx"], ["agree", "run", "-t", "loihi,onnx"]),
    (["compare", "run", "--targets=loihi,onnx"], ["agree", "run", "--targets=loihi,onnx"]),
]


@pytest.mark.parametrize(("old", "new"), OLD)
def test_old_spellings_become_new_ones_with_a_note(old: list[str], new: list[str]) -> None:
    found, note = translated(old)
    assert found == new
    assert note is not None
    assert f"'spikeproof {' '.join(new[: 2 if new[0] == 'nir' else 1])}'" in note


@pytest.mark.parametrize(
    "words",
    [[], ["--help"], ["evaluate", "run", "-t", "loihi"], ["compare", "run", "--csv", "x"], ["nir", "check", "x.nir"]],
)
def test_new_spellings_are_left_alone(words: list[str]) -> None:
    assert translated(words) == (words, None)


def test_an_old_spelling_runs_and_says_so(call: Callable[..., Any], finished: Path) -> None:
    answer = call("compare", finished, "--targets", "loihi,twin", "-n", 2, "--json")
    assert answer.code == 0
    assert json.loads(answer.out)["equal"]
    assert (
        answer.err
        == "note: 'spikeproof compare' in this use is now 'spikeproof agree'; the old spelling goes with 0.3\n"
    )


def test_help_follows_the_road(call: Callable[..., Any]) -> None:
    text = call("--help").out
    road = ("demo", "run", "train", "evaluate", "robustness", "nir", "study", "leaderboard", "targets", "doctor")
    places = [text.index(f"\u2502 {command} ") for command in road]
    assert places == sorted(places)


def test_targets_given_again_join_and_other_options_are_refused(call: Callable[..., Any], run_folder: Path) -> None:
    for words in (("-t", "nosuch", "-t", "loihi"), ("-t", "loihi", "-t", "nosuch"), ("-t", "loihi,nosuch")):
        answer = call("agree", run_folder, *words)
        assert (answer.code, "target 'nosuch': unknown" in answer.err) == (2, True), words
    twice: tuple[tuple[Any, ...], ...] = (
        ("simulate", run_folder, "-t", "nosuch", "-t", "loihi"),
        ("nir", "check", "x.nir", "--dt", 1, "--dt", 2),
    )
    for given in twice:
        answer = call(*given)
        assert answer.code == 2
        assert "is given twice" in answer.err
    assert call("targets", "--json", "--json").code == 0
