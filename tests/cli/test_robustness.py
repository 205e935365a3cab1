"""``spikeproof robustness RUN --protocol``: what is written, resumed and refused."""

import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikeproof.eval.records.robustness import Alarm, Robustness, read
from spikeproof.eval.report.robustness import render_robustness
from spikeproof.eval.robustness.runner import Runner
from spikeproof.eval.run import robustness as step
from spikeproof.eval.run.folder import Run
from spikeproof.export.program import read_program
from spikeproof.hw_targets.onnx import OnnxTarget
from spikeproof.hw_targets.target import CompiledProgram, Trace, get_target
from spikeproof.toolkit.attacks.gradient import PGD
from spikeproof.toolkit.coding import direct_integers, on_grid
from spikeproof.toolkit.data import load_data

Call = Callable[..., Any]
SAMPLES = 12


def facts(record: Robustness) -> dict[str, Any]:
    """Return a record without times."""
    found = record.model_dump(mode="json", exclude={"created", "seconds"})
    for form in found["forms"]:
        del form["seconds"]
        for attack in form["attacks"]:
            del attack["seconds"]
    return dict(found)


@pytest.fixture(scope="module")
def told(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Robustness]:
    """A finished run and the record of its quick protocol on three targets."""
    folder = Path(shutil.copytree(finished, tmp_path_factory.mktemp("told") / "run"))
    step.robustness(Run.open(folder), "quick", targets=["torch", "loihi", "onnx"], samples=SAMPLES)
    return folder, read(folder / "robustness.json")


def test_every_form_is_measured_and_the_rest_of_the_run_untouched(
    call: Call, run_folder: Path, contents: Callable[[Path], dict[str, str]], told: tuple[Path, Robustness]
) -> None:
    before = contents(run_folder)
    options = ("--protocol", "quick", "--targets", "torch,loihi,onnx", "--samples", SAMPLES)
    answer = call("robustness", run_folder, *options, "--json")
    assert (answer.code, answer.err) == (0, "")
    found = json.loads(answer.out)
    assert [(form["form"], form["target"]) for form in found["forms"]] == [
        ("float", "torch"),
        ("quantized", "torch"),
        ("program", "loihi"),
    ]
    after = contents(run_folder)
    # The report gets a link to the new page.
    assert {name for name in before if before[name] != after[name]} == {"run.json", "report.html"}
    assert Run.open(run_folder).is_done("robustness")
    record = read(run_folder / "robustness.json")
    assert facts(record) == facts(told[1])  # The same command, the same record.
    assert str(run_folder) not in (run_folder / "robustness.json").read_text()
    assert not list(run_folder.rglob("*.state.safetensors"))
    page = (run_folder / "robustness.html").read_text()
    assert record.summary.replace("'", "&#39;") in page
    for form in record.forms:
        for alarm in form.alarms:
            assert f"{alarm.severity} {alarm.code}" in page
    assert page.count('<li class="bad">') == sum(not form.reliable for form in record.forms)


