import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spikeproof.eval.run import steps
from spikeproof.eval.run.evaluate import evaluate
from spikeproof.eval.run.folder import Run
from spikeproof.eval.run.road import run_all
from spikeproof.export.program import read_program
from spikeproof.hw_targets.loihi.simulator import LoihiTarget
from spikeproof.toolkit.checkpoint import load_network, save_network
from spikeproof.toolkit.coding import direct_integers
from spikeproof.toolkit.config import parse_recipe
from spikeproof.toolkit.data import load_data
from spikeproof.toolkit.errors import FileError, InputError
from spikeproof.toolkit.files import read_arrays
from spikeproof.toolkit.kernels import native

Call = Callable[..., Any]
Contents = Callable[[Path], dict[str, str]]


def retrain(run: Run) -> None:
    """Leave the run as a training that ended with other weights would."""
    network, recipe = load_network(run.path("model.safetensors"))
    for parameter in network.parameters():
        parameter.data += 0.01
    save_network(run.path("model.safetensors"), network, recipe, (1, 8, 8), 10)
    run.finished("train")


def test_after_another_training_every_later_step_is_asked_for_in_turn(run_folder: Path) -> None:
    run = Run.open(run_folder)
    retrain(run)
    for step, do in (("attack", steps.attack), ("quantize", steps.quantize), ("export", steps.export)):
        with pytest.raises(FileError, match=rf"changed since step '{step}' read it; run 'spikeproof {step} "):
            evaluate(run, None, "cpu")
        do(run)
    assert evaluate(run).record.comparison is None


def test_after_another_training_export_alone_is_refused_nothing_it_does_not_read(run_folder: Path) -> None:
    run = Run.open(run_folder)
    retrain(run)
    with pytest.raises(FileError, match="changed since step 'quantize' read it"):
        steps.export(run)


def test_the_same_training_again_leaves_all_later_steps_done(run_folder: Path, contents: Contents) -> None:
    before = contents(run_folder)
    steps.train(Run.open(run_folder))
    assert contents(run_folder) == before


@pytest.mark.parametrize("step", ["attack", "quantize", "export"])
def test_every_step_again_writes_the_same_bytes(run_folder: Path, contents: Contents, step: str) -> None:
    before = contents(run_folder)
    getattr(steps, step)(Run.open(run_folder))
    after = contents(run_folder)
    assert {name for name in before if before[name] != after[name]} == set()


def test_a_finished_run_only_compares_and_evaluates_again(run_folder: Path) -> None:
    told: list[str] = []
    run_all(Run.open(run_folder), ["loihi", "onnx"], 8, lambda result: told.append(result.to_dict()["step"]))
    assert told == ["compare", "evaluate"]


def test_a_run_goes_on_at_the_step_that_was_undone(run_folder: Path) -> None:
    (run_folder / "quantized.safetensors").unlink()
    told: list[str] = []
    run_all(Run.open(run_folder), ["loihi", "onnx"], 8, lambda result: told.append(result.to_dict()["step"]))
    assert told[0] == "quantize"
    assert "train" not in told
    assert "attack" not in told


def test_run_does_all_steps_of_a_recipe(recipe_file: Path, tmp_path: Path, call: Call, finished: Path) -> None:
    answer = call("run", recipe_file, "--out", tmp_path / "run", "--json")
    assert (answer.code, answer.err) == (0, "")
    result = json.loads(answer.out)
    assert result["step"] == "evaluate"
    for name in ("model.safetensors", "quantized.safetensors", "program.safetensors", "network.onnx", "attacks.json"):
        assert (tmp_path / "run" / name).read_bytes() == (finished / name).read_bytes(), name


def test_the_program_reproduces_the_quantized_network(run_folder: Path) -> None:
    record = json.loads((run_folder / "record.json").read_text())
    shares = {
        (form["form"], form["target"]): form["conditions"]["clean"]["accuracy"]["correct"] for form in record["forms"]
    }
    assert shares["program", "loihi"] == shares["program", "onnx"]
    assert abs(shares["program", "loihi"] - shares["quantized", "torch"]) <= 2
    assert shares["float", "torch"] >= 10


