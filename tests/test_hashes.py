"""The integers of the built-in recipes do not change: hashes recorded when each came."""

import json
from pathlib import Path

import pytest

from spikeproof.export.lowering.lower import lower
from spikeproof.export.nir.write import read_nir, write_nir
from spikeproof.toolkit.config import builtin_recipes, load_recipe
from spikeproof.toolkit.models import build_network
from spikeproof.toolkit.quantize import quantized_network

HASHES = json.loads((Path(__file__).parent / "golden" / "programs.json").read_text(encoding="utf-8"))
SHAPES = {
    "fashion-sew": (1, 28, 28),
    "seed-cifar10": (3, 32, 32),
    "cora": (1433, 16, 1),
    "digits-graph": (64, 24, 1),
    "digits-x2": (1, 4, 4),
    "set5-x2": (1, 16, 16),
    "set5-x4": (1, 8, 8),
    "qtdb-feedforward": (4, 1, 1),
    "qtdb-recurrent": (4, 1, 1),
}
"""Of an image, where it is not that of the digits."""
CLASSES = {"cora": 7, "digits-x2": 64, "set5-x2": 1024, "set5-x4": 1024} | dict.fromkeys(
    ("qtdb-feedforward", "qtdb-recurrent"), 6
)
"""How many, or how many pixels, where it is not 10."""


def test_every_built_in_recipe_is_listed() -> None:
    assert {name.split()[0] for name in HASHES} == set(builtin_recipes())


@pytest.mark.parametrize("name", HASHES)
def test_the_program_of_a_seed_is_what_it_was(name: str, tmp_path: Path) -> None:
    """From the seed's initial weights, which are the same on every machine; trained ones depend on how it adds."""
    recipe_name, seed = name.split()
    recipe = load_recipe(recipe_name)
    network = build_network(
        recipe, SHAPES.get(recipe_name, (1, 8, 8)), CLASSES.get(recipe_name, 10), seed=int(seed)
    ).eval()
    path = tmp_path / "network.nir"
    write_nir(path, quantized_network(network, recipe.quantize.bits), SHAPES.get(recipe_name, (1, 8, 8)))
    graph, sidecar = read_nir(path)
    how = recipe.export
    program = lower(graph, sidecar, relays=how.relays, bias_exponent=how.bias_exponent)
    assert program.sha256() == HASHES[name]
