"""``spikeproof robustness RUN --protocol P --threat T``: records of their own, and refusals with the reason."""

import json

import numpy as np
import pytest

from spikeproof.eval.records.robustness import read
from spikeproof.eval.report.robustness import render_robustness
from spikeproof.eval.run import steps
from spikeproof.eval.run.folder import Run
from spikeproof.eval.run.robustness import robustness
from spikeproof.toolkit.attacks.protocol import built_in
from spikeproof.toolkit.config import parse_recipe

SAMPLES = 6


def finished(folder, **coding):
    recipe = {
        "data": {"train_samples": 400, "test_samples": 20},
        "coding": coding,
        "model": {"channels": [4], "threshold": 0.3},
        "train": {"epochs": 4, "batch": 32, "rate": 0.02},
        "quantize": {"epochs": 0},
    }
    run = Run.create(folder, parse_recipe(recipe, "tiny"))
    for step in (steps.train, steps.quantize, steps.export):
        step(run)
    return folder


@pytest.fixture(scope="module")
def phase(tmp_path_factory):
    return finished(tmp_path_factory.mktemp("phase") / "run", name="phase", steps=8)


@pytest.fixture(scope="module")
def weighted(tmp_path_factory):
    return finished(tmp_path_factory.mktemp("weighted") / "run", name="phase", steps=8, weighted=True)


def test_edited_spikes_are_judged_on_every_form_and_kept_apart(call, phase):
    options = ("--protocol", "standard", "--threat", "encoded-binary", "--budget", 8, "--samples", SAMPLES)
    answer = call("robustness", phase, *options, "--targets", "torch,loihi,onnx", "--seed", 3, "--json")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["record"].endswith("robustness-encoded-binary.json")
    assert not (phase / "robustness.json").exists()
    record = read(phase / "robustness-encoded-binary.json")
    assert (record.threat, record.epsilon, record.levels, record.seed) == ("encoded-binary", 8, None, 3)
    assert record.threat_model.startswith("encoded space, binary, 8 flips")
    assert [form.form for form in record.forms] == ["float", "quantized", "program"]
    for form in record.forms:
        edits = {one.settings["edit"] for one in form.attacks if one.access == "white box"}
        assert edits == {"flip", "insert", "delete", "shift"}
        assert {"black box, logits", "no access"} <= {one.access for one in form.attacks}
        assert all(one.distance <= 8 for one in form.attacks)
        assert all(one.threat_model.startswith("encoded space, binary") for one in form.attacks)
        # Spikes stay spikes, so the chip receives what was made.
        assert form.worst_on_grid == form.worst
        assert {"edits-1", "edits-20", "half budget", "twice budget", "unbounded"} <= set(form.probes.accuracy)
        assert form.probes.accuracy["unbounded"].correct <= form.probes.accuracy["budget"].correct
    assert record.forms[-1].judged["onnx"].same == 2 * SAMPLES
    assert Run.open(phase).is_done("robustness-encoded-binary")
    page = render_robustness(record)
    assert "8 edits a sample" in page
    text = call("robustness", phase, *options, "--targets", "torch,loihi,onnx", "--seed", 3).out
    assert "8 edits a sample" in text


def test_spikes_moved_in_time_are_judged_on_every_form_and_kept_apart(call, phase):
    moves = ("--threat", "timing", "--largest-shift", 2, "--total-shift", 30, "--budget", 12)
    options = ("--protocol", "standard", *moves, "--samples", SAMPLES, "--targets", "torch,loihi,onnx")
    answer = call("robustness", phase, *options, "--json")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["record"].endswith("robustness-timing.json")
    record = read(phase / "robustness-timing.json")
    assert (record.threat, record.epsilon) == ("timing", 2)
    assert record.shifts == {"largest": 2, "total": 30, "touched": 12}
    assert "moved in time by 2 steps at most, 30 steps in all, 12 spikes a sample" in record.threat_model
    assert "--largest-shift 2" in record.command
    assert "--total-shift 30" in record.command
    assert "--budget 12" in record.command
    assert [form.form for form in record.forms] == ["float", "quantized", "program"]
    for form in record.forms:
        assert {"white box", "black box, logits", "no access"} <= {one.access for one in form.attacks}
        assert all(one.distance <= 2 for one in form.attacks)
        assert all((one.settings["total"], one.settings["touched"]) == (30, 12) for one in form.attacks)
        assert form.worst_on_grid == form.worst
        assert {"moves-1", "moves-20", "half largest shift", "twice largest shift"} <= set(form.probes.accuracy)
        assert "unbounded" not in form.probes.accuracy
        assert form.foreign == []
    assert record.forms[-1].judged["onnx"].same == 2 * SAMPLES
    assert Run.open(phase).is_done("robustness-timing")
    assert "Shifts 2-steps-total-30-touched-12" in render_robustness(record)
    assert "shifts 2-steps-total-30-touched-12" in call("robustness", phase, *options).out
    own = robustness(Run.open(phase), built_in("quick", "timing", 1), samples=2)
    assert own.shifts == {"largest": 1, "total": None, "touched": None}


