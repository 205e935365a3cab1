"""A label at every step through every command: a small synthetic task, made here, whose answer needs memory."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import spikeproof as sp
from spikeproof.eval.records.evaluation import read_record as read_evaluation
from spikeproof.eval.records.quality import read as read_quality
from spikeproof.eval.run import steps
from spikeproof.eval.run.evaluate import evaluate
from spikeproof.eval.run.folder import Run
from spikeproof.eval.run.simulate import agree
from spikeproof.toolkit.config import parse_recipe
from spikeproof.toolkit.task.steps import Steps

TIME = 12
Call = Callable[..., Any]
Arrays = tuple[np.ndarray, np.ndarray]


def last_spike(samples: int, seed: int) -> Arrays:
    """Return spikes of two channels, and at every step which of them spiked last alone; -1 before any did."""
    rng = np.random.default_rng(seed)
    x = (rng.random((samples, TIME, 2, 1, 1)) < 0.3).astype(np.uint8)
    x[:, 0] = [[[1]], [[0]]]
    y = np.full((samples, TIME), -1)
    for sample in range(samples):
        last = -1
        for step in range(TIME):
            first, second = x[sample, step].ravel()
            last = last if first == second else int(second)
            y[sample, step] = last
    y[:, 0] = -1
    return x, y


@pytest.fixture(scope="module")
def arrays() -> tuple[np.ndarray, ...]:
    return (*last_spike(400, 0), *last_spike(60, 1))


def values(path: Path, kind: str) -> dict[str, Any]:
    model = {"kind": kind, "beta": 0.9, "readout": "membrane", "readout_beta": 0.7, "every_step": True, "gain": 1.0}
    model |= {"channels": [2]} if kind == "recurrent" else {"hidden": [16]}
    return {
        "name": kind,
        "data": {"name": "sequences", "path": str(path)},
        "coding": {"name": "events", "steps": TIME},
        "model": model,
        "train": {"epochs": 6, "rate": 0.02, "batch": 32},
        "attacks": [{"name": "spike-gradient", "budget": 2}],
        "quantize": {"epochs": 1},
        "evaluate": {"targets": ["loihi", "onnx"]},
    }


@pytest.fixture(scope="module", params=["recurrent", "mlp"])
def run_of_steps(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, arrays: Any) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    names = ("x_train", "y_train", "x_test", "y_test")
    np.savez(folder / "last.npz", **dict(zip(names, arrays, strict=True)))
    run = Run.create(folder / "run", parse_recipe(values(folder / "last.npz", request.param), "test"))
    for step in (steps.train, steps.attack, steps.quantize, steps.export):
        step(run)
    assert agree(run, ["loihi", "onnx"], 20).record.equal
    evaluate(run, ["loihi", "onnx"], "cpu")
    return run.folder


def test_every_form_is_judged_step_by_step_and_attacks_cost_steps(run_of_steps: Path) -> None:
    record = read_evaluation(run_of_steps / "record.json")
    found = {(form.form, form.target): form.conditions for form in record.forms}
    assert list(found) == [("float", "torch"), ("quantized", "torch"), ("program", "loihi"), ("program", "onnx")]
    for conditions in found.values():
        clean, attacked = conditions.values()
        assert clean.quality is not None
        assert attacked.quality is not None
        assert clean.quality.name == "accuracy a step"
        assert clean.quality.value > 0.8  # guessing gives half
        assert attacked.quality.value < clean.quality.value - 0.1
        assert set(clean.others) == {"accuracy of all steps", "balanced accuracy"}
    assert found["program", "loihi"] == found["program", "onnx"]
    page = (run_of_steps / "report.html").read_text()
    assert "accuracy a step" in page
    assert "what they change are spikes, which the chip receives as they are" in " ".join(record.warnings)


def test_the_share_of_right_steps_is_that_of_the_membranes_a_simulation_writes(call: Call, run_of_steps: Path) -> None:
    from safetensors.numpy import load_file

    answer = call("simulate", run_of_steps, "--samples", 20, "--rasters", "--json")
    assert (answer.code, answer.err) == (0, "")
    arrays = load_file(run_of_steps / "trace-loihi.safetensors")
    data = Run.open(run_of_steps).data()
    v, labels = arrays["v/last"], data.test_labels[:20]
    right = (v.swapaxes(0, 1).argmax(2) == labels) & (labels >= 0)
    wanted = np.mean(right.sum(1) / (labels >= 0).sum(1))
    assert json.loads(answer.out)["quality"]["value"] == pytest.approx(wanted)
    np.testing.assert_array_equal(arrays["output"].reshape(20, TIME, 2), v.swapaxes(0, 1))


@pytest.mark.parametrize("options", [("encoded-binary", "--budget", 2), ("timing", "--largest-shift", 2)])
def test_robustness_is_the_worst_share_of_right_steps_under_spikes_changed_or_moved(
    call: Call, run_of_steps: Path, options: tuple[Any, ...]
) -> None:
    threat, *budget = options
    answer = call("robustness", run_of_steps, "--protocol", "quick", "--threat", threat, *budget, "--samples", 20)
    assert (answer.code, answer.err) == (0, "")
    record = read_quality(run_of_steps / "robustness-quality.json")
    assert (record.threat, record.epsilon, record.levels) == (threat, 2, 0)
    for form in record.forms:
        assert [worst <= clean for clean, worst in form.scores] == [True] * 20
        assert all(one.distance <= 2 for one in form.attacks)
        assert form.worst.value < form.clean.value
    assert "levels" not in answer.out
    assert call("compare", run_of_steps, "--samples", 10).code == 0
    assert "accuracy a step, worst case, protocol quick" in (run_of_steps / "compare.html").read_text()


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("prove", "--epsilon", "2/255"), "'robustness' measures how much of its quality"),
        (("faults",), "'robustness' measures how much of its quality"),
        (("decision",), "'evaluate' says how many are right"),
        (("robustness",), "use --threat encoded-binary or timing"),
        (("robustness", "--threat", "encoded"), "attack pixels"),
        (("robustness", "--threat", "encoded-binary", "--draws", 2), "--draws: not for runs whose answers"),
    ],
)
def test_what_has_no_meaning_is_refused_with_the_way_out(
    call: Call, run_of_steps: Path, command: tuple[Any, ...], words: str
) -> None:
    answer = call(command[0], run_of_steps, *command[1:])
    assert answer.code == 2
    assert words in answer.err.replace("\n", " ")


def test_explain_walks_down_to_the_chip(call: Call, run_of_steps: Path) -> None:
    answer = call("explain", run_of_steps, "--samples", 10)
    assert (answer.code, answer.err) == (0, "")
    assert "No fault is found" in answer.out.replace("\n", " ")


def test_from_python_it_is_the_same(arrays: Any) -> None:
    data = sp.load_data("last", arrays=arrays, task=Steps(2))
    network = sp.build_network(
        data,
        coder="events",
        steps=TIME,
        kind="mlp",
        hidden=[16],
        beta=0.9,
        readout="membrane",
        readout_beta=0.7,
        gain=1.0,
    )
    history = sp.train(network, data, epochs=4, rate=2e-2, batch=32)
    assert history[-1].quality is not None
    assert history[-1].quality > 0.8
    forms = sp.deploy(network, data, epochs=0)
    made = sp.attack(network, data, "spike-gradient", budget=2, samples=20)
    assert made.distance <= 2
    assert (made.images != data.test_images[:20]).sum() <= 40
    robust = sp.robustness(forms, data, "quick", threat="encoded-binary", budget=2, samples=10).record
    assert robust.forms[-1].worst.value < robust.forms[-1].clean.value
    assert sp.agree(forms.program, data.test_images[:10], ("loihi", "onnx", "twin"), coder=network).equal
    assert sp.fit(forms.program, "loihi1").record.verdict == "fits"
    shown = sp.compare(forms, data, samples=10)
    assert "accuracy a step" in str(shown)


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ({"y_train": np.zeros((400, TIME))}, "expected integers (samples, time)"),
        ({"y_test": np.full((60, TIME), 2)}, "expected 0 to 1, or -1 for none"),
        ({"y_train": np.zeros((400, TIME), int)}, "two classes or more"),
    ],
)
def test_files_of_sequences_that_do_not_fit_are_refused(
    call: Call, tmp_path: Path, arrays: Any, broken: dict[str, np.ndarray], words: str
) -> None:
    names = ("x_train", "y_train", "x_test", "y_test")
    np.savez(tmp_path / "last.npz", **(dict(zip(names, arrays, strict=True)) | broken))
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        f'[data]\nname = "sequences"\npath = "{tmp_path / "last.npz"}"\n[coding]\nname = "events"\nsteps = {TIME}\n'
        '[model]\nkind = "mlp"\nhidden = [4]\nevery_step = true\n'
    )
    answer = call("train", recipe, "--out", tmp_path / "run")
    assert answer.code == 2
    assert words in answer.err.replace("\n", " ")
