"""``study stability``: from a recipe to record and page, taken up again, here and on Ray."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from spikeproof.cli import app
from spikeproof.eval.records.stability import read
from spikeproof.toolkit.errors import InputError

TINY = """
name = "tiny"
[data]
train_samples = 60
test_samples = 20
[coding]
steps = 2
[model]
channels = [2]
[train]
batch = 8
"""
OPTIONS = {"networks": "tanh:4,lif:4,recipe", "samples": "8,16", "twins": "2", "steps": "1,3", "epochs": "1,2"}


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


def run(*words: str, **options: str) -> str:
    typed = [word for name, value in options.items() for word in (f"--{name}", value)]
    found: Any = CliRunner().invoke(app, ["study", "stability", *words, *typed])
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    assert found.exit_code == 0, found.output
    return str(found.stdout)


def test_a_study_is_measured_once_and_its_page_made_again(recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    text = run(str(recipe), **OPTIONS, seeds="1,2", out=str(out))
    assert "distance of twins" in text
    record = read(out / "stability.json")
    assert len(record.rows) == 3 * 2 * 2
    assert {len(point.distances) for row in record.rows for point in row.points} == {2}
    assert record.command == (
        "spikeproof study stability tiny.toml --networks tanh:4,lif:4,recipe --samples 8,16 --steps 1,3 --epochs 1,2 "
        "--seeds 1,2 --twins 2 --rate 0.1 --scale pixels --targets half"
    )
    made = {path: path.stat().st_mtime_ns for path in (out / "cells").iterdir()}
    run(str(recipe), **OPTIONS, seeds="1,2", out=str(out))
    assert {path: path.stat().st_mtime_ns for path in (out / "cells").iterdir()} == made
    told = run(records=str(out / "stability.json"), out=str(tmp_path / "again"))
    assert f"record: {out / 'stability.json'}" in told
    assert not (tmp_path / "again" / "stability.json").exists()
    assert (tmp_path / "again" / "stability.html").read_bytes() == (out / "stability.html").read_bytes()


@pytest.mark.long
def test_ray_gives_the_same(recipe: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    found = []
    for place, words in (("here", ()), ("ray", ("--ray", "local"))):
        run(
            str(recipe), *words, **OPTIONS | {"networks": "lif:4", "samples": "8"}, seeds="1", out=str(tmp_path / place)
        )
        found.append(read(tmp_path / place / "stability.json").rows)
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("option", "value", "why"),
    [
        ("seeds", "a", "--seeds 'a'"),
        ("steps", "1,x", "--steps '1,x'"),
        ("steps", "3,1", "--steps 3,1"),
        ("epochs", "0,2", "--epochs 0,2"),
        ("networks", "relu:4", "network 'relu:4'"),
        ("samples", "59", "twins: 2 replacements"),
        ("rate", "0", "--rate"),
    ],
)
def test_what_a_study_cannot_do_is_told_before_it_begins(
    recipe: Path, tmp_path: Path, option: str, value: str, why: str
) -> None:
    with pytest.raises(InputError, match=why):
        run(str(recipe), **OPTIONS | {option: value}, out=str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
