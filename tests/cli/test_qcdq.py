"""The export step and Brevitas' QCDQ form: written, compared, kept by the manifest, and left out with the reason."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from spikeproof.eval.run import steps
from spikeproof.eval.run.folder import Run
from spikeproof.toolkit.errors import UnsupportedError


def test_export_writes_it_and_says_how_it_agrees(finished: Path) -> None:
    onnx.checker.check_model(onnx.load(str(finished / "network-qcdq.onnx")), full_check=True)
    told = json.loads((finished / "export.json").read_text())
    samples = told["qcdq"]["samples"]
    assert samples == 40  # the recipe's test images
    assert told["qcdq"] | {"largest": 0} == {
        "samples": samples,
        "same_logits": samples,
        "same_classes": samples,
        "largest": 0,
    }
    assert told["without_qcdq"] == []
    assert "network-qcdq.onnx" in json.loads((finished / "run.json").read_text())["steps"]["export"]["wrote"]


def test_a_changed_file_is_noticed(call: Callable[..., Any], run_folder: Path) -> None:
    assert Run.open(run_folder).is_done("export")
    (run_folder / "network-qcdq.onnx").write_bytes(b"other")
    assert not Run.open(run_folder).is_done("export")
    answer = call("evaluate", run_folder)
    assert answer.code == 2
    assert "network-qcdq.onnx: changed since step 'export' wrote it" in answer.err


def test_what_cannot_be_written_is_left_out_with_the_reason(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise UnsupportedError("QCDQ: no")

    monkeypatch.setattr("spikeproof.export.formats.qcdq.write_qcdq", refuse)
    result = steps.export(Run.open(run_folder))
    assert (result.qcdq, result.without_qcdq) == (None, ["QCDQ: no"])
    assert not (run_folder / "network-qcdq.onnx").exists()
    assert "network-qcdq.onnx" not in json.loads((run_folder / "run.json").read_text())["steps"]["export"]["wrote"]
