"""The table of forms: what is on record is in it, what is not says how to get it, and all its views agree."""

import csv
import io
from pathlib import Path
from typing import Any

import pytest

from spikeproof.eval.cost.cells import ANN, Cell, Row
from spikeproof.eval.cost.table import SideBySide, side_by_side
from spikeproof.eval.records.base import ProgramId, header, share_of
from spikeproof.eval.records.cost import Cost, Metering, read_cost
from spikeproof.eval.records.evaluation import Evaluation, read_record
from spikeproof.eval.records.robustness import FormResult, Outcome, Robustness
from spikeproof.eval.report.words import amount, figure, interval
from spikeproof.eval.run.compare import cost as measure_run
from spikeproof.eval.run.folder import Run
from spikeproof.toolkit.errors import FileError

FLOAT, QUANTIZED, PROGRAM = "float · torch cpu", "quantized · torch cpu", "Program · loihi"


@pytest.fixture(scope="module")
def run(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    import shutil

    folder = shutil.copytree(finished, tmp_path_factory.mktemp("beside") / "run")
    run = Run.open(Path(folder))
    assert measure_run(run, samples=12)
    return run


@pytest.fixture(scope="module")
def cost(run: Run) -> Cost:
    return read_cost(run.path("cost.json"))


@pytest.fixture(scope="module")
def record(run: Run) -> Evaluation:
    return read_record(run.path("record.json"))


def protocol(cost: Cost, record: Evaluation, reliable: bool = True) -> Robustness:
    def form(kind: str, target: str, right: int) -> FormResult:
        one = Outcome(
            label="pgd-5@0.1",
            access="white box",
            threat_model="t",
            settings={},
            outcomes="o",
            on_grid="o",
            accuracy=share_of(right, 40),
            after=share_of(right, 40),
            distance=0.1,
            distance_on_grid=0.1,
            seconds=1.0,
        )
        return FormResult(
            form=kind,
            target=target,
            clean=share_of(39, 40),
            attacks=[one],
            worst=share_of(right - 3, 40),
            worst_on_grid=share_of(right, 40),
            worst_by={"white box": share_of(right, 40)},
            outcomes="o",
            probes=None,
            reliable=reliable,
            seconds=1.0,
        )

    return Robustness(
        **(header("tiny", "spikeproof evaluate DIR") | {"data": record.data, "program": cost.program, "recipe": {}}),
        protocol="quick",
        threat_model="t",
        epsilon=0.1,
        levels=25,
        asked=0.1,
        samples=40,
        cascade=False,
        seed=0,
        forms=[form("float", "torch", 30), form("program", "loihi", 20)],
        summary="s",
        seconds=1.0,
    )


def find(found: SideBySide, name: str, condition: str = "clean", part: str = "") -> Row:
    (row,) = [
        row for row in found.rows if row.name.startswith(name) and row.condition == condition and row.part == part
    ]
    return row


def test_accuracies_are_those_on_record(cost: Cost, record: Evaluation) -> None:
    found = side_by_side(record, None, cost, "RUN")
    assert found.columns == [FLOAT, QUANTIZED, PROGRAM, ANN]
    loihi = next(form for form in record.forms if form.target == "loihi")
    for name, condition in loihi.conditions.items():
        cell = find(found, "accuracy", name).cells[PROGRAM]
        share = condition.accuracy
        assert (cell.value, cell.low, cell.high, cell.samples) == (share.value, share.low, share.high, share.samples)


def test_four_views_of_three_forms_clean_and_attacked(cost: Cost, record: Evaluation) -> None:
    found = side_by_side(record, None, cost, "RUN")
    sparsity = [row for row in found.rows if row.group == "sparsity"]
    assert {row.condition for row in sparsity} == set(cost.images) == set(record.forms[0].conditions)
    assert all(set(row.cells) == {FLOAT, QUANTIZED, PROGRAM} for row in sparsity)
    program = next(form for form in cost.forms if form.form == "program").conditions["clean"]
    silent_share = 1 - sum(program.spikes[name] for name in program.spikes if name != "input") / sum(
        program.places[name] for name in program.places if name != "input"
    )
    assert find(found, "neuron steps without a spike").cells[PROGRAM].value == pytest.approx(silent_share)
    saved = 1 - sum(program.operations.values()) / sum(program.dense.values())
    assert find(found, "synaptic operations saved").cells[PROGRAM].value == pytest.approx(saved)


def test_the_terms_of_the_energy_add_up_and_an_attack_is_what_it_costs_beside_clean(
    cost: Cost, record: Evaluation
) -> None:
    found = side_by_side(record, None, cost, "RUN")
    for condition in cost.images:
        total = find(found, "an image on the chip, Loihi 1", condition).cells[PROGRAM]
        parts = [
            row.cells[PROGRAM]
            for row in found.rows
            if row.part and row.name == "an image on the chip, Loihi 1" and row.condition == condition
        ]
        assert len(parts) == 7
        assert sum(part.low or 0 for part in parts) == pytest.approx(total.low)
        assert sum(part.high or 0 for part in parts) == pytest.approx(total.high)
        board = find(found, "an image streamed to a board, Loihi 1", condition).cells[PROGRAM]
        parts = [
            row.cells[PROGRAM]
            for row in found.rows
            if row.part and row.name == "an image streamed to a board, Loihi 1" and row.condition == condition
        ]
        assert len(parts) == 3
        assert sum(part.low or 0 for part in parts) == pytest.approx(board.low)
        assert sum(part.high or 0 for part in parts) == pytest.approx(board.high)
        if condition != "clean":
            clean = find(found, "an image on the chip, Loihi 1").cells[PROGRAM]
            price = find(found, "what the attack costs", condition).cells[PROGRAM]
            ratios = sorted([total.low / clean.low, total.high / clean.high])  # type: ignore[operator]
            assert [price.low, price.high] == pytest.approx(ratios)


def test_a_chip_without_public_prices_has_no_figure(cost: Cost, record: Evaluation) -> None:
    found = side_by_side(record, None, cost, "RUN")
    cell = find(found, "an image on the chip, Loihi 2", "").cells[PROGRAM]
    assert (cell.how, cell.value, cell.low) == ("missing", None, None)
    assert "no public figure" in cell.note


def test_a_chip_that_cannot_hold_the_program_only_lends_its_prices(cost: Cost, record: Evaluation) -> None:
    found = side_by_side(record, None, cost, "RUN")
    assert any("only its prices are borrowed: input 'input'" in note for note in found.notes)
    assert "cannot hold" in find(found, "an image on the chip, Loihi 1").cells[PROGRAM].note


def test_what_was_not_measured_says_how_to_measure_it(cost: Cost) -> None:
    found = side_by_side(None, None, cost, "my/run")
    assert find(found, "accuracy").cells[PROGRAM].note == "not measured: run 'spikeproof evaluate my/run'"
    worst = find(found, "worst case", "").cells[FLOAT]
    assert (worst.how, worst.note) == (
        "missing",
        "not measured: run 'spikeproof robustness my/run --protocol standard'",
    )
    assert found.sources.keys() == {"cost.json"}


def test_energy_that_no_meter_counted_is_absent_and_one_that_did_is_an_interval(cost: Cost, record: Evaluation) -> None:
    def with_energy(energy: Metering) -> Cell:
        forms = [form.model_copy(update={"energy": energy}) if form.form == "float" else form for form in cost.forms]
        found = side_by_side(record, None, cost.model_copy(update={"forms": forms}), "RUN")
        return find(found, "an image, elsewhere").cells[FLOAT]

    absent = with_energy(Metering(absent="no counter"))
    assert (absent.how, absent.low, absent.note) == ("missing", None, "no counter")
    counted = with_energy(Metering(meter="RAPL", joules=(0.001, 0.002), samples=500, seconds=2.0, idle_watts=9.0))
    assert (counted.how, counted.low, counted.high, counted.samples) == ("measured", 0.001, 0.002, 500)


def test_a_protocols_rows_and_doubts_are_shown(cost: Cost, record: Evaluation) -> None:
    found = side_by_side(record, protocol(cost, record), cost, "RUN")
    where = "epsilon 0.1000"
    assert find(found, "worst case, protocol quick", where).cells[PROGRAM].value == 17 / 40
    assert find(found, "worst case, white box", where).cells[FLOAT].value == 30 / 40
    assert find(found, "pgd-5 alone", where).cells[PROGRAM].value == 20 / 40
    assert find(found, "pgd-5 alone", where).cells[QUANTIZED].how == "missing"
    assert not find(found, "pgd-5 alone", where).cells[PROGRAM].doubtful
    doubted = side_by_side(record, protocol(cost, record, reliable=False), cost, "RUN")
    assert find(doubted, "worst case, protocol quick", where).cells[PROGRAM].doubtful
    assert "Robustness of Program · loihi: an alarm makes the number unreliable." in doubted.notes


def test_records_of_another_program_are_left_out(cost: Cost, record: Evaluation) -> None:
    other = cost.model_copy(update={"program": ProgramId(sha256="0" * 64)})
    found = side_by_side(record, protocol(cost, record), other, "RUN")
    assert find(found, "accuracy").cells[PROGRAM].how == "missing"
    for name in ("record.json", "robustness.json"):
        assert f"{name} was made with another Program, so it is left out; run its step again." in found.notes


def test_the_csv_holds_every_cell(cost: Cost, record: Evaluation) -> None:
    found = side_by_side(record, None, cost, "RUN")
    lines = list(csv.DictReader(io.StringIO(found.to_csv())))
    cells = [(row, name, cell) for row in found.rows for name, cell in row.cells.items()]
    assert len(lines) == len(cells)
    for line, (row, name, cell) in zip(lines, cells, strict=True):
        assert (line["group"], line["quantity"], line["images"], line["form"]) == (
            row.group,
            row.name,
            row.condition,
            name,
        )
        for key in ("value", "low", "high"):
            number = getattr(cell, key)
            assert line[key] == ("" if number is None else repr(number))


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.5471, "share", "54.7 %"),
        (0.0001, "share", "< 0.1 %"),
        (1.234e-6, "J", "1.23 µJ"),
        (999.9e-6, "J", "1 mJ"),
        (5e-15, "J", "0.005 pJ"),
        (0.0, "s", "0 s"),
        (0.0123, "s", "12.3 ms"),
        (1234.0, "bytes", "1,234 B"),
        (65_432.0, "bytes", "65 kB"),
        (1.077, "times clean", "1.08 \u00d7"),
        (111_807.4, "an image", "111,807"),
        (0.5732, "", "0.573"),
    ],
)
def test_amounts(value: float, unit: str, text: str) -> None:
    assert amount(value, unit) == text


