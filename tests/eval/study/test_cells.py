"""Cells of a study: cached by what they depend on, resumed after a kill, the same here and on Ray."""

import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from spikeproof.eval.study.cells import Cell, run_cells
from spikeproof.toolkit.config import Recipe, TrainSettings
from spikeproof.toolkit.errors import FileError, InputError


def cells(count: int = 3, **others: Any) -> list[Cell]:
    return [Cell(f"seed {n}", Recipe(train=TrainSettings(seed=n)), {"factor": 2}, **others) for n in range(count)]


def measure(recipe: Recipe, plan: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return something that depends on the recipe alone, and leave a trace of every call."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "calls").open("a") as calls:
        calls.write("x")
    return {"value": plan["factor"] * recipe.train.seed}


def dies_once(recipe: Recipe, plan: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Kill the own process at the first call of the middle cell, as a machine without memory would."""
    found = measure(recipe, plan, folder)
    if recipe.train.seed == 1 and (folder / "calls").read_text() == "x":
        os.kill(os.getpid(), signal.SIGKILL)
    return found


def refuses(recipe: Recipe, plan: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    raise InputError("recipe: refused")


def calls(folder: Path) -> int:
    return sum(len(path.read_text()) for path in folder.rglob("calls"))


EXPECTED = {f"seed {n}": {"value": 2 * n} for n in range(3)}


def test_cells_are_measured_once(tmp_path: Path) -> None:
    assert run_cells(cells(), measure, tmp_path) == EXPECTED
    assert run_cells(cells(), measure, tmp_path) == EXPECTED
    assert calls(tmp_path) == 3


def test_what_is_done_survives_an_interruption(tmp_path: Path) -> None:
    def interrupted(recipe: Recipe, plan: Mapping[str, Any], folder: Path) -> dict[str, Any]:
        if recipe.train.seed == 2:
            raise KeyboardInterrupt
        return measure(recipe, plan, folder)

    with pytest.raises(KeyboardInterrupt):
        run_cells(cells(), interrupted, tmp_path)
    assert run_cells(cells(), measure, tmp_path) == EXPECTED
    assert calls(tmp_path) == 3


@pytest.mark.parametrize(
    "other",
    [
        Cell("seed 0", Recipe(train=TrainSettings(seed=9)), {"factor": 2}),
        Cell("seed 0", Recipe(train=TrainSettings(seed=0)), {"factor": 3}),
        Cell("seed 0", Recipe(train=TrainSettings(seed=0)), {"factor": 2}, data="other"),
    ],
)
def test_recipe_plan_and_data_make_another_cell(tmp_path: Path, other: Cell) -> None:
    run_cells(cells(1), measure, tmp_path)
    run_cells([other], measure, tmp_path)
    assert calls(tmp_path) == 2


def test_other_code_makes_another_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_cells(cells(1), measure, tmp_path)
    monkeypatch.setattr("spikeproof.eval.study.cells.code_hash", lambda: "another")
    run_cells(cells(1), measure, tmp_path)
    assert calls(tmp_path) == 2


def test_names_must_differ(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"names must differ.*seed 0"):
        run_cells(cells(1) * 2, measure, tmp_path)


def test_a_damaged_result_is_refused(tmp_path: Path) -> None:
    run_cells(cells(1), measure, tmp_path)
    (path,) = tmp_path.glob("*.json")
    path.write_text(json.dumps({"key": "other", "result": {}}))
    with pytest.raises(FileError, match="not the result of cell 'seed 0'"):
        run_cells(cells(1), measure, tmp_path)


@pytest.fixture
def tests_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Ray's workers import this module, as they import a study's."""
    here = str(Path(__file__).parent)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([here, os.environ.get("PYTHONPATH", "")]))


@pytest.mark.usefixtures("tests_importable")
def test_ray_gives_the_same_also_when_a_worker_is_killed(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    assert run_cells(cells(), dies_once, tmp_path, ray="local") == run_cells(cells(), measure, tmp_path / "here")
    # The killed cell was started again, the others were not.
    assert calls(tmp_path) - calls(tmp_path / "here") == 4
    kept = sorted(path.name for path in tmp_path.glob("*.json"))
    assert kept == sorted(path.name for path in (tmp_path / "here").glob("*.json"))
    for name in kept:
        assert (tmp_path / name).read_bytes() == (tmp_path / "here" / name).read_bytes()


@pytest.mark.usefixtures("tests_importable")
def test_errors_of_a_cell_come_back_from_ray(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    with pytest.raises(InputError, match="refused"):
        run_cells(cells(1), refuses, tmp_path, ray="local")
