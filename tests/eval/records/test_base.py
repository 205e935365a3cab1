"""What all records share: the header, intervals, commands, schemas."""

import ast
import json
import os
import platform
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spikeproof.eval.records.base import (
    Part,
    Record,
    command_line,
    header,
    machine,
    now,
    packages,
    read_model,
    share,
    share_of,
    write_record,
)
from spikeproof.toolkit.code import code_hash, revision
from spikeproof.toolkit.errors import FileError

EVAL = Path(__file__).resolve().parents[3] / "eval"


def test_the_header_names_code_revision_command_and_machine() -> None:
    record = Record(**header("x", "spikeproof run x"))
    assert (record.schema_version, record.name, record.command) == (2, "x", "spikeproof run x")
    assert record.code == code_hash()
    assert (record.revision, record.dirty) == (revision().commit, revision().dirty)
    assert record.machine is not None
    assert record.machine.threads == torch.get_num_threads()
    assert (record.data, record.program, record.recipe) == (None, None, None)


def test_a_record_comes_back_equal_and_cannot_be_changed(tmp_path: Path) -> None:
    record = Record(**header("x", "spikeproof run x"))
    write_record(tmp_path / "x.json", record)
    assert read_model(Record, tmp_path / "x.json", "run it") == record
    with pytest.raises(ValueError, match="frozen"):
        record.name = "y"  # type: ignore[misc]


def test_a_record_of_a_newer_schema_is_refused_in_words(tmp_path: Path) -> None:
    values = Record(**header("x", "y")).model_dump(mode="json") | {"schema_version": 3, "colour": "unknown here"}
    (tmp_path / "x.json").write_text(json.dumps(values))
    with pytest.raises(FileError, match=r"x\.json: written by a newer spikeproof \(format 3, this one reads up to 2\)"):
        read_model(Record, tmp_path / "x.json", "run it")


@pytest.mark.parametrize("number", ["2", None, 0, -1, True, 1.5])
def test_a_schema_that_is_no_version_is_refused(tmp_path: Path, number: Any) -> None:
    (tmp_path / "x.json").write_text(json.dumps({"schema_version": number}))
    with pytest.raises(FileError, match=r"x\.json: format .* is not a version"):
        read_model(Record, tmp_path / "x.json", "run it")


def test_what_a_record_of_schema_1_did_not_keep_is_marked_as_unknown(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps({"schema_version": 1, "created": "then"}))
    record = read_model(Record, tmp_path / "x.json", "run it")
    assert (record.name, record.created) == ("unknown", "then")
    assert (record.code, record.revision, record.dirty, record.command, record.machine) == (None,) * 5


def test_a_record_of_schema_2_without_its_code_is_refused(tmp_path: Path) -> None:
    values = Record(**header("x", "y")).model_dump(mode="json")
    del values["code"]
    (tmp_path / "x.json").write_text(json.dumps(values))
    with pytest.raises(FileError, match=r"x\.json: key code: Field required; run it again"):
        read_model(Record, tmp_path / "x.json", "run it")


@pytest.mark.parametrize(("correct", "samples"), [(0, 1), (1, 1), (0, 40), (17, 40), (40, 40), (499, 500)])
def test_the_interval_is_wilsons(correct: int, samples: int) -> None:
    # (p + z^2/2n -+ z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2/n), Wilson 1927
    p, z = correct / samples, 1.959963984540054
    middle, room = p + z * z / (2 * samples), z * np.sqrt(p * (1 - p) / samples + (z / samples) ** 2 / 4)
    found = share_of(correct, samples)
    assert (found.value, found.correct, found.samples) == (p, correct, samples)
    assert found.low == pytest.approx((middle - room) / (1 + z * z / samples), abs=1e-12)
    assert found.high == pytest.approx((middle + room) / (1 + z * z / samples), abs=1e-12)
    assert share(np.arange(samples) < correct) == found


@pytest.mark.parametrize(
    ("options", "typed"),
    [
        ({}, "spikeproof compare DIR"),
        ({"targets": ["loihi", "onnx"], "samples": 8, "bitwise": True}, "--targets loihi,onnx --samples 8 --bitwise"),
        ({"again": False, "csv": None, "input_bits": 0}, "--input-bits 0"),
        ({"methods": ["at+sr", "a b"]}, "--methods 'at+sr,a b'"),
    ],
)
def test_commands_are_written_as_they_are_typed(options: dict[str, Any], typed: str) -> None:
    assert command_line("compare", "DIR", **options).endswith(typed)


def test_there_is_one_base_of_parts_one_share_and_one_interval() -> None:
    parts, intervals = [], []
    for path in EVAL.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and node.name in ("Part", "_Part", "Share", "Proportion", "Machine"):
                parts.append((node.name, path.name))
            if isinstance(node, ast.Attribute) and node.attr == "proportion_ci":
                intervals.append(path.name)
    assert sorted(parts) == [("Machine", "base.py"), ("Part", "base.py"), ("Share", "base.py")]
    assert intervals == ["base.py"]


def test_every_record_has_the_header() -> None:
    """A class of eval/records with ``schema_version`` of its own, or a writer that goes past them, would be seen."""
    wanted = set(Record.model_fields)
    kinds = _below(Record)
    assert {kind.__name__ for kind in kinds} >= {"Evaluation", "Robustness", "Explanation", "Cost", "Fit", "Comparison"}
    assert all(wanted <= set(kind.model_fields) for kind in kinds)
    for path in (*EVAL.rglob("*.py"), *(EVAL.parent / "cli").rglob("*.py")):
        if path.name != "base.py":
            assert "schema_version" not in path.read_text(encoding="utf-8"), path


def _below(kind: type[Part]) -> list[type[Part]]:
    from spikeproof.eval.records import (  # noqa: F401  # noqa: F401
        benchmark,
        cost,
        evaluation,
        explanation,
        fit,
        foreign,
        leaderboard,
        robustness,
        study,
    )

    return [found for one in kind.__subclasses__() for found in (one, *_below(one))]


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
