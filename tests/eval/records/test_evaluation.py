import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spikeproof.eval.records.base import write_record
from spikeproof.eval.records.evaluation import read_record
from spikeproof.toolkit.code import code_hash
from spikeproof.toolkit.errors import FileError


@pytest.fixture
def record_file(run_folder: Path) -> Path:
    return run_folder / "record.json"


def test_a_record_comes_back_equal(record_file: Path, tmp_path: Path) -> None:
    record = read_record(record_file)
    write_record(tmp_path / "again.json", record)
    assert read_record(tmp_path / "again.json") == record
    assert (tmp_path / "again.json").read_bytes() == record_file.read_bytes()


def test_the_record_of_a_run_says_what_was_measured(record_file: Path) -> None:
    record = json.loads(record_file.read_text())
    assert record["schema_version"] == 2
    assert (record["code"], record["command"]) == (code_hash(), "spikeproof evaluate DIR")
    assert record["machine"]["threads"] == 1
    assert record["recipe"] == json.loads((record_file.parent / "recipe.json").read_text())
    assert record["data"]["test"] == 40
    assert [(form["form"], form["target"]) for form in record["forms"]] == [
        ("float", "torch"),
        ("quantized", "torch"),
        ("program", "loihi"),
        ("program", "onnx"),
    ]
    assert all(set(form["conditions"]) == {"clean", "fgsm@0.1", "pgd-2@0.1"} for form in record["forms"])
    assert record["comparison"]["different"] == 0
    assert record["comparison"]["program"] == record["program"]
    assert record["comparison"]["command"] == "spikeproof agree DIR --targets loihi,onnx --samples 8"
    assert any("40 test samples" in warning for warning in record["warnings"])


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (lambda r: r.pop("code"), "code"),
        (lambda r: r.update(colour=1), "colour"),
        (lambda r: r.pop("forms"), "forms"),
        (lambda r: r["forms"][2].pop("target"), r"forms\.2\.target"),
        (lambda r: r["forms"][0].update(form="chip"), r"forms\.0\.form"),
        (lambda r: r["forms"][1]["conditions"]["clean"].update(accuracy=0.5), r"forms\.1\.conditions\.clean\.accuracy"),
        (lambda r: r["machine"].update(cores="many"), r"machine\.cores"),
    ],
)
def test_a_record_of_another_schema_is_refused_by_its_key(
    record_file: Path, change: Callable[[dict[str, Any]], Any], where: str
) -> None:
    values = json.loads(record_file.read_text())
    change(values)
    record_file.write_text(json.dumps(values))
    with pytest.raises(FileError, match=rf"record\.json: key {where}: "):
        read_record(record_file)


@pytest.mark.parametrize("content", ["", "[]", "{", "3"])
def test_what_is_no_record_is_refused(record_file: Path, content: str) -> None:
    record_file.write_text(content)
    with pytest.raises(FileError, match=r"record\.json"):
        read_record(record_file)
