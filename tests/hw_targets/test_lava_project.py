"""The Lava project: it stands alone, runs in Lava's environment, and its spikes are the Program's."""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import spikeproof as sp
from spikeproof.export.program import Dense, Input, Population, Program, Readout
from spikeproof.hw_targets.lava.environment import environment_python
from spikeproof.hw_targets.lava.project import FILES, write_project
from spikeproof.hw_targets.loihi.simulator import LoihiTarget
from spikeproof.toolkit.coding import direct_integers
from spikeproof.toolkit.errors import InputError, UnsupportedError
from spikeproof.toolkit.network.network import SpikingNetwork
from spikeproof.toolkit.quantize import quantized_network

Make = Callable[..., SpikingNetwork]


@pytest.fixture(scope="module")
def program(random_network: Make) -> Program:
    network = random_network("max", (4, 6), 4, 5)
    return sp.lower(quantized_network(network, {"conv1": 4, "default": 8}), (1, 8, 8))


@pytest.fixture(scope="module")
def messages(images: np.ndarray) -> np.ndarray:
    return direct_integers(images[:3], 4)


def run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    python = environment_python()
    assert python is not None
    # Not a word of this installation reaches it.
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "SPIKEPROOF"))}
    command = [str(python), str(folder / "run.py"), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=clean, cwd="/", check=False)


def test_files_are_arrays_and_scripts_that_need_no_spikeproof(
    program: Program, messages: np.ndarray, tmp_path: Path
) -> None:
    write_project(tmp_path / "p", program, messages, "small")
    assert sorted(path.name for path in (tmp_path / "p").iterdir()) == sorted(FILES)
    imported = set()
    for name in ("run.py", "network.py"):
        for node in ast.walk(ast.parse((tmp_path / "p" / name).read_text())):
            if isinstance(node, ast.Import):
                imported |= {one.name.split(".")[0] for one in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0
                imported.add(str(node.module).split(".")[0])
    assert imported <= {*sys.stdlib_module_names, "numpy", "scipy", "lava", "network"}
    with np.load(tmp_path / "p" / "program.npz") as file:
        for name, array in program.arrays().items():
            np.testing.assert_array_equal(file[name], array)
    structure = json.loads((tmp_path / "p" / "program.json").read_text())
    assert structure == program.header()["program"]
    with np.load(tmp_path / "p" / "expected.npz") as file:
        trace = LoihiTarget(latency=1).compile(program).run(messages, rasters=True)
        for name, raster in trace.rasters.items():
            np.testing.assert_array_equal(file[f"spikes/{name}"], raster.spikes)
    assert program.sha256() in (tmp_path / "p" / "README.md").read_text()
    assert (tmp_path / "p" / "run.py").read_text().count("return run_configs.") == 2  # One in words: the board's.
    # Again into the same folder; another folder's files are not overwritten.
    write_project(tmp_path / "p", program, messages, "small")
    (tmp_path / "p" / "thesis.tex").touch()
    with pytest.raises(InputError, match=r"holds 'thesis.tex'"):
        write_project(tmp_path / "p", program, messages, "small")
    with pytest.raises(InputError, match="is a file"):
        write_project(tmp_path / "p" / "run.py", program, messages, "small")


def test_what_lava_cannot_run_is_refused(tmp_path: Path) -> None:
    flat = Program(
        input=Input(shape=(2, 2), message_bits=0),
        populations=(Population(name="a", shape=(3,), du=4095, dv=0, vth=9, bias=np.zeros(3, int)),),
        synapses=(Dense(source="input", target="a", weight=np.full((3, 4), 2)),),
        readout=Readout(population="a"),
        steps=3,
    )
    with pytest.raises(UnsupportedError, match="no defined order in Lava"):
        write_project(tmp_path / "p", flat, np.zeros((3, 1, 2, 2), np.int32), "flat")
    assert not (tmp_path / "p").exists()


@pytest.mark.usefixtures("need_lava")
def test_its_spikes_are_the_programs(program: Program, messages: np.ndarray, tmp_path: Path) -> None:
    write_project(tmp_path, program, messages, "small")
    answer = run(tmp_path)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert answer.stdout.startswith("0 of ")
    found = sp.compare_trace(program, tmp_path / "trace.npz")
    assert found.equal
    assert {one.population for one in found.values} == {population.name for population in program.populations}
    assert found.samples == 3
    # A planted difference is seen by both.
    with np.load(tmp_path / "expected.npz") as file:
        expected = {name: array.copy() for name, array in file.items()}
    expected["spikes/lif2"][2, 1, 0, 0, 0] ^= 1
    np.savez(tmp_path / "expected.npz", **expected)
    answer = run(tmp_path, "--samples", "2")
    assert answer.returncode == 1
    assert "spikes/lif2: first difference at step 2 of its window, sample 1, neuron (0, 0, 0)" in answer.stdout
    assert "on 2 samples" in answer.stdout


@pytest.mark.usefixtures("need_lava")
def test_delays_loops_and_input_at_the_bias_too(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    lif = {"du": 2047, "dv": 300}
    program = Program(
        input=Input(shape=(4,), message_bits=3),
        populations=(
            Population(name="code", shape=(4,), bias=np.zeros(4, int), bias_exponent=6, input_bias=True, vth=9, **lif),
            Population(name="a", shape=(5,), bias=rng.integers(-50, 90, 5), vth=50, **lif),
        ),
        synapses=(
            Dense(source="code", target="a", weight=2 * rng.integers(-60, 90, (5, 4)), delay=2),
            Dense(source="a", target="a", weight=2 * rng.integers(-30, 30, (5, 5)), delay=1),
        ),
        readout=Readout(population="a"),
        steps=8,
    )
    inputs = rng.integers(0, 8, (8, 2, 4)).astype(np.int32)
    write_project(tmp_path, program, inputs, "loops")
    answer = run(tmp_path)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    found = sp.compare_trace(program, tmp_path / "trace.npz")
    assert found.equal
    with np.load(tmp_path / "trace.npz") as file:
        assert file["spikes/a"].sum() > 0
