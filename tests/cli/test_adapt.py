"""``spikeproof adapt``: a run of a network with soft resets becomes one that deploys, and the commands after it."""

import json
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from spikeproof.eval.records.adaptation import read_adaptation
from spikeproof.eval.run.adopt import begin, recipe_of
from spikeproof.eval.run.folder import Run
from spikeproof.toolkit.checkpoint import load_network
from spikeproof.toolkit.data import load_data
from spikeproof.toolkit.network.network import SpikingNetwork
from spikeproof.toolkit.network.population import LeakyIntegrator, Population
from spikeproof.toolkit.settings import DataSettings

Call = Callable[..., Any]


@pytest.fixture(scope="module")
def soft(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    thresholds = torch.linspace(0.5, 1, 6).view(6, 1, 1)
    cells = Population({"keep": 0.9, "threshold": thresholds}, reset="subtract_later")
    layers = [nn.Conv2d(1, 6, 3, padding=1), nn.MaxPool2d(2), cells, nn.Flatten(), nn.Linear(96, 10)]
    names = ("conv", "pool", "cells", "flat", "linear", "last")
    named = OrderedDict(zip(names, [*layers, LeakyIntegrator({"keep": 0.9})], strict=True))
    settings = DataSettings(test_samples=30, train_samples=60)
    data = load_data(settings)
    network = SpikingNetwork(named, 4, 1.0).eval()
    recipe = recipe_of(network, "soft", settings, 8, 1)
    run = begin(tmp_path_factory.mktemp("soft") / "run", network, recipe, data)
    run.finished("train")
    return run.folder


def test_a_run_becomes_one_that_deploys(soft: Path, call: Call, tmp_path: Path) -> None:
    before = (soft / "model.safetensors").read_bytes()
    assert call("quantize", soft).code == 0
    refused = call("export", soft)
    assert refused.code == 2
    assert "adapt" in refused.err
    new = tmp_path / "new"
    found = call("adapt", soft, "--out", new, "--json")
    assert found.code == 0, found.err
    answer = json.loads(found.out)
    assert [one["kind"] for one in answer["changes"]] == ["max pool", "reset", "threshold", "read-out"]
    record = read_adaptation(new / "adaptation.json")
    assert record.refused is None
    assert record.after is not None
    assert record.after.samples == 30
    assert "What was changed" in (new / "adaptation.html").read_text(encoding="utf-8")
    assert (soft / "model.safetensors").read_bytes() == before
    network = load_network(new / "model.safetensors")[0]
    assert [name for name, _ in network.named_layers()] == ["conv", "cells", "pool", "flat", "linear", "last"]
    with torch.no_grad():
        data = Run.open(new).data()
        classes = network(torch.from_numpy(data.test_images)).argmax(1).numpy()
    assert record.after.value == float((classes == data.test_labels).mean())
    for command in (["quantize", new], ["export", new]):
        done = call(*command)
        assert done.code == 0, done.err


def test_the_table_names_layers_and_costs(soft: Path, call: Call, tmp_path: Path) -> None:
    found = call("adapt", soft, "--out", tmp_path / "new", "--samples", 10, "--pools", "average")
    assert found.code == 0, found.err
    assert "average" in found.out
    assert "4 changes" in found.out


def test_what_is_no_run_or_no_pool_is_refused(soft: Path, call: Call, tmp_path: Path) -> None:
    assert call("adapt", tmp_path, "--out", tmp_path / "new").code == 2
    wrong = call("adapt", soft, "--out", tmp_path / "new", "--pools", "sum")
    assert wrong.code == 2
    assert "expected after or average" in wrong.err
    here = call("adapt", soft, "--out", soft)
    assert here.code == 2
    assert "another recipe" in here.err


def test_the_new_run_finds_the_data_from_any_folder(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digits = load_data(DataSettings(test_samples=12, train_samples=40))
    at, elsewhere = tmp_path / "at", tmp_path / "elsewhere"
    at.mkdir()
    elsewhere.mkdir()
    parts = {"x_train": digits.train_images, "y_train": digits.train_labels}
    parts |= {"x_test": digits.test_images, "y_test": digits.test_labels}
    np.savez(at / "mine.npz", **parts)
    monkeypatch.chdir(at)
    settings = DataSettings(name="arrays", path="mine.npz")
    named = OrderedDict(flat=nn.Flatten(), linear=nn.Linear(64, 10), last=Population({"keep": 0.9}, reset="subtract"))
    network = SpikingNetwork(named, 3, 1.0).eval()
    run = begin(Path("run"), network, recipe_of(network, "mine", settings, 8, 0), load_data(settings))
    run.finished("train")
    monkeypatch.chdir(elsewhere)
    assert call("adapt", at / "run", "--out", "new").code == 0
    assert call("quantize", "new").code == 0
