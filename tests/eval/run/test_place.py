"""A relative path to the data leads there from every folder; what a run was trained on is found again."""

from pathlib import Path

import numpy as np
import pytest

from spikeproof.eval.run.files import PLACE
from spikeproof.eval.run.folder import Run
from spikeproof.toolkit.config import Recipe, parse_recipe
from spikeproof.toolkit.errors import FileError


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    rng = np.random.default_rng(0)
    (tmp_path / "here" / "data").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    x, y = rng.random((6, 1, 8, 8)), np.arange(6) % 2
    np.savez(tmp_path / "here" / "data" / "a.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    monkeypatch.chdir(tmp_path / "here")
    return parse_recipe({"data": {"name": "arrays", "path": "data/a.npz"}}, "r.toml")


def test_a_run_finds_its_data_from_another_folder(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Run.create(Path("runs/one"), recipe)
    right = Run.open(Path("runs/one")).data().sha256
    monkeypatch.chdir(tmp_path / "elsewhere")
    run = Run.open(tmp_path / "here" / "runs" / "one")
    assert run.data().sha256 == right
    assert run.recipe() == recipe
    # The folder may move as a whole: no path of this machine is written down.
    assert str(tmp_path) not in run.path(PLACE).read_text() + run.path("recipe.json").read_text()
    (tmp_path / "here").rename(tmp_path / "moved")
    assert Run.open(tmp_path / "moved" / "runs" / "one").data().sha256 == right


def test_a_run_made_before_is_looked_for_as_before(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run.create(tmp_path / "run", recipe)
    run.path(PLACE).unlink()
    assert len(Run.open(tmp_path / "run").data().test_labels) == 6
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises(FileError, match=r"looked for from .*elsewhere"):
        Run.open(tmp_path / "run").data()


def test_data_moved_to_where_the_recipe_says_are_found_there(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Run.create(tmp_path / "run", recipe)
    (tmp_path / "here" / "data").rename(tmp_path / "elsewhere" / "data")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert len(Run.open(tmp_path / "run").data().test_labels) == 6


@pytest.mark.parametrize("content", ["[]", '{"path": 3}', "{}"])
def test_a_damaged_place_is_refused(recipe: Recipe, tmp_path: Path, content: str) -> None:
    run = Run.create(tmp_path / "run", recipe)
    run.path(PLACE).write_text(content)
    with pytest.raises(FileError, match="not a place; delete it"):
        run.data()
