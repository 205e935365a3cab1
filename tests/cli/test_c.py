"""``export --c`` and ``simulate --target c``: what is written, printed and refused."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spikeproof.eval.run import c_file
from spikeproof.export.program import read_program
from spikeproof.hw_targets.c.target import CTarget
from spikeproof.toolkit.kernels import native

Call = Callable[..., Any]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(native.CACHE_VARIABLE, str(tmp_path / "cache"))


def test_a_c_file_with_samples_and_what_they_give(
    call: Call, run_folder: Path, tmp_path: Path, contents: Callable[[Path], dict[str, str]], need_compiler: str
) -> None:
    before = contents(run_folder)
    answer = call("export", run_folder, "--c", tmp_path / "c" / "net.c", "--json")
    assert (answer.code, answer.err) == (0, "")
    assert contents(run_folder) == before
    found = json.loads(answer.out)
    program = read_program(run_folder / "program.safetensors")
    assert (found["step"], found["equal_to_loihi"], found["program_sha256"]) == ("c-file", True, program.sha256())
    assert 0 < found["additions_a_step"] < found["most_additions_a_step"]
    made = tmp_path / "net"
    subprocess.run([need_compiler, "-std=c99", "-O2", "-o", str(made), found["file"]], check=True)
    printed = subprocess.run([made, found["samples_file"]], capture_output=True, text=True, check=True).stdout
    assert printed == Path(found["expected_file"]).read_text()
    assert printed.count("\n") == found["samples"] == c_file.SAMPLES


def test_without_a_compiler_the_file_is_written_and_that_is_said(
    call: Call, run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CTarget, "unavailable", lambda self: "no C compiler; install one")
    monkeypatch.setattr(c_file, "compiled_sizes", lambda text: [])
    answer = call("export", run_folder, "--c", tmp_path / "net.c", "--json")
    found = json.loads(answer.out)
    assert (answer.code, found["equal_to_loihi"]) == (0, None)
    assert found["without_compiler"] == "no C compiler; install one"
    assert (tmp_path / "net.c").read_text().startswith("/* The Program of network tiny in C99")


@pytest.mark.parametrize(
    ("options", "why"),
    [(("--c", "net.txt"), "must end in .c"), (("--c", "net.c", "--lava-project", "lava"), "one at a time")],
)
def test_what_is_refused(call: Call, run_folder: Path, options: tuple[str, ...], why: str) -> None:
    answer = call("export", run_folder, *options)
    assert answer.code == 2
    assert why in " ".join(answer.err.split())


@pytest.mark.usefixtures("need_compiler")
def test_simulate_and_agree(call: Call, run_folder: Path) -> None:
    answer = call("simulate", run_folder, "--target", "c", "--samples", 5, "--json")
    assert (answer.code, answer.err) == (0, "")
    assert json.loads(answer.out)["target"] == "c"
    answer = call("agree", run_folder, "--targets", "loihi,c", "--samples", 5, "--json")
    assert (answer.code, answer.err) == (0, "")
    assert json.loads(answer.out)["equal"] is True