@pytest.mark.parametrize(
    ("arguments", "step"),
    [
        (("train", "RECIPE", "-o", "RUN"), "train"),
        (("attack", "RUN"), "attack"),
        (("quantize", "RUN"), "quantize"),
        (("export", "RUN"), "export"),
        (("simulate", "RUN", "-t", "onnx", "-n", "3"), "simulate"),
        (("agree", "RUN", "-t", "loihi,onnx", "-n", "3"), "compare"),
        (("profiles", "RUN", "-n", "3"), "profiles"),
        (("evaluate", "RUN", "-t", "loihi"), "evaluate"),
    ],
)
def test_json_is_one_object_on_standard_output_and_nothing_on_standard_error(
    run_folder: Path, recipe_file: Path, call: Call, arguments: tuple[str, ...], step: str
) -> None:
    places = {"RUN": str(run_folder), "RECIPE": str(recipe_file)}
    answer = call(*(places.get(part, part) for part in arguments), "--json")
    assert (answer.code, answer.err) == (0, "")
    assert json.loads(answer.out)["step"] == step


@pytest.mark.parametrize(
    "arguments",
    [("attack",), ("export",), ("simulate", "-n", "3"), ("agree", "-t", "loihi,onnx"), ("profiles", "-n", "3")],
)
def test_without_json_the_result_is_text_on_standard_output(
    run_folder: Path, call: Call, arguments: tuple[str, ...]
) -> None:
    answer = call(arguments[0], run_folder, *arguments[1:])
    assert answer.code == 0
    assert answer.out.strip()


def test_the_trace_of_a_simulation_is_kept_with_every_state(run_folder: Path, call: Call) -> None:
    result = json.loads(call("simulate", run_folder, "-n", 5, "--rasters", "--json").out)
    arrays, header = read_arrays(run_folder / "trace-loihi.safetensors", "trace")
    program = read_program(run_folder / "program.safetensors")
    data = load_data(Run.open(run_folder).recipe().data)
    messages = direct_integers(data.test_images[:5], program.steps)
    trace = LoihiTarget().compile(program).run(messages, rasters=True)
    assert (header["program"], header["samples"]) == (program.sha256(), 5)
    assert result["classes"] == trace.classes.tolist()
    assert result["accuracy"] == (trace.classes == data.test_labels[:5]).mean()
    np.testing.assert_array_equal(arrays["output"], trace.output)
    for name, raster in trace.rasters.items():
        assert result["spike_rates"][name] == pytest.approx(raster.spikes.mean())
        for what in ("spikes", "u", "v"):
            np.testing.assert_array_equal(arrays[f"{what}/{name}"], getattr(raster, what))


@pytest.mark.parametrize("labels", [True, False])
def test_own_images_are_run_with_or_without_labels(run_folder: Path, call: Call, labels: bool) -> None:
    data = load_data(Run.open(run_folder).recipe().data)
    arrays = {"x": (data.test_images[:6, 0] * 16).round() / 16} | ({"y": data.test_labels[:6]} if labels else {})
    np.savez(run_folder / "mine.npz", **arrays)
    mine = json.loads(call("simulate", run_folder, "--images", run_folder / "mine.npz", "--json").out)
    same = json.loads(call("simulate", run_folder, "-n", 6, "--json").out)
    assert mine["classes"] == same["classes"]
    assert mine["accuracy"] == (same["accuracy"] if labels else None)


def test_every_target_is_listed(call: Call) -> None:
    answer = call("targets", "--json")
    assert answer.code == 0
    rows = json.loads(answer.out)["targets"]
    assert [row["target"] for row in rows][:7] == ["torch", "loihi", "twin", "onnx", "c", "lava", "netx"]
    assert all(row["what"] for row in rows)


def test_doctor_tells_of_the_compiled_loops(call: Call, need_loops: Callable[[native.Status], None]) -> None:
    rows = json.loads(call("doctor", "--json").out)["compiled loops"]
    assert [row["loops"] for row in rows] == ["training.c", "norm.c", "native.c"]
    need_loops(native.status())
    assert (rows[0]["compiled"], rows[0]["from"], rows[0]["why not"]) == ("yes", "compiled on first use", "")


