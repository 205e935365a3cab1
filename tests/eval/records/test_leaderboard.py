"""Records of the leaderboard, the table and the page made from them."""

import re
import statistics
from pathlib import Path
from typing import Any

import pytest

from spikeproof.eval.leaderboard import page
from spikeproof.eval.records.base import Data, header, write_record
from spikeproof.eval.records.leaderboard import (
    Claim,
    Entry,
    claim_over_seeds,
    measured_claims,
    read,
    read_all,
    reported_claims,
)
from spikeproof.toolkit.errors import FileError, InputError

DATA = Data(name="digits", provenance="scikit-learn digits, 1297 train, 500 test", sha256="0")


def result(clean: float, strong: float, alarms: tuple[str, ...] = (), deployed: bool = True) -> dict[str, Any]:
    def accuracy(value: float) -> dict[str, Any]:
        return {"value": value, "low": 0.0, "high": 1.0, "correct": round(50 * value), "samples": 50}

    attacked = accuracy(strong) | {"reliable": not alarms, "alarms": list(alarms), "threat_model": "pixels"}
    form = {"accuracy": {"clean": accuracy(clean), "strong": attacked}, "facts": {"spike rate": 0.1}}
    forms = {"float": form} | ({"program": form} if deployed else {})
    return {"forms": forms, "costs": {"seconds an epoch": 2.0}, "refused": None}


def entry(method: str, *results: dict[str, Any]) -> Entry:
    seeds = dict(enumerate(results))
    return Entry(
        **(header("digits", "spikeproof leaderboard digits") | {"data": DATA, "recipe": {}}),
        method=method,
        deploys="as a Program" if "program" in results[0]["forms"] else "refused: noise & <all>",
        seeds=tuple(seeds),
        plan={"protocols": ["strong"], "samples": 50, "epsilon": 0.1},
        keys={},
        claims=(*measured_claims(method, seeds, "command"), *reported_claims(method)),
    )


@pytest.fixture
def entries() -> list[Entry]:
    return [
        entry("plain", result(0.9, 0.04), result(0.96, 0.06)),
        entry("sr", result(0.8, 0.5, alarms=("steps",)), result(0.8, 0.4)),
        entry("tgo", result(0.7, 0.1, deployed=False)),
    ]


def test_mean_and_spread_are_those_of_the_seeds(entries: list[Entry]) -> None:
    claim = entries[0].find("program", "clean")
    assert claim is not None
    assert claim.value == pytest.approx(93.0)
    assert claim.spread == pytest.approx(statistics.stdev([90, 96]))
    assert (claim.kind, claim.samples, claim.reliable) == ("deployed", 50, None)
    one = entries[2].find("float", "clean")
    assert one is not None
    assert one.spread is None


def test_an_alarm_of_one_seed_makes_the_claim_unreliable(entries: list[Entry]) -> None:
    claim = entries[1].find("float", "strong")
    assert claim is not None
    assert (claim.reliable, claim.alarms) == (False, ("steps",))
    assert entries[1].find("float", "clean").reliable is None  # type: ignore[union-attr]


def test_a_claim_of_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="no values"):
        claim_over_seeds([], quantity="accuracy")


def test_entries_come_back_as_they_were(entries: list[Entry], tmp_path: Path) -> None:
    for one in entries:
        write_record(tmp_path / f"{one.method}.json", one)
    assert read(tmp_path / "sr.json") == entries[1]
    assert [one.method for one in read_all(tmp_path)] == ["plain", "sr", "tgo"]


def test_damaged_and_missing_records_are_told(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no records of methods"):
        read_all(tmp_path)
    (tmp_path / "a.json").write_text('{"method": "a"}')
    with pytest.raises(FileError, match=r"a\.json: key .*leaderboard"):
        read_all(tmp_path)


def test_the_table_holds_every_figure(entries: list[Entry]) -> None:
    text = page.markdown(entries)
    plain, sr, tgo = (
        next(line for line in text.splitlines() if line.startswith(f"| {m} |")) for m in ("plain", "sr", "tgo")
    )
    assert "| 93.0 ± 4.2 | 5.0 ± 1.4 |" in plain
    assert "45.0 ± 7.1 !" in sr
    assert tgo.count("\u2013") == 4
    assert "radius 0.1" in text
    assert "16.03 percent" in text


def test_reported_claims_name_how_they_were_read() -> None:
    claims = [claim for method in ("plain", "at", "sr", "tgo", "trr", "cap") for claim in reported_claims(method)]
    assert claims
    assert all(re.search(r"(third party|own text or code)", claim.source) for claim in claims)
    assert all(isinstance(claim, Claim) and claim.kind == "reported" and claim.reliable is None for claim in claims)
    assert {claim.method for claim in reported_claims("at+sr")} == {"at", "sr"}


def test_the_page_can_be_sorted_and_escapes(entries: list[Entry]) -> None:
    text = page.render(entries)
    assert "refused: noise &amp; &lt;all&gt;" in text
    values = re.findall(r'data-value="([^"]*)"', text)
    assert len(values) == len(entries) * (6 + len(page.OTHERS))
    assert {value for value in values if value} >= {"93.0", "5.0"}
    assert text.count('title="alarms: steps"') == 2
