"""Benchmarks leave committed records alone unless they are named."""

import importlib.util
import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = {
    "adopted": "benchmarks",
    "attacks_calibration": "attacks",
    "c_beside_loihi": "benchmarks",
    "deployed_robustness": "robustness",
    "faults_ann": "benchmarks",
    "loihi_vs_lava": "benchmarks",
    "onnx_speed": "benchmarks",
    "strength": "benchmarks",
    "without_spikes": "benchmarks",
    "three_seeds": "digits",
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_writes_where_it_is_told(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec("art") is None:
        pytest.skip("needs the extra 'attacks'")
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    found = runpy.run_path(str(ROOT / "benchmarks" / f"{name}.py"), run_name="looked at")["OUT"]
    assert found == Path("runs/benchmarks") / SCRIPTS[name]


def test_out_names_the_folder_and_is_taken_from_the_words(monkeypatch: pytest.MonkeyPatch) -> None:
    out = runpy.run_path(str(ROOT / "benchmarks" / "given_out.py"))["out"]
    monkeypatch.setattr(sys, "argv", ["x", "fashion", "--out", "records", "--seeds", "1"])
    assert out("digits") == Path("records/digits")
    assert sys.argv == ["x", "fashion", "--seeds", "1"]
    assert out("digits") == Path("runs/benchmarks/digits")
    monkeypatch.setattr(sys, "argv", ["x", "--out"])
    with pytest.raises(SystemExit, match="say which folder"):
        out("digits")


@pytest.mark.parametrize("script", sorted((ROOT / "benchmarks").rglob("*.py")), ids=lambda path: path.stem)
def test_no_script_names_the_committed_records_as_its_output(script: Path) -> None:
    for line in script.read_text(encoding="utf-8").splitlines():
        assert not (line.startswith("OUT = ") and '"records"' in line), f"{script.name}: {line}"
