"""Networks written out layer by layer: the way there and back, and what is refused."""

from typing import Any

import pytest
import torch

from spikeproof.toolkit.checkpoint import load_network, save_network
from spikeproof.toolkit.config import parse_recipe
from spikeproof.toolkit.errors import FileError, InputError, RecipeError
from spikeproof.toolkit.models import build_network
from spikeproof.toolkit.models.layers import described
from spikeproof.toolkit.settings import ModelSettings

SHAPE, CLASSES = (1, 8, 8), 3
MODELS: tuple[dict[str, Any], ...] = (
    {"channels": [2, 3]},
    {"channels": [2], "pool": "avg", "neuron": "if"},
    {"channels": [2], "neuron": "cuba", "readout": "membrane"},
    {"kind": "sew", "channels": [2], "residual": "iand"},
    {"kind": "recurrent", "channels": [1]},
    {"kind": "delayed", "channels": [2]},
    {"kind": "vgg", "channels": [2], "hidden": [5]},
)


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_a_network_written_out_is_the_same(model: dict[str, Any]) -> None:
    first = build_network(parse_recipe({"model": model}, "a test"), SHAPE, CLASSES).eval()
    rows = described(first)
    recipe = parse_recipe({"model": {"kind": "layers", "layers": rows, "gain": first.gain}}, "a test")
    again = build_network(recipe, SHAPE, CLASSES).eval()
    again.load_state_dict(first.state_dict())
    x = torch.rand(4, *SHAPE)
    assert torch.equal(first(x), again(x))
    assert described(again) == rows


def layers(*rows: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"name": f"l{number}", **row} for number, row in enumerate(rows)]


FLAT = {"kind": "flatten"}
LINEAR = {"kind": "linear", "options": {"in_features": 64, "out_features": CLASSES}}
READ = {"kind": "population", "options": {"constants": {"keep": 0.9, "threshold": {"shape": [CLASSES]}}}}


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (layers(FLAT, LINEAR), "last layer is what is read"),
        (layers(FLAT, {"kind": "lstm"}, READ), "'l1'.*'lstm' is unknown"),
        (layers(FLAT, {"kind": "linear", "options": {"size": 3}}, READ), "'l1'.*unknown options size"),
        (layers(FLAT, {"kind": "linear", "options": {"in_features": 64}}, READ), "'l1'.*out_features"),
        (layers(LINEAR, READ), "do not fit together at the first layer"),
        (layers(FLAT, LINEAR, {"kind": "population", "options": {"constants": {"leak": 1}}}), "unknown constants"),
        (layers(FLAT, LINEAR, {"kind": "population", "options": {"constants": {"keep": "much"}}}), "expected a number"),
        (layers(FLAT, {**LINEAR, "sources": ["nothing"]}, READ), "wiring of layer 'l1'"),
        ([{**FLAT, "name": "a"}, {**LINEAR, "name": "a"}, {**READ, "name": "b"}], "names must differ"),
    ],
)
def test_layers_that_make_no_network_are_refused(rows: list[dict[str, Any]], words: str) -> None:
    recipe = parse_recipe({"model": {"kind": "layers", "layers": rows}}, "a test")
    with pytest.raises(InputError, match=words):
        build_network(recipe, SHAPE, CLASSES)


def test_the_data_decide_the_number_of_classes() -> None:
    recipe = parse_recipe({"model": {"kind": "layers", "layers": layers(FLAT, LINEAR, READ)}}, "a test")
    with pytest.raises(InputError, match="the data have 4 classes"):
        build_network(recipe, SHAPE, 4)


def test_layers_and_kind_belong_together() -> None:
    for model in ({"kind": "layers"}, {"kind": "conv", "layers": layers(FLAT)}):
        with pytest.raises(RecipeError, match="'layers' belong to"):
            parse_recipe({"model": model}, "a test")
    assert ModelSettings().layers == []


def test_constants_of_neurons_are_in_the_file(tmp_path: Any) -> None:
    recipe = parse_recipe({"model": {"kind": "layers", "layers": layers(FLAT, LINEAR, READ)}}, "a test")
    network = build_network(recipe, SHAPE, CLASSES).eval()
    dict(network.named_layers())["l2"].threshold.copy_(torch.tensor([0.5, 1.5, 2.5]))
    path = tmp_path / "model.safetensors"
    save_network(path, network, recipe, SHAPE, CLASSES)
    again, _ = load_network(path)
    assert dict(again.named_layers())["l2"].threshold.tolist() == [0.5, 1.5, 2.5]
    huge = layers(FLAT, LINEAR, {"kind": "population", "options": {"constants": {"keep": {"shape": [2**40]}}}})
    big = parse_recipe({"model": {"kind": "layers", "layers": huge}}, "a test")
    save_network(path, network, big, SHAPE, CLASSES)
    with pytest.raises(FileError, match="impossible shape"):
        load_network(path)
