"""The road of a task without classes: digits of 4 x 4 pixels made 8 x 8, from training to the report."""

import json
from pathlib import Path

import numpy as np
import pytest

import spikeproof as sp
from spikeproof.eval.measure.forms import Forms
from spikeproof.eval.records.evaluation import Evaluation, read_record
from spikeproof.eval.records.quality import read
from spikeproof.eval.run import steps
from spikeproof.eval.run.compare import cost
from spikeproof.eval.run.evaluate import evaluate
from spikeproof.eval.run.faults import faults
from spikeproof.eval.run.folder import Run
from spikeproof.eval.run.pages import beside
from spikeproof.eval.run.prove import prove
from spikeproof.eval.run.quality import quality_under_attack
from spikeproof.eval.run.simulate import agree, simulate
from spikeproof.toolkit.config import Recipe, load_recipe, parse_recipe
from spikeproof.toolkit.errors import InputError, UnsupportedError

TESTED = 120


def recipe(**train: object) -> Recipe:
    values = load_recipe("digits-x2").model_dump(mode="json")
    values["data"]["test_samples"] = TESTED
    values["train"] |= {"epochs": 5, **train}
    values["quantize"]["epochs"] = 2
    return parse_recipe(values, "test")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    made = Run.create(tmp_path_factory.mktemp("upscaling") / "run", recipe())
    for step in (steps.train, steps.attack, steps.quantize, steps.export):
        step(made)
    return made


@pytest.fixture(scope="module")
def record(run: Run) -> Evaluation:
    agree(run, ["loihi", "onnx"], 30)
    return evaluate(run, ["loihi", "onnx"]).record


def test_acceptance_three_decibels_over_bicubic_and_the_program_like_float(record: Evaluation) -> None:
    forms = {(form.form, form.target): form.conditions for form in record.forms}
    bicubic = record.baseline["bicubic"]["PSNR"].value
    clean = {name: conditions["clean"].others["PSNR"].value for name, conditions in forms.items()}
    assert clean["float", "torch"] >= bicubic + 3
    assert clean["program", "loihi"] >= clean["float", "torch"] - 0.3
    assert clean["program", "loihi"] == clean["program", "onnx"]
    rates = forms["program", "loihi"]["clean"].spike_rates
    assert all(0.05 <= rate <= 0.6 for name, rate in rates.items() if name != "image")


def test_a_record_has_quality_in_the_place_of_accuracy(record: Evaluation, run: Run) -> None:
    assert not record.classed
    assert record.comparison is not None
    assert record.comparison.equal
    for form in record.forms:
        for name, one in form.conditions.items():
            assert (one.accuracy, one.same_as_float) == (None, None)
            assert (one.judged.name, one.judged.unit, one.judged.samples) == ("PSNR", "dB", TESTED)
            assert one.judged.value == pytest.approx(one.others["PSNR"].value), name
            assert set(one.others) == {"MAE", "PSNR", "SSIM"}
    assert read_record(run.path("record.json")) == record


def test_attacks_of_the_recipe_cost_quality(record: Evaluation) -> None:
    for form in record.forms:
        clean = form.conditions["clean"].judged.value
        assert all(one.judged.value < clean for name, one in form.conditions.items() if name != "clean")
    facts = record.attacks["pgd-10@0.02"]
    assert facts["float_quality"] == pytest.approx(record.forms[0].conditions["pgd-10@0.02"].judged.value, abs=1e-3)
    assert facts["gradients"]["passes"] > 0


def test_the_report_says_psnr_and_no_accuracy(record: Evaluation, run: Run) -> None:
    page = run.path("report.html").read_text()
    assert "the PSNR of this network is" in page
    assert page.count("bicubic, without a network") == 1
    assert "Other metrics" not in page
    attack = next(name for name in record.forms[0].conditions if name != "clean")
    for name in ("SSIM", "MAE"):
        one = record.forms[-1].conditions[attack].others[name]
        assert page.count(f'<tr><th scope="row">{name}</th>') == 1
        assert f'<td class="number">{one.value:.4g}</td>' in page
    assert "Accuracy" not in page
    assert "% right" not in page


def test_the_quality_is_that_of_the_programs_integers(run: Run) -> None:
    found = simulate(run, "loihi", None, 40, False)
    data, forms = run.data(), run.forms()
    output = sp.run(forms.program, data.test_images[:40], coder=forms.network).output
    scores = data.task.scores(output / forms.program.largest_output, data.test_labels[:40])
    assert found.quality is not None
    assert found.quality.value == pytest.approx(scores.mean())
    assert (found.accuracy, found.classes, found.silent) == (None, [], [])


def test_a_protocol_leaves_the_worst_of_all_answers(run: Run) -> None:
    found = quality_under_attack(run, "standard", epsilon=0.02, samples=12, targets=["torch", "loihi", "onnx"])
    assert [form.form for form in found.forms] == ["float", "quantized", "program"]
    for form in found.forms:
        clean, worst = np.array(form.scores).T
        assert (worst <= clean).all()
        assert form.loss == pytest.approx((clean - worst).max())
        assert form.worst.value == pytest.approx(worst.mean())
        assert all(form.worst.value <= one.quality.value + 1e-9 for one in form.attacks)
        assert {one.label.partition("@")[0] for one in form.attacks} >= {"fgsm", "pgd-50", "apgd-harm-50"}
        assert any(label.startswith("square") for label in form.left_out)
    assert found.forms[-1].answers_differ == {"onnx": 0}
    assert read(run.path("robustness-quality.json")) == found
    assert run.path("robustness-quality.html").exists()


