"""``export --lava-project`` and ``compare --trace``: what is written, printed and refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import spikeproof as sp
from spikeproof.eval.records.trace import read
from spikeproof.eval.run.folder import Run
from spikeproof.export.program import read_program, write_program
from spikeproof.hw_targets.lava.project import FILES
from spikeproof.hw_targets.loihi.simulator import LoihiTarget
from spikeproof.toolkit.coding import direct_integers
from spikeproof.toolkit.data import load_data

Call = Callable[..., Any]
BOARD = Path(__file__).resolve().parents[2] / "examples" / "board" / "nir_paper_loihi.csv"


@pytest.fixture
def recorded(run_folder: Path, tmp_path: Path) -> Path:
    """What the run's Program does on test images 2 to 4, without the messages."""
    program = read_program(run_folder / "program.safetensors")
    data = load_data(Run.open(run_folder).recipe().data)
    trace = LoihiTarget().compile(program).run(direct_integers(data.test_images[2:5], program.steps), rasters=True)
    arrays: dict[str, Any] = {f"spikes/{name}": raster.spikes.astype(np.int8) for name, raster in trace.rasters.items()}
    arrays |= {f"v/{name}": raster.v for name, raster in trace.rasters.items() if raster.v is not None}
    np.savez(tmp_path / "board.npz", **arrays)
    return tmp_path / "board.npz"


def test_a_lava_project_and_its_files(
    call: Call, run_folder: Path, tmp_path: Path, contents: Callable[[Path], dict[str, str]]
) -> None:
    before = contents(run_folder)
    answer = call("export", run_folder, "--lava-project", tmp_path / "lava", "--json")
    assert (answer.code, answer.err) == (0, "")
    found = json.loads(answer.out)
    assert (found["step"], found["files"], found["samples"]) == ("lava-project", list(FILES), 4)
    assert contents(run_folder) == before  # The export that is done is not done again.
    assert all((tmp_path / "lava" / name).is_file() for name in FILES)
    program = read_program(run_folder / "program.safetensors")
    data = load_data(Run.open(run_folder).recipe().data)
    with np.load(tmp_path / "lava" / "input.npz") as file:
        np.testing.assert_array_equal(file["input"], direct_integers(data.test_images[:4], program.steps))
    (tmp_path / "lava" / "else").touch()
    answer = call("export", run_folder, "--lava-project", tmp_path / "lava")
    assert answer.code == 2
    assert "holds 'else'" in " ".join(answer.err.split())


def test_an_equal_trace(call: Call, run_folder: Path, recorded: Path) -> None:
    answer = call("compare", run_folder, "--trace", recorded, "--first", 2, "--json")
    assert (answer.code, answer.err) == (0, "")
    found = json.loads(answer.out)
    record = read(run_folder / "trace.json")
    assert {key: found[key] for key in record.model_dump(mode="json")} == record.model_dump(mode="json")
    assert (record.equal, record.samples, record.file) == (True, 3, "board.npz")
    assert record.command == "spikeproof compare DIR --trace board.npz --first 2"
    assert Run.open(run_folder).is_done("trace")
    answer = call("compare", run_folder, "--trace", recorded, "--first", 2)
    assert answer.code == 0
    assert "Equal: all" in " ".join(answer.out.split())


def test_other_images_part_from_it(call: Call, run_folder: Path, recorded: Path) -> None:
    answer = call("compare", run_folder, "--trace", recorded)
    assert answer.code == 4
    first = read(run_folder / "trace.json").first
    assert first is not None
    assert f"population {first.population!r}, step {first.step}" in " ".join(answer.err.split())


def test_a_program_by_itself_and_a_csv(call: Call, tmp_path: Path) -> None:
    from spikeproof.export.program import Dense, Input, Population, Program, Readout

    program = Program(
        input=Input(shape=(1,), message_bits=0),
        populations=(Population(name="lif", shape=(1,), du=4095, dv=163, vth=25, bias=np.zeros(1, int)),),
        synapses=(Dense(source="input", target="lif", weight=np.array([[10]]), sign="excitatory"),),
        readout=Readout(population="lif"),
        steps=1000,
    )
    write_program(tmp_path / "lif.safetensors", program)
    options = ("--trace", BOARD, "--columns", "input,v/lif,spikes/lif", "--clock")
    answer = call("compare", tmp_path / "lif.safetensors", *options)
    assert answer.code == 4
    text = " ".join(answer.out.split())
    assert "996 of 1,000" in text
    assert "1,000 of 1,000" in text
    assert "step 461" in " ".join(answer.err.split())
    assert not (tmp_path / "trace.json").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--clock",), "belong to --trace"),
        (("--columns", "v/a"), "belong to --trace"),
        (("--trace", "board.npz", "--samples", "3"), "leave the other options out"),
        (("--trace", "none.npz"), "none.npz"),
        (("--trace", "board.npz", "--columns", "v/a"), "--columns belongs to CSV files"),
        (("--trace", "board.npz", "--first", "100000"), "test images"),
    ],
)
def test_what_is_refused(
    options: tuple[str, ...],
    said: str,
    call: Call,
    run_folder: Path,
    recorded: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(recorded.parent)
    answer = call("compare", run_folder, *options)
    assert answer.code == 2
    assert said in " ".join(answer.err.split())


def test_what_simulate_writes_is_a_trace(call: Call, run_folder: Path) -> None:
    assert call("simulate", run_folder, "-t", "onnx", "--rasters", "--samples", 5).code == 0
    answer = call("compare", run_folder, "--trace", run_folder / "trace-onnx.safetensors", "--json")
    assert answer.code == 0
    assert json.loads(answer.out)["samples"] == 5
    assert sp.Run.open(run_folder).is_done("trace")
