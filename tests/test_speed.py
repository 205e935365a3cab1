"""The speed benchmark, small: every job of every side that is installed here, the command, and the page it makes."""

import json
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks" / "speed"
MODULES = ("plan", "worker", "networks", "tables")
PACKAGES = {"snntorch": "snntorch", "spikingjelly": "spikingjelly", "norse": "norse", "art": "art"}


@pytest.fixture(scope="module")
def speed() -> Iterator[dict[str, ModuleType]]:
    from importlib import import_module

    sys.path.insert(0, str(FOLDER))
    threads = torch.get_num_threads()
    try:
        with torch.random.fork_rng():
            yield {name: import_module(name) for name in MODULES}
    finally:
        sys.path.remove(str(FOLDER))
        torch.set_num_threads(threads)
        for name in MODULES:
            sys.modules.pop(name, None)


def test_every_job_runs_for_every_side(speed: dict[str, ModuleType]) -> None:
    for what in speed["plan"].COMPARISONS:
        told = {}
        for side in what.sides:
            if side.startswith("lava"):
                continue  # its runs are tests of their own
            if side in PACKAGES:
                pytest.importorskip(PACKAGES[side])
            settings = {**what.settings, **what.quick, **what.own.get(side, {})}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the peers
                run, tell = speed["worker"].JOBS[what.job](side, settings)
                told[side] = tell(run())
        assert set(what.goals) <= set(what.sides)
        if what.job == "infer":
            assert told["ours-float"] == told["snntorch"]
        if what.job == "train":
            assert told["ours"]["loss"] == told["ours-every-step"]["loss"]
            assert told["spikingjelly"]["loss"] == pytest.approx(told["ours"]["loss"], rel=1e-4)


def test_the_jobs_that_only_we_run(speed: dict[str, ModuleType]) -> None:
    base = {**speed["plan"].BASE, "steps": 2, "batch": 3}
    sweeps = {name: [key, values[:2]] for name, (key, values) in speed["plan"].SWEEPS.items()}
    sweeps["time steps"][1], sweeps["batch"][1] = [1, 2], [1, 2]
    run, tell = speed["worker"].scaling("loihi", {"base": base, "sweeps": sweeps, "size": 32})
    found = tell(run())
    assert set(found) == {*sweeps, "product"}
    assert all(len(found[name]) == 2 and min(found[name]) > 0 for name in sweeps)
    run, tell = speed["worker"].evaluation("loihi", {"samples": 6, "batch": 4, "steps": 2, "training": 1})
    assert 0 <= tell(run())["right"] <= 1


def test_the_command_writes_what_the_page_is_made_of(speed: dict[str, ModuleType], tmp_path: Path) -> None:
    words = ["--quick", "--only", "twin", "--without-peers", "--threads", "1", "--out", str(tmp_path / "found.json")]
    done = subprocess.run([sys.executable, str(FOLDER), *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "found.json").read_text())
    (comparison,) = result["comparisons"]
    assert set(comparison["sides"]) == {"twin", "float"}
    theirs, ours = (comparison["sides"][name]["seconds"][0] for name in ("float", "twin"))
    assert comparison["sides"]["float"]["ratio"]["median"] == pytest.approx(theirs / ours)
    assert comparison["sides"]["twin"]["peak_mib"] > 10

    result["scaling"] = {
        "rates": {"machine": 4e10, "loihi": 1e10, "share": 0.25},
        "sweeps": {name: {"values": values, "seconds": [0.1] * len(values)} for name, (_, values) in _sweeps(speed)},
    }
    result["evaluation"] = {"samples": 10_000, "seconds": 9.0, "peak_mib": 700.0, "start_mib": 300.0}
    result["commands"] = {"spikeproof --help": 0.4}
    mark = speed["tables"].MARK
    (tmp_path / "speed.md").write_text(f"# Speed\n\n{mark}\nold\n{mark}\n\nafter\n")
    speed["tables"].publish(result, tmp_path)
    page = (tmp_path / "speed.md").read_text()
    assert page.startswith("# Speed\n")
    assert page.endswith("after\n")
    assert "old" not in page
    assert f"| float | {1000 * theirs:.4g} | {theirs / ours:.2f} (" in page
    assert "25 % of the machine's product rate" in page
    assert (tmp_path / "speed.svg").read_text().count("<svg") == 1


def _sweeps(speed: dict[str, ModuleType]) -> list[tuple[str, tuple[str, list[object]]]]:
    return list(speed["plan"].SWEEPS.items())
