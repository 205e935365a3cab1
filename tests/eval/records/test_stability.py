"""The record of a stability study: slopes, sides of the inequality, and what its curves do."""

import math
from pathlib import Path
from typing import Any

import pytest

from spikeproof.eval.records.base import Data, header, write_record
from spikeproof.eval.records.stability import (
    Row,
    Stability,
    findings,
    least,
    networks,
    read,
    rows_of,
    sides,
    sizes,
    slope,
)
from spikeproof.eval.study import stability_page as page
from spikeproof.toolkit.errors import FileError

ROOT = Path(__file__).resolve().parents[3]
DATA = Data(name="digits", provenance="scikit-learn digits, 1297 train, 500 test", sha256="0")


def point(step: int, distance: float, train: float, test: float) -> dict[str, Any]:
    return {
        "step": step,
        # Two twins whose root mean square is the distance.
        "distances": (distance, distance),
        "replaced": (0.1 * step, 0.3 * step),
        "moved": float(step),
        "train_loss": train,
        "test_loss": test,
        "train_accuracy": 0.5,
        "test_accuracy": 0.5,
        "curvature": -0.1,
        "density": 1.0,
        "large": 0.9,
        "gradient_l1": 2.0,
    }


def row(network: str, samples: int, seed: int, power: float, smoothness: float | None = 2.0) -> Row:
    steps = [(0, 0.0, 0.5, 0.6), (1, seed * samples**power, 0.4, 0.6), (2, 3 * samples**power, 0.3, 0.8)]
    return Row.model_validate(
        {
            "name": f"{network}, n {samples}, seed {seed}",
            "network": network,
            "samples": samples,
            "seed": seed,
            "key": "0",
            "unit": "step",
            "parameters": 8,
            "smoothness": smoothness,
            "points": [point(*one) for one in steps],
        }
    )


@pytest.fixture
def study() -> Stability:
    rows = [row("tanh:4", n, seed, -1.0 if seed == 1 else -0.5) for n in (10, 20, 80) for seed in (1, 2)]
    rows += [row("lif:4", 10, 1, -1.0, None)]
    made = header("digits", "spikeproof study stability digits") | {"data": DATA, "recipe": {}}
    return Stability(**made, plan={"twins": 2, "rate": 0.1, "batch": None}, rows=tuple(rows))


def test_slopes_are_fitted_to_each_seed(study: Stability) -> None:
    found = slope(study, "tanh:4", 1)
    assert found is not None
    assert found.values == pytest.approx((-1.0, -0.5))
    assert (found.value, found.spread) == (pytest.approx(-0.75), pytest.approx(math.sqrt(0.125)))
    assert slope(study, "lif:4", 1) is None
    assert slope(study, "tanh:4", 0) is None


def test_the_least_right_side_is_that_of_the_best_weight() -> None:
    for smooth, loss, square in ((2.0, 0.3, 0.01), (40.0, 0.5, 1.0), (1.0, 1e-4, 3.0)):
        sides_of = [
            smooth / weight * loss + (smooth + weight) / 2 * square
            for weight in (2 ** (k / 64) for k in range(-999, 999))
        ]
        assert least(smooth, loss, square) == pytest.approx(min(sides_of), rel=1e-4)
        assert least(smooth, loss, square) <= min(sides_of) * (1 + 1e-12)


def test_both_sides_are_means_over_seeds_and_twins(study: Stability) -> None:
    rows = [one for one in study.rows if (one.network, one.samples) == ("tanh:4", 10)]
    found = sides(rows, 1)
    assert found is not None
    # The gap before training is 0.1, and 0.2 afterwards.
    assert found.gap.value == pytest.approx(0.1)
    assert found.replaced.value == pytest.approx(0.2)
    square = (0.1**2 + (2 * 10**-0.5) ** 2) / 2
    assert found.right == pytest.approx(math.sqrt(2 * 2.0 * 0.4 * square) + square)
    assert sides([study.rows[-1]], 1) is None


def test_the_curves_are_counted(study: Stability) -> None:
    found = findings(study, "tanh:4")
    assert (found.rows, found.monotone, found.apart) == (6, 6, 6)
    assert (found.parting, found.intervals) == (6, 6)
    flat = study.rows[0].points[2].model_copy(update={"test_loss": 0.3, "distances": (0.0, 0.0)})
    changed = study.rows[0].model_copy(update={"points": (*study.rows[0].points[:2], flat)})
    found = findings(study.model_copy(update={"rows": (changed, *study.rows[1:])}), "tanh:4")
    assert (found.monotone, found.apart) == (5, 5)


def test_a_study_comes_back_as_it_was(study: Stability, tmp_path: Path) -> None:
    write_record(tmp_path / "stability.json", study)
    assert read(tmp_path / "stability.json") == study
    (tmp_path / "bad.json").write_text('{"rows": 3}')
    with pytest.raises(FileError, match=r"bad\.json: key .*study stability"):
        read(tmp_path / "bad.json")


def test_the_page_holds_plots_and_tables_and_bounds_of_smooth_networks_alone(study: Stability) -> None:
    text = page.render(study)
    assert "Curves of lif:4" in text
    assert "Inequality of tanh:4" in text
    assert "Inequality of lif:4" not in text
    assert {line[0] for line in page.bounds(study)[1]} == {"tanh:4"}
    assert ["tanh:4", "slope", "-0.75 ± 0.35", "-0.75 ± 0.35"] in page.distances(study)[1]
    assert page.markdown(page.table(study)).count("\n") == 2 + 8


def test_the_committed_record_meets_the_acceptance_block() -> None:
    """Slope in n between -1.3 and -0.7, monotone in steps, the gap grows while training loss falls; the inequality."""
    record = read(ROOT / "records" / "stability" / "digits-shallow.json")
    assert record.dirty is False
    assert {row.seed for row in record.rows} == {3407, 3408, 3409}
    for network in ("tanh:64", "tanh:256"):
        for step in record.plan["steps"]:
            tilt = slope(record, network, step)
            assert tilt is not None
            assert all(-1.3 < one < -0.7 for one in tilt.values)
        found = findings(record, network)
        assert found.monotone == found.apart == found.rows == 12
        assert found.parting >= found.intervals - 1
    for network in networks(record):
        for size in sizes(record, network):
            rows = rows_of(record, network, size)
            both = [sides(rows, step) for step in rows[0].steps]
            assert all((one is None) == network.startswith("lif") for one in both)
            assert all(max(one.gap.value, one.replaced.value) < one.right for one in both if one is not None)


def test_the_page_of_the_documentation_holds_the_records() -> None:
    text = (ROOT / "docs" / "stability.md").read_text(encoding="utf-8")
    paths = sorted((ROOT / "records" / "stability").glob("*.json"))
    assert paths
    for path in paths:
        record = read(path)
        assert page.markdown(page.distances(record), 2) in text, path.name
        assert page.markdown(page.behaviour(record)) in text, path.name
        if path.name == "digits-shallow.json":
            lines = page.markdown(page.bounds(record), 3).splitlines()
            kept = [
                line for line in lines if " 25 " not in line and " 50 steps" not in line and " 200 steps" not in line
            ]
            assert "\n".join(kept) in text