def test_intervals_name_their_unit_once_if_they_can() -> None:
    assert interval(1e-6, 2e-6, "J") == "1 to 2 µJ"
    assert interval(1e-9, 2e-6, "J") == "1 nJ to 2 µJ"
    assert interval(0, 2e-6, "J") == "0 to 2 µJ"
    assert interval(3.0, 3.0, "times clean") == "3.00 \u00d7"
    assert figure(Cell("measured", 0.5, 0.4, 0.6), "share") == ("50.0 %", "40.0 to 60.0 %")


def test_times_are_ordered_quartiles_and_memory_is_counted(cost: Cost, run: Run) -> None:
    for form in cost.forms:
        low, middle, high = form.timing.alone
        assert 0 < low <= middle <= high
        assert (form.timing.runs, form.timing.size) == (12, 12)
    by_form = {form.form: form.memory for form in cost.forms}
    # conv 4 (1 3 3) with batch norm 4 4, linear 4 4 4 to 10 classes; the quantized form has biases instead of norms.
    weights = 4 * 9 + 10 * 64
    learned = sum(part.numel() for part in _network(run).parameters())
    assert by_form["float"].parameters == (4.0 * learned, 4.0 * learned)
    assert by_form["quantized"].parameters[0] == weights + 4 * _others(run, quantized=True)
    neurons = 4 * 64 + 4 * 16 + 10
    assert by_form["program"].state == 6.0 * neurons
    assert by_form["float"].state == 4.0 * neurons


def _network(run: Run) -> Any:
    from spikeproof.toolkit.checkpoint import load_network

    return load_network(run.path("model.safetensors"))[0]


def _others(run: Run, quantized: bool) -> int:
    from torch import nn

    from spikeproof.toolkit.quantize import load_quantized

    network = load_quantized(run.path("quantized.safetensors"))[0]
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    return sum(layer.bias.numel() for layer in layers if layer.bias is not None)


def test_a_record_that_was_changed_by_hand_is_named(run: Run, tmp_path: Path) -> None:
    text = run.path("cost.json").read_text(encoding="utf-8").replace('"samples"', '"sample"', 1)
    (tmp_path / "cost.json").write_text(text, encoding="utf-8")
    with pytest.raises(FileError, match=r"cost\.json: key sample"):
        read_cost(tmp_path / "cost.json")
