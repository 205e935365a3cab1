"""The study's record, means over seeds, plots and page."""

import re
import statistics
from pathlib import Path
from typing import Any

import pytest

from spikeproof.eval.records.base import Data, header, write_record
from spikeproof.eval.records.study import Row, Study, accuracy, conditions, fact, families, read, rows_of
from spikeproof.eval.study import page, plots
from spikeproof.toolkit.errors import FileError

DATA = Data(name="digits", provenance="scikit-learn digits, 1297 train, 500 test", sha256="0")


def measured(value: float, **others: Any) -> dict[str, Any]:
    return {"value": value, "low": 0.0, "high": 1.0, "correct": round(100 * value), "samples": 100, **others}


def row(pool: str, seed: int, strong: float, *, refused: str | None = None, alarms: tuple[str, ...] = ()) -> Row:
    zeros = 0.8 if pool == "max" else 0.0
    form = {
        "accuracy": {
            "clean": measured(0.9 + seed / 100),
            "strong": measured(strong, reliable=not alarms, alarms=alarms, threat_model="pixels"),
        },
        "facts": {"zero-gradient share": zeros, "spike rate": 0.1, "gradient L1": 2.0},
        "layers": {"lif1": zeros, "lif2": zeros / 2},
    }
    forms = {"float": form} if refused else {"float": form, "quantized": form, "program": form | {"layers": {}}}
    point = {"epoch": 1, "zero_gradient": zeros, "clean": measured(0.5), "robust": measured(0.25)}
    return Row.model_validate(
        {
            "name": f"{pool}, seed {seed}",
            "family": {"pool": pool, "network": "plain"},
            "seed": seed,
            "key": "0",
            "epochs": 2,
            "forms": forms,
            "refused": refused,
            "costs": {"seconds an epoch": 1.0},
            "trail": [point, point | {"epoch": 2}],
        }
    )


@pytest.fixture
def study() -> Study:
    return Study(
        **(header("digits", "spikeproof study seed digits") | {"data": DATA, "recipe": {}}),
        plan={"protocols": ["strong"], "samples": 100, "epsilon": 0.1},
        rows=(
            row("max", 1, 0.4),
            row("max", 2, 0.2, alarms=("steps",)),
            row("avg", 1, 0.1, refused="layer <x>: no"),
        ),
    )


def test_means_are_over_the_seeds_of_a_family(study: Study) -> None:
    most, least = families(study)
    strong = accuracy(rows_of(study, most), "program", "strong")
    assert strong is not None
    assert strong.value == pytest.approx(30.0)
    assert strong.spread == pytest.approx(statistics.stdev([40, 20]))
    assert strong.alarms == ("steps",)
    assert accuracy(rows_of(study, least), "program", "strong") is None
    zeros = fact(rows_of(study, least), "float", "zero-gradient share")
    assert zeros is not None
    assert (zeros.value, zeros.spread) == (0.0, None)
    assert conditions(study) == ["clean", "strong"]


def test_a_study_comes_back_as_it_was(study: Study, tmp_path: Path) -> None:
    write_record(tmp_path / "seed.json", study)
    assert read(tmp_path / "seed.json") == study
    (tmp_path / "bad.json").write_text('{"rows": 3}')
    with pytest.raises(FileError, match=r"bad\.json: key .*study seed"):
        read(tmp_path / "bad.json")


def test_the_table_has_a_line_a_family_and_form(study: Study) -> None:
    head, body = page.table(study)
    assert head[:4] == ["network", "form", "clean", "strong"]
    assert [line[:2] for line in body] == [
        ["max, plain", "float"],
        ["max, plain", "quantized"],
        ["max, plain", "Program"],
        ["avg, plain", "float"],
    ]
    assert body[0][2:4] == ["91.5 ± 0.7", "30.0 ± 14.1 !"]
    assert page.markdown(study).count("\n") == 6


def test_the_page_holds_plots_table_and_refusals(study: Study) -> None:
    text = page.render(study)
    for label in ("Trade-off under strong", "Trail over epochs", "layer &lt;x&gt;: no", "spikeproof study seed digits"):
        assert label in text
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert text.count("<svg") == 4


def test_without_attack_or_trail_there_is_no_plot(study: Study) -> None:
    assert plots.trade_off(study, "other") is None
    bare = study.model_copy(update={"rows": tuple(r.model_copy(update={"trail": ()}) for r in study.rows)})
    assert plots.trail(bare) is None
