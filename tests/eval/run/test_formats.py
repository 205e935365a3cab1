"""Which version of the format a run folder has, and which code did its steps."""

import json
from pathlib import Path
from typing import Any

import pytest

from spikeproof.eval.records.cost import read_cost
from spikeproof.eval.records.evaluation import read_record
from spikeproof.eval.run import compare as cost_step
from spikeproof.eval.run import folder as module
from spikeproof.eval.run.evaluate import evaluate
from spikeproof.eval.run.folder import Run
from spikeproof.toolkit.code import code_hash
from spikeproof.toolkit.errors import FileError
from spikeproof.toolkit.files import read_arrays

DONE = ("train", "attack", "quantize", "export", "compare", "evaluate")


def manifest(run: Run) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run.path("run.json").read_text(encoding="utf-8"))
    return found


def rewrite(run: Run, values: Any) -> None:
    run.path("run.json").write_text(json.dumps(values), encoding="utf-8")


@pytest.fixture
def run(run_folder: Path) -> Run:
    return Run.open(run_folder)


def test_a_manifest_says_its_format_and_the_code_of_every_step(run: Run) -> None:
    found = manifest(run)
    assert found["format"] == module.FORMAT == 2
    assert {step: entry["code"] for step, entry in found["steps"].items()} == dict.fromkeys(DONE, code_hash())
    assert run.by_other_code(*DONE) == []


def test_a_manifest_without_a_version_is_read_and_written_anew(run: Run) -> None:
    old = {step: {key: entry[key] for key in ("read", "wrote")} for step, entry in manifest(run)["steps"].items()}
    rewrite(run, old)
    assert all(run.is_done(step) for step in DONE)
    assert run.by_other_code(*DONE) == list(DONE)  # Nobody knows by which code.
    run.finished("quantize")
    found = manifest(run)
    assert (found["format"], set(found["steps"])) == (2, set(DONE))
    assert run.by_other_code(*DONE) == [step for step in DONE if step != "quantize"]


def test_a_newer_manifest_is_refused_in_words(run: Run) -> None:
    rewrite(run, manifest(run) | {"format": 3})
    words = r"run\.json: written by a newer spikeproof \(format 3, this one reads up to 2\): upgrade"
    for ask in (run.is_done, run.require, run.finished):
        with pytest.raises(FileError, match=words):
            ask("train")


def test_an_evaluation_says_which_steps_other_code_did(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate(run)
    assert not any("other code" in text for text in read_record(run.path("record.json")).warnings)
    found = manifest(run)
    for step in ("attack", "export"):
        found["steps"][step]["code"] = "0" * 64
    rewrite(run, found)
    evaluate(run)
    (warning,) = [text for text in read_record(run.path("record.json")).warnings if "other code" in text]
    assert "attack, export;" in warning


def test_a_cost_that_other_code_measured_is_measured_again(run: Run) -> None:
    assert cost_step.cost(run, samples=4)
    assert not cost_step.cost(run, samples=4)
    path = run.path("cost.json")
    path.write_text(path.read_text().replace(code_hash(), "0" * 64), encoding="utf-8")
    run.finished("cost")
    assert cost_step.cost(run, samples=4)
    assert read_cost(path).code == code_hash()


def test_every_kept_file_of_a_run_says_its_format(run: Run) -> None:
    steps_files = {"model": "model", "quantized": "quantized", "program": "program", "attack-fgsm-0.1": "attack"}
    for name, kind in steps_files.items():
        assert read_arrays(run.path(f"{name}.safetensors"), kind)[1]["format"] == 1, name
