"""What a cell says of proofs: both ends, at each radius, of the Program alone."""

from pathlib import Path

import pytest

from spikeproof.eval.leaderboard import page
from spikeproof.eval.records.leaderboard import Entry, measured_claims, read
from spikeproof.eval.run.folder import Run
from spikeproof.eval.run.prove import prove
from spikeproof.eval.study.measure import _proved

pytest.importorskip("ortools")
BOARD = Path(__file__).resolve().parents[3] / "records" / "leaderboard" / "digits" / "plain.json"


def test_a_cell_has_both_ends_and_the_board_a_column(run_folder: Path) -> None:
    run, plan = Run.open(run_folder), {"samples": 12, "limit": 3}
    found = _proved(run, 2, plan)
    record = prove(run, epsilon=2 / 255, samples=12, limit=3, jobs=1)
    assert list(found) == ["proved at 2/255", "unbroken at 2/255"]
    assert found["proved at 2/255"]["correct"] == record.proved.correct
    assert found["unbroken at 2/255"]["correct"] == record.unbroken.correct
    facts = {"forms": {"program": {"accuracy": found, "facts": {}}}, "costs": {}, "refused": None}
    claims = tuple(measured_claims("plain", {1: facts, 2: facts}, "a test"))
    assert [claim.value for claim in claims] == [pytest.approx(100 * found[name]["value"]) for name in found]
    # What is not proved of one seed's Program has no mean.
    other = {**facts, "forms": {"program": {"accuracy": {}, "facts": {}}}}
    assert not list(measured_claims("plain", {1: facts, 2: other}, "a test"))
    entry: Entry = read(BOARD)
    shown = entry.model_copy(update={"plan": entry.plan | {"prove": [2]}, "claims": (*entry.claims, *claims)})
    assert "Program proved at 2/255 |" in page.markdown([shown])
    assert f"| {100 * found['proved at 2/255']['value']:.1f} ± 0.0 |" in page.markdown([shown])