def test_doctor_tells_why_loops_are_not_compiled_and_what_that_costs(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = native.Status("training.c", missing="no C compiler\nand more")
    monkeypatch.setattr(native, "status", lambda: lost)
    monkeypatch.setenv(native.REQUIRE_VARIABLE, "1")
    row = json.loads(call("doctor", "--json").out)["compiled loops"][0]
    assert (row["compiled"], row["why not"]) == ("no", "no C compiler")
    assert "slower" in row["costs"]
    assert "same bits" in row["costs"]


@pytest.mark.parametrize("arguments", [("doctor",), ("lava", "status")])
def test_without_lava_the_installation_is_told_to_be_incomplete(
    call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    monkeypatch.setenv("SPIKEPROOF_CACHE", str(tmp_path))
    answer = call(*arguments, "--json")
    assert answer.code == 3
    told = json.loads(answer.out)
    assert told.get("lava", told)["installed"] is False


@pytest.mark.parametrize(
    ("key", "value", "code"), [("chip", "loihi1", 2), ("bias_exponent", 6, 0), ("relays", True, 0)]
)
def test_the_recipe_says_what_the_program_is_made_for(
    run_folder: Path, call: Call, key: str, value: object, code: int
) -> None:
    """The three keys of [export], through a run whose earlier steps do not depend on them and are kept."""
    recipe = Run.open(run_folder).recipe()
    run = Run.create(run_folder, recipe.model_copy(update={"export": recipe.export.model_copy(update={key: value})}))
    assert run.is_done("quantize")
    before = (run_folder / "program.safetensors").read_bytes()
    answer = call("export", run_folder)
    assert answer.code == code
    if key == "chip":
        assert "export.chip = 'loihi1': input 'input': messages of 8 bits are graded spikes" in answer.err
        assert (run_folder / "program.safetensors").read_bytes() == before
    if key == "bias_exponent":
        spiking = read_program(run_folder / "program.safetensors").spiking
        assert min(population.bias_exponent for population in spiking if population.bias.any()) >= 6


def test_the_trail_is_kept_and_leaves_the_network_as_it_was(run_folder: Path, finished: Path, tmp_path: Path) -> None:
    values = json.loads((finished / "recipe.json").read_text())
    values["train"]["trail"] = 1
    run = Run.create(tmp_path / "trail", parse_recipe(values, "trail"))
    steps.train(run)
    assert run.is_done("train")
    with_trail, without = (read_arrays(folder / "model.safetensors", "model")[0] for folder in (run.folder, finished))
    assert all(with_trail[name].tobytes() == without[name].tobytes() for name in without)
    for step in (steps.attack, steps.quantize, steps.export):
        step(run)
    trail = evaluate(run, ["loihi"]).record.model_dump()["trail"]
    assert [point["epoch"] for point in trail["points"]] == [1, 2]
    assert (trail["attack"], trail["samples"]) == ("pgd-2@0.1", 40)
    assert "The trail" in run.path("report.html").read_text()
    assert json.loads((run_folder / "record.json").read_text())["trail"] is None
    run.path("trail.json").write_text("{}")
    with pytest.raises(FileError, match=r"trail\.json: changed since step 'train' wrote it"):
        evaluate(run, ["loihi"], "cpu")


def test_the_gradients_of_every_attack_and_of_the_weights_are_recorded(run_folder: Path) -> None:
    record = json.loads((run_folder / "record.json").read_text())
    passes = {"fgsm@0.1": 1, "pgd-2@0.1": 2}
    for label, facts in record["attacks"].items():
        found = facts["gradients"]
        assert (found["attack"], found["samples"], found["passes"]) == (label, 40, passes[label])
        assert found["layers"]["lif1"]["output"]["zeros"] >= 0.75
        assert set(found["layers"]) == {"image", *record["gradients"]["float"]["layers"]}
    for form in ("float", "quantized"):
        zeros, clean = record["gradients"][form]["layers"], record["gradients"][form]["clean"]["layers"]
        assert {name: side["output"]["zeros"] for name, side in clean.items() if name != "image"} == {
            name: zero["output"] for name, zero in zeros.items()
        }
    weights = record["gradients"]["float"]["weights"]
    assert set(weights) == {"conv1", "linear"}
    assert all(0 < layer["weights"] <= layer["bound"] <= 1 for layer in weights.values())
    # FGSM's only backward pass is the clean one, of which the zero-gradient shares are.
    clean = record["gradients"]["float"]["layers"]["lif1"]
    assert record["attacks"]["fgsm@0.1"]["gradients"]["layers"]["lif1"]["output"]["zeros"] == clean["output"]


def test_recordings_of_events_are_trained_on_by_the_events_coder_and_refused_by_the_direct_one(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 2, (12, 3, 2, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "dvs.npz", x_train=x, y_train=np.arange(12) % 2, x_test=x[:4], y_test=np.arange(4) % 2)
    values = {
        "data": {"name": "arrays", "path": str(tmp_path / "dvs.npz")},
        "coding": {"name": "direct", "steps": 3},
        "model": {"channels": [2]},
        "train": {"epochs": 1},
    }
    with pytest.raises(InputError, match=r"coding\.name = 'direct', data set 'dvs': sequences"):
        steps.train(Run.create(tmp_path / "direct", parse_recipe(values, "dvs")))
    values["coding"] = {"name": "events", "steps": 3}
    assert steps.train(Run.create(tmp_path / "events", parse_recipe(values, "dvs"))).samples == 4


def test_silence_and_files_that_were_not_written_are_told(call: Call, run_folder: Path, tmp_path: Path) -> None:
    answer = call("export", run_folder)
    why = json.loads((run_folder / "export.json").read_text())["without_net"]
    assert why
    assert f"network.net was not written: {why[0]}" in answer.out
    program = read_program(run_folder / "program.safetensors")
    np.savez(tmp_path / "black.npz", x=np.zeros((2, *program.input.shape), np.float32))
    answer = call("simulate", run_folder, "--images", tmp_path / "black.npz")
    told = json.loads(call("simulate", run_folder, "--images", tmp_path / "black.npz", "--json").out)
    assert told["silent"] == [name for name, rate in told["spike_rates"].items() if rate == 0]
    for name in told["silent"]:
        assert f"population {name!r}: no neuron fires" in answer.err
    assert told["silent"]


def test_attacks_of_a_recipe_stay_on_whole_levels_of_the_chips_input(run_folder: Path) -> None:
    run = Run.open(run_folder)
    clean = np.rint(run.data().test_images.astype(np.float64) * 255)
    facts = json.loads(run.path("attacks.json").read_text())
    assert facts
    for label, told in facts.items():
        arrays, _ = read_arrays(run.path(f"attack-{label.replace('@', '-')}.safetensors"), "attack")
        integers = arrays["images"].astype(np.float64) * 255
        np.testing.assert_allclose(integers, np.rint(integers), atol=1e-4)
        farthest = int(np.abs(np.rint(integers) - clean).max())
        whole = int(told["settings"]["epsilon"] * 255 + 1e-6)
        assert farthest == told["levels"] == whole
        assert told["distance"] == told["distance_on_grid"] == pytest.approx(whole / 255, abs=1e-6)
        right = load_network(run.path("model.safetensors"))[0]
        with torch.no_grad():
            found = right(torch.from_numpy(arrays["images"])).argmax(1).numpy() == run.data().test_labels
        assert told["float_accuracy"] == pytest.approx(found.mean())


def test_the_usual_attack_on_events_is_refused_and_the_right_one_named(call: Call, tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 2, (12, 3, 1, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "dvs.npz", x_train=x, y_train=np.arange(12) % 2, x_test=x[:4], y_test=np.arange(4) % 2)
    values = {
        "data": {"name": "arrays", "path": str(tmp_path / "dvs.npz")},
        "coding": {"name": "events", "steps": 3},
        "model": {"channels": [2], "threshold": 0.2},
        "train": {"epochs": 1},
        "quantize": {"epochs": 0},
        "attacks": [{"name": "fgsm"}],
    }
    run = Run.create(tmp_path / "run", parse_recipe(values, "dvs"))
    for step in (steps.train, steps.attack, steps.quantize, steps.export):
        step(run)
    answer = call("robustness", run.folder, "-p", "quick")
    assert answer.code == 2
    assert "no change below 1/2 reaches it (epsilon 0.098)" in answer.err
    assert "--threat encoded-binary" in answer.err
    assert call("robustness", run.folder, "-p", "quick", "--threat", "encoded-binary", "--budget", 3).code == 0
    told = " ".join(evaluate(run, ["loihi"]).record.warnings)
    assert "fgsm@0.1 cannot change the Program's input; attack spikes instead" in told
