"""``spikeproof fit FILE``: a NIR file is lowered as ``nir evaluate`` lowers it; a Program's file is taken as it is."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest

from spikeproof.eval.records.fit import read_fit
from spikeproof.export.program import read_program

Call = Callable[..., Any]
TOLD = ("--origin", "snntorch", "--reset", "zero")


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    wide, three = np.ones(1500), np.ones(3)
    nodes = {
        "input": nir.Input({"input": np.array([6])}),
        "fc": nir.Affine(rng.normal(size=(1500, 6)), rng.normal(size=1500) / 10),
        "lif": nir.LIF(5e-4 * wide, 5 * wide, 0 * wide, wide, 0 * wide),
        "out": nir.Linear(rng.normal(size=(3, 1500)) / 20),
        "last": nir.LIF(5e-4 * three, 5 * three, 0 * three, three, 0 * three),
        "output": nir.Output({"output": np.array([3])}),
    }
    nir.write(str(tmp_path / "g.nir"), nir.NIRGraph(nodes, list(zip(list(nodes), list(nodes)[1:], strict=False))))
    np.savez(tmp_path / "d.npz", x=(rng.random((5, 20, 6)) < 0.4).astype(np.float32), y=rng.integers(0, 3, 20))
    return tmp_path / "g.nir"


def test_it_is_the_program_that_nir_evaluate_runs(call: Call, graph: Path) -> None:
    data = graph.parent / "d.npz"
    evaluated = json.loads(call("nir", "evaluate", graph, *TOLD, "--data", data, "-t", "loihi", "--json").out)
    out = graph.parent / "fit.json"
    answer = call("fit", graph, *TOLD, "--data", data, "-n", 6, "--out", out, "--json")
    assert (answer.code, answer.err) == (0, "")
    record = read_fit(out)
    assert record.program.sha256 == evaluated["program"]["sha256"]
    assert json.loads(answer.out)["verdict"] == record.verdict == "fits"
    by_name = {layer.population: layer for layer in record.layers}
    # 1500 neurons are more than the 1024 of a core: cut, and shown to give the same integers on six samples.
    assert by_name["lif"].demand["neurons"] == 1500
    assert len(by_name["lif"].cores) >= 2
    assert record.integers is not None
    assert (record.integers.samples, record.integers.different) == (6, 0)
    assert out.with_suffix(".html").read_text().startswith("<!doctype html>")
    assert record.command is not None
    assert record.command.startswith("spikeproof fit g.nir --chip loihi1")
    assert str(graph.parent) not in out.read_text()


def test_without_samples_steps_are_enough(call: Call, graph: Path) -> None:
    answer = call("fit", graph, *TOLD, "--steps", 5, "--input-bits", 0, "--bits", 4)
    assert answer.code == 0
    assert "fits" in answer.out
    wide, narrow = (
        json.loads(call("fit", graph, *TOLD, "--steps", 5, "--input-bits", 0, "--bits", bits, "--json").out)
        for bits in (8, 4)
    )
    stored = [sum(layer["demand"]["synapse_bits"] for layer in found["layers"]) for found in (wide, narrow)]
    assert stored[1] < stored[0]
    assert narrow["integers"] is None
    # Images are graded messages, which Loihi 1 has not.
    assert call("fit", graph, *TOLD, "--steps", 5).code == 5
    assert call("fit", graph, *TOLD, "--steps", 5, "--chip", "loihi2").code == 0


def test_a_program_by_itself(call: Call, run_folder: Path) -> None:
    path = run_folder / "program.safetensors"
    answer = call("fit", path, "--chip", "loihi2", "--json")
    assert answer.code == 0
    found = json.loads(answer.out)
    assert found["program"]["sha256"] == read_program(path).sha256()
    told = call("fit", path, "--steps", 4)
    assert told.code == 2
    assert "--steps belongs to NIR files" in " ".join(told.err.split())


def test_what_is_refused(call: Call, graph: Path, run_folder: Path) -> None:
    def said(*arguments: object) -> str:
        answer = call(*arguments)
        assert answer.code == 2
        return " ".join(answer.err.split())

    assert "say how many time steps" in said("fit", graph, *TOLD)
    assert "unknown" in said("fit", graph, *TOLD, "--steps", 5, "--chip", "loihi9")
    assert "--mapper none: unknown" in said("fit", graph, *TOLD, "--steps", 5, "--mapper", "none")
    assert "belong to NIR files" in said("fit", run_folder, "--steps", 5)
    assert "spikeproof nir evaluate" in said("explain", graph)
    # What nir evaluate refuses is refused with the same words.
    words = said("nir", "evaluate", graph, "--origin", "snntorch", "--data", graph.parent / "d.npz")
    assert said("fit", graph, "--origin", "snntorch", "--steps", 5) == words
