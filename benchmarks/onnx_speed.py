"""ONNX Runtime beside ``loihi`` on the same Programs, in turns: python benchmarks/onnx_speed.py [--before FOLDER].

``--before`` names the folder around another checkout of spikeproof: its ONNX file of each Program is timed beside ours,
in plain ONNX Runtime with as many threads. Writes benchmarks/onnx_speed.json under --out.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import given_out
import numpy as np
import onnxruntime
import torch

from spikeproof.eval.records.base import header, write_record
from spikeproof.eval.records.benchmark import Benchmark
from spikeproof.eval.run import steps
from spikeproof.eval.run.folder import Run
from spikeproof.export.formats.onnx import write_onnx
from spikeproof.export.program import Program, read_program, write_program
from spikeproof.hw_targets.loihi.simulator import LoihiTarget
from spikeproof.hw_targets.onnx import OnnxTarget
from spikeproof.toolkit.coding import direct_integers
from spikeproof.toolkit.config import DataSettings, load_recipe
from spikeproof.toolkit.data import load_data

sys.path.insert(0, str(Path(__file__).parent / "speed"))
import networks

OUT = given_out.USUAL / "benchmarks"
BATCHES, REPEATS = (1, 64), 15
WRITE = """
import sys
from pathlib import Path
from spikeproof.export.formats.onnx import write_onnx
from spikeproof.export.program import read_program
write_onnx(Path(sys.argv[2]), read_program(Path(sys.argv[1])))
"""


def programs(folder: Path) -> dict[str, tuple[Program, np.ndarray]]:
    """Return Programs with their input (time, 64, ...)."""
    run = Run.create(folder / "run", load_recipe("digits"))
    for step in (steps.train, steps.quantize, steps.export):
        step(run)
    digits = read_program(run.path("program.safetensors"))
    conv = networks.program_of(networks.trained(8, 60))
    mlp = networks.random_program("mlp", 100)
    images, large = load_data(DataSettings()).test_images[: BATCHES[-1]], networks.digits(BATCHES[-1])[0]
    return {
        "conv net, 28 x 28, T = 8, direct coding": (conv, direct_integers(large, 8)),
        "recipe digits, 8 x 8, direct coding": (digits, direct_integers(images, digits.steps)),
        "784-512-10, T = 100, 10 % activity": (mlp, networks.spikes(mlp, BATCHES[-1])),
    }


def plain(path: Path, program: Program) -> Callable[[np.ndarray], np.ndarray]:
    """Return what runs a file in ONNX Runtime as target ``onnx`` did: the read-out and all spikes, counted."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    wanted = ["output", *(f"spikes/{population.name}" for population in program.populations)]

    def run(messages: np.ndarray) -> np.ndarray:
        output, *spikes = session.run(wanted, {"messages": np.ascontiguousarray(messages, np.int32)})
        assert all((one != 0).sum(0, dtype=np.int64) is not None for one in spikes)
        return np.asarray(output)

    return run


def compared(program: Program, messages: np.ndarray, folder: Path, before: str) -> list[dict[str, Any]]:
    """Return seconds an image of each side and batch, the sides in turns."""
    loihi, onnx = LoihiTarget().compile(program), OnnxTarget().compile(program)
    write_onnx(folder / "now.onnx", program)
    sides: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "loihi": lambda x: loihi.run(x).output,
        "target onnx": lambda x: onnx.run(x).output,
        "the file, all outputs": plain(folder / "now.onnx", program),
    }
    if before:
        write_program(folder / "program", program)
        words = [sys.executable, "-c", WRITE, str(folder / "program"), str(folder / "before.onnx")]
        subprocess.run(words, check=True, env={**os.environ, "PYTHONPATH": before}, cwd=folder)
        sides["the file before"] = plain(folder / "before.onnx", program)
    found = []
    for batch in BATCHES:
        given = messages[:, :batch]
        expected = sides["loihi"](given)
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        for turn in range(REPEATS + 1):
            for name, side in sides.items():
                begun = time.perf_counter()
                output = side(given)
                taken = time.perf_counter() - begun
                assert (output == expected).all(), f"{name}: another output"
                if turn:  # the first run warms caches
                    seconds[name].append(taken / batch)
        medians = {name: statistics.median(times) for name, times in seconds.items()}
        ratios = {name: middle / medians["loihi"] for name, middle in medians.items() if name != "loihi"}
        found.append({"batch": batch, "seconds_an_image": seconds, "times_loihi": ratios})
        for name, middle in medians.items():
            low, high = min(seconds[name]), max(seconds[name])
            print(
                f"  batch {batch}, {name}: {1000 * middle:.2f} ms an image ({1000 * low:.2f} to {1000 * high:.2f}), "
                f"{middle / medians['loihi']:.2f} x loihi",
                flush=True,
            )
    return found


def main(before: str) -> None:
    results, load = {}, os.getloadavg()[0]
    with TemporaryDirectory() as folder:
        for name, (program, messages) in programs(Path(folder)).items():
            print(name, flush=True)
            results[name] = compared(program, messages, Path(folder), before)
    about = header("onnx_speed", "python benchmarks/onnx_speed.py" + " --before FOLDER" * bool(before))
    measured = {
        "what": "seconds an image of ONNX Runtime and loihi on the same Program, in turns",
        "threads": torch.get_num_threads(),
        "onnxruntime": onnxruntime.__version__,
        "load_at_start": load,
        "load_at_end": os.getloadavg()[0],
        "programs": results,
    }
    write_record(OUT / "onnx_speed.json", Benchmark(**about, **measured))


if __name__ == "__main__":
    OUT = given_out.out("benchmarks")
    main(str(Path(sys.argv[2]).resolve()) if sys.argv[1:2] == ["--before"] else "")
