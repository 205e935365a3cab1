"""The speed benchmark, small: every job of every side that is installed here, the command, and the page it makes."""

import json
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from spikeproof.toolkit.code import code_hash

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks" / "speed"
MODULES = ("plan", "sides", "measures", "parts", "worker", "networks", "environments", "tables")
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
                run, tell, *check = speed["worker"].JOBS[what.job](side, settings)
                told[side] = tell(run())
                assert all(show() for show in check)
        assert set(what.goals) <= set(what.sides)
        if what.job == "infer":
            assert told["ours-float"] == told["snntorch"]
        if what.job == "train":
            assert len({told[side]["loss"] for side in told if side.startswith("ours")}) == 1
            assert told["spikingjelly"]["loss"] == pytest.approx(told["ours"]["loss"], rel=1e-4)


def test_the_jobs_that_only_we_run(speed: dict[str, ModuleType]) -> None:
    plan, jobs = speed["plan"], speed["worker"].JOBS
    sweeps = [
        {"name": sweep.name, "key": sweep.key, "values": sweep.values[:2], "base": {**sweep.base, **plan.QUICK}}
        for sweep in plan.SWEEPS
    ]
    run, tell = jobs["scaling"]("loihi", {"sweeps": sweeps})
    found = tell(run())
    assert set(found) == {sweep.name for sweep in plan.SWEEPS}
    assert all(len(times) == 2 and min(times) > 0 for times in found.values())
    run, tell = jobs["rates"]("loihi", {"size": 32, "steps": 2, "batch": 2})
    assert min(tell(run()).values()) > 0
    run, tell = jobs["evaluation"]("loihi", {"samples": 6, "batch": 4, "steps": 2, "training": 1})
    assert 0 <= tell(run())["right"] <= 1
    part = speed["measures"].checkpointing(1, True)
    assert len({one["loss"] for one in part["lengths"] if one["steps"] == 4}) == 1
    rows = speed["tables"].lines(part).splitlines()[4:]
    assert len(rows) == len(part["lengths"]) == 4
    more = part["lengths"][3]["peak_mib"] - part["lengths"][1]["peak_mib"]
    assert rows[3].endswith(f"| {more / 2:.1f} |")


