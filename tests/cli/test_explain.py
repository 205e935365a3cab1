"""``spikeproof explain``: what is written, printed and refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikeproof.eval.explain.verdict import verdict
from spikeproof.eval.records.explanation import Explanation, read
from spikeproof.eval.run import explain as step
from spikeproof.eval.run.folder import Run
from spikeproof.export.program import read_program
from spikeproof.hw_targets.lava.client import LavaTarget
from spikeproof.hw_targets.loihi.simulator import LoihiTarget
from spikeproof.toolkit.coding import direct_integers
from spikeproof.toolkit.data import load_data

Call = Callable[..., Any]
ROOT = Path(__file__).resolve().parents[2]
SAMPLES = 20


def facts(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key not in ("created", "seconds")}


def test_record_and_page_are_written_and_nothing_else_changes(
    call: Call, run_folder: Path, contents: Callable[[Path], dict[str, str]]
) -> None:
    before = contents(run_folder)
    answer = call("explain", run_folder, "--samples", SAMPLES, "--no-lava", "--json")
    assert (answer.code, answer.err) == (0, "")
    after = contents(run_folder)
    assert {name for name in before if before[name] != after[name]} == {"run.json"}
    assert set(after) - set(before) == {"explain.json", "explain.html"}
    assert Run.open(run_folder).is_done("explain")
    found = json.loads(answer.out)
    record = read(run_folder / "explain.json")
    assert {key: found[key] for key in record.model_dump(mode="json")} == record.model_dump(mode="json")
    assert str(run_folder) not in (run_folder / "explain.json").read_text() + (run_folder / "explain.html").read_text()
    assert [stage.name for stage in record.stages] == [
        "float",
        "folded",
        "quantized",
        "Program, delay 0",
        "Program",
    ]  # The recipe fine-tunes for no epoch.
    assert record.program_differs == 0
    program = read_program(run_folder / "program.safetensors")
    data = load_data(Run.open(run_folder).recipe().data)
    classes = LoihiTarget().compile(program).run(direct_integers(data.test_images[:SAMPLES], 3)).classes
    assert record.stages[-1].accuracy.correct == int((classes == data.test_labels[:SAMPLES]).sum())
    again = call("explain", run_folder, "--samples", SAMPLES, "--no-lava")
    assert again.code == 0
    assert facts(read(run_folder / "explain.json").model_dump()) == facts(record.model_dump())
    words = " ".join(again.out.split())
    for sentence in record.verdict:
        assert " ".join(sentence.split()) in words


def test_a_lava_that_differs_is_a_disagreement(call: Call, run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Lava that is loihi's arithmetic of another package."""
    monkeypatch.setattr(LavaTarget, "unavailable", lambda self: None)
    monkeypatch.setattr(
        LavaTarget, "_compile", lambda self, program: LoihiTarget(profile="nengo_loihi").compile(program)
    )
    answer = call("explain", run_folder, "--samples", SAMPLES)
    record = read(run_folder / "explain.json")
    last = record.pairs[-1]
    assert last.after == "Lava"
    assert last.effect.different > 0
    assert [reason.code for reason in last.reasons] == ["target"]
    assert answer.code == 4
    assert f"Lava fires {last.effect.different} of {last.effect.compared}" in answer.err


def test_without_lava_the_walk_ends_at_the_program(
    call: Call, run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LavaTarget, "unavailable", lambda self: "run 'spikeproof lava install'")
    answer = call("explain", run_folder, "--samples", 4)
    assert answer.code == 0
    assert read(run_folder / "explain.json").notes[0] == "Lava was not run: run 'spikeproof lava install'."
    asked = call("explain", run_folder, "--samples", 4, "--lava")
    assert (asked.code, asked.err.count("\n")) == (3, 1)
    assert "lava install" in asked.err


@pytest.mark.usefixtures("need_lava")
def test_lava_itself(call: Call, run_folder: Path) -> None:
    answer = call("explain", run_folder, "--samples", 3, "--lava", "--json")
    assert answer.code == 0
    last = json.loads(answer.out)["pairs"][-1]
    assert (last["after"], last["effect"]["different"], last["effect"]["paired"]["samples"]) == ("Lava", 0, 3)


def test_a_file_that_changed_is_refused(call: Call, run_folder: Path) -> None:
    (run_folder / "network.nir").write_bytes(b"")
    answer = call("explain", run_folder, "--no-lava")
    assert answer.code == 2
    assert "run 'spikeproof export" in answer.err
    assert not (run_folder / "explain.json").exists()


def test_the_committed_explanation_is_of_the_committed_demo() -> None:
    record = read(ROOT / "records" / "explain" / "digits.json")
    demo = json.loads((ROOT / "records" / "digits" / "demo.json").read_text(encoding="utf-8"))
    assert record.program.sha256 == demo["program"]["sha256"]
    assert record.data.sha256 == demo["data"]["sha256"]
    assert record.samples == 500
    assert verdict(record) == record.verdict
    assert record.program_differs == 0
    forms = {(form["form"], form["target"]): form["conditions"]["clean"]["accuracy"] for form in demo["forms"]}
    stages = {stage.name: stage.accuracy.model_dump() for stage in record.stages}
    for key, name in (
        (("float", "torch"), "float"),
        (("quantized", "torch"), "quantized"),
        (("program", "loihi"), "Program"),
    ):
        assert stages[name] == forms[key]


def test_the_terminal_marks_a_fault(call: Call, run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    call("explain", run_folder, "--samples", 4, "--no-lava")
    record = read(run_folder / "explain.json")
    fault = record.causes[0].model_copy(update={"code": "wrong_leak", "title": "wrong leak", "kind": "fault"})
    planted: Explanation = record.model_copy(update={"causes": [fault], "verdict": ["A [planted] fault."]})
    monkeypatch.setattr(step, "explain", lambda *arguments, **options: planted)
    answer = call("explain", run_folder)
    assert "A [planted] fault." in answer.out
    assert "wrong leak" in answer.out
    assert np.char.count(answer.out, "fault") >= 2


def test_layers_and_how_much_they_may_cost(call: Call, run_folder: Path) -> None:
    assert call("explain", run_folder, "-n", 10, "--no-lava", "--loss", "20").code == 0
    record = read(run_folder / "explain.json")
    assert record.layers is not None
    assert record.layers.loss == 20
    assert record.command == "spikeproof explain DIR --samples 10 --no-lava --loss 20.0"
    assert [one.own for one in record.layers.layers] == [8] * len(record.layers.layers)
    answer = call("explain", run_folder, "-n", 10, "--no-lava", "--no-layers")
    record = read(run_folder / "explain.json")
    assert (answer.code, record.layers) == (0, None)
    assert "alone quantized" not in answer.out
    assert record.command == "spikeproof explain DIR --samples 10 --no-lava --no-layers"
    assert call("explain", run_folder, "--loss", "-1").code == 2
