"""Cells: the independent measurements of a study, each kept by what it depends on, run here or on Ray."""

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...toolkit.code import code_hash
from ...toolkit.config import Recipe
from ...toolkit.errors import FileError, InputError, TargetError
from ...toolkit.files import digest, read_json, write_json
from ...toolkit.progress import Track, silent

RETRIES = 3
"""How often Ray may start a cell again whose worker died."""


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
        TargetError: Ray lost a cell's worker more than :data:`RETRIES` times.
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
    if not cells:
        return
    with _ray(address) as ray:
        # A worker that dies is started again; what it left in the folder is taken up.
        task = ray.remote(max_retries=RETRIES, num_cpus=1)(_work)
        place = str(folder.resolve())
        pending = {
            task.remote(measure, cell.recipe.model_dump_json(), dict(cell.plan), f"{place}/{cell.key}", code_hash()): (
                cell
            )
            for cell in cells
        }
        while pending:
            (done, *_), _ = ray.wait(list(pending), num_returns=1)
            cell = pending.pop(done)
            try:
                yield cell, ray.get(done)
            except ray.exceptions.RayTaskError as error:
                raise error.as_instanceof_cause() from error
            except ray.exceptions.RayError as error:
                raise TargetError(
                    f"cell {cell.name!r}: Ray lost its worker {RETRIES + 1} times ({type(error).__name__}); "
                    "give it more memory, or run without --ray"
                ) from error


@contextmanager
def _ray(address: str) -> Iterator[Any]:
    try:
        import ray
    except ImportError as error:
        raise InputError("--ray: Ray is not installed; pip install 'spikeproof[ray]'") from error
    # Nothing is sent anywhere; one thread a worker, since torch's threads fight each other where every core has a cell.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    environment = {"env_vars": {"OMP_NUM_THREADS": "1"}}
    options: dict[str, Any] = {"include_dashboard": False} if address == "local" else {"address": address}
    try:
        ray.init(runtime_env=environment, log_to_driver=False, logging_level=logging.ERROR, **options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise InputError(f"--ray {address}: no cluster answers there ({error})") from error
    try:
        yield ray
    finally:
        ray.shutdown()
