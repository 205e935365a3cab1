"""The example package brings one of each kind, each in one file, and a recipe may name all of them."""

import json
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spikeproof.eval.records.evaluation import read_record
from spikeproof.eval.run.fit import fit
from spikeproof.eval.run.folder import Run
from spikeproof.eval.run.road import run_all
from spikeproof.export.chip.limits import load_limits
from spikeproof.export.nir.write import read_nir
from spikeproof.toolkit.checkpoint import load_network
from spikeproof.toolkit.coding import make_coder
from spikeproof.toolkit.config import Recipe, TrainSettings, parse_recipe
from spikeproof.toolkit.data import load_data
from spikeproof.toolkit.defences import get_defence
from spikeproof.toolkit.errors import RecipeError
from spikeproof.toolkit.models import build_network
from spikeproof.toolkit.registry import KINDS, Entry, registry
from spikeproof.toolkit.train import train_network

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "plugin"
PROJECT = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
NAMES = {
    "target": "shuffled",
    "attack": "contrast",
    "defence": "noise_training",
    "coder": "blink",
    "dataset": "bars",
    "neuron": "forgetful",
    "metric": "silence",
    "chip": "tinychip",
}
VALUES: dict[str, Any] = {
    "name": "example",
    "data": {"name": "bars", "side": 8, "test_samples": 40},
    "coding": {"name": "blink", "steps": 4, "level": 0.6},
    "model": {"channels": [4], "threshold": 1.0, "neuron": {"name": "forgetful", "eagerness": 2.0}},
    "train": {"epochs": 12, "batch": 20, "rate": 0.01},
    "defences": [{"name": "noise_training", "sigma": 0.05}],
    "attacks": [{"name": "fgsm"}, {"name": "contrast", "grey": 0.2, "epsilon": 0.3}],
    "quantize": {"epochs": 1},
    "export": {"chip": "tinychip"},
    "evaluate": {"targets": ["loihi", "shuffled"]},
}


@contextmanager
def example(place: Path) -> Iterator[None]:
    """Put the example on the path with the metadata that installing it writes."""
    info = place / f"{PROJECT['name'].replace('-', '_')}-{PROJECT['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {PROJECT['name']}\nVersion: {PROJECT['version']}\n")
    lines = []
    for group, entries in PROJECT["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in entries.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLE)
        patch.syspath_prepend(place)
        yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "spikeproof_example"]:
        del sys.modules[name]
    load_limits.cache_clear()


