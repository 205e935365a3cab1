"""The study of capacity: widths, attacks and their transfer, on a graph or on images; CAP on graphs."""

import itertools
from pathlib import Path
from typing import Any

from ...toolkit.config import Recipe, parse_recipe
from ...toolkit.data import load_data
from ...toolkit.errors import InputError
from ...toolkit.progress import Track
from ..records.base import header, write_record
from ..records.graphs import GraphStudy
from . import graphs_page
from .cap import TRAININGS
from .capacity import attack, source_of, train, transfer
from .cells import Cell, run_cells

THREATS = {
    True: "at test time, on the whole graph: {edges:.1%} of the edges flipped (added or removed), or {features:.1%} of "
    "the features above 0 flipped to 1 - x, greedily by the gradient of the test nodes' loss ({rounds} gradients; true "
    "labels known); of a spiking network the gradient is the quantized one's, and all forms meet the same flips",
    False: "pixel space, L-infinity, epsilon {epsilon:g}: PGD of 10 steps on the quantized network, and all forms meet "
    "the same images",
}
"""Whether there is a graph: what attackers do."""


def recipe_of(base: Recipe, width: int, seed: int) -> Recipe:
    """Return the recipe with another width and seed.

    Layers that are written out: as many channels of the first convolution, and features of the linear layer. Else the
    channels of the stages are scaled so that the first has ``width``.

    Args:
        base: what all cells share.
        width: of the first layer.
        seed: of training.

    Raises:
        RecipeError: there is no such network.
        InputError: layers other than one convolution and one linear layer.
    """
    values: dict[str, Any] = base.model_dump(mode="json")
    values["train"]["seed"] = seed
    if base.model.kind == "layers":
        layers = {
            kind: [row for row in values["model"]["layers"] if row["kind"] == kind] for kind in ("conv2d", "linear")
        }
        if [len(rows) for rows in layers.values()] != [1, 1]:
            raise InputError(f"recipe {base.name!r}: a width is known of one convolution followed by one linear layer")
        layers["conv2d"][0]["options"]["out_channels"] = layers["linear"][0]["options"]["in_features"] = width
    else:
        first, *others = base.model.channels
        values["model"]["channels"] = [width, *(max(1, width * other // first) for other in others)]
    return parse_recipe(values, f"width {width}")


def study(
    base: Recipe,
    widths: list[int],
    seeds: list[int],
    plan: dict[str, Any],
    cap: dict[str, Any],
    command: str,
    out: Path,
    ray: str | None,
    track: Track,
) -> GraphStudy:
    """Measure every cell of a study and write graphs.json and graphs.html into ``out``.

    Args:
        base: what all cells share.
        widths: of networks.
        seeds: of training.
        plan: see :func:`.capacity.attack`.
        cap: see :func:`.cap.measure`; empty trains no GCN in other ways.
        command: that does the same again, for the record.
        out: folder.
        ray: see :func:`.cells.run_cells`.
        track: progress.
    """
    data, graph = load_data(base.data, base.coding.steps), source_of(base) is not None
    kinds = ("gcn", "spiking") if graph else ("spiking",)
    places = list(itertools.product(kinds, widths, seeds))
    made: dict[tuple[str, int, int], Cell] = {}
    for kind, width, seed in places:
        own = plan | {"network": kind, "width": width}
        made[kind, width, seed] = Cell(f"{kind}-{width}, seed {seed}", recipe_of(base, width, seed), own, data.sha256)
    first = run_cells(list(made.values()), attack, out / "cells", ray=ray, track=track)
    met: dict[tuple[str, int, int], Cell] = {}
    for (kind, width, seed), cell in made.items():
        # Attacks pass between networks of one seed.
        sources = [(f"{k}-{w}", made[k, w, seed].key) for k, w in itertools.product(kinds, widths)]
        more = {"made": cell.key, "sources": sources}
        met[kind, width, seed] = Cell(f"{cell.name}, met", cell.recipe, {**cell.plan, **more}, data.sha256)
    second = run_cells(list(met.values()), transfer, out / "cells", ray=ray, track=track)
    networks = [
        {"name": f"{kind}-{width}", "seed": seed, "key": cell.key, "surfaces": first[cell.name]["surfaces"]}
        | second[met[kind, width, seed].name]
        for (kind, width, seed), cell in made.items()
    ]
    ways = [
        Cell(f"{way}, seed {seed}", recipe_of(base, cap["width"], seed), cap | {"training": way}, data.sha256)
        for way, seed in itertools.product(TRAININGS if cap else (), seeds)
    ]
    trained = run_cells(ways, train, out / "cells", ray=ray, track=track)
    record = GraphStudy.model_validate(
        {
            **header(base.name, command, data=data, recipe=base),
            "plan": plan | {"widths": widths, "seeds": seeds, "cap": cap},
            "threat_model": THREATS[graph].format(**plan),
            "networks": networks,
            "trained": list(trained.values()),
        }
    )
    write_record(out / "graphs.json", record)
    graphs_page.write_page(out / "graphs.html", record)
    return record
