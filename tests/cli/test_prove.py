"""``spikeproof prove``: what is written, linked, taken up again and refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikeproof.eval.records.proof import read
from spikeproof.eval.run.folder import Run
from spikeproof.toolkit.files import read_arrays

pytest.importorskip("ortools")
Call = Callable[..., Any]
OPTIONS = ("--samples", 12, "--limit", 5, "--jobs", 1)


def test_a_run_is_proved_and_taken_up_again(call: Call, run_folder: Path) -> None:
    answer = call("prove", run_folder, "--epsilon", "2/255", *OPTIONS, "--check", "--json")
    assert answer.code == 0, answer.err
    told = json.loads(answer.out)
    record = read(run_folder / "prove.json")
    assert told["outcomes"] == record.outcomes
    assert (record.radius, record.threat, len(record.samples)) == (2, "pixel", 12)
    assert record.epsilon == pytest.approx(2 / 255)
    assert record.checked is not None
    assert Run.open(run_folder).is_done("prove")
    arrays, header = read_arrays(run_folder / "prove-examples.safetensors", "examples")
    assert header["radius"] == 2
    broken = [index for index, letter in enumerate(record.outcomes) if letter == "x"]
    assert arrays["indices"].tolist() == broken
    images = np.rint(255 * Run.open(run_folder).data().test_images).astype(int).reshape(-1, 64)
    for index, example in zip(broken, arrays["messages"], strict=True):
        assert np.abs(example - images[index]).max() <= 2
    assert "prove.html" in (run_folder / "report.html").read_text()
    again = call("prove", run_folder, "--epsilon", 2 / 255, *OPTIONS)
    assert again.code == 0, again.err
    assert [one.seconds for one in read(run_folder / "prove.json").samples] == [one.seconds for one in record.samples]
    assert record.summary in again.out.replace("\n", " ")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ((), "--epsilon"),
        (("--epsilon", "2/0"), "fraction as 2/255"),
        (("--epsilon", "much"), "fraction as 2/255"),
        (("--epsilon", "0.1", "--budget", 2), "--budget"),
        (("--threat", "encoded-binary", "--budget", 2), "input is graded"),
        (("--epsilon", "0.1", "--limit", 0), "--limit"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    call: Call, run_folder: Path, options: tuple[object, ...], named: str
) -> None:
    answer = call("prove", run_folder, *options)
    assert answer.code == 2
    assert named in answer.err
    assert not (run_folder / "prove.json").exists()
