"""``spikeproof adopt``: a run that begins with somebody's own network, and the commands after it."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikeproof.eval.records.adoption import read_adoption
from spikeproof.eval.records.evaluation import read_record
from spikeproof.eval.run.folder import Run

pytest.importorskip("snntorch")
Call = Callable[..., Any]
MODEL = """
import snntorch
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, reset):
        super().__init__()
        self.fc1, self.lif1 = nn.Linear(64, 20), snntorch.Leaky(beta=0.9, reset_mechanism=reset)
        self.fc2, self.lif2 = nn.Linear(20, 10), snntorch.Leaky(beta=0.9, reset_mechanism=reset)

    def forward(self, x):
        first, second, told = self.lif1.init_leaky(), self.lif2.init_leaky(), []
        for step in range(3):
            now, first = self.lif1(self.fc1(x.flatten(1)), first)
            now, second = self.lif2(self.fc2(now), second)
            told.append(now)
        return torch.stack(told)


def hard():
    torch.manual_seed(0)
    return Net("zero")


def soft():
    torch.manual_seed(0)
    return Net("subtract")


class One(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.lif = nn.Linear(64, 10), snntorch.Leaky(beta=0.9, reset_mechanism="zero")

    def forward(self, x):
        state, told = self.lif.init_leaky(), []
        for step in range(3):
            now, state = self.lif(self.fc(x.flatten(1)), state)
            told.append(now)
        return torch.stack(told)


def one():
    torch.manual_seed(0)
    return One()


def wrong():
    return 3


def fails():
    raise RuntimeError("no weights here")
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "mine.py"
    path.write_text(MODEL)
    return path


def test_a_network_is_adopted_and_walks_the_road(call: Call, model: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    answer = call("adopt", f"{model}:hard", "--out", run, "--samples", 32, "--epochs", 1, "--json")
    assert answer.code == 0, answer.err
    told = json.loads(answer.out)
    record = read_adoption(run / "adoption.json")
    assert [layer["name"] for layer in told["layers"]] == [layer.name for layer in record.layers]
    assert (record.framework, record.steps, record.samples, record.classes) == ("snntorch", 3, 32, 0)
    assert sum(layer.differing or 0 for layer in record.layers) == 0
    assert record.accuracy is not None
    assert Run.open(run).is_done("train")
    assert str(model.parent) not in (run / "adoption.json").read_text()
    for command in (
        ("quantize",),
        ("export",),
        ("simulate", "--target", "onnx"),
        ("attack",),
        ("explain", "--samples", 16),
    ):
        step = call(*command[:1], run, *command[1:])
        assert step.code == 0, (command, step.err)
    forms = Run.open(run).forms()
    images = Run.open(run).data().test_images
    assert np.isfinite(forms.network(_tensor(images[:3])).detach().numpy()).all()
    assert "adopted" in (run / "adoption.html").read_text()


def _tensor(images: Any) -> Any:
    import torch

    return torch.from_numpy(images)


def test_what_does_not_deploy_says_so_and_is_refused_at_export(call: Call, model: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    answer = call("adopt", f"{model}:soft", "--out", run, "--samples", 16, "--epochs", 0)
    assert answer.code == 0, answer.err
    assert "does not deploy" in answer.out.replace("\n", " ")
    call("quantize", run)
    refused = call("export", run)
    assert refused.code == 2
    assert "subtraction" in refused.err


@pytest.mark.parametrize(
    ("source", "options", "words"),
    [
        ("nowhere.py:make", (), "no such file"),
        ("{model}", (), "FILE.py:FUNCTION"),
        ("{model}:nothing", (), "no function 'nothing'"),
        ("{model}:wrong", (), "returns a int"),
        ("{model}:fails", (), "no weights here"),
        ("{model}:hard", ("--data", "nosuch"), "nosuch"),
        ("{model}:hard", ("--time", 0), "leave --time out"),
    ],
)
def test_sources_and_options_that_cannot_be(
    call: Call, model: Path, tmp_path: Path, source: str, options: tuple[object, ...], words: str
) -> None:
    answer = call("adopt", source.format(model=model), "--out", tmp_path / "run", *options)
    assert answer.code == 2
    assert words in answer.err
    assert not (tmp_path / "run").exists()


def test_training_does_not_replace_a_network_that_was_given(call: Call, model: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert call("adopt", f"{model}:hard", "--out", run, "--samples", 8).code == 0
    before = (run / "model.safetensors").read_bytes()
    answer = call("train", run / "recipe.json", "--out", run)
    assert answer.code == 2
    assert "'adopt' gave its network" in answer.err
    assert (run / "model.safetensors").read_bytes() == before
    (run / "training.json").write_text("[1]")
    changed = call("quantize", run)
    assert changed.code == 2
    assert "spikeproof adopt MODEL --out" in changed.err


def test_a_nir_file_is_adopted_and_its_command_says_how(call: Call, tmp_path: Path) -> None:
    nir = pytest.importorskip("nir")
    ones, random = np.ones(10), np.random.default_rng(0)
    nodes = {
        "input": nir.Input({"input": np.array([1, 8, 8])}),
        "flat": nir.Flatten({"input": np.array([1, 8, 8])}, 0, -1),
        "dense": nir.Linear(random.normal(size=(10, 64)) / 2),
        "cells": nir.LIF(tau=2e-4 * ones, r=2 * ones, v_leak=0 * ones, v_threshold=ones, v_reset=0 * ones),
        "output": nir.Output({"output": np.array([10])}),
    }
    names = list(nodes)
    nir.write(str(tmp_path / "theirs.nir"), nir.NIRGraph(nodes, list(itertools.pairwise(names))))
    run = tmp_path / "run"
    told = ("--steps", 3, "--origin", "snntorch", "--reset", "zero")
    answer = call("adopt", tmp_path / "theirs.nir", *told, "--out", run, "--samples", 8)
    assert answer.code == 0, answer.err
    command = read_adoption(run / "adoption.json").command
    assert command is not None
    assert "--origin snntorch" in command
    assert "--reset zero" in command


def test_a_network_of_one_population_is_evaluated(call: Call, model: Path, tmp_path: Path) -> None:
    """Its only population is read out: no hidden layer has zero gradients to be counted, and all else is measured."""
    run = tmp_path / "run"
    assert call("adopt", f"{model}:one", "--out", run, "--samples", 32, "--epochs", 1).code == 0
    for command in (("quantize",), ("export",), ("attack",)):
        assert call(command[0], run).code == 0
    answer = call("evaluate", run, "--targets", "loihi")
    assert answer.code == 0, answer.err
    assert "hidden LIF layers, float: there is no such layer" in answer.out
    record = read_record(run / "record.json")
    assert {form: facts["hidden"] for form, facts in record.gradients.items()} == {"float": None, "quantized": None}
    layers = record.gradients["float"]["layers"]
    assert layers
    assert all(0 <= share["output"] <= 1 for share in layers.values())
    assert [form.form for form in record.forms] == ["float", "quantized", "program"]
    page = (run / "report.html").read_text()
    assert "There is no hidden" in page
    assert '<div class="title">Zero-gradient share' not in page
