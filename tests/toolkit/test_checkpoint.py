import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from spikeproof.toolkit.checkpoint import learned, load_network, save_network
from spikeproof.toolkit.config import ModelSettings, Recipe
from spikeproof.toolkit.errors import FileError, InputError
from spikeproof.toolkit.files import read_arrays, write_arrays
from spikeproof.toolkit.network.network import SpikingNetwork

RECIPE = Recipe(name="mine", model=ModelSettings(channels=[4], threshold=0.5), coding={"steps": 3})


@pytest.fixture(scope="module")
def network(random_network: Callable[..., SpikingNetwork]) -> SpikingNetwork:
    return random_network()


@pytest.fixture(scope="module")
def saved(network: SpikingNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "model.safetensors"
    save_network(path, network, RECIPE, (1, 8, 8), 10)
    return path


def test_weights_statistics_and_recipe_come_back_bit_for_bit(network: SpikingNetwork, saved: Path) -> None:
    found, recipe = load_network(saved)
    assert recipe == RECIPE
    assert not found.training
    for name, tensor in network.state_dict().items():
        assert torch.equal(found.state_dict()[name], tensor), name


def test_the_file_holds_no_constants_of_neurons(network: SpikingNetwork, saved: Path) -> None:
    arrays, _ = read_arrays(saved, "model")
    assert arrays.keys() == learned(network).keys()
    assert not any("neuron" in name for name in arrays)


def rewritten(saved: Path, to: Path, change: Callable[[dict[str, Any], dict[str, Any]], Any]) -> Path:
    arrays, header = read_arrays(saved, "model")
    del header["kind"]
    change(arrays, header)
    write_arrays(to, "model", arrays, header)
    return to


WEIGHT = "layers.conv1.weight"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda a, h: a.pop(WEIGHT), f"'{WEIGHT}' is missing"),
        (lambda a, h: a.update(extra=np.zeros(1)), "'extra' does not belong"),
        (lambda a, h: a.update({WEIGHT: np.zeros((4, 1, 5, 5))}), r"shape \(4, 1, 5, 5\), .*\(4, 1, 3, 3\)"),
        (lambda a, h: a[WEIGHT].put(0, np.nan), f"'{WEIGHT}' holds NaN"),
        (lambda a, h: a["layers.norm1.running_var"].put(0, np.inf), "running_var' holds NaN or infinity"),
        (lambda a, h: h.pop("recipe"), "lacks recipe, shape or classes"),
        (lambda a, h: h.pop("classes"), "lacks recipe, shape or classes"),
        (lambda a, h: h.update(shape=[8, 8]), "lacks recipe, shape or classes"),
        (lambda a, h: h.update(shape=None), "lacks recipe, shape or classes"),
        (lambda a, h: h.update(shape=[1, 8, 10**9]), "impossible shape"),
        (lambda a, h: h.update(classes=0), "impossible shape"),
        (lambda a, h: h["recipe"]["model"].update(channels=[4, 4]), "layers"),
        (lambda a, h: h["recipe"]["model"].update(colour=1), "model.colour: unknown key"),
        pytest.param(
            lambda a, h: h["recipe"]["model"].update(channels=[10**15]),
            "channels",
        ),
    ],
)
def test_a_file_that_does_not_match_its_recipe_is_refused(
    saved: Path, tmp_path: Path, change: Callable[[dict[str, Any], dict[str, Any]], Any], why: str
) -> None:
    path = rewritten(saved, tmp_path / "bad.safetensors", change)
    with pytest.raises(InputError, match=rf"bad\.safetensors: .*{why}"):
        load_network(path)


def test_a_file_of_another_kind_is_refused(saved: Path, tmp_path: Path) -> None:
    arrays, header = read_arrays(saved, "model")
    write_arrays(tmp_path / "other", "quantized", arrays, {**header, "kind": "quantized"})
    with pytest.raises(FileError, match="holds 'quantized', expected 'model'"):
        load_network(tmp_path / "other")


@settings(max_examples=150)
@given(st.data())
def test_flipped_and_cut_models_are_refused_or_load_finite_but_never_crash(
    saved: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = bytearray(saved.read_bytes())
    header = 8 + int.from_bytes(content[:8], "little")
    place = data.draw(st.integers(0, header - 1) | st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        del content[place:]
    else:
        content[place] ^= 1 << data.draw(st.integers(0, 7))
    path = tmp_path_factory.getbasetemp() / "flipped.safetensors"
    path.write_bytes(content)
    try:
        network, _ = load_network(path)
    except InputError as error:
        assert str(error).startswith(f"{path}: ")  # noqa: PT017
    else:
        assert all(bool(torch.isfinite(tensor).all()) for tensor in learned(network).values())


@pytest.mark.parametrize("key", ["classes", "shape"])
def test_an_infinite_size_in_the_header_is_refused(saved: Path, tmp_path: Path, key: str) -> None:
    _, header = read_arrays(saved, "model")
    text = json.dumps(header | {key: "HERE"}).replace('"HERE"', "1e999" if key == "classes" else "[1, 8, 1e999]")
    (tmp_path / "f").write_bytes(save({}, metadata={"spikeproof": text}))
    with pytest.raises(FileError, match=str(tmp_path / "f")):
        load_network(tmp_path / "f")


def test_a_header_cannot_ask_for_terabytes(saved: Path, tmp_path: Path) -> None:
    path = rewritten(saved, tmp_path / "huge", lambda a, h: h.update(shape=[4096] * 3, classes=10**5))
    with pytest.raises(FileError, match="huge: impossible shape"):
        load_network(path)


json_values = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.lists(st.integers(0, 9))
)


@given(st.sampled_from(["shape", "classes", "recipe"]), json_values)
def test_any_header_is_refused_or_read(
    saved: Path, tmp_path_factory: pytest.TempPathFactory, key: str, value: Any
) -> None:
    value = json.loads(json.dumps(value).replace("Infinity", "1").replace("NaN", "1"))
    path = rewritten(saved, tmp_path_factory.getbasetemp() / "head", lambda arrays, header: header.update({key: value}))
    try:
        assert load_network(path)[0].steps
    except InputError as error:
        assert str(error).startswith(f"{path}: ")  # noqa: PT017