def test_the_protocol_stands_beside_the_cost(run: Run) -> None:
    found = quality_under_attack(run, "quick", epsilon=0.02, samples=12)
    assert cost(run, samples=12)
    table = beside(run)
    (row,) = (row for row in table.rows if row.group == "robustness")
    assert (row.name, row.unit, row.better) == ("PSNR, worst case, protocol quick", "dB", "higher")
    assert row.cells["Program · loihi"].value == found.forms[-1].worst.value
    assert table.sources["robustness-quality.json"] == found.created
    run.path("robustness-quality.json").unlink()
    (row,) = (row for row in beside(run).rows if row.group == "robustness")
    assert "spikeproof robustness" in row.cells["Program · loihi"].note


def test_what_is_about_classes_is_refused_by_name(run: Run, tmp_path: Path) -> None:
    for step in (prove, faults):
        with pytest.raises(UnsupportedError, match=f"{step.__name__}: is about classes, and the task .* is upscaling"):
            step(run)
    with pytest.raises(UnsupportedError, match=r"train\.trail: is about classes"):
        steps.train(Run.create(tmp_path / "trail", recipe(trail=1)))
    with pytest.raises(InputError, match=r"train\.flip: mirrors images and not their targets"):
        steps.train(Run.create(tmp_path / "flip", recipe(flip=True)))
    with pytest.raises(InputError, match="--threat encoded"):
        quality_under_attack(run, threat="encoded", samples=2)


def test_explain_compares_spikes_and_says_what_is_right(run: Run) -> None:
    found = sp.explain(run.forms(), run.data(), samples=20, lava=False).record
    assert found.program_differs == 0
    assert found.stages[0].accuracy.value == 1.0  # the float network is as good as itself
    assert any("PSNR no more than 0.5 dB worse" in note for note in found.notes)
    forms, data = run.forms(), run.data()
    images, targets = data.test_images[:20], data.test_labels[:20]
    output = sp.run(forms.program, images, coder=forms.network).output / forms.program.largest_output
    own = data.task.scores(forms.network(_tensor(data, 20)).detach().numpy(), targets)
    expected = int((data.task.scores(output.astype(np.float32), targets) >= own - 0.5).sum())
    assert next(stage for stage in found.stages if stage.name == "Program").accuracy.correct == expected
    assert found.layers is not None


def test_fit_and_side_by_side_need_nothing_of_classes(run: Run) -> None:
    data, forms = run.data(), run.forms()
    assert sp.fit(forms.program, "loihi2").record.layers
    rows = sp.compare(forms, data, samples=10).rows
    assert (rows[0]["quantity"], rows[0]["unit"]) == ("PSNR", "dB")
    assert any(row["quantity"].startswith("energy") or "J" in row["unit"] for row in rows)


def test_from_python(run: Run) -> None:
    data, forms = run.data(), run.forms()
    found = sp.robustness(forms, data, "quick", epsilon=0.02, samples=8)
    assert "PSNR inside the ball" in found.record.summary
    made = sp.attack(forms.network, data, "pgd", epsilon=0.02, steps=3, samples=8)
    assert (
        made.scores < data.task.scores(forms.network(_tensor(data, 8)).detach().numpy(), data.test_labels[:8])
    ).all()
    with pytest.raises(UnsupportedError, match="prove: is about classes"):
        sp.prove(forms.program, data, samples=2)


def _tensor(data: sp.Dataset, samples: int):
    import torch

    return torch.from_numpy(data.test_images[:samples])


def test_numbers_of_ones_own() -> None:
    from spikeproof.toolkit.task.regression import Regression

    rng = np.random.default_rng(0)
    images = rng.uniform(0, 1, (300, 1, 4, 4)).astype(np.float32)
    numbers = images.reshape(300, 16)[:, :3] @ rng.normal(size=(3, 2)).astype(np.float32)
    data = sp.load_data("sums", arrays=(images[:200], numbers[:200], images[200:], numbers[200:]), task=Regression(2))
    assert (data.classes, data.task.name) == (2, "regression")
    network = sp.build_network(data, kind="mlp", hidden=[32], readout="membrane", gain=1.0)
    history = sp.train(network, data, epochs=15, rate=1e-2, loss=None, batch=32)
    assert history[-1].accuracy is None
    assert history[-1].quality < 0.5 * history[0].quality
    forms: Forms = sp.deploy(network, data, epochs=1)
    assert "MAE inside the ball" in sp.robustness(forms, data, "quick", epsilon=0.02, samples=10).record.summary


def test_results_are_json(run: Run) -> None:
    values = json.loads(json.dumps(simulate(run, "loihi", None, 5, False).to_dict()))
    assert values["quality"]["name"] == "PSNR"
