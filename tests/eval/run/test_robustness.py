"""The step ``robustness``: on Ray the record is that of one process, and kept examples can be judged again."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikeproof.eval.records.robustness import Robustness
from spikeproof.eval.robustness import shards
from spikeproof.eval.run.examples import check_examples
from spikeproof.eval.run.folder import Run
from spikeproof.eval.run.robustness import EXAMPLES, robustness
from spikeproof.toolkit.errors import DisagreementError, FileError
from spikeproof.toolkit.files import read_arrays, write_arrays

TIMES = {"seconds", "created", "time", "date"}


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_times(each) for key, each in value.items() if key not in TIMES}
    return [without_times(each) for each in value] if isinstance(value, list) else value


def shown(record: Robustness) -> Any:
    return without_times(record.model_dump(mode="json"))


@pytest.fixture
def run(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(shards, "SHARD", 8)
    return Run.open(run_folder)


def test_on_ray_the_record_is_that_of_one_process(run: Run) -> None:
    pytest.importorskip("ray")
    here = robustness(run, "quick", samples=20)
    assert here.samples == 20
    assert all(len(form.outcomes) == 20 for form in here.forms)
    first = read_arrays(run.path("robustness-examples.safetensors"), EXAMPLES)[0]
    there = robustness(run, "quick", samples=20, ray="local")
    again = read_arrays(run.path("robustness-examples.safetensors"), EXAMPLES)[0]
    assert shown(there) == shown(here)
    assert sorted(first) == ["float", "program", "quantized"]
    assert all(np.array_equal(first[name], again[name]) for name in first)


@pytest.mark.parametrize("threat", ["pixel", "encoded"])
def test_kept_examples_break_what_the_record_says(run: Run, threat: str) -> None:
    record = robustness(run, "quick", samples=12, threat=threat)
    found = check_examples(run, threat)
    assert found == {form.form: form.outcomes.count("o") for form in record.forms}
    assert any(form.outcomes.count("x") for form in record.forms)


def test_other_examples_are_refused(run: Run) -> None:
    record = robustness(run, "quick", samples=12, epsilon=0.2)
    path = run.path("robustness-examples.safetensors")
    arrays = read_arrays(path, EXAMPLES)[0]
    text = run.path("robustness.json").read_text(encoding="utf-8")
    changed = {name: array.copy() for name, array in arrays.items()}
    changed["program"][0] = 0
    write_arrays(path, EXAMPLES, changed, {"samples": 12})
    with pytest.raises(FileError, match="not the examples"):
        check_examples(run)
    write_arrays(path, EXAMPLES, arrays, {"samples": 12})
    outcomes = next(form.outcomes for form in record.forms if form.form == "float")
    assert "x" in outcomes
    # A record that claims more than its examples show.
    run.path("robustness.json").write_text(text.replace(f'"{outcomes}"', f'"{outcomes.replace("x", "o")}"'), "utf-8")
    with pytest.raises(DisagreementError, match="float: "):
        check_examples(run)
    path.unlink()
    with pytest.raises(FileError):
        check_examples(run)
