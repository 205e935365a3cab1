import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from spikeproof import __version__

COMMANDS = [
    "train",
    "attack",
    "quantize",
    "export",
    "simulate",
    "compare",
    "profiles",
    "check",
    "fit",
    "support",
    "evaluate",
    "explain",
    "run",
    "demo",
    "targets",
    "doctor",
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
    asked = [["--version"], ["--help"], ["lava", "--help"], *([command, "--help"] for command in COMMANDS)]
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
