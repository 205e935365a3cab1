"""``spikeproof nir check FILE.nir``, called as the application calls it."""

import json
from pathlib import Path

import nir
import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from spikeproof.cli.nir import check

app = typer.Typer()
app.command()(check)


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    ones = np.ones(3)
    nodes = {
        "input": nir.Input({"input": np.array([2])}),
        "fc": nir.Affine(np.arange(6.0).reshape(3, 2), np.zeros(3)),
        "[red]lif": nir.LIF(4e-4 * ones, 4 * ones, 0 * ones, ones, 0 * ones),
        "output": nir.Output({"output": np.array([3])}),
    }
    edges = [("input", "fc"), ("fc", "[red]lif"), ("[red]lif", "output")]
    nir.write(str(tmp_path / "g.nir"), nir.NIRGraph(nodes, edges))
    return tmp_path / "g.nir"


def test_a_sound_file_passes(path: Path) -> None:
    result = call(path, "--origin", "spikeproof", "--strict")
    assert result.exit_code == 0, result.output
    assert "4 nodes; 0 errors, 0 warnings" in result.output


def test_without_a_time_step_it_is_refused(path: Path) -> None:
    result = call(path)
    assert result.exit_code == 2
    assert "error dt-missing needs a time step" in result.output


def test_warnings_fail_only_with_strict(path: Path) -> None:
    # A v_reset of 0 may have been a soft reset; who says "nir" takes the file by its word.
    assert call(path, "--dt", "1e-4").exit_code == 2
    assert call(path, "--dt", "1e-4", "--origin", "nir").exit_code == 0
    assert call(path, "--dt", "1e-4", "--origin", "nir", "--strict").exit_code == 2
    assert call(path, "--dt", "1e-4", "--reset", "zero", "--strict").exit_code == 0


def test_what_is_known_of_sinabs_can_be_told(path: Path) -> None:
    # One step of a file whose time counts in steps is far longer than this file's time constant: exact decay can do it.
    told = json.loads(call(path, "--origin", "sinabs", "--dt", "1e-4", "--reset", "zero", "--json").stdout)
    assert [finding["code"] for finding in told["findings"] if finding["severity"] == "error"] == ["several-spikes"]
    options = ("--origin", "sinabs", "--dt", "1e-4", "--reset", "zero", "--one-spike", "--unscaled")
    assert call(path, *options).exit_code == 0


def test_json_holds_what_was_found(path: Path) -> None:
    result = call(path, "--json", "--dt", "2e-4", "--reset", "zero")
    values = json.loads(result.stdout)
    assert (values["dt"], values["errors"]) == (2e-4, 0)
    assert [(f["code"], f["node"]) for f in values["findings"] if f["severity"] == "warning"] == [
        ("dt-other", "[red]lif")
    ]


def test_names_are_printed_as_they_are(path: Path) -> None:
    assert "node '[red]lif'" in call(path, "--dt", "2e-4").output


def test_files_that_cannot_be_read_are_refused_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "bad.nir").write_bytes(b"no")
    for name in ("bad.nir", "absent.nir"):
        result = call(tmp_path / name, "--json")
        assert result.exit_code == 2
        assert json.loads(result.stdout)["findings"][0]["code"] == "file"
