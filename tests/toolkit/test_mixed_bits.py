"""Bits by layer: from the recipe to the integers of the Program, its files, and every target."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import spikeproof as sp
from spikeproof.eval.cost.measure import _network_memory
from spikeproof.export.chip.demand import demand
from spikeproof.export.chip.mapper import place
from spikeproof.export.formats.qcdq import check_qcdq, write_qcdq
from spikeproof.export.nir.write import read_nir, write_nir
from spikeproof.export.program import read_program, write_program
from spikeproof.toolkit.config import Recipe, parse_recipe
from spikeproof.toolkit.errors import FileError, InputError, RecipeError
from spikeproof.toolkit.network.fold import fold
from spikeproof.toolkit.network.network import SpikingNetwork
from spikeproof.toolkit.quantize import load_quantized, quantized_network, save_quantized, weight_bits

Make = Callable[..., SpikingNetwork]
BITS = {"conv1": 3, "conv2": 8, "linear": 5}
TABLE = {"default": 8, "conv1": 3, "linear": 5}


@pytest.fixture
def network(random_network: Make) -> SpikingNetwork:
    return random_network("max", (4, 6), 4, 5)


def test_each_layer_has_its_own_grid(network: SpikingNetwork) -> None:
    quantized = quantized_network(network, TABLE)
    assert weight_bits(quantized) == BITS
    alone = {name: dict(quantized_network(network, bits).named_layers())[name] for name, bits in BITS.items()}
    for name, layer in quantized.named_layers():
        if name in BITS:
            assert torch.equal(layer.quant_weight().value, alone[name].quant_weight().value)


def test_the_programs_integers_are_those_of_each_grid(network: SpikingNetwork, images: np.ndarray) -> None:
    """NumPy: w = q 2^(9 - bits), q the folded weight on the smallest power of two that covers it."""
    program = sp.lower(quantized_network(network, TABLE), (1, 8, 8), check=images)
    weights = {
        name: layer.weight.detach().double().numpy() for name, layer in fold(network).named_layers() if name in BITS
    }
    found = {one.target: one for one in program.synapses if one.target.startswith("lif")}
    for (name, bits), target in zip(BITS.items(), ("lif1", "lif2", "lif3"), strict=True):
        step = 2.0 ** np.ceil(np.log2(np.abs(weights[name]).max() / (2 ** (bits - 1) - 1)))
        q = np.rint(weights[name] / step)
        assert found[target].bits == bits
        np.testing.assert_array_equal(found[target].weight, q * 2 ** (9 - bits))


@pytest.mark.parametrize("targets", [("loihi", "onnx", "twin"), ("loihi", "lava")], ids=["here", "lava"])
def test_all_targets_agree(
    targets: tuple[str, ...], network: SpikingNetwork, images: np.ndarray, request: pytest.FixtureRequest
) -> None:
    if "lava" in targets:
        request.getfixturevalue("need_lava")
    program = sp.lower(quantized_network(network, TABLE), (1, 8, 8))
    found = sp.agree(program, images, targets, coder=network)
    assert found.equal
    assert found.spikes > 100


def test_files_keep_the_bits(network: SpikingNetwork, images: np.ndarray, tmp_path: Path) -> None:
    quantized = quantized_network(network, TABLE)
    recipe = parse_recipe(
        {
            "model": {"channels": [4, 6], "threshold": 0.5},
            "coding": {"name": "direct", "steps": 4},
            "quantize": {"bits": TABLE},
        },
        "test",
    )
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe
    save_quantized(tmp_path / "q.safetensors", quantized, recipe, (1, 8, 8), 10)
    again, read = load_quantized(tmp_path / "q.safetensors")
    assert read.quantize.bits == TABLE
    assert weight_bits(again) == BITS
    x = torch.from_numpy(images)
    with torch.no_grad():
        assert torch.equal(again(x), quantized(x))
    write_nir(tmp_path / "network.nir", quantized, (1, 8, 8))
    _, sidecar = read_nir(tmp_path / "network.nir")
    assert {name: grid.bits for name, grid in sidecar.grids.items()} == BITS
    program = sp.lower(quantized, (1, 8, 8))
    write_program(tmp_path / "p.safetensors", program)
    assert read_program(tmp_path / "p.safetensors").sha256() == program.sha256()
    write_qcdq(tmp_path / "q.onnx", quantized, (1, 8, 8))
    assert check_qcdq(tmp_path / "q.onnx", quantized, images).same_logits == len(images)


def test_a_recipe_for_another_network_is_told(network: SpikingNetwork, tmp_path: Path) -> None:
    recipe = parse_recipe({"model": {"channels": [4, 6], "threshold": 0.5}, "quantize": {"bits": {"conv9": 4}}}, "test")
    save_quantized(tmp_path / "q.safetensors", quantized_network(network, 8), recipe, (1, 8, 8), 10)
    with pytest.raises(FileError, match=r"no weight layer 'conv9'; there are conv1, conv2, linear"):
        load_quantized(tmp_path / "q.safetensors")


def test_memory_follows_the_bits(network: SpikingNetwork) -> None:
    sizes = {name: layer.weight.numel() for name, layer in fold(network).named_layers() if name in BITS}
    found = {}
    for key, bits in (("mixed", TABLE), ("all", 8)):
        quantized = quantized_network(network, bits)
        program = sp.lower(quantized, (1, 8, 8))
        needed = demand(program, place(program, "loihi1", "partition"))
        found[key] = _network_memory(quantized, program).parameters[0], sum(one.synapse_bits for one in needed.values())
    less = sum(count * (8 - BITS[name]) for name, count in sizes.items()) / 8
    assert found["all"][0] - found["mixed"][0] == pytest.approx(less)
    assert found["mixed"][1] < found["all"][1]


@pytest.mark.parametrize(
    ("bits", "said"),
    [
        ({"conv1": 1}, "layer 'conv1': bits of a weight must be greater than or equal to 2"),
        ({"conv1": "4"}, "layer 'conv1': bits"),
        ({"default": 9}, "less than or equal to 8"),
        (True, "quantize.bits: bits of a weight"),
        ("8", "give a number, or a table of numbers by layer"),
    ],
)
def test_wrong_bits_are_refused(bits: Any, said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_recipe({"quantize": {"bits": bits}}, "test")
    assert said in str(caught.value)


@pytest.mark.parametrize("bits", [{"conv9": 4}, {"conv1": 9}, {"lif1": 4}])
def test_layers_and_numbers_that_there_are_not(network: SpikingNetwork, bits: dict[str, int]) -> None:
    with pytest.raises((InputError, RecipeError), match=r"conv9|lif1|9"):
        sp.quantize(network, bits=bits)
    with pytest.raises(InputError):
        quantized_network(network, bits)


@pytest.mark.usefixtures("need_netx")
def test_lava_dls_importer_runs_them(random_network: Make, images: np.ndarray) -> None:
    network = random_network("avg", (4, 6), 4, 5)
    program = sp.lower(quantized_network(network, {"conv1": 4, "linear": 3}), (1, 8, 8), bias_exponent=6)
    assert sp.get_target("netx").unsupported(program) == []
    assert sp.agree(program, images, ("loihi", "netx"), coder=network).equal
