"""``spikeproof fit``: files, exit codes, and what is printed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spikeproof.eval.records.fit import read_fit
from spikeproof.eval.run.folder import Run
from spikeproof.export.program import read_program, write_program

Call = Callable[..., Any]


def test_both_chips_are_recorded_and_drawn_on_one_page(
    call: Call, run_folder: Path, contents: Callable[[Path], dict[str, str]]
) -> None:
    before = contents(run_folder)
    first = call("fit", run_folder, "--chip", "loihi1")
    assert (first.code, first.err) == (5, ""), "8-bit input is graded spikes, which Loihi 1 has not"
    assert "refused: input 'input': messages of 8 bits" in first.out
    assert "Loihi 1: refused" in first.out
    second = call("fit", run_folder, "--chip", "loihi2", "--mapper", "greedy", "--samples", 2, "--json")
    assert (second.code, second.err) == (0, "")
    found = json.loads(second.out)
    assert (found["verdict"], found["mapper"], found["chip"]) == ("fits", "greedy", "loihi2")
    record = read_fit(run_folder / "fit-loihi2.json").model_dump(mode="json")
    assert record == {key: found[key] for key in record}
    assert record["program"]["sha256"] == read_program(run_folder / "program.safetensors").sha256()
    after = contents(run_folder)
    assert set(after) - set(before) == {"fit-loihi1.json", "fit-loihi2.json", "fit.html"}
    assert {name for name in before if before[name] != after[name]} == {"run.json"}
    assert Run.open(run_folder).is_done("fit")
    page = (run_folder / "fit.html").read_text()
    assert 'id="loihi1"' in page
    assert 'id="loihi2"' in page
    assert str(run_folder) not in page


def test_a_record_of_another_program_is_not_drawn(call: Call, run_folder: Path) -> None:
    call("fit", run_folder, "--chip", "loihi1", "--samples", 0)
    path = run_folder / "fit-loihi1.json"
    path.write_text(path.read_text().replace(read_fit(path).program.sha256, "0" * 64))
    assert call("fit", run_folder, "--chip", "loihi2", "--samples", 0).code == 0
    assert 'id="loihi1"' not in (run_folder / "fit.html").read_text()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--chip", "loihi3"), "chip 'loihi3': unknown; known chips: loihi1, loihi2"),
        (("--mapper", "best"), "--mapper best"),
    ],
)
def test_unknown_names_are_refused(call: Call, run_folder: Path, options: tuple[str, ...], named: str) -> None:
    answer = call("fit", run_folder, *options)
    assert answer.code == 2
    assert named in answer.err
    assert not (run_folder / "fit.html").exists()


def test_a_program_that_changed_since_is_refused(call: Call, run_folder: Path) -> None:
    path = run_folder / "program.safetensors"
    program = read_program(path)
    write_program(path, program.model_copy(update={"steps": program.steps + 1}))
    answer = call("fit", run_folder)
    assert answer.code == 2
    assert "changed since step 'export'" in answer.err
