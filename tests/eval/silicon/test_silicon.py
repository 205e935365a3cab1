"""The check against a board, on logs that the test writes: sums done on paper, and verdicts that can be no."""

import io
import json
import tarfile
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from spikeproof.eval.cost.board import events_of, known, streamed
from spikeproof.eval.cost.constants import Interval, table
from spikeproof.eval.cost.energy import estimate, mapped
from spikeproof.eval.records.base import write_record
from spikeproof.eval.records.silicon import Silicon, line, read_silicon
from spikeproof.eval.silicon.check import check
from spikeproof.eval.silicon.logs import find_logs, read_runs
from spikeproof.eval.silicon.networks import events_at, keyword_spotter, scaled
from spikeproof.eval.silicon.page import text, write_plot
from spikeproof.export.chip.mapper import place
from spikeproof.toolkit.errors import FileError, InputError

BEGUN = datetime(2019, 3, 25, 10, 0, 0)
HEAD = "Time,Total Power (W),P_VDD,V_VDD,I_VDD,P_VDDM,V_VDDM,I_VDDM\n"


def readings(values: list[float], begun: datetime) -> str:
    rows = (
        f"{begun + timedelta(seconds=i):%Y-%m-%d_%H:%M:%S.%f},{watts},0.1,0.75,0.1,0.1,0.9,0.1\n"
        for i, watts in enumerate(values)
    )
    return HEAD + "".join(rows)


def files(name: str, copies: int | None, running: list[float], idle: list[float], inferences: int) -> dict[str, str]:
    """A run of as many seconds as it has readings, with two readings of the idle board around it."""
    about = {
        "start_time": f"{BEGUN:%Y-%m-%d_%H:%M:%S.%f}",
        "end_time": f"{BEGUN + timedelta(seconds=len(running) - 1):%Y-%m-%d_%H:%M:%S.%f}",
        "n_inferences": float(inferences),
        "n_copies": 1 if copies is None else copies,
    }
    if copies is not None:
        about |= {"n_layers": 10, "run_command": f"python x.py --n_copies {copies} --stream {10 * inferences} --log y"}
    around = [0.001, *running, 0.001]
    return {
        f"logs/idle/{name}.csv": readings(idle, BEGUN - timedelta(seconds=60)),
        f"logs/running/{name}.csv": readings(around, BEGUN - timedelta(seconds=1)),
        f"logs/running/{name}.json": json.dumps(about),
    }


def archive(path: Path, parts: dict[str, str]) -> Path:
    with tarfile.open(path, "w:xz") as made:
        for name, content in parts.items():
            member = tarfile.TarInfo(name)
            member.size = len(content.encode())
            made.addfile(member, io.BytesIO(content.encode()))
    return path


def family(path: Path, a_copy: float = 17e-6) -> Path:
    """A keyword spotter, and 0, 2 and 3 copies: 78 mW while anything runs, a copy adds energy, 100 inferences/s."""
    parts = files("loihi_run01", None, [0.110] * 11, [0.03, 0.03], 3000)
    for copies in (0, 2, 3):
        watts = 0.03 + 0.078 + 100 * a_copy * copies
        parts |= files(f"loihi_C{copies:02}_run01", copies, [watts] * 11, [0.03] * 3, 1000)
        parts |= files(f"loihi_C{copies:02}_run02", copies, [watts] * 11, [0.03] * 3, 1000)
    return archive(path, parts)


def test_power_is_the_mean_between_first_and_last_inference(tmp_path: Path) -> None:
    """Three seconds at 100, 110, 120 mW, 30 and 32 mW before; 1 mW before and after, which must not count."""
    path = archive(tmp_path / "logs.tar.xz", files("loihi_run01", None, [0.100, 0.110, 0.120], [0.030, 0.032], 600))
    (run,) = read_runs(path)
    assert (run.idle, run.running) == (pytest.approx(0.031), pytest.approx(0.110))
    assert (run.readings, run.seconds, run.inferences) == ((2, 3), 2.0, 600)
    assert run.rise * run.seconds / run.inferences == pytest.approx(0.079 * 2 / 600)
    assert (run.copies, run.steps) == (None, None)


