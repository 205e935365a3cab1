"""Cells: the independent measurements of a study, each kept by what it depends on, run here or on Ray."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...toolkit.code import code_hash
from ...toolkit.config import Recipe
from ...toolkit.errors import FileError, InputError
from ...toolkit.files import digest, read_json, write_json
from ...toolkit.progress import Track, silent
from ..tasks import on_ray


@dataclass(frozen=True)
class Cell:
    """One measurement of a study.

    Attributes:
        name: of its row, unique in the study.
        recipe: what is trained, quantized and exported.
        plan: what is measured on it; JSON values.
        data: SHA-256 of the data set.
    """

    name: str
    recipe: Recipe
    plan: Mapping[str, Any] = field(default_factory=dict)
    data: str = ""

    @property
    def key(self) -> str:
        """Hash of all that the result depends on: recipe, plan, data and code."""
        facts = f"{self.recipe.model_dump_json()} {sorted(self.plan.items())} {self.data} {code_hash()}"
        return digest(facts.encode())[:24]


Measure = Callable[[Recipe, Mapping[str, Any], Path], dict[str, Any]]
"""Makes a cell's result, JSON values, from its recipe and plan; what it keeps in the folder makes it resumable."""


def run_cells(
    cells: Sequence[Cell],
    measure: Measure,
    folder: Path,
    *,
    ray: str | None = None,
    track: Track = silent,
) -> dict[str, dict[str, Any]]:
    """Return the result of every cell, by name; those that are kept in ``folder`` are not measured again.

    Args:
        cells: with different names.
        measure: a function of a module, so that Ray's workers find it.
        folder: ``KEY.json`` holds a result, ``KEY/`` what an unfinished cell made so far.
        ray: None runs one cell after the other in this process; "local" starts Ray here, anything else is the address
            of a cluster that sees the same ``folder``.
        track: progress, a step a cell.

    Raises:
        InputError: two cells have one name, or Ray is asked for and not installed.
        TargetError: Ray lost a cell's worker too often.
        FileError: a kept result is damaged.
    """
    names = [cell.name for cell in cells]
    if len(set(names)) < len(names):
        raise InputError(f"cells: names must differ, got {sorted(name for name in names if names.count(name) > 1)}")
    found = {cell.name: kept for cell in cells if (kept := _kept(cell, folder)) is not None}
    left = [cell for cell in cells if cell.name not in found]
    results = _on_ray(left, measure, folder, ray) if ray else _here(left, measure, folder)
    for cell, result in track(results, "cells", len(left)):
        write_json(_file(cell, folder), {"cell": cell.name, "key": cell.key, "code": code_hash(), "result": result})
        found[cell.name] = result
    return {name: found[name] for name in names}


def _file(cell: Cell, folder: Path) -> Path:
    return folder / f"{cell.key}.json"


def _kept(cell: Cell, folder: Path) -> dict[str, Any] | None:
    path = _file(cell, folder)
    if not path.exists():
        return None
    value = read_json(path)
    if not isinstance(value, dict) or value.get("key") != cell.key or not isinstance(value.get("result"), dict):
        raise FileError(f"{path}: not the result of cell {cell.name!r}; delete it to measure again")
    result: dict[str, Any] = value["result"]
    return result


def _here(cells: Sequence[Cell], measure: Measure, folder: Path) -> Iterator[tuple[Cell, dict[str, Any]]]:
    for cell in cells:
        yield cell, measure(cell.recipe, cell.plan, folder / cell.key)


def _work(measure: Measure, recipe: str, plan: dict[str, Any], folder: str, version: str) -> dict[str, Any]:
    """Measure a cell in a worker of Ray."""
    if code_hash() != version:
        raise InputError("the cluster's workers run another version of spikeproof; install the same one there")
    return measure(Recipe.model_validate_json(recipe), plan, Path(folder))


def _on_ray(
    cells: Sequence[Cell], measure: Measure, folder: Path, address: str
) -> Iterator[tuple[Cell, dict[str, Any]]]:
    place = str(folder.resolve())
    named = {cell.name: cell for cell in cells}
    tasks = {
        name: (measure, cell.recipe.model_dump_json(), dict(cell.plan), f"{place}/{cell.key}", code_hash())
        for name, cell in named.items()
    }
    for name, result in on_ray(_work, tasks, address, "cell"):
        yield named[name], result
