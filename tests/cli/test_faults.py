"""``spikeproof faults``: files, what is printed, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spikeproof.eval.records.faults import read_faults
from spikeproof.eval.run.folder import Run
from spikeproof.export.program import read_program

Call = Callable[..., Any]
FEW = ("--samples", 10, "--seeds", 2, "--most", 4, "--worst", 1)


def test_the_record_is_written_printed_and_drawn(
    call: Call, run_folder: Path, contents: Callable[[Path], dict[str, str]]
) -> None:
    before = contents(run_folder)
    answer = call("faults", run_folder, *FEW, "--json")
    assert (answer.code, answer.err) == (0, "")
    found = json.loads(answer.out)
    record = read_faults(run_folder / "faults.json")
    told = record.model_dump(mode="json")
    assert told == {key: found[key] for key in told}
    program = read_program(run_folder / "program.safetensors")
    assert record.program.sha256 == program.sha256()
    assert record.samples == 10
    assert [one.flips for one in record.chances[0].random] == [1, 2, 4]
    assert [chance.field for chance in record.chances] == ["weight", None]
    assert [search.field for search in record.searches] == ["weight", None]
    assert record.chances[1].bits == record.selection.bits == record.bits
    assert len(record.proof.proved) == len(record.proof.broken) == 10
    for proved, broken in zip(record.proof.proved, record.proof.broken, strict=True):
        assert broken is None or proved < broken
    after = contents(run_folder)
    assert set(after) - set(before) == {"faults.json", "faults.html"}
    assert Run.open(run_folder).is_done("faults")
    page = (run_folder / "faults.html").read_text()
    assert page.count("<svg") == 3
    assert str(run_folder) not in page
    assert "faults.html" in (run_folder / "report.html").read_text()


def test_flips_can_be_restricted(call: Call, run_folder: Path) -> None:
    answer = call("faults", run_folder, *FEW, "--layer", "lif1", "--field", "weight", "--bit", 7)
    assert (answer.code, answer.err) == (0, "")
    record = read_faults(run_folder / "faults.json")
    words = next(one.words for one in record.memory if (one.layer, one.field) == ("lif1", "weight"))
    assert record.selection.bits == words
    assert [(chance.field, chance.bits) for chance in record.chances] == [("weight", words)]
    assert all((flip.layer, flip.field, flip.bit) == ("lif1", "weight", 7) for flip in record.searches[0].flips)
    assert "layer lif1, field weight, bit 7" in answer.out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--layer", "nowhere"), "--layer nowhere: no stored bits there; choose lif1"),
        (("--field", "spike"), "--field spike: unknown; choose weight"),
        (("--field", "weight", "--bit", 12), "no such bits are stored"),
    ],
)
def test_what_there_is_not_is_refused(call: Call, run_folder: Path, options: tuple[Any, ...], words: str) -> None:
    answer = call("faults", run_folder, *FEW, *options)
    assert answer.code == 2
    assert words in answer.err
    assert not (run_folder / "faults.json").exists()