def test_copies_and_steps_come_from_the_log(tmp_path: Path) -> None:
    path = archive(tmp_path / "logs.tar.xz", files("loihi_C04", 4, [0.1, 0.1], [0.03], 2000))
    (run,) = read_runs(path)
    assert (run.copies, run.steps) == (4, 10.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda parts: parts.pop("logs/idle/r.csv"), "run r has no idle/r.csv"),
        (lambda parts: parts.pop("logs/running/r.json"), "run r has no running/r.json"),
        (lambda parts: parts.update({"logs/idle/r.csv": "a,b\n1,2\n"}), "expected Time and Total Power"),
        (lambda parts: parts.update({"logs/idle/r.csv": HEAD}), "run r cannot be read"),
        (lambda parts: parts.update({"logs/running/r.json": "{}"}), "KeyError: 'start_time'"),
        (lambda parts: parts.clear(), "holds no running/NAME.csv"),
    ],
)
def test_damaged_logs_are_refused_by_name(tmp_path: Path, change: object, message: str) -> None:
    parts = files("r", None, [0.1, 0.1], [0.03], 10)
    change(parts)  # type: ignore[operator]
    with pytest.raises(FileError, match=message):
        read_runs(archive(tmp_path / "logs.tar.xz", parts))


def test_no_archive_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPIKEPROOF_DATA", raising=False)
    with pytest.raises(FileError, match=r"give --logs, or set \$SPIKEPROOF_DATA.*get it from github.com/abr"):
        find_logs()
    (tmp_path / "loihi_power").mkdir()
    (tmp_path / "loihi_power" / "logs.tar.xz").write_bytes(b"no archive")
    monkeypatch.setenv("SPIKEPROOF_DATA", str(tmp_path))
    with pytest.raises(FileError, match="not a readable archive of logs"):
        read_runs(find_logs())


def test_networks_have_the_sizes_of_those_on_the_board() -> None:
    spotter, two = keyword_spotter(), scaled(2)
    assert [population.shape for population in spotter.populations] == [(256,), (256,), (29,)]
    assert sum(np.count_nonzero(one.weight) for one in spotter.synapses) == 390 * 256 + 256 * 256 + 256 * 29
    # Neurons as in the authors' own plot: copies * 10 * 256 + 512.
    assert sum(population.bias.size for population in two.spiking) == 2 * 10 * 256 + 512
    assert sum(np.count_nonzero(one.weight) for one in two.synapses) == 390 * 256 + 2 * 11 * 256 * 256
    assert sum(np.count_nonzero(one.weight) for one in scaled(0).synapses) == 390 * 256 + 256 * 256
    assert max(two.depths().values()) == 12
    cores = place(two, "loihi1", "partition").cores
    assert {len({part.population for core in cores for part in core.slices})} == {16 + 20}


def test_events_of_a_stream_are_counted_as_on_paper() -> None:
    program = keyword_spotter()
    traffic = mapped(program, place(program, "loihi1", "partition"), table())
    few, many = (events_at(program, 0.1, traffic, busy=busy) for busy in (False, True))
    assert many.synapse == {"dense": pytest.approx(0.1 * 10 * (390 * 256 + 256 * 256 + 256 * 29))}
    assert (many.steps, many.spike) == (10, pytest.approx(541))  # 541 neurons, one in ten of ten steps
    assert (many.active, many.idle) == (5410, 0)
    assert (few.active, few.idle) == (pytest.approx(541), pytest.approx(4869))


