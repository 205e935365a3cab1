"""Every record that is committed can be read, of whatever schema it is, and says what it said."""

import json
from pathlib import Path
from typing import Any

import pytest

from spikeproof.eval.records import (
    benchmark,
    comparison,
    cost,
    evaluation,
    explanation,
    faults,
    fit,
    graphs,
    leaderboard,
    proof,
    quality,
    robustness,
    silicon,
    stability,
    study,
)
from spikeproof.eval.records.base import Record


def read_sr(path: Path) -> Record:
    """Return an evaluation of super-resolution, or what a protocol left of its quality."""
    return quality.read(path) if path.stem.endswith("-quality") else evaluation.read_record(path)


def read_graphs(path: Path) -> Record:
    """Return the evaluation of a run on a graph, whether its targets agreed, or a study of capacity."""
    readers = {"run": evaluation.read_record, "agree": comparison.read, "study": graphs.read}
    return readers[path.stem.split("-")[0]](path)


ROOT = Path(__file__).resolve().parents[3]
READERS = {
    "records/attacks": benchmark.read,
    "records/benchmarks": benchmark.read,
    "records/compare": cost.read_cost,
    "records/defences": benchmark.read,
    "records/digits": evaluation.read_record,
    "records/explain": explanation.read,
    "records/faults": faults.read_faults,
    "records/fit": fit.read_fit,
    "records/graphs": read_graphs,
    "records/leaderboard": leaderboard.read,
    "records/proof": proof.read,
    "records/robustness": robustness.read,
    "records/sr": read_sr,
    "records/seed": study.read,
    "records/silicon": silicon.read_silicon,
    "records/stability": stability.read,
    "records/threats": robustness.read,
    "records/xylo": benchmark.read,
    "benchmarks/results": benchmark.read,
}
TABLES = {ROOT / "records" / "compare" / "digits.json"}
"""Made from records by ``spikeproof compare --json``; no record itself."""
FILES = [
    path
    for top in ("records", "benchmarks/results")
    for path in sorted((ROOT / top).rglob("*.json"))
    if path not in TABLES
]
MOVED = {"schema_version", "schema", "program", "program_sha256", "comparison", "machine"}
"""Keys that schema 2 has elsewhere, or more of."""


def read(path: Path) -> Record:
    return next(reader for folder, reader in READERS.items() if (ROOT / folder) in path.parents)(path)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_committed_record_is_read_and_keeps_every_figure(path: Path) -> None:
    told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    found = read(path).model_dump(mode="json")
    assert found["schema_version"] == 2
    # Nothing is invented: a header that was not kept is unknown.
    for key in ("code", "revision", "dirty", "command", "machine"):
        assert (found[key] is None) == (told.get(key) is None)
    for key in told.keys() - MOVED:
        assert holds(found[key], told[key]), key
    sha = told.get("program_sha256") or told.get("program")
    if sha is not None:
        assert found["program"]["sha256"] == (sha if isinstance(sha, str) else sha["sha256"])
    if told.get("comparison"):
        kept = {key: value for key, value in told["comparison"].items() if key not in ("step", "program_sha256")}
        assert holds(found["comparison"], kept)
    if isinstance(told.get("program"), dict) and "populations" in told["program"]:
        assert found["populations"] == told["program"]["populations"]


def holds(found: Any, told: Any) -> bool:
    """Return whether ``found`` says all that was told; it may hold more, as parts that grew since."""
    if isinstance(told, dict):
        return isinstance(found, dict) and all(key in found and holds(found[key], told[key]) for key in told)
    if isinstance(told, list):
        return len(found) == len(told) and all(map(holds, found, told))
    return bool(found == told)


def test_all_kinds_are_there() -> None:
    assert {path.parent for path in FILES} >= {ROOT / folder for folder in READERS if folder != "records/leaderboard"}


def test_a_comparison_of_schema_1_is_read(run_folder: Path) -> None:
    old = json.loads((ROOT / "records" / "digits" / "demo.json").read_text(encoding="utf-8"))["comparison"]
    assert "schema_version" not in old
    (run_folder / "compare.json").write_text(json.dumps(old), encoding="utf-8")
    found = comparison.read(run_folder / "compare.json")
    assert found.program is not None
    assert found.program.sha256 == old["program_sha256"]
    assert (found.different, found.spike_values_compared) == (old["different"], old["spike_values_compared"])
    assert (found.name, found.code, found.machine) == ("unknown", None, None)
