"""``study seed``, ``study graphs`` and ``leaderboard``: from a recipe to record and page, here and on Ray."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from spikeproof.cli import app
from spikeproof.eval.records.leaderboard import Entry, read_all
from spikeproof.eval.records.study import read
from spikeproof.toolkit.errors import InputError, RecipeError

TINY = """
name = "tiny"
[data]
train_samples = 64
test_samples = 10
[coding]
steps = 2
[model]
channels = [2]
threshold = 0.5
[train]
epochs = 1
[quantize]
epochs = 0
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


def run(*words: str) -> Any:
    found = CliRunner().invoke(app, list(words), catch_exceptions=True)
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    assert found.exit_code == 0, found.output
    return json.loads(found.stdout) if "--json" in words else found.stdout


def study(recipe: Path, out: Path, *words: str) -> Any:
    options = ["--networks", "plain", "--coders", "direct,phase:8", "--seeds", "1", "--protocols", "", "-n", "10"]
    return run("study", "seed", str(recipe), *options, "--trail", "1", "--out", str(out), *words)


def test_a_study_measures_every_cell_once(recipe: Path, tmp_path: Path) -> None:
    found = study(recipe, tmp_path / "out", "--json")
    rows = {row["name"]: row for row in found["rows"]}
    assert sorted(rows) == sorted(
        f"{p}, plain, {c}, 8 bit, seed 1" for p in ("max", "avg") for c in ("direct", "phase:8")
    )
    for name, row in rows.items():
        single = {"clean", "fgsm@0.1", "pgd-10@0.05", "pgd-10@0.1", "pgd-10@0.15"}
        assert set(row["forms"]["quantized"]["accuracy"]) == single
        assert set(row["forms"]["program"]["accuracy"]) == single | {"paper fgsm", "paper pgd"}
        assert [point["epoch"] for point in row["trail"]] == [1]
        zeros = row["forms"]["float"]["facts"]["zero-gradient share"]
        assert (zeros > 0.5) == name.startswith("max")
        if "phase" in name:
            # Perturbations of 6/255 on binary spikes round away: the chip sees the clean ones.
            shares = row["forms"]["program"]["accuracy"]
            assert shares["paper pgd"]["correct"] == shares["clean"]["correct"]
    assert (tmp_path / "out" / "seed.html").read_text().count("<svg") > 4
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "cells").iterdir()}
    study(recipe, tmp_path / "out")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "cells").iterdir()} == made
    page = (tmp_path / "out" / "seed.html").read_bytes()
    run("study", "seed", "--records", str(tmp_path / "out" / "seed.json"), "--out", str(tmp_path / "again"))
    assert (tmp_path / "again" / "seed.html").read_bytes() == page
    assert read(tmp_path / "out" / "seed.json").rows[0].seed == 1


@pytest.mark.parametrize(
    ("words", "error", "why"),
    [
        (["--seeds", "a"], InputError, "--seeds 'a'"),
        (["--coders", "phase:x"], InputError, "phase:x"),
        (["--pools", "median"], RecipeError, "cell median"),
        (["--protocols", "harsh"], InputError, "protocol: 'harsh'"),
    ],
)
def test_what_a_study_cannot_do_is_told(
    recipe: Path, tmp_path: Path, words: list[str], error: type[Exception], why: str
) -> None:
    with pytest.raises(error, match=why):
        run("study", "seed", str(recipe), "--out", str(tmp_path / "out"), *words)
    assert not (tmp_path / "out").exists()


def board(recipe: Path, out: Path, *words: str) -> dict[str, Entry]:
    options = ["--methods", "plain,sr,slif", "--seeds", "1", "--protocols", "", "--prove", "1,2", "-n", "6"]
    options += ["--out", str(out)]
    run("leaderboard", str(recipe), *options, *words)
    return {entry.method: entry for entry in read_all(out)}


def claims(entry: Entry) -> list[Any]:
    # How long an epoch took differs from run to run.
    return [claim for claim in entry.claims if claim.quantity != "seconds an epoch"]


def test_the_leaderboard_is_the_same_here_and_on_ray(recipe: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    here, there = board(recipe, tmp_path / "here"), board(recipe, tmp_path / "there", "--ray", "local")
    assert list(here) == list(there) == ["plain", "slif", "sr"]
    for method, entry in here.items():
        assert claims(entry) == claims(there[method])
        assert (entry.keys, entry.deploys) == (there[method].keys, there[method].deploys)
    assert "prediction current" in here["slif"].deploys
    assert here["slif"].find("program", "clean") is None
    assert here["sr"].find("program", "clean") is not None
    # Whether proofs cover so small a Program is chance (a voltage could be clipped): all ends or none, in order.
    names = ("clean", "unbroken at 1/255", "proved at 1/255", "proved at 2/255")
    for method in ("plain", "sr", "slif"):
        found = [claim.value for name in names if (claim := here[method].find("program", name)) is not None]
        assert len(found) in ((0,) if method == "slif" else (1, 4))
        assert found == sorted(found, reverse=True)
    text = run("leaderboard", "--records", str(tmp_path / "here"), "--out", str(tmp_path / "page"), "--markdown")
    assert "| slif | " in text
    assert "Program proved at 1/255 | Program proved at 2/255 |" in text
    assert (tmp_path / "page" / "leaderboard.html").exists()


def test_an_unknown_method_is_refused_before_anything_is_measured(recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"method 'magic'.*defence 'magic': unknown"):
        run("leaderboard", str(recipe), "--methods", "plain,magic", "--out", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_images_of_two_widths_are_studied_and_shown(recipe: Path, tmp_path: Path) -> None:
    options = ["--widths", "2,3", "--seeds", "1", "-n", "10", "--out", str(tmp_path / "out")]
    found = run("study", "graphs", str(recipe), *options, "--json")
    assert [network["name"] for network in found["networks"]] == ["spiking-2", "spiking-3"]
    assert found["trained"] == []
    assert found["command"].startswith("spikeproof study graphs tiny.toml --widths 2,3 --seeds 1")
    page = (tmp_path / "out" / "graphs.html").read_text(encoding="utf-8")
    again = ["--records", str(tmp_path / "out" / "graphs.json"), "--out", str(tmp_path / "again")]
    assert "spiking-3" in run("study", "graphs", *again)
    assert (tmp_path / "again" / "graphs.html").read_text(encoding="utf-8") == page


@pytest.mark.parametrize("option", ["--widths", "--seeds"])
def test_widths_and_seeds_are_whole_numbers(recipe: Path, tmp_path: Path, option: str) -> None:
    with pytest.raises(InputError, match="whole numbers"):
        run("study", "graphs", str(recipe), option, "4,x", "--out", str(tmp_path / "out"))
