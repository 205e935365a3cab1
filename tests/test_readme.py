"""Every figure in the README and on the page of results comes from a committed record."""

import importlib.util
from pathlib import Path

import pytest

from spikeproof.eval.support import constructs as support
from spikeproof.eval.support import cores, graphs

ROOT = Path(__file__).resolve().parents[1]


def _script(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tables():
    return _script("readme_table")


@pytest.mark.parametrize(
    ("page", "part"),
    [
        ("README.md", "demo_table"),
        ("README.md", "agreement_line"),
        ("README.md", "proof_short"),
        ("docs/prove.md", "proof_table"),
        ("docs/results.md", "seeds_table"),
        ("docs/results.md", "speed_line"),
        ("docs/results.md", "robustness_table"),
        ("docs/results.md", "robustness_sentence"),
    ],
)
def test_pages_show_the_records(tables, page, part):
    assert getattr(tables, part)() in (ROOT / page).read_text(encoding="utf-8")


def test_the_page_of_the_family_shows_the_records():
    page = (ROOT / "docs" / "family.md").read_text(encoding="utf-8")
    for name, part in _script("family").PARTS.items():
        assert part() in page, name


def test_the_support_tables_are_what_the_code_answers():
    found = support.page(support.programs(), cores.programs(), support.layers(), graphs.files())
    assert (ROOT / "docs" / "support.md").read_text(encoding="utf-8") == found


def test_speed_claim_of_the_issue():
    import json

    found = json.loads((ROOT / "records" / "benchmarks" / "loihi_vs_lava.json").read_text())
    assert found["times_faster_batch_64"] >= 50


def test_the_study_page_holds_the_record() -> None:
    from spikeproof.eval.records.study import read
    from spikeproof.eval.study import page

    text = (ROOT / "docs" / "seed.md").read_text(encoding="utf-8")
    records = sorted((ROOT / "records" / "seed").glob("*.json"))
    assert records
    for path in records:
        assert page.markdown(read(path)) in text, path.name


def test_the_page_of_graphs_holds_its_records() -> None:
    from spikeproof.eval.records.graphs import read
    from spikeproof.eval.study import graphs_page as page

    text = (ROOT / "docs" / "graphs.md").read_text(encoding="utf-8")
    records = sorted((ROOT / "records" / "graphs").glob("study-*.json"))
    assert records
    for path in records:
        found = read(path)
        tables = [page.accuracies(found), page.sensitive(found), *(table for _, table in page.transfers(found)[2::3])]
        for table in [*tables, *([page.trained(found)] if found.trained else [])]:
            assert page.markdown(table) in text, path.name


def test_the_leaderboard_page_holds_the_records() -> None:
    from spikeproof.eval.leaderboard import page
    from spikeproof.eval.records.leaderboard import read_all

    text = (ROOT / "docs" / "leaderboard.md").read_text(encoding="utf-8")
    folders = sorted((ROOT / "records" / "leaderboard").iterdir())
    assert folders
    for folder in folders:
        assert page.markdown(read_all(folder)) in text, folder.name


def test_the_page_of_defences_holds_what_their_records_say() -> None:
    import subprocess
    import sys

    command = [sys.executable, str(ROOT / "benchmarks" / "defences"), "--table"]
    table = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert table.count("\n") > 10
    assert table in (ROOT / "docs" / "defences.md").read_text(encoding="utf-8")
