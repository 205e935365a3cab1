"""A run for Xylo: every step of the road, the protocol, fit, and what only Loihi's integers have, refused by name."""

import json

import numpy as np
import pytest

import spikeproof as sp
from spikeproof.eval.run import steps
from spikeproof.eval.run.folder import Run
from spikeproof.eval.run.road import run_all
from spikeproof.export.program import read_program
from spikeproof.toolkit.config import load_recipe
from spikeproof.toolkit.errors import FileError, InputError

RECIPE = """
name = "small"
data.test_samples = 60
coding.steps = 4
model = { kind = "mlp", hidden = [24], beta = 0.75 }
train = { epochs = 3, batch = 64, rate = 0.02 }
attacks = [{ name = "fgsm" }]
quantize.epochs = 1
export.chip = "xylo_imu"
"""


@pytest.fixture
def answer(call):
    def ask(*words):
        found = call(*words, "--json")
        return found.code, json.loads(found.out) if found.out else {}, found.err

    return ask


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    path = tmp_path_factory.mktemp("xylo") / "small.toml"
    path.write_text(RECIPE)
    run = Run.create(path.parent / "run", load_recipe(str(path)))
    run_all(run)
    return run.folder


def test_road(made, answer):
    run = Run.open(made)
    program = read_program(made / "program.safetensors")
    assert program.profile == "xylo"
    assert not (made / "network.nir").exists()
    record = json.loads((made / "record.json").read_text())
    by = {(form["form"], form["target"]): form["conditions"] for form in record["forms"]}
    assert set(by) == {("float", "torch"), ("quantized", "torch"), ("program", "xylo")}
    for condition in ("clean", "fgsm@0.1"):
        exact = [by["quantized", "torch"][condition], by["program", "xylo"][condition]]
        assert exact[0]["accuracy"] == exact[1]["accuracy"]
    assert by["program", "xylo"]["clean"]["accuracy"]["value"] > 0.6
    assert any("Targets loihi, onnx, lava were left out" in text for text in record["warnings"])
    page = (made / "report.html").read_text()
    assert "clipped at" in page
    assert "read back and run in float" not in page
    exported = json.loads((made / "export.json").read_text())
    assert exported["round_trip"]["different"] == 0
    assert exported["nir"] is False
    code, found, _ = answer("simulate", made, "--target", "xylo", "-n", 20)
    assert code == 0
    assert len(found["classes"]) == 20
    assert run.coder().levels == 15


def test_quantize_says_what_changes(made, answer, tmp_path):
    run = Run.open(made)
    found = steps.quantize(run).to_dict()
    assert any("subtracts the threshold in place of resetting" in text for text in found["changes"])
    steps.export(run)


def test_protocol(made, answer):
    code, found, _ = answer("robustness", made, "--protocol", "quick", "--epsilon", 1 / 15)
    assert code == 0
    forms = {form["form"]: form for form in found["forms"]}
    assert forms["program"]["target"] == "xylo"
    assert forms["program"]["clean"] == forms["quantized"]["clean"]


def test_fit(made, answer):
    code, found, _ = answer("fit", made, "--chip", "xylo_imu")
    assert (code, found["verdict"]) == (5, "refused")
    assert "needs 64 input channels" in found["reasons"][0]
    code, found, _ = answer("fit", made, "--chip", "loihi1")
    assert (code, found["verdict"]) == (5, "refused")
    assert "profile 'xylo'" in found["reasons"][0]
    assert (made / "fit.html").exists()


@pytest.mark.parametrize("words", [["explain"], ["prove"], ["faults"], ["compare"], ["agree", "-t", "loihi,onnx"]])
def test_what_knows_loihis_integers_only(made, answer, words):
    code, _, said = answer(words[0], made, *words[1:])
    assert code in (2, 3), said
    assert "profile 'xylo'" in said


def test_two_chips_of_one_network(made, tmp_path):
    """Another chip of the family keeps the quantized network, one of another family makes it anew."""
    path = tmp_path / "small.toml"
    path.write_text(RECIPE.replace("xylo_imu", "xylo_audio3"))
    run = Run.create(made, load_recipe(str(path)))
    assert run.is_done("quantize")
    path.write_text(RECIPE.replace("xylo_imu", "loihi2"))
    run = Run.create(made, load_recipe(str(path)))
    assert run.is_done("train")
    assert not run.is_done("quantize")
    steps.quantize(run)
    steps.export(run)
    assert read_program(made / "program.safetensors").profile == "lava"
    assert (made / "network.nir").exists()
    path.write_text(RECIPE)
    run = Run.create(made, load_recipe(str(path)))
    with pytest.raises(FileError):
        run.forms()
    steps.quantize(run)
    steps.export(run)
    assert read_program(made / "program.safetensors").profile == "xylo"
    assert not (made / "network.onnx").exists()


def test_face(made):
    run = Run.open(made)
    forms, data = run.forms(), run.data()
    found = sp.run(forms.program, data.test_images[:20], coder=forms.network)
    expected = sp.run(forms.program, data.test_images[:20], "xylo", coder=forms.quantized)
    np.testing.assert_array_equal(found.output, expected.output)
    deployed = sp.deploy(forms.network, data, chip="xylo_imu", epochs=0)
    assert deployed.program.profile == "xylo"
    assert sp.fit(deployed.program, chip="xylo_imu").record.verdict == "refused"
    with pytest.raises(InputError, match="chip 'xylo': unknown"):
        sp.quantize(forms.network, chip="xylo")
