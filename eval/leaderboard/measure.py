"""The leaderboard's measurements: methods, measured alike, from training to the chip."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ...toolkit.config import Recipe, load_recipe, parse_recipe
from ...toolkit.data import load_data
from ...toolkit.extras import extra
from ...toolkit.progress import Track
from ..leaderboard import page
from ..records.base import command_line, header, write_record
from ..records.leaderboard import Entry, measured_claims, reported_claims
from ..study.cells import Cell, run_cells
from ..study.measure import measure


def recipe_of(method: str, base: Recipe, seed: int) -> Recipe:
    """Return the recipe of a method: ``base`` with its defences, pools and seed.

    Args:
        method: "plain", or names of defences joined by "+"; "-avg" at the end asks for average pools.
        base: what all methods share.
        seed: of training.

    Raises:
        RecipeError: there is no such defence.
    """
    names, _, pool = method.partition("-")
    values: dict[str, Any] = base.model_dump(mode="json")
    values["name"] = f"{base.name}-{method}"
    values["train"]["seed"] = seed
    if pool:
        values["model"]["pool"] = pool
    defences = [] if names == "plain" else names.split("+")
    if defences:
        values["defences"] = defences
    return parse_recipe(values, f"method {method!r}")


def leaderboard(
    recipe: str,
    out: Path,
    methods: list[str],
    seeds: list[int],
    plan: dict[str, Any],
    ray: str | None,
    track: Track,
) -> list[Entry]:
    """Measure all methods and write one record a method, the table and the page into ``out``.

    Raises:
        InputError: a method or an option is refused.
    """
    if plan.get("prove"):
        with extra("prove"):
            import ortools.sat.python.cp_model  # noqa: F401 - before hours of training, not after them
    base = load_recipe(recipe)
    data = load_data(base.data, base.coding.steps)
    cells = {
        method: {seed: Cell(f"{method} {seed}", recipe_of(method, base, seed), plan, data.sha256) for seed in seeds}
        for method in methods
    }
    flat = [cell for row in cells.values() for cell in row.values()]
    results = run_cells(flat, measure, out / "cells", ray=ray, track=track)
    asked = {name: plan[name] for name in ("protocols", "prove", "limit", "samples", "epsilon") if name in plan}
    command = command_line("leaderboard", Path(recipe).name, methods=methods, seeds=seeds, **asked)
    entries = []
    for method, row in cells.items():
        found = {seed: results[cell.name] for seed, cell in row.items()}
        first = next(iter(row.values())).recipe
        entry = Entry(
            **header(first.name, command, data=data, recipe=first),
            method=method,
            deploys=_deploys(found.values()),
            seeds=tuple(seeds),
            plan=plan,
            keys={str(seed): cell.key for seed, cell in row.items()},
            claims=(*measured_claims(method, found, command), *reported_claims(method)),
        )
        write_record(out / f"{method}.json", entry)
        entries.append(entry)
    page.write_page(out / "leaderboard.html", entries)
    return entries


def _deploys(results: Iterable[dict[str, Any]]) -> str:
    reasons = {result["refused"] for result in results}
    return "as a Program, bit for bit on loihi" if reasons == {None} else str(next(r for r in reasons if r))
