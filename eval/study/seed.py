"""The seed study: what pooling, residual kind and coder do to gradients, accuracy and robustness."""

import itertools
from pathlib import Path
from typing import Any

from ...toolkit.config import Recipe, parse_recipe
from ...toolkit.data import load_data
from ...toolkit.progress import Track
from ..records.base import header, write_record
from ..records.study import Row, Study
from ..study import page
from ..study.cells import Cell, run_cells
from ..study.measure import measure

ATTACKS = (("fgsm", 0.1, None), ("pgd", 0.05, 10), ("pgd", 0.1, 10), ("pgd", 0.15, 10))
"""Single white-box attacks of the design notes' acceptance block: name, epsilon, steps."""


def recipe_of(base: Recipe, family: dict[str, str], seed: int, trail: int) -> Recipe:
    """Return the recipe of a cell.

    Args:
        base: what all cells share.
        family: ``pool``, ``network``, ``coder`` (with its time steps, as "phase:10") and ``bits``.
        seed: of training.
        trail: epochs between points of the trail; 0 keeps none.

    Raises:
        RecipeError: a value is refused.
    """
    values: dict[str, Any] = base.model_dump(mode="json")
    values["name"] = f"{base.name}-{'-'.join(family.values()).replace(' ', '').replace(':', '')}"
    values["train"] |= {"seed": seed, "trail": trail}
    values["model"]["pool"] = family["pool"]
    if family["network"] == "plain":
        values["model"] |= {"kind": "conv", "blocks": None, "depth": None}
    elif family["network"] == "spiking":
        values["model"]["kind"] = "spiking-resnet"
    else:
        values["model"] |= {"kind": "sew", "residual": family["network"].removeprefix("sew-")}
    name, _, steps = family["coder"].partition(":")
    if name != values["coding"]["name"]:
        values["coding"] = {"name": name, "steps": values["coding"]["steps"]}
    if steps:
        values["coding"]["steps"] = int(steps)
    values["quantize"]["bits"] = int(family["bits"].split()[0])
    return parse_recipe(values, f"cell {', '.join(family.values())}")


def study(
    base: Recipe,
    axes: dict[str, list[str]],
    seeds: list[int],
    trail: int,
    plan: dict[str, Any],
    command: str,
    out: Path,
    ray: str | None,
    track: Track,
) -> Study:
    """Measure every cell of a study and write seed.json and seed.html into ``out``.

    Args:
        base: what all cells share.
        axes: values of each part of a family.
        seeds: of training.
        trail: see :func:`recipe_of`.
        plan: see :func:`..eval.study.measure.measure`.
        command: that does the same again, for the record.
        out: folder.
        ray: see :func:`..eval.study.cells.run_cells`.
        track: progress.
    """
    data = load_data(base.data, base.coding.steps)
    families = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    cells = {}
    for family, seed in itertools.product(families, seeds):
        recipe = recipe_of(base, family, seed, trail)
        cells[f"{', '.join(family.values())}, seed {seed}"] = (family, seed, recipe)
    made = {name: Cell(name, recipe, plan, data.sha256) for name, (_, _, recipe) in cells.items()}
    results = run_cells(list(made.values()), measure, out / "cells", ray=ray, track=track)
    rows = [
        Row.model_validate(
            {"name": name, "family": family, "seed": seed, "key": made[name].key, "epochs": recipe.train.epochs}
            | results[name]
        )
        for name, (family, seed, recipe) in cells.items()
    ]
    record = Study(
        **header(base.name, command, data=data, recipe=base),
        plan=plan,
        rows=tuple(rows),
    )
    write_record(out / "seed.json", record)
    page.write_page(out / "seed.html", record)
    return record
