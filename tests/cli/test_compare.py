"""``compare RUN``: side by side, from records where they exist, and pages that link to each other."""

import csv
import json
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from spikeproof.cli import show
from spikeproof.cli.compare import _print
from spikeproof.eval.cost.cells import Cell, Row
from spikeproof.eval.cost.constants import table
from spikeproof.eval.cost.table import SideBySide
from spikeproof.eval.records.cost import read_cost
from spikeproof.eval.report.words import interval
from spikeproof.eval.run import pages
from spikeproof.eval.run.compare import cost
from spikeproof.eval.run.evaluate import evaluate
from spikeproof.eval.run.folder import Run

Call = Callable[..., Any]


@pytest.fixture(scope="module")
def compared(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that was compared; not to be changed."""
    folder = Path(shutil.copytree(finished, tmp_path_factory.mktemp("compared") / "run"))
    run = Run.open(folder)
    cost(run)
    pages.write_pages(run)
    return folder


@pytest.fixture
def folder(compared: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(compared, tmp_path / "compared"))


class Links(HTMLParser):
    """Collects links, ids, and the cells of each table row with the links in them."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.rows: list[list[str]] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.ids.add(found.get("id") or "")
        if tag == "tr":
            self.rows.append([])
        if tag == "a" and found.get("href"):
            self.links.append(str(found["href"]))
            if self.rows:
                self.rows[-1].append(str(found["href"]))

    def handle_data(self, data: str) -> None:
        if self.rows and data.strip():
            self.rows[-1].append(data.strip())


def test_compare_measures_once_prints_and_writes_page_record_and_csv(
    run_folder: Path, call: Call, tmp_path: Path
) -> None:
    answer = call("compare", run_folder, "-n", 8, "--csv", tmp_path / "a.csv", "--json")
    assert (answer.code, answer.err) == (0, "")
    told = json.loads(answer.out)
    assert told["measured"] is True
    assert {row["group"] for row in told["rows"]} == {
        "accuracy",
        "robustness",
        "sparsity",
        "latency",
        "energy",
        "memory",
    }
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as file:
        assert len(list(csv.reader(file))) == 1 + sum(len(row["cells"]) for row in told["rows"])
    assert (run_folder / "cost.json").exists()
    before = (run_folder / "cost.json").read_bytes()
    again = json.loads(call("compare", run_folder, "-n", 8, "--json").out)
    assert (again["measured"], again["rows"]) == (False, told["rows"])
    assert (run_folder / "cost.json").read_bytes() == before


def test_other_samples_changed_attacks_or_again_are_measured_anew(folder: Path, call: Call) -> None:
    assert json.loads(call("compare", folder, "--json").out)["measured"] is False
    assert json.loads(call("compare", folder, "--again", "--json").out)["measured"] is True
    assert json.loads(call("compare", folder, "-n", 5, "--json").out)["measured"] is True


def test_the_terminal_shows_every_group_and_what_is_missing(folder: Path, call: Call) -> None:
    answer = call("compare", folder)
    assert answer.code == 0
    for group in ("accuracy", "robustness", "sparsity", "latency", "energy", "memory", "by term"):
        assert re.search(rf"^.*{group}", answer.out, re.MULTILINE), group
    text = " ".join(answer.out.split())
    assert "--protocol standard" in text
    assert "Loihi 2: no public figure" in text


def test_without_attacks_the_clean_images_are_compared(folder: Path, call: Call) -> None:
    (folder / "attacks.json").unlink()
    (folder / "record.json").unlink()
    told = json.loads(call("compare", folder, "-n", 4, "--json").out)
    assert {row["condition"] for row in told["rows"] if row["group"] == "sparsity"} == {"clean"}
    assert any("run 'spikeproof attack'" in note for note in told["notes"])


def test_a_run_that_was_not_exported_is_refused_with_the_step(folder: Path, call: Call) -> None:
    (folder / "program.safetensors").unlink()
    answer = call("compare", folder)
    assert answer.code == 2
    assert "program.safetensors: no such file; run the step that writes it first" in answer.err


def test_pages_link_to_each_other_and_inside_themselves(folder: Path) -> None:
    for own, other in (("report.html", "compare.html"), ("compare.html", "report.html")):
        found = Links(folder / own)
        assert other in found.links
        inside = {link[1:] for link in found.links if link.startswith("#")}
        assert inside <= found.ids
        outside = [link for link in found.links if not link.startswith(("#", "https://"))]
        assert all((folder / link).exists() for link in outside)


def test_the_robustness_page_is_linked_when_it_appears(folder: Path) -> None:
    assert "robustness.html" not in Links(folder / "report.html").links
    (folder / "robustness.html").write_text("page", encoding="utf-8")
    pages.write_pages(Run.open(folder))
    assert "robustness.html" in Links(folder / "report.html").links
    assert "robustness.html" in Links(folder / "compare.html").links
    assert Run.open(folder).is_done("evaluate")


def test_another_evaluation_writes_the_comparison_again(folder: Path) -> None:
    (folder / "compare.html").write_text("old", encoding="utf-8")
    evaluate(Run.open(folder), ["loihi"], "cpu")
    assert "side by side" in (folder / "compare.html").read_text(encoding="utf-8")
    assert "compare.html" in Links(folder / "report.html").links


def test_every_constant_on_the_page_links_to_its_source(folder: Path) -> None:
    rows = Links(folder / "compare.html").rows
    constants = table()
    for one in constants.constants:
        url = constants.sources[one.source].url
        matching = [row for row in rows if one.note in row and one.source in row and one.quality in row]
        assert any(url in row for row in matching), one
    shown = [row for row in rows if set(row) & set(constants.sources)]
    assert len(shown) == len(constants.constants)


def test_the_page_shows_the_sum_of_every_condition_and_what_the_attack_costs(folder: Path) -> None:
    told = json.loads((folder / "cost.json").read_text(encoding="utf-8"))
    (total,) = [row for row in Links(folder / "compare.html").rows if row and row[0] == "all"]
    chip = told["chips"][0]["total"]
    assert list(chip) == list(told["images"])
    # One column a condition, and one more for each attack.
    clean, *attacked = chip.values()
    expected = [interval(clean[0], clean[1], "J")]
    for low, high in attacked:
        expected += [interval(low, high, "J")]
        least, most = sorted([low / clean[0], high / clean[1]])
        expected.append(interval(least, most, "times clean"))
    assert total[1 : 1 + len(expected)] == expected


def test_names_are_escaped_and_nothing_comes_from_elsewhere(folder: Path) -> None:
    path = folder / "cost.json"
    told = json.loads(path.read_text(encoding="utf-8"))
    told["name"] = "<b>x</b>"
    from spikeproof.eval.cost.table import side_by_side
    from spikeproof.eval.records.cost import Cost
    from spikeproof.eval.report.compare import render_compare

    cost = Cost.model_validate(told)
    page = render_compare(side_by_side(None, None, cost, "<i>run</i>"), cost, None, {})
    assert "<b>x" not in page
    assert "<i>run" not in page
    assert not re.search(r"<(script|link|iframe|img)|@import|src=|url\((?!#)", page)


def test_worst_energy_stands_beside_the_clean_images_and_is_kept(call: Call, folder: Path) -> None:
    answer = call("compare", folder, "-n", 6, "--worst-energy", 0.02, "--json")
    assert (answer.code, answer.err) == (0, "")
    worst = read_cost(folder / "cost.json").worst
    assert worst is not None
    assert (worst.levels, worst.condition) == (5, "worst energy@0.02")
    assert all(a <= b <= c for a, b, c in zip(worst.clean, worst.searched, worst.bound, strict=True))
    assert worst.condition in (folder / "compare.html").read_text()
    before = (folder / "cost.json").read_bytes()
    for options in ((), ("--worst-energy", 0.02)):
        assert call("compare", folder, "-n", 6, *options).code == 0
        assert (folder / "cost.json").read_bytes() == before
    assert call("compare", folder, "-n", 6, "--worst-energy", 0.03).code == 0
    assert (folder / "cost.json").read_bytes() != before
    assert call("compare", folder, "-n", 6, "--worst-energy", 0.0001).code == 2


def test_rows_without_any_figure_are_counted_and_not_listed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(show.out, "_width", 80)
    missing = Cell("missing", note="run 'spikeproof robustness RUN'")
    rows = [Row("robustness", f"attack {number}", "", "share", "higher", {"float": missing}) for number in range(20)]
    known = {"float": Cell("measured", 0.25), "program": missing}
    rows.append(Row("robustness", "strong", "", "share", "higher", known))
    rows.append(Row("memory", "weights", "", "byte", "lower", {"float": missing}))
    _print(SideBySide("net", ["float", "program"], rows, [], {}))
    text = capsys.readouterr().out
    assert "attack 3" not in text
    assert "without any figure yet: 20 rows" in text
    assert "25.0" in text
    assert text.count("run 'spikeproof robustness RUN'") == 2  # once a group
    assert "memory" in text


def test_an_ann_is_trained_attacked_and_put_beside(run_folder: Path, call: Call) -> None:
    assert call("robustness", run_folder, "--protocol", "quick", "-n", 12, "--json").code == 0
    told = json.loads(call("compare", run_folder, "-n", 20, "--ann", "--json").out)
    ann = read_cost(run_folder / "cost.json").ann.trained
    assert ann is not None
    assert ann.robustness is not None
    assert (run_folder / "ann.onnx").exists()
    assert sum(count for kind, count in ann.operators.items() if kind.startswith("QLinear")) >= 1
    # What survives is right on the clean image, too, and no more than the float form's own examples leave it.
    assert ann.robustness.worst.correct <= ann.robustness.worst.samples == 12
    rows = {(row["group"], row["name"], row["condition"]): row["cells"] for row in told["rows"]}
    assert rows["accuracy", "accuracy", "clean"]["INT8 ANN"]["value"] == ann.accuracy.value
    assert rows["latency", "one image alone", "clean"]["INT8 ANN"]["how"] == "measured"
    (robust,) = [cells["INT8 ANN"] for key, cells in rows.items() if key[0] == "robustness" and "INT8 ANN" in cells]
    assert robust["value"] == ann.robustness.worst.value
    # It is on record now, and not trained again.
    assert json.loads(call("compare", run_folder, "-n", 20, "--ann", "--json").out)["measured"] is False


def test_an_ann_of_a_run_that_was_not_attacked_says_so(run_folder: Path, call: Call) -> None:
    call("compare", run_folder, "-n", 8, "--ann", "--json")
    ann = read_cost(run_folder / "cost.json").ann.trained
    assert ann is not None
    assert ann.robustness is None
    assert "run 'spikeproof robustness RUN'" in str(ann.absent)