def result_of(*words: str, out: Path) -> dict[str, Any]:
    given = [*words, "--quick", "--without-peers", "--threads", "1", "--out", str(out)]
    done = subprocess.run([sys.executable, str(FOLDER), *given], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(out.read_text())
    return result


TWIN, ACTIVITY, MLP = "gradient of the images", "scaling", "simulation, MLP"


def test_parts_are_measured_kept_and_published(speed: dict[str, ModuleType], tmp_path: Path) -> None:
    out = tmp_path / "found.json"
    result_of("--only", TWIN, out=out)
    result = result_of("--only", "rates", "--only", ACTIVITY, out=out)
    name = next(name for name in result["parts"] if TWIN in name)
    assert list(result["parts"]) == [name, "scaling", "rates"]
    sides = result["parts"][name]["sides"]
    assert set(sides) == {"twin", "float"}
    theirs, ours = (sides[side]["seconds"][0] for side in ("float", "twin"))
    assert sides["float"]["ratio"]["median"] == pytest.approx(theirs / ours)

    mark = speed["tables"].MARK
    (tmp_path / "speed.md").write_text(f"# Speed\n\n{mark}\nold\n{mark}\n\nafter\n")
    speed["tables"].publish([{**result, "machine_class": "first"}, result], tmp_path)
    page = (tmp_path / "speed.md").read_text()
    assert page.startswith("# Speed\n")
    assert page.endswith("after\n")
    assert "old" not in page
    assert f"| float | {1000 * theirs:.4g} | {1000 * sides['float']['cpu']:.4g} | {theirs / ours:.4g} (" in page
    assert f"{100 * result['parts']['rates']['share of products']:.0f} % of the machine's product" in page
    for name in ("first", result["machine_class"]):
        assert page.count(f"(`{name}`)\n") == page.count(f"(speed-{name}.svg)") == 1
        assert (tmp_path / f"speed-{name}.svg").read_text().count("<svg") == 1


def test_the_page_says_what_the_results_say(speed: dict[str, ModuleType]) -> None:
    page, tables = (FOLDER.parents[1] / "docs" / "speed.md").read_text(), speed["tables"]
    results = [json.loads(path.read_text()) for path in sorted((FOLDER.parent / "results").glob("*.json"))]
    assert results
    for result in results:
        assert tables.page(result) in page
    assert page.count("\n### ") == len(results)


def test_a_side_that_fails_is_recorded_and_the_rest_goes_on(
    speed: dict[str, ModuleType],
) -> None:
    from dataclasses import replace

    what = next(what for what in speed["plan"].COMPARISONS if what.job == "train")
    found = speed["sides"].compare(replace(what, sides=("ours", "nobody")), Path(sys.executable), 1, True)
    assert set(found["sides"]) == {"ours"}
    assert "nobody" in found["errors"]["nobody"]
    assert "`nobody` is missing: " in speed["tables"].lines(found)
    assert not speed["parts"].complete(found)
    assert not speed["parts"].complete(None)
    whole = {**found, "errors": {}, "code": code_hash()}
    assert speed["parts"].complete(whole)
    assert not speed["parts"].complete({**whole, "code": "0" * 64})  # Other code's times are not this code's.

    def fails(threads: int, quick: bool) -> dict[str, Any]:
        raise speed["sides"].Failed("no memory left")

    broken = speed["parts"].measured(fails, 1, True)
    assert broken["error"] == "no memory left"
    assert speed["tables"].lines(broken) == "Failed: no memory left"


def test_what_is_there_is_not_measured_again(tmp_path: Path, speed: dict[str, ModuleType]) -> None:
    out = tmp_path / "found.json"
    names = [*speed["parts"].parts(None, False)]
    about = {"created": "2026-01-01", "code": code_hash(), "load": 0.0}
    there = {name: {**about, "commands": {}} for name in names}
    there["rates"] = {**about, "error": "killed"}
    out.write_text(json.dumps({"parts": there}))
    parts = result_of("--resume", "--without-lava", out=out)["parts"]
    assert [name for name, part in parts.items() if part["created"] != "2026-01-01"] == ["rates"]


def test_lava_and_loihi_are_compared_spike_for_spike(
    need_lava: None, tmp_path: Path, speed: dict[str, ModuleType]
) -> None:
    parts = result_of("--only", MLP, out=tmp_path / "found.json")["parts"]
    (part,) = parts.values()
    assert part["errors"] == {}
    assert part["sides"]["lava"]["equal"] == {"spikes_of_samples": 1, "counts_of_samples": 8}
    assert "Equal: every spike of 1 sample" in speed["tables"].lines(part)


def test_what_differs_from_lava_is_an_error(speed: dict[str, ModuleType]) -> None:
    what = next(what for what in speed["plan"].COMPARISONS if what.job == "simulate")
    side = {"seconds": [1.0], "counts": {"a": "x"}}
    for counts, spikes in (("x", "y"), ("y", "x"), ("x", "x")):
        found = {"loihi": dict(side), "lava": {**side, "seconds": [3.0], "counts": {"a": counts}}, "lava-short": side}
        errors: dict[str, str] = {}
        speed["sides"]._per_sample(found, what, {"batch": 4}, {"loihi": "x", "lava": spikes}, errors)
        assert ("lava" in found) == (counts == spikes == "x")
        assert ("lava" in errors) == ("lava" not in found)
    long = what.own["lava"]["first"] - what.own["lava-short"]["first"]
    assert found["lava"]["seconds"] == [pytest.approx(2.0 / long)]
    assert found["loihi"]["seconds"] == [0.25]


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (("AMD EPYC", 2, 2, None), "cpu-2core-amd-epyc"),
        (("AMD EPYC", 2, 1, None), "cpu-2core-amd-epyc-1thread"),
        (("Intel(R) Xeon(R) @ 2.20GHz", 16, 16, "NVIDIA H100 80GB"), "gpu-16core-nvidia-h100-80gb"),
    ],
)
def test_a_result_is_named_after_the_class_of_its_machine(
    given: tuple[str, int, int, str | None], name: str, speed: dict[str, ModuleType]
) -> None:
    assert speed["tables"].machine_class(*given) == name


def test_memory_does_not_grow_with_the_samples_of_an_evaluation(speed: dict[str, ModuleType]) -> None:
    peaks = []
    for samples in (250, 2500):
        settings = {"job": "evaluation", "threads": 1, "steps": 8, "batch": 50, "training": 1, "samples": samples}
        side = speed["sides"].Side(sys.executable, "loihi", settings)
        side.run()
        memory = side.close()
        peaks.append(memory["peak_mib"])
        assert peaks[-1] > memory["start_mib"] > 10
    # All at once, their spikes alone would take 2,500 x 8 x 25,000 bytes; the images take 8 MiB.
    assert peaks[1] - peaks[0] < 100
