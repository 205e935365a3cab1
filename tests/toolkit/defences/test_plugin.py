"""The example of a defence in a package of its own works as docs/defences.md says."""

import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch

from spikeproof.toolkit.config import TrainSettings, parse_recipe
from spikeproof.toolkit.defences import DEFENCES, defence_names, get_defence
from spikeproof.toolkit.errors import RecipeError
from spikeproof.toolkit.models import build_network
from spikeproof.toolkit.train import train_network

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "defence_plugin"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the example on the path with the metadata that installing it writes."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    entries = project["entry-points"][DEFENCES.group]
    info = tmp_path / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    lines = [f"[{DEFENCES.group}]", *(f"{name} = {value}" for name, value in entries.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    monkeypatch.syspath_prepend(EXAMPLE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "noise_training", raising=False)


@pytest.mark.usefixtures("installed")
def test_the_example_is_found_set_and_trained_with() -> None:
    assert defence_names()[-1] == "noise_training"
    values = {
        "model": {"channels": [2]},
        "defences": ["sr", {"name": "noise_training", "sigma": 0.3}],
    }
    recipe = parse_recipe(values, "own.toml")
    defence = recipe.defences[1]
    assert type(defence) is get_defence("noise_training")
    assert defence.model_dump() == {"name": "noise_training", "sigma": 0.3}
    rng = np.random.default_rng(0)
    images, labels = rng.random((20, 1, 4, 4), dtype=np.float32), rng.integers(0, 3, 20)

    def trained(defences: list[object]) -> torch.Tensor:
        network = build_network(recipe, (1, 4, 4), 3)
        train_network(network, images, labels, TrainSettings(batch=10), epochs=1, rate=0.01, defences=defences)  # type: ignore[arg-type]
        return torch.nn.utils.parameters_to_vector(network.parameters()).detach()

    assert torch.equal(trained([defence]), trained([defence]))
    assert not torch.equal(trained([defence]), trained([]))


@pytest.mark.usefixtures("installed")
def test_its_settings_are_checked_as_the_built_in_ones_are() -> None:
    with pytest.raises(RecipeError, match=r"defences\.0: sigma: Input should be greater than 0"):
        parse_recipe({"defences": [{"name": "noise_training", "sigma": 0.0}]}, "own.toml")
    with pytest.raises(RecipeError, match="valid keys of 'noise_training': name, sigma"):
        parse_recipe({"defences": [{"name": "noise_training", "sigm": 1.0}]}, "own.toml")


def test_without_it_the_name_is_unknown() -> None:
    with pytest.raises(RecipeError, match="defence 'noise_training': unknown; known defences: at, trades"):
        parse_recipe({"defences": ["noise_training"]}, "own.toml")
