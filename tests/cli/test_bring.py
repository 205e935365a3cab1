"""``spikeproof import``: a Program from elsewhere goes through every command that needs no float network."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from spikeproof.eval.records.evaluation import read_record
from spikeproof.eval.records.explanation import read as read_explanation
from spikeproof.eval.records.imported import read_imported
from spikeproof.eval.records.proof import read as read_proof
from spikeproof.eval.records.robustness import read as read_robustness
from spikeproof.eval.run.files import WITHOUT_NETWORK
from spikeproof.eval.run.folder import Run
from spikeproof.export.formats.netx_read import read_net
from spikeproof.export.program import Program, read_program
from spikeproof.hw_targets.lava.client import LavaTarget
from spikeproof.hw_targets.loihi.simulator import LoihiTarget
from spikeproof.hw_targets.target import get_target
from spikeproof.hw_targets.twin import TwinTarget
from spikeproof.toolkit.data import load_data
from spikeproof.toolkit.settings import DataSettings

Call = Callable[..., Any]
COUNT = 12


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = load_data(DataSettings())
    path = tmp_path_factory.mktemp("data") / "digits.npz"
    np.savez(path, x=data.test_images[:COUNT], y=data.test_labels[:COUNT])
    return path


@pytest.fixture
def brought(call: Call, slayer_file: Path, digits: Path, tmp_path: Path) -> Path:
    answer = call("import", slayer_file, "--data", digits, "--out", tmp_path / "run")
    assert (answer.code, answer.err) == (0, "")
    return tmp_path / "run"


def test_no_recipe_begins_in_its_folder(call: Call, brought: Path) -> None:
    answer = call("train", "fast", "--out", brought)
    assert answer.code == 2
    assert "holds a Program that was imported" in answer.err


def test_what_is_imported_answers_as_the_file_does(brought: Path, slayer_file: Path, digits: Path) -> None:
    record, program = read_imported(brought / "import.json"), read_program(brought / "program.safetensors")
    assert program.sha256() == read_net(slayer_file).program.sha256()
    assert (record.kind, record.steps, record.levels, record.coding, record.labels) == ("net", 4, 64, "direct", "file")
    with np.load(digits) as given:
        messages = np.rint(64 * given["x"]).astype(np.int32)
        trace = get_target("loihi").compile(program).run(np.broadcast_to(messages, (4, *messages.shape)))
        assert record.accuracy is not None
        assert record.accuracy.correct == int((trace.classes == given["y"]).sum())
    assert sum(int(counts.sum()) for counts in trace.spike_counts.values()) > 1000
    assert record.recipe is None
    assert record.data is not None
    assert (record.data.train, record.data.test) == (0, COUNT)


def test_every_command_without_a_network_works_on_it(call: Call, brought: Path) -> None:
    few = ("--samples", 2)
    options: dict[str, tuple[Any, ...]] = {
        "simulate": few,
        "agree": (*few, "--targets", "loihi,twin,onnx"),
        "profiles": few,
        "robustness": (*few, "--protocol", "quick"),
        "prove": (*few, "--epsilon", "0.02", "--limit", 2, "--jobs", 1),
        "compare": (*few, "--worst-energy", "0.05"),
        "fit": ("--chip", "loihi1"),
        "faults": (*few, "--seeds", 2, "--most", 10, "--worst", 1),
        "decision": few,
        "evaluate": ("--targets", "loihi,onnx"),
        "explain": (*few, "--no-lava"),
    }
    assert set(options) == set(WITHOUT_NETWORK)
    for command, given in options.items():
        answer = call(command, brought, *given)
        assert answer.code == 0, (command, answer.err)
    run = Run.open(brought)
    for step in ("import", "compare", "robustness", "prove", "cost", "fit", "faults", "evaluate", "explain"):
        assert run.is_done(step), step
    found = read_robustness(brought / "robustness.json")
    assert [form.form for form in found.forms] == ["program"]
    assert (found.epsilon, found.levels) == (6 / 64, 6), "0.1 in whole levels of 64"
    assert "levels of 0 to 64" in found.threat_model
    assert found.recipe is None
    assert read_proof(brought / "prove.json").epsilon == 1 / 64
    costs = json.loads((brought / "cost.json").read_text())
    assert [form["form"] for form in costs["forms"]] == ["program"]
    # 4 channels of 3 x 3 windows, 3 x 3 each, and 36 x 10.
    assert (costs["ann"]["macs"], costs["ann"]["weights"]) == (4 * 9 * 9 + 360, 36 + 360)
    assert call("robustness", brought, "--check").code == 0


@pytest.mark.parametrize("command", ["attack", "quantize", "export"])
def test_what_needs_the_network_says_so(call: Call, brought: Path, command: str) -> None:
    answer = call(command, brought)
    assert answer.code == 2
    assert f"'{command}' needs the float network" in answer.err
    assert "without one there are: simulate, evaluate, agree" in answer.err
    assert call("robustness", brought, "--targets", "torch").code == 2


def test_evaluate_measures_the_program_and_says_what_it_cannot(call: Call, brought: Path, digits: Path) -> None:
    answer = call("evaluate", brought, "--targets", "loihi,onnx,twin")
    assert answer.code == 0
    record, program = read_record(brought / "record.json"), read_program(brought / "program.safetensors")
    with np.load(digits) as given:
        messages = np.broadcast_to(np.rint(64 * given["x"]).astype(np.int32), (4, COUNT, 1, 8, 8))
        trace = get_target("loihi").compile(program).run(messages, rasters=True)
        right = int((trace.classes == given["y"]).sum())
    assert [(form.form, form.target, form.samples) for form in record.forms] == [
        ("program", "loihi", COUNT),
        ("program", "onnx", COUNT),
        ("program", "twin", COUNT),
    ]
    for form in record.forms:
        clean = form.conditions["clean"]
        assert clean.accuracy is not None
        assert clean.accuracy.correct == right
        assert clean.same_as_float is None
        spikes = {name: raster.spikes for name, raster in trace.rasters.items()}
        assert clean.spike_rates == {name: pytest.approx(float(one.mean())) for name, one in spikes.items()}
        first, second = spikes["layer0"].reshape(-1, 8, 8), spikes["layer1"]
        # A pixel of a 3 x 3 kernel of stride 2 on 8 x 8: windows that hold its row, times those that hold its column.
        holds = np.array([sum(2 * window <= place <= 2 * window + 2 for window in range(3)) for place in range(8)])
        reached = 4 * int((first * np.outer(holds, holds)).sum()) / COUNT
        assert list(clean.operations.values()) == [pytest.approx(reached), pytest.approx(10 * second.sum() / COUNT)]
    assert record.comparison is not None
    assert (record.comparison.reference, record.comparison.targets) == ("loihi", ("onnx", "twin"))
    assert record.comparison.equal
    assert (record.recipe, record.training, record.round_trip) == (None, [], {})
    assert (record.gradients, record.attacks) == ({}, {})
    assert "holds no float network. Not measured" in record.warnings[0]
    assert "no attack" in record.threat_model
    page = (brought / "report.html").read_text()
    assert f"gets {100 * right / COUNT:.1f}\u00a0% of 12 test images right; loihi, onnx and twin agree" in page
    assert "same class as float" not in page.lower().replace("title", "")
    refused = call("evaluate", brought, "--device", "cuda")
    assert refused.code == 2
    assert "--device cuda: is of a float network" in refused.err
    simulated = call("simulate", brought, "--samples", 3).out
    assert "samples: 3" in simulated
    assert "None" not in simulated
    refused = call("evaluate", brought, "--targets", "torch")
    assert refused.code == 2
    assert "runs a float network, which this run has not" in refused.err


def test_evaluate_without_labels_has_no_accuracy(
    call: Call, slayer_file: Path, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LavaTarget, "unavailable", lambda self: "run 'spikeproof lava install'")
    with np.load(digits) as given:
        np.savez(tmp_path / "x.npz", x=given["x"])
    assert call("import", slayer_file, "--data", tmp_path / "x.npz", "--out", tmp_path / "run").code == 0
    answer = call("evaluate", tmp_path / "run")
    assert answer.code == 0
    assert "not known" in answer.out
    record = read_record(tmp_path / "run" / "record.json")
    assert [form.target for form in record.forms] == ["loihi", "onnx"]
    assert all(form.conditions["clean"].accuracy is None for form in record.forms)
    assert any(text.startswith("Target lava was left out: run 'spikeproof lava") for text in record.warnings)
    assert any(text.startswith("No labels") for text in record.warnings)
    assert "was run on 12 samples without labels" in (tmp_path / "run" / "report.html").read_text()
    # Beside what costs were measured, too, there is none.
    assert call("compare", tmp_path / "run", "--samples", 2).code == 0


def test_targets_that_differ_are_told_after_the_record_is_written(
    call: Call, brought: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def another(self: TwinTarget, program: Program) -> Any:
        last = program.populations[-1].model_copy(update={"vth": 1})
        return LoihiTarget().compile(program.model_copy(update={"populations": (*program.populations[:-1], last)}))

    monkeypatch.setattr(TwinTarget, "_compile", another)
    answer = call("evaluate", brought, "--targets", "loihi,twin")
    assert answer.code == 4
    assert "twin differs from loihi" in answer.err
    assert not read_record(brought / "record.json").comparison.equal  # type: ignore[union-attr]


def test_explain_says_which_limits_act_and_what_it_cannot_know(call: Call, brought: Path) -> None:
    answer = call("explain", brought, "--no-lava")
    assert answer.code == 0
    record = read_explanation(brought / "explain.json")
    assert [stage.name for stage in record.stages] == ["real numbers", "Program"]
    assert record.stages[1].accuracy.correct == read_imported(brought / "import.json").accuracy.correct  # type: ignore[union-attr]
    assert record.program_differs == 0, "with every switch on, the model is the Program"
    # vDecay 1024 decays toward zero; sums are whole, and far below 24 bits.
    assert [one.code for one in record.causes] == ["state_rounding"]
    assert record.exact == ["input_rounding", "sum_rounding", "current_wrap", "voltage_clip"]
    assert {"weight_rounding", "moved_bias", "reset_rule", "wrong_threshold"} <= set(record.unknown)
    assert record.layers is None
    assert "came without the network" in record.verdict[0]
    words = " ".join(answer.out.split())
    assert "it cannot be said whether the integers are what it meant" in words
    page = (brought / "explain.html").read_text()
    assert "Not known without the network that the Program was made from" in page
    assert "PyTorch's float32" not in page


def test_a_programs_own_file_is_imported_and_answers_as_in_its_run(
    call: Call, run_folder: Path, digits: Path, tmp_path: Path
) -> None:
    made = call("import", run_folder / "program.safetensors", "--data", digits, "--out", tmp_path / "b", "--json")
    assert made.code == 0
    assert json.loads(made.out)["program"]["sha256"] == read_program(run_folder / "program.safetensors").sha256()
    answers = [
        json.loads(call("simulate", folder, "--images", digits, "--json").out)["classes"]
        for folder in (run_folder, tmp_path / "b")
    ]
    assert answers[0] == answers[1]
    assert call("import", run_folder / "program.safetensors", "--data", digits, "--out", run_folder).code == 2
    refused = call(
        "import", run_folder / "program.safetensors", "--data", digits, "--out", tmp_path / "c", "--steps", 3
    )
    assert "says its steps, input and read-out itself" in refused.err


def test_images_of_other_shapes_and_without_labels_are_taken(
    call: Call, slayer_file: Path, digits: Path, tmp_path: Path
) -> None:
    with np.load(digits) as given:
        np.savez(tmp_path / "flat.npz", x=given["x"][:, 0])
    answer = call("import", slayer_file, "--data", tmp_path / "flat.npz", "--out", tmp_path / "run")
    assert answer.code == 0
    assert "no labels: the Program's own answers take their place" in answer.err
    found = json.loads(call("simulate", tmp_path / "run", "--json").out)
    assert found["accuracy"] == 1.0
    assert "labelled by the Program's own answers" in Run.open(tmp_path / "run").data().provenance


def spiking_net(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        file["layer/0/type"] = b"dense"
        file["layer/0/weight"] = 2 * np.random.default_rng(0).integers(-9, 20, (3, 6))
        for name, value in {"type": b"CUBA", "iDecay": 4096, "vDecay": 100, "vThMant": 30}.items():
            file[f"layer/0/neuron/{name}"] = value
    return path


def test_spikes_say_how_many_steps_there_are_and_silence_is_told(call: Call, tmp_path: Path) -> None:
    net = spiking_net(tmp_path / "a.net")
    spikes = np.random.default_rng(1).random((7, 5, 6)) < 0.5
    np.savez(tmp_path / "s.npz", x=spikes.astype(np.uint8), y=[0, 1, 2, 0, 1])
    assert call("import", net, "--data", tmp_path / "s.npz", "--out", tmp_path / "run").code == 0
    record = read_imported(tmp_path / "run" / "import.json")
    assert (record.steps, record.coding, record.shape, record.samples) == (7, "events", (1, 1, 6), 5)
    data = Run.open(tmp_path / "run").data()
    assert np.array_equal(data.test_images[:, :, 0, 0], spikes.swapaxes(0, 1))
    assert call("robustness", tmp_path / "run", "-p", "quick", "--threat", "encoded-binary", "--budget", 2).code == 0
    np.savez(tmp_path / "dark.npz", x=np.zeros((7, 5, 6), dtype=np.uint8), y=[0, 1, 2, 0, 1])
    answer = call("import", net, "--data", tmp_path / "dark.npz", "--out", tmp_path / "dark")
    assert "no neuron fires on any sample: layer0" in answer.err


@pytest.mark.parametrize(
    ("arrays", "options", "named"),
    [
        ({"x": np.zeros((3, 5))}, ("--steps", 4), "the Program's input is (6,): expected images"),
        ({"x": np.zeros((3, 6))}, (), "how many time steps"),
        ({"x": np.zeros((4, 3, 6))}, ("--steps", 5), "4 time steps, but --steps 5"),
        ({"x": np.zeros((3, 6)), "y": np.array([0, 1, 9])}, ("--steps", 4), "label 9"),
        ({"x": np.full((3, 6), 2.0)}, ("--steps", 4), "expected [0, 1]"),
        ({"x": np.zeros((3, 6))}, ("--steps", 4, "--readout", "loudest"), "--readout loudest"),
        ({"x": np.zeros((3, 6))}, ("--steps", 4, "--input-range", -1, 1), "not bias-coded"),
    ],
)
def test_samples_and_options_that_do_not_fit_are_refused(
    call: Call, tmp_path: Path, arrays: dict[str, Any], options: tuple[Any, ...], named: str
) -> None:
    np.savez(tmp_path / "s.npz", **arrays)
    net = spiking_net(tmp_path / "a.net")
    answer = call("import", net, "--data", tmp_path / "s.npz", "--out", tmp_path / "run", *options)
    assert answer.code == 2
    assert named in answer.err
    assert not (tmp_path / "run").exists()


def test_a_changed_program_is_noticed(call: Call, brought: Path) -> None:
    path = brought / "program.safetensors"
    path.write_bytes(path.read_bytes() + b" ")
    answer = call("fit", brought)
    assert answer.code == 2
    path.write_bytes(path.read_bytes()[:-1])
    samples = brought / "samples.npz"
    with np.load(samples) as given:
        np.savez(samples, x=given["x"], y=given["y"][::-1])
    answer = call("simulate", brought)
    assert "changed since step 'import' wrote it; run 'spikeproof import small.net" in answer.err


def test_the_file_itself_runs_on_its_importer(
    call: Call, need_netx: Path, slayer_file: Path, digits: Path, tmp_path: Path
) -> None:
    answer = call("import", slayer_file, "--data", digits, "--out", tmp_path / "run", "--netx", 1, "--json")
    assert answer.code == 0
    importer = read_imported(tmp_path / "run" / "import.json").importer
    assert importer is not None
    assert (importer.samples, importer.unloadable, importer.different) == (1, None, 0)
    assert importer.compared == 3 * 4 * (64 + 36 + 10)
    assert importer.spikes > 50


def test_a_sigma_delta_network_goes_through_what_knows_it_and_is_refused_by_name_elsewhere(
    call: Call, digits: Path, tmp_path: Path
) -> None:
    rng, file, run = np.random.default_rng(2), tmp_path / "changes.net", tmp_path / "run"
    with h5py.File(file, "w") as made:
        layers: list[dict[str, Any]] = [
            {"type": b"input", "shape": [1, 8, 8]},
            {"type": b"flatten"},
            {"type": b"dense", "shape": [12], "weight": 2 * rng.integers(-12, 13, (12, 64)), "bias": [9]},
            {"type": b"dense", "shape": [10], "weight": 2 * rng.integers(-30, 30, (10, 12))},
        ]
        for index, layer in enumerate(layers):
            neurons = {} if layer["type"] == b"flatten" else {"neuron/type": b"SDNN", "neuron/vThMant": 2}
            last = {"neuron/sigma_output": True} if index == 3 else {}
            for name, value in {**layer, **neurons, **last}.items():
                made[f"layer/{index}/{name}"] = value
    answer = call("import", file, "--data", digits, "--out", run, "--steps", 4, "--together", "--json")
    assert answer.code == 0
    assert json.loads(answer.out)["command"].endswith("--steps 4 --together")
    program = read_program(run / "program.safetensors")
    assert [part.start for part in program.sigma_delta] == [0, 0, 0]
    for words in (
        ("simulate", run),
        ("agree", run, "--targets", "loihi,twin,onnx", "--samples", 3),
        ("profiles", run),
        ("robustness", run, "--protocol", "quick", "--samples", 3),
        ("compare", run, "--samples", 3),
        ("faults", run, "--samples", 3, "--seeds", 1, "--most", 4, "--worst", 1),
    ):
        answer = call(*words)
        assert answer.code == 0, answer.err
    answer = call("prove", run, "--epsilon", 0.02, "--samples", 2)
    assert answer.code == 2
    assert "sigma-delta neurons send changes with a sign" in answer.err
    for chip, reason in (("loihi1", "exist on Loihi 2 only"), ("loihi2", "how many sigma-delta neurons a core holds")):
        answer = call("fit", run, "--chip", chip)
        assert answer.code == 5
        assert reason in " ".join(answer.out.split()) + answer.err
