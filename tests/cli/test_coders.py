"""``spikeproof run`` on recipes of every coder, from data to record."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from spikeproof.cli import app

RECIPE = """
name = "tiny"
data = {{ {data}, train_samples = 300, test_samples = 30 }}
coding = {{ {coding} }}
model = {{ channels = [4], threshold = 0.3 }}
train = {{ epochs = 2, batch = 32, rate = 0.02 }}
attacks = [{{ name = "fgsm" }}]
quantize.epochs = 0
evaluate.targets = ["loihi", "twin", "onnx"]
"""
IMAGES = {
    "phase": 'name = "phase", steps = 8',
    "phase, weighted": 'name = "phase", steps = 8, weighted = true',
    "rate": 'name = "rate", steps = 4',
    "rate, deterministic": 'name = "rate", steps = 4, stochastic = false',
    "latency": 'name = "latency", steps = 4',
}
SEQUENCES = {"delta": 'name = "delta", steps = 3', "events": 'name = "events", steps = 3'}


@pytest.fixture(scope="module")
def moving(tmp_path_factory):
    """Bars of two kinds that move, as frames of 0 and 1: (samples, time, channels, height, width)."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 360)
    x = np.zeros((360, 3, 1, 8, 8), np.uint8)
    for sample, label in enumerate(labels):
        for step in range(3):
            place = (slice(None), int(rng.integers(0, 6)) + step)
            x[sample, step, 0][place if label else place[::-1]] = 1
    path = tmp_path_factory.mktemp("moving") / "moving.npz"
    np.savez(path, x_train=x[:300], y_train=labels[:300], x_test=x[300:], y_test=labels[300:])
    return path


def invoke(*arguments):
    found = CliRunner().invoke(app, [str(part) for part in arguments])
    assert found.exit_code == 0, found.output
    return json.loads(found.stdout)


@pytest.mark.parametrize("name", [*IMAGES, *SEQUENCES])
def test_a_recipe_of_every_coder_runs_to_its_record(name, tmp_path, moving):
    data = 'name = "digits"' if name in IMAGES else f'name = "arrays", path = "{moving}"'
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(RECIPE.format(data=data, coding=(IMAGES | SEQUENCES)[name]), encoding="utf-8")
    record = invoke("run", recipe, "--out", tmp_path / "run", "--json")
    assert record["comparison"]["equal"]
    assert record["recipe"]["coding"]["name"] == name.split(",")[0]
    assert f"({name.split(',')[0]} coder" in record["threat_model"]
    forms = {(form["form"], form["target"]): form for form in record["forms"]}
    conditions = [forms["program", target]["conditions"] for target in ("loihi", "twin", "onnx")]
    assert conditions[0] == conditions[1] == conditions[2]
    assert record["round_trip"]["spikes"] > 0
    assert any("draws" in text for text in record["warnings"]) == (name == "rate")
    simulated = [invoke("simulate", tmp_path / "run", "--samples", 5, "--json") for _ in range(2)]
    assert simulated[0]["classes"] == simulated[1]["classes"]