def test_the_terminal_marks_what_an_alarm_makes_unreliable(
    call: Call, told: tuple[Path, Robustness], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, record = told
    alarm = Alarm(code="unbounded", form="float", severity="alarm", message="a [planted] one")
    first = record.forms[0].model_copy(update={"alarms": [alarm], "reliable": False})
    others = [form.model_copy(update={"alarms": [], "reliable": True}) for form in record.forms[1:]]
    planted = record.model_copy(update={"forms": [first, *others]})
    monkeypatch.setattr(step, "robustness", lambda *arguments, **options: planted)
    answer = call("robustness", folder, "--protocol", "quick")
    assert answer.code == 0  # An alarm is a finding, not a failure.
    assert answer.out.count("UNRELIABLE") == 1
    assert "alarm unbounded: a [planted] one" in answer.out
    page = render_robustness(planted)
    assert page.count('<li class="bad">') == 1
    assert "a [planted] one" in page


def test_the_worst_case_is_never_above_a_row_and_follows_from_the_outcomes(told: tuple[Path, Robustness]) -> None:
    for form in told[1].forms:
        survived = np.ones(SAMPLES, dtype=bool)
        for one in form.attacks:
            letters = np.array(list(one.outcomes))
            survived &= (letters != "x") & (letters != ".")
            assert one.accuracy is not None
            assert one.accuracy.correct == int(((letters == "o") | (letters == "-")).sum())
            assert form.worst.correct <= one.accuracy.correct
            assert one.after.correct == int(survived.sum())
            assert one.distance <= told[1].epsilon + 1e-6
            assert one.distance_on_grid <= told[1].epsilon + 1e-6
        assert form.worst.correct == int(survived.sum())
        assert form.worst.low <= form.worst.value <= form.worst.high


def test_clean_accuracy_is_that_of_an_independent_run(told: tuple[Path, Robustness]) -> None:
    folder, record = told
    data = load_data(Run.open(folder).recipe().data)
    program = read_program(folder / "program.safetensors")
    x, y = data.test_images[:SAMPLES], data.test_labels[:SAMPLES]
    output = get_target("onnx").compile(program).run(direct_integers(x, program.steps)).output
    assert record.forms[-1].clean.correct == int((output.argmax(1) == y).sum())
    assert np.array_equal(on_grid(x) * 255, np.rint(x * 255).astype(np.float32))


def test_the_other_target_judges_the_same_examples_alike(told: tuple[Path, Robustness]) -> None:
    form = told[1].forms[-1]
    assert form.judged["onnx"].same == 2 * SAMPLES
    assert form.judged["onnx"].clean == form.clean
    assert form.judged["onnx"].worst == form.worst
    assert {one.access for one in form.attacks} == {"white box", "transfer", "no access"}


def test_after_an_interruption_it_goes_on_to_the_same_record(
    run_folder: Path, told: tuple[Path, Robustness], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted after every eleventh batch, three an attack, until it is done: nothing finished is done again."""
    monkeypatch.setattr("spikeproof.toolkit.attacks.protocol.BATCH", 5)
    ran: list[str] = []
    inner = PGD.run

    def counted(self: PGD, *arguments: Any) -> Any:
        ran.append(repr(self))
        return inner(self, *arguments)

    monkeypatch.setattr(PGD, "run", counted)
    whole = run_folder.parent / "whole"
    shutil.copytree(run_folder, whole)
    options = {"targets": ["torch", "loihi", "onnx"], "epsilon": 0.1, "samples": SAMPLES}
    expected = step.robustness(Run.open(whole), "quick", **options)
    batches = len(ran)
    ran.clear()

    seen = 0

    def interrupting(items: Iterable[Any], what: str, total: int) -> Iterable[Any]:
        nonlocal seen
        for item in items:
            if what.startswith("attack"):
                seen += 1
                if seen > 11:
                    raise KeyboardInterrupt
            yield item

    for _ in range(200):
        seen = 0
        try:
            record = step.robustness(Run.open(run_folder), "quick", **options, track=interrupting)
            break
        except KeyboardInterrupt:
            continue
    assert facts(record) == facts(expected)
    assert len(ran) == batches
    assert not list(run_folder.rglob("*.state.safetensors"))


def test_a_target_that_answers_otherwise_is_told_with_exit_code_4(
    call: Call, run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = OnnxTarget._compile

    def lying(self: OnnxTarget, program: Any) -> Any:
        made = compiled(self, program)
        assert isinstance(made, CompiledProgram)
        run = made._run

        def other(*arguments: Any) -> Trace:
            trace = run(*arguments)
            return Trace(np.roll(trace.output, 1, axis=1), trace.spike_counts)

        made._run = other  # type: ignore[method-assign, assignment]
        return made

    monkeypatch.setattr(OnnxTarget, "_compile", lying)
    answer = call("robustness", run_folder, "--protocol", "quick", "-t", "loihi,onnx", "-n", 8, "--json")
    assert answer.code == 4
    assert "onnx answers" in answer.err
    assert (run_folder / "robustness.json").exists()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--protocol", "heroic"), "expected one of quick, standard, strong"),
        (("--protocol", "quick", "--epsilon", "0.003"), "expected a number in [1/255, 1]"),
        (("--protocol", "quick", "--targets", "abacus"), "target 'abacus': unknown"),
    ],
)
def test_what_is_refused(call: Call, run_folder: Path, options: tuple[str, ...], reason: str) -> None:
    answer = call("robustness", run_folder, *options)
    assert answer.code == 2
    assert reason in answer.err
    assert not (run_folder / "robustness.json").exists()


def test_a_damaged_kept_attack_is_refused_by_name(call: Call, told: tuple[Path, Robustness]) -> None:
    folder, _ = told
    victim = sorted((folder / step.KEPT).glob("*.done.safetensors"))[0]
    content = victim.read_bytes()
    try:
        victim.write_bytes(content[: len(content) // 2])
        answer = call("robustness", folder, "--protocol", "quick", "-t", "torch,loihi,onnx", "-n", SAMPLES)
        assert answer.code == 2
        assert victim.name in answer.err
    finally:
        victim.write_bytes(content)


def test_the_runner_without_samples_runs_nothing() -> None:
    empty = np.zeros((0, 1, 8, 8), dtype=np.float32)
    done = Runner()(None, None, empty, np.zeros(0, dtype=np.int64))  # type: ignore[arg-type]
    assert (len(done.images), len(done.robust)) == (0, 0)