def test_continuous_input_that_no_chip_receives_is_judged_on_the_networks_only(call, phase):
    options = ("--protocol", "quick", "--threat", "encoded", "--samples", SAMPLES)
    answer = call("robustness", phase, *options, "--json")
    assert answer.code == 0, answer.err
    record = read(phase / "robustness-encoded.json")
    assert [form.form for form in record.forms] == ["float", "quantized"]
    assert "binary: no chip receives" in record.summary
    assert record.unreceivable in render_robustness(record).replace("&#39;", "'")
    assert record.epsilon == pytest.approx(6 / 255)
    labels = [one.label.split("@")[0] for one in record.forms[0].attacks]
    assert labels[:3] == ["fgsm", "pgd-7x0.01", "pgd-7x0.01+batch-statistics"]
    # Batch norm is folded before quantization: there is nothing to put into training mode.
    assert not any("batch-statistics" in one.label for one in record.forms[1].attacks)
    for one in record.forms[0].attacks:
        assert one.distance <= 6 / 255 + 1e-6
        # Rounding to spikes takes every change back.
        assert one.distance_on_grid == 0
        assert one.on_grid.count("x") == 0
    refused = call("robustness", phase, *options, "--targets", "torch,loihi")
    assert refused.code == 2
    assert "no chip receives entries between 0 and 1" in refused.err


def test_continuous_input_of_graded_messages_reaches_the_program_rounded(call, weighted):
    options = ("--protocol", "quick", "--threat", "encoded", "--epsilon", 0.1, "--samples", SAMPLES)
    answer = call("robustness", weighted, *options, "--json")
    assert answer.code == 0, answer.err
    record = read(weighted / "robustness-encoded.json")
    assert [form.form for form in record.forms] == ["float", "quantized", "program"]
    assert "rounded to its messages" in record.threat_model
    for one in record.forms[-1].attacks:
        assert one.distance_on_grid <= 0.1 + 1 / 256 + 1e-6
    refused = call("robustness", weighted, "--protocol", "quick", "--threat", "encoded-binary")
    assert refused.code == 2
    assert "sends no spikes but graded messages" in refused.err


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--threat", "pixels"), "expected one of pixel, encoded, encoded-binary, timing"),
        (("--budget", "3"), "counts spikes"),
        (("--threat", "encoded-binary", "--epsilon", "0.1"), "use --budget"),
        (("--threat", "timing", "--epsilon", "0.1"), "use --largest-shift, --total-shift, --budget"),
        (("--threat", "timing", "--largest-shift", "0"), "largest: 0, expected 1 or more"),
        (("--threat", "encoded-binary", "--total-shift", "3"), "use --threat timing"),
        (("--threat", "encoded-binary", "--budget", "0"), "1 spike or more"),
        (("--threat", "encoded", "--epsilon", "2"), "in (0, 1]"),
        (("--draws", "5"), "no draws"),
        (("--draws", "0"), "1 or more"),
    ],
)
def test_what_is_refused(call, phase, options, reason):
    answer = call("robustness", phase, "--protocol", "quick", *options)
    assert answer.code == 2
    assert reason in answer.err


def test_drawn_spikes_raise_the_alarm_unless_attacks_average_draws(tmp_path):
    folder = finished(tmp_path / "run", name="rate", steps=4)

    def codes(draws):
        record = robustness(Run.open(folder), "quick", epsilon=0.1, samples=SAMPLES, draws=draws)
        assert record.draws == draws
        assert {
            one.settings.get("draws", 1) for form in record.forms for one in form.attacks if one.access == "white box"
        } == {draws}
        assert all(form.probes is None or np.isfinite(form.probes.differ) for form in record.forms)
        return [{alarm.code for alarm in form.alarms} for form in record.forms]

    assert all("stochastic" in found for found in codes(1))
    assert not any("stochastic" in found for found in codes(3))
