"""Laws of all defences, and of how recipes name them."""

from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spikeproof.toolkit import registry
from spikeproof.toolkit.config import CodingSettings, ModelSettings, Recipe, TrainSettings, parse_recipe
from spikeproof.toolkit.defences import DEFENCES, defence_names, get_defence
from spikeproof.toolkit.errors import InputError, RecipeError
from spikeproof.toolkit.models import build_network
from spikeproof.toolkit.network.network import SpikingNetwork
from spikeproof.toolkit.train import Epoch, train_network

NAMES = defence_names()


def recipe(*defences: Any) -> Recipe:
    values = {"model": {"channels": [2], "pool": "avg"}, "coding": {"steps": 3}, "defences": list(defences)}
    return parse_recipe(values, "test")


def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.random((32, 1, 4, 4), dtype=np.float32), rng.integers(0, 3, 32)


def trained(given: Recipe, checkpointing: bool = False, **options: Any) -> SpikingNetwork:
    network = build_network(given, (1, 4, 4), 3, seed=1)
    settings = TrainSettings(seed=11, batch=10, checkpointing=checkpointing)
    train_network(network, *data(), settings, **{"epochs": 3, "rate": 0.01, "defences": given.defences} | options)
    return network


def bits(network: SpikingNetwork) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in network.state_dict().items()}


class Stopped(Exception):
    """Power failure."""


@pytest.mark.parametrize("name", NAMES)
def test_a_training_repeats_itself_also_after_an_interruption(name: str, tmp_path: Path) -> None:
    def stop(done: Epoch) -> None:
        if done.epoch == 2:
            raise Stopped

    given, state = recipe(name), tmp_path / "state.safetensors"
    whole = bits(trained(given))
    with pytest.raises(Stopped):
        trained(given, state=state, after_epoch=stop)
    torch.manual_seed(99)
    assert bits(trained(given, state=state)) == whole


@pytest.mark.parametrize("name", NAMES)
def test_computing_tensors_again_changes_no_bit(name: str) -> None:
    assert bits(trained(recipe(name), checkpointing=True)) == bits(trained(recipe(name)))


@pytest.mark.parametrize("name", NAMES)
def test_nothing_of_a_defence_is_left_in_the_modules(name: str) -> None:
    network = trained(recipe(name))
    for part in network.modules():
        assert not part.training
        assert not part._forward_hooks
        assert not part._forward_pre_hooks
    image = torch.rand(5, 1, 4, 4)
    assert torch.equal(network(image), network(image))


@pytest.mark.parametrize("name", NAMES)
def test_settings_survive_a_file(name: str) -> None:
    given = recipe(name)
    again = parse_recipe(given.model_dump(mode="json"), "file")
    assert again == given
    assert type(again.defences[0]) is get_defence(name)
    assert again.model_dump(mode="json")["defences"][0]["name"] == name


def test_a_recipe_without_defences_is_what_it_was() -> None:
    values = Recipe().model_dump(mode="json")
    assert values.pop("defences") == []
    assert parse_recipe(values, "old") == Recipe()


@pytest.mark.parametrize(
    ("entry", "wanted"),
    [
        ("sparse", "defences.0: defence 'sparse': unknown; known defences: at, trades, rat, sr"),
        ({"name": "sr", "weigth": 1}, "defences.0: weigth: unknown key; valid keys of 'sr': name, weight, step, form"),
        ({"name": "sr", "weight": -1.0}, "defences.0: weight: Input should be greater than or equal to 0"),
        ({"name": "at", "attack": "cw"}, "'pgd', 'r-fgsm' or 'sa-pgd'"),
        ({"weight": 1}, "defences.0: needs the key 'name'"),
        (3, "defences.0: "),
    ],
)
def test_a_mistake_is_told_in_one_line_with_the_choices(entry: Any, wanted: str) -> None:
    with pytest.raises(RecipeError) as caught:
        recipe(entry)
    assert wanted in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_same_defence_twice_is_refused() -> None:
    with pytest.raises(RecipeError, match="the same one twice: sr, sr"):
        recipe("sr", {"name": "sr", "weight": 1})


def test_defences_compose_in_the_order_of_the_recipe() -> None:
    both = trained(recipe("at", "sr"))
    assert bits(both) != bits(trained(recipe("at")))
    assert bits(both) != bits(trained(recipe("sr")))
    assert [defence.name for defence in recipe("at", "sr").defences] == ["at", "sr"]


def _installed(monkeypatch: pytest.MonkeyPatch, *entries: tuple[str, str]) -> None:
    found = [EntryPoint(name, value, DEFENCES.group) for name, value in entries]
    monkeypatch.setattr(registry, "entry_points", lambda group, name=None: [e for e in found if name in (None, e.name)])


def test_another_package_cannot_take_a_built_in_name(monkeypatch: pytest.MonkeyPatch) -> None:
    _installed(monkeypatch, ("sr", "builtins:dict"))
    with pytest.raises(InputError, match="defence 'sr' is defined twice"):
        defence_names()


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("builtins:dict", "not a class derived from Defence"),
        ("nowhere:x", "cannot be loaded"),
        ("spikeproof.toolkit.defences.sr:SR", "its class calls itself 'sr'"),
    ],
)
def test_what_is_no_defence_is_refused(monkeypatch: pytest.MonkeyPatch, value: str, wanted: str) -> None:
    _installed(monkeypatch, ("own", value))
    with pytest.raises(InputError, match=wanted):
        get_defence("own")


def test_settings_of_the_model_do_not_change_the_recipe_of_old_files() -> None:
    assert Recipe(model=ModelSettings(), coding=CodingSettings()).defences == []