def test_a_board_adds_its_power_for_a_steps_time() -> None:
    program = keyword_spotter()
    traffic = mapped(program, place(program, "loihi1", "partition"), table())
    found = estimate(events_at(program, 0.1, traffic, busy=True), "loihi1", table())
    board = streamed(found, table(), Interval(1e-3, 1e-3))
    running = [board.dynamic.low - events_of(found).low, board.dynamic.high - events_of(found).high]
    assert running == pytest.approx([0.0762 * 0.01, 0.0804 * 0.01])
    assert board.total.low - board.dynamic.low == pytest.approx(0.0293 * 0.01)
    assert (board.time.low, board.time.high) == pytest.approx((0.01, 0.01))
    # Static power of the chip is part of the board's idle power, so it is not counted twice.
    assert events_of(found).low + found.terms["static"].low == pytest.approx(found.total.low)
    assert known("loihi1", table())
    assert not known("loihi2", table())


def test_a_line_is_the_least_squares_line() -> None:
    rng = np.random.default_rng(0)
    x, y = np.arange(9.0), 3 * np.arange(9.0) + rng.normal(size=9)
    expected, covariance = np.polyfit(x, y, 1, cov=True)
    slope, error = line(list(zip(x.tolist(), y.tolist(), strict=True)))
    assert slope == pytest.approx(expected[0])
    assert error == pytest.approx(np.sqrt(covariance[0, 0]))


def test_a_board_that_does_as_the_model_says_is_inside(tmp_path: Path) -> None:
    record = check(family(tmp_path / "logs.tar.xz"))
    assert [one.network for one in record.measured] == [
        "keyword spotter",
        *(f"scaling, {n} copies" for n in (0, 2, 3)),
    ]
    assert record.of("scaling, 0 copies").dynamic == pytest.approx(0.078 * 0.01)
    assert record.of("scaling, 0 copies").total == pytest.approx(0.108 * 0.01)
    assert record.slope.measured == pytest.approx(17e-6)
    assert all(record.holds(one.network)[1] for one in record.measured)
    assert record.slope_holds
    # The rates at which the model gives the slope do give it: events are linear in the rate.
    for rate, end in zip(record.slope.explained, (1, 0), strict=True):
        low, high = record.slope.modelled["0.05"][end], record.slope.modelled["0.1"][end]
        assert low + (high - low) * (rate - 0.05) / 0.05 == pytest.approx(17e-6)
    path = tmp_path / "silicon.json"
    write_record(path, record)
    assert read_silicon(path) == record
    write_plot(tmp_path / "silicon.svg", record)
    assert "what a copy adds" in (tmp_path / "silicon.svg").read_text()


def test_a_board_that_does_not_is_outside(tmp_path: Path) -> None:
    record = check(family(tmp_path / "logs.tar.xz", a_copy=100e-6))
    assert not record.slope_holds
    assert not record.holds("scaling, 3 copies")[1]
    assert "outside" in text(record)


def test_logs_without_the_small_networks_are_refused(tmp_path: Path) -> None:
    parts = files("c2", 2, [0.1, 0.1], [0.03], 100) | files("c4", 4, [0.1, 0.1], [0.03], 100)
    with pytest.raises(InputError, match="neither the keyword spotter nor"):
        check(archive(tmp_path / "logs.tar.xz", parts))
    parts = files("c0", 0, [0.1, 0.1], [0.03], 100) | files("c4", 4, [0.1, 0.1], [0.03], 100)
    with pytest.raises(InputError, match="a slope needs two"):
        check(archive(tmp_path / "logs.tar.xz", parts))


ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def recorded() -> Silicon:
    return read_silicon(ROOT / "records" / "silicon" / "silicon.json")


def test_the_models_constants_hold_what_the_logs_give(recorded: Silicon) -> None:
    board = recorded.board
    for name in ("idle", "running", "step"):
        low, high = getattr(board, name)
        used = table().interval("loihi1-board", name, "ns" if name == "step" else "mW")
        scale = 1e-9 if name == "step" else 1e-3
        assert used.low * scale <= low <= high <= used.high * scale
        assert used.high * scale - used.low * scale < 1.2 * (high - low)  # and not much more


def test_the_page_shows_the_record(recorded: Silicon) -> None:
    page = (ROOT / "docs" / "energy-silicon.md").read_text(encoding="utf-8")
    missing = [line for line in text(recorded).splitlines() if line and line not in page]
    assert not missing
