"""The law of proofs: no attack breaks what is proved, in every committed record and on Programs made here."""

from pathlib import Path

import pytest

from spikeproof.eval.proof.prove import Strength
from spikeproof.eval.proof.second import second_look
from spikeproof.eval.records import proof, robustness
from spikeproof.eval.records.proof import contradictions
from spikeproof.eval.run.folder import Run
from spikeproof.eval.run.prove import prove
from spikeproof.eval.run.robustness import robustness as attack
from spikeproof.eval.run.simulate import chip_input
from spikeproof.export.program import read_program

pytest.importorskip("ortools")
ROOT = Path(__file__).resolve().parents[2]
PROOFS = sorted((ROOT / "records" / "proof").glob("*.json"))
ATTACKED = sorted((ROOT / "records" / "robustness").rglob("*.json"))


@pytest.mark.parametrize("path", PROOFS, ids=lambda path: path.stem)
def test_no_committed_attack_breaks_what_is_proved(path: Path) -> None:
    proved = proof.read(path)
    for other in ATTACKED:
        assert contradictions(proved, robustness.read(other)) == [], other.name


def test_some_records_are_of_one_program_and_radius() -> None:
    """The law above is about something: attacks at the radius of a proof, on its Program, and breaking some samples."""
    proved = [proof.read(path) for path in PROOFS]
    met = 0
    for attacked in map(robustness.read, ATTACKED):
        (program,) = (form for form in attacked.forms if form.form == "program")
        for one in proved:
            same = attacked.program is not None and attacked.program.sha256 == one.program.sha256
            if same and attacked.levels == one.radius:
                met += 1
                assert "x" in program.outcomes
                assert one.proved.correct <= program.worst.correct
    assert met >= 2


@pytest.mark.parametrize("path", PROOFS, ids=lambda path: path.stem)
def test_a_larger_ball_has_no_more_proofs(path: Path) -> None:
    smaller = proof.read(path)
    for other in map(proof.read, PROOFS):
        if (other.program, other.threat, other.edit) != (smaller.program, smaller.threat, smaller.edit):
            continue
        if other.radius >= smaller.radius:
            pairs = list(zip(smaller.outcomes, other.outcomes, strict=False))
            assert ("x", "p") not in pairs


def test_attacks_on_a_run_break_nothing_that_is_proved(run_folder: Path) -> None:
    run = Run.open(run_folder)
    for levels in (1, 12):
        proved = prove(run, epsilon=levels / 255, samples=30, limit=5, jobs=1)
        attacked = attack(run, "quick", epsilon=levels / 255, samples=30)
        assert contradictions(proved, attacked) == []
        (program,) = (form for form in attacked.forms if form.form == "program")
        # Both say the same of what is wrong already, and the ends hold what attacks leave.
        assert [one == "." for one in proved.outcomes] == [one == "." for one in program.outcomes]
        assert proved.proved.correct <= program.worst.correct


def test_random_inputs_of_proved_balls_change_nothing(run_folder: Path, share: float) -> None:
    run = Run.open(run_folder)
    proved = prove(run, epsilon=2 / 255, samples=40, limit=5, jobs=1)
    program = read_program(run.path("program.safetensors"))
    messages, labels = chip_input(run, 40), run.data().test_labels[:40]
    each = int(1e6 * share / proved.proved.correct) + 1
    strength = Strength("pixel", 2)
    found = second_look(program, messages, labels, strength, proved.samples, certificates=1, points=each)
    assert found.points >= 1e6 * share
    assert found.trains > 0


def test_a_contradiction_is_seen(run_folder: Path) -> None:
    run = Run.open(run_folder)
    proved = prove(run, epsilon=1 / 255, samples=30, limit=5, jobs=1)
    index = proved.outcomes.index("p")
    attacked = attack(run, "quick", epsilon=1 / 255, samples=30)
    values = attacked.model_dump(mode="json")
    for form in values["forms"]:
        if form["form"] == "program":
            form["outcomes"] = form["outcomes"][:index] + "x" + form["outcomes"][index + 1 :]
    broken = robustness.Robustness.model_validate(values)
    assert contradictions(proved, broken) == [index]
    # A stronger attack, or one on another Program, contradicts nothing.
    assert contradictions(proved, broken.model_copy(update={"levels": 2})) == []
    other = broken.model_copy(update={"program": broken.program.model_copy(update={"sha256": "0" * 64})})
    assert contradictions(proved, other) == []
    # A budget of spikes counts shifts, each of which is two flips: half of what is proved for flips.
    flips = proved.model_copy(update={"threat": "encoded-binary", "edit": "flip", "radius": 4})
    edits = broken.model_copy(update={"threat": "encoded-binary", "levels": None})
    assert contradictions(flips, edits.model_copy(update={"epsilon": 2.0})) == [index]
    assert contradictions(flips, edits.model_copy(update={"epsilon": 3.0})) == []
