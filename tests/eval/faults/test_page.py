"""The committed records of faults: what is proved is never broken, and the page's table is theirs."""

import json
from pathlib import Path

import numpy as np
import pytest

from spikeproof.eval.records.faults import Faults, FlipCost, read_faults
from spikeproof.eval.report.faults import render_faults

ROOT = Path(__file__).resolve().parents[3]
FILES = sorted((ROOT / "records" / "faults").glob("*.json"))


def row(bits: int, seed: int, record: Faults) -> str:
    """One row of the page's table."""

    def price(cost: FlipCost) -> str:
        assert cost.flips is not None
        ends = ["never" if end is None else f"{end:.0f}" for end in (cost.least, cost.most)]
        return f"{cost.flips:.0f} ({ends[0]} to {ends[1]})"

    weights, every = record.chances
    searched = record.searches[0]
    proved = [f"{100 * np.mean(np.array(record.proof.proved) >= k):.1f}" for k in (1, 2, 3)]
    cells = [str(bits), str(seed), f"{100 * record.clean.value:.1f}", f"{record.bits:,}", price(every.cost)]
    cells += [price(weights.cost), str(searched.points), str(searched.reached), *proved]
    return f"| {' | '.join(cells)} |"


def test_there_are_both_widths_and_three_seeds() -> None:
    assert [path.stem for path in FILES] == [
        f"digits-{bits}-bit-seed{seed}" for bits in (4, 8) for seed in (3407, 3408, 3409)
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_record_keeps_the_law_and_the_page_says_what_it_says(path: Path) -> None:
    record = read_faults(path)
    assert len(record.proof.proved) == len(record.proof.broken) == record.samples
    for proved, broken in zip(record.proof.proved, record.proof.broken, strict=True):
        assert broken is None or proved < broken
    # Searched flips are worse than as many random ones, in every seed.
    for chance, search in zip(record.chances, record.searches, strict=True):
        for one in chance.random:
            if one.flips <= len(search.flips):
                assert search.flips[one.flips - 1].accuracy <= one.least
    bits, seed = int(path.stem.split("-")[1]), int(path.stem.split("seed")[1])
    assert record.recipe is not None
    assert (record.recipe["quantize"]["bits"], record.recipe["train"]["seed"]) == (bits, seed)
    assert row(bits, seed, record) in (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("seed", [3407, 3408, 3409])
def test_the_page_says_what_is_on_record_of_the_ann(seed: int) -> None:
    found = json.loads((ROOT / "records" / "benchmarks" / f"faults-ann-seed{seed}.json").read_text(encoding="utf-8"))
    ends = [f"{end(found['cost_by_seed']):.0f}" for end in (min, max)]
    cells = [str(seed), f"{100 * found['clean']:.1f}", f"{found['bits']:,}"]
    cells += [f"{found['cost']:.0f} ({ends[0]} to {ends[1]})", str(found["points"]), str(found["reached"])]
    assert f"| {' | '.join(cells)} |" in (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")


def test_a_record_without_proof_or_search_is_drawn_and_says_why() -> None:
    record = read_faults(FILES[0])
    nothing = record.proof.model_copy(update={"proved": [], "broken": [], "absent": "a kernel is shared"})
    parts = {"proof": nothing, "searches": [], "left_out": ["population 'a': dv = 4096 does not fit its 12 bits"]}
    page = render_faults(record.model_copy(update=parts))
    assert page.count("<svg") == 2
    assert "Nothing is proved of the read-out layer: a kernel is shared." in page
    assert "Left out: population &#39;a&#39;: dv = 4096" in page
    assert "Worst flips" not in page
    assert "-0.0" not in page
    # Ticks are numbers, not formulas.
    assert "mathdefault" not in render_faults(record)
