"""Which defences reach the chip, and how, found by asking: a small network with each is put to the exporter."""

from dataclasses import dataclass
from typing import Any

import torch

from ...export.lowering.lower import Deployment, lower_graph
from ...export.nir.dynamics import Settings
from ...export.nir.graph import flatten
from ...export.nir.write import to_nir
from ...toolkit.config import Recipe, parse_recipe
from ...toolkit.defences import defence_names, get_defence
from ...toolkit.defences.neuron import OpenLIF
from ...toolkit.errors import UnsupportedError
from ...toolkit.models import build_network
from ...toolkit.quantize import quantized_network
from ...toolkit.train import seeded

VARIANTS: dict[str, list[dict[str, Any]]] = {
    "self_connection": [{"matrix": "full"}, {"matrix": "diagonal"}],
    "tgo": [{}, {"inference": True}],
    "stochastic": [{}, {"inference": True}],
    "slif": [{}, {"gain": 0.0, "learn": False}, {"gain": 1.0, "rate": 0.5, "learn": False}],
}
"""Settings that decide; every other defence is asked with its defaults."""
SHAPE = (1, 8, 8)


@dataclass(frozen=True)
class Deployed:
    """The answer for one defence.

    Attributes:
        name: of the defence.
        settings: that were asked about; the others have their defaults.
        how: what becomes of it on the chip; empty where it is refused.
        reason: why it is refused; empty where it is not.
    """

    name: str
    settings: dict[str, Any]
    how: str
    reason: str


def _ask(name: str, settings: dict[str, Any]) -> Deployed:
    values = {"model": {"channels": [4]}, "defences": [{"name": name, **settings}]}
    recipe: Recipe = parse_recipe(values, "deployment")
    network = build_network(recipe, SHAPE, 3)
    # Self-connections and biases are 0 before training; neither is afterwards.
    with seeded(0), torch.no_grad():
        for weight in network.parameters():
            if not bool(weight.any()) and weight.dim():
                weight.normal_(0, 0.2)
    neurons = [layer for _, layer in network.named_layers() if isinstance(layer, OpenLIF)]
    try:
        quantized = quantized_network(network, recipe.quantize.bits)
        nodes, grids = to_nir(quantized, SHAPE)
        program = lower_graph(flatten(nodes, "network"), Deployment(network.steps, 8, Settings(1e-4), grids))
    except UnsupportedError as error:
        return Deployed(name, settings, "", str(error))
    names = [population.name for population in program.populations]
    how = [
        "recurrent synapses, one step late" if any(one.source == one.target for one in program.synapses) else "",
        "p is multiplied into the weights" if any(layer.chance < 1 for layer in neurons) else "",
        "without its noise" if any(layer.sigma for layer in neurons) else "",
        "g = 0: LIF" if any(layer.current is not None and layer.current.gamma() is None for layer in neurons) else "",
        "its current as CUBA's, biases from a neuron that always fires" if "always" in names else "",
    ]
    return Deployed(name, settings, "; ".join(part for part in how if part) or "weights only, nothing else is left", "")


def deployments() -> list[Deployed]:
    """Return for every defence, and every setting that decides, whether it is deployed exactly, and how."""
    return [_ask(name, settings) for name in defence_names() for settings in VARIANTS.get(name, [{}])]


def markdown(found: list[Deployed]) -> str:
    """Return the table of docs/defences.md."""
    lines = ["| defence | settings | deploys? |", "| --- | --- | --- |"]
    for one in found:
        settings = ", ".join(f"{key} = {str(value).lower()}" for key, value in one.settings.items()) or "defaults"
        lines.append(f"| `{one.name}` | {settings} | {f'yes: {one.how}' if one.how else f'no: {one.reason}'} |")
    return "\n".join(lines) + "\n"


def methods() -> str:
    """Return the list of docs/defences.md: every defence, what it is, and its settings with their defaults."""
    lines = ["| defence | what it is | settings |", "| --- | --- | --- |"]
    for name in defence_names():
        kind = get_defence(name)
        fields = {key: field.default for key, field in kind.model_fields.items() if key != "name"}
        settings = ", ".join(f"{key} = {str(value).lower()}" for key, value in fields.items())
        lines.append(f"| `{name}` | {kind.summary} | {settings} |")
    return "\n".join(lines) + "\n"
