import json
import os
import platform
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from spikeproof.eval.records.evaluation import machine, now, packages, read_record, write_record
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
    assert record["schema_version"] == 1
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
    assert any("40 test samples" in warning for warning in record["warnings"])


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (lambda r: r.update(schema_version=2), "schema_version"),
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


def test_the_machine_is_described_without_names_and_paths() -> None:
    found = machine()
    assert found.python == platform.python_version()
    assert found.cores == len(os.sched_getaffinity(0))
    assert platform.node() not in found.model_dump_json()
    assert str(Path.home()) not in found.model_dump_json()


def test_versions_are_those_that_are_installed() -> None:
    found = packages()
    assert found["torch"] == version("torch")
    assert found["spikeproof"] == version("spikeproof")
    assert "absent" not in found.values()


def test_now_is_utc_to_the_second() -> None:
    told = datetime.fromisoformat(now())
    assert told.tzinfo == UTC
    assert told.microsecond == 0
    assert abs(datetime.now(UTC) - told) < timedelta(seconds=5)
