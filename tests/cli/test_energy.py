"""``energy``: says first what it is, prints the record's terms, and refuses what it cannot do."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spikeproof.eval.records.cost import read_cost
from spikeproof.eval.report.words import interval

Call = Callable[..., Any]


def test_it_says_first_that_it_is_modelled(finished: Path, tmp_path: Path, call: Call) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    shown = call("energy", folder, "-n", "4").out
    first = shown.splitlines()[0]
    assert "modelled, not measured" in first
    assert "NeuroBench's algorithm track" in first
    chip = read_cost(folder / "cost.json").chips[0]
    for ends, unit in ((chip.total["clean"], "J"), (chip.board["clean"]["total"], "J"), (chip.time["clean"], "s")):
        assert interval(*ends, unit) in shown
    printed = json.loads(call("energy", folder, "-n", "4", "--json").out)
    assert printed["note"].startswith("modelled, not measured")
    assert printed["chips"][0]["total"]["clean"] == list(chip.total["clean"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "name a run folder"),
        (("RUN", "--silicon"), "leave RUN and --samples out"),
        (("RUN", "--logs", "x"), "belong to --silicon"),
        (("--silicon",), "logs.tar.xz not found"),
    ],
)
def test_refusals_say_what_to_do(
    words: tuple[str, ...], message: str, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SPIKEPROOF_DATA", raising=False)
    answer = call("energy", *words)
    assert answer.code == 2
    assert message in answer.err