@pytest.fixture
def installed(tmp_path: Path) -> Iterator[None]:
    with example(tmp_path):
        yield


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with all of them."""
    folder = tmp_path_factory.mktemp("runs") / "example"
    with example(tmp_path_factory.mktemp("site")):
        run_all(Run.create(folder, parse_recipe(VALUES, "own.toml")), samples=20)
    return folder


@pytest.fixture
def finished(walked: Path, installed: None) -> Run:
    return Run.open(walked)


def test_each_kind_takes_one_file_and_an_entry_point() -> None:
    assert set(NAMES) == set(KINDS)
    files = {}
    for kind in KINDS:
        ((name, value),) = PROJECT["entry-points"][registry(kind).group].items()
        assert name == NAMES[kind]
        module, _, attribute = value.partition(":")
        own = EXAMPLE / module.replace(".", "/")
        files[kind] = own / attribute if attribute.endswith(".toml") else own.with_suffix(".py")
        assert files[kind].is_file()
        # It stands alone: nothing of the package is imported from another file of it.
        assert "spikeproof_example" not in files[kind].read_text()
    assert len(set(files.values())) == len(KINDS)
    others = {path for path in EXAMPLE.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert {path.name for path in others - set(files.values())} == {"pyproject.toml", "__init__.py"}


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_found_with_its_origin_and_a_line_for_people(kind: str) -> None:
    assert registry(kind).entries()[-1] == Entry(NAMES[kind], "spikeproof-example 0.1.0")
    assert registry(kind).summary(NAMES[kind])


def test_the_whole_road_is_walked_with_all_of_them(finished: Run) -> None:
    record = read_record(finished.path("record.json"))
    assert [(form.form, form.target) for form in record.forms] == [
        ("float", "torch"),
        ("quantized", "torch"),
        ("program", "loihi"),
        ("program", "shuffled"),
    ]
    loihi, shuffled = (form.conditions for form in record.forms[2:])
    assert loihi == shuffled
    assert set(loihi) == {"clean", "fgsm@0.1", "contrast-grey-0.2@0.3"}
    assert loihi["clean"].accuracy.value > 0.8
    silence = loihi["clean"].others["silence"]
    assert (silence.unit, silence.higher_is_better) == ("share of neurons", True)
    assert isinstance(silence.value, dict)
    assert all(0 < share < 1 for share in silence.value.values())
    assert record.recipe == json.loads(parse_recipe(VALUES, "own.toml").model_dump_json())
    page = finished.path("report.html").read_text()
    assert "share of neurons, higher is better" in page
    assert "contrast-grey-0.2@0.3" in page


def test_the_network_answers_on_the_chip_as_in_pytorch(finished: Run) -> None:
    network, recipe = load_network(finished.path("model.safetensors"))
    assert type(dict(network.named_layers())["lif1"]).__name__ == "Forgetful"
    assert dict(network.named_layers())["lif1"].threshold == 0.5
    _, sidecar = read_nir(finished.path("network.nir"))
    assert sidecar.coder.settings == make_coder(recipe.coding).settings == {"name": "blink", "steps": 4, "level": 0.6}
    made = json.loads(finished.path("attacks.json").read_text())["contrast-grey-0.2@0.3"]
    assert made["distance"] == pytest.approx(76 / 255)  # 0.3 in whole levels


def test_its_chip_refuses_by_its_own_limits(finished: Run) -> None:
    record = fit(finished, chip="tinychip", samples=0)
    assert record.limits.title == "Tiny chip"
    assert record.chip == "tinychip"


@pytest.mark.usefixtures("installed")
def test_what_it_brings_survives_json() -> None:
    recipe = parse_recipe(VALUES, "own.toml")
    assert parse_recipe(json.loads(recipe.model_dump_json()), "again") == recipe
    assert Recipe.model_validate(recipe.model_dump()) == recipe


@pytest.mark.usefixtures("installed")
def test_names_alone_stand_for_the_defaults() -> None:
    values = {"data": {"name": "bars"}, "coding": {"name": "blink"}, "attacks": [{"name": "contrast"}]}
    recipe = parse_recipe({**values, "model": {"neuron": "forgetful"}}, "own.toml")
    assert load_data(recipe.data).train_images.shape == (200, 1, 8, 8)
    assert make_coder(recipe.coding).settings == {"name": "blink", "steps": 4, "level": 0.5}
    assert recipe.attacks[0].label == "contrast@0.1"
    assert build_network(recipe, (1, 8, 8), 2).hidden() == ["lif1", "lif2"]


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ({"data": {"name": "bars", "path": "x"}}, "'path' does not belong to name = \"bars\", which takes train_"),
        ({"data": {"name": "bars", "side": 2}}, "data: side: Input should be greater than or equal to 4 (got 2)"),
        ({"coding": {"name": "blink", "level": "high"}}, "coding: level: Input should be a valid number"),
        (
            {"coding": {"name": "blink", "dark": "last"}},
            "'dark' does not belong to name = \"blink\", which takes steps, level",
        ),
        ({"model": {"neuron": {"name": "forgetful", "eager": 1.0}}}, "valid keys of 'forgetful': name, eagerness"),
        (
            {"attacks": [{"name": "contrast", "gray": 0.1}]},
            "attacks.0: gray: unknown key; valid keys of 'contrast': name",
        ),
        ({"attacks": [{"name": "contrast", "grey": 1.5}]}, "attacks.0: grey: Input should be less than or equal to 1"),
        ({"defences": [{"name": "noise_training", "sigma": 0.0}]}, "defences.0: sigma: Input should be greater than 0"),
        ({"defences": [{"name": "noise_training", "sigm": 1.0}]}, "valid keys of 'noise_training': name, sigma"),
    ],
)
def test_its_settings_are_checked_as_the_built_in_ones_are(values: dict[str, Any], wanted: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(values, "own.toml")
    assert wanted in str(caught.value)


@pytest.mark.parametrize("section", ["data", "coding", "model", "defences", "attacks", "export", "evaluate"])
def test_without_it_its_names_are_unknown(section: str) -> None:
    with pytest.raises(RecipeError, match=r"unknown; known \w+s: "):
        parse_recipe({section: VALUES[section]}, "own.toml")


@pytest.mark.usefixtures("installed")
def test_its_defence_is_trained_with() -> None:
    recipe = parse_recipe({"model": {"channels": [2]}, "defences": ["noise_training"]}, "own.toml")
    assert type(recipe.defences[0]) is get_defence("noise_training")
    rng = np.random.default_rng(0)
    images, labels = rng.random((20, 1, 4, 4), dtype=np.float32), rng.integers(0, 3, 20)

    def trained(defences: list[Any]) -> torch.Tensor:
        network = build_network(recipe, (1, 4, 4), 3)
        train_network(network, images, labels, TrainSettings(batch=10), epochs=1, rate=0.01, defences=defences)
        return torch.nn.utils.parameters_to_vector(network.parameters()).detach()

    assert torch.equal(trained(recipe.defences), trained(recipe.defences))
    assert not torch.equal(trained(recipe.defences), trained([]))
