"""A Lava project that stands alone: a Program as arrays, and a script that builds and runs its Lava processes."""

import ast
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...export.program import Program
from ...toolkit.errors import InputError, UnsupportedError
from ...toolkit.files import atomic, write_json, write_text
from ..loihi.simulator import LoihiTarget
from .client import WORKER, LavaTarget
from .environment import requirements

SCRIPT = Path(__file__).with_name("worker_project.py")
FILES = (
    "README.md",
    "expected.npz",
    "input.npz",
    "network.py",
    "program.json",
    "program.npz",
    "requirements.txt",
    "run.py",
)
JOBS = frozenset({"end_with_parent", "read", "run", "main"})
"""What worker.py has for its jobs; the rest builds and runs a network."""
README = """# {name} on Lava

A network that spikeproof exported, as Lava processes. Nothing here needs spikeproof.

    python3.10 -m venv lava && lava/bin/pip install -r requirements.txt
    lava/bin/python run.py

builds the processes, runs {samples} samples for {steps} steps each on lava-nc 0.10.0's simulator of fixed-point
models, writes `trace.npz`, and compares it with what spikeproof computed (`expected.npz`). lava-nc 0.10.0 imports on
Python 3.10 only.

| file | |
| --- | --- |
| `program.json`, `program.npz` | the network in integers: populations and synapses; weights and biases by name |
| `input.npz` | `input`, integer messages (time, samples, {shape}); put your own there |
| `network.py` | builds the processes: `LIFReset`, `GradedReluVec`, `Dense`, `Conv`, `Sparse`, `DelaySparse`, probes |
| `run.py` | runs them |
| `expected.npz` | `spikes/NAME`, `u/NAME`, `v/NAME` of the Program on that input |
| `trace.npz` | the same as Lava had it |

Program, SHA-256: `{sha256}`.

## On a board

The line to change is the last one of `config()` in `run.py`: `return run_configs.Loihi2HwCfg()`. Lava's compiler for
boards is in an extension for members of Intel's research community, which is not public: spikeproof has never run this
on a board. It may refuse a process model ({processes}), want adapters between host and chip in
the place of `RingBuffer` and `Monitor`, or probe fewer values. Whatever it records, as `.npz` with the names above or
as CSV,

    spikeproof compare RUN --trace trace.npz

names the first step and neuron at which it parts from the Program.
"""


def stand_alone(source: str) -> str:
    """Return the part of worker.py that builds and runs a network, as a module of its own that needs no safetensors."""
    tree = ast.parse(source)
    lines = source.splitlines()
    kept, imports = [], []
    for node in tree.body[1:]:
        first = min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", []))])
        text = "\n".join(lines[first - 1 : node.end_lineno])
        if isinstance(node, ast.Import | ast.ImportFrom):
            imports.append((node, text))
        elif not isinstance(node, ast.If) and getattr(node, "name", "") not in JOBS:
            kept.append(text)
    body = "\n\n\n".join(kept)
    used = {node.id for node in ast.walk(ast.parse(body)) if isinstance(node, ast.Name)}
    needed = [text for node, text in imports if {one.asname or one.name for one in node.names} & used]
    about = '"""Builds the Lava processes of a network in integers; see README.md."""'
    return "\n\n".join((about, "\n".join(needed), body)) + "\n"


def _npz(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    made = BytesIO()
    np.savez_compressed(made, allow_pickle=False, **arrays)
    with atomic(path) as temporary:
        temporary.write_bytes(made.getvalue())


def write_project(folder: Path, program: Program, inputs: NDArray[np.int32], name: str) -> None:
    """Write a folder with the Program, messages, what it does on them, and scripts that run it on Lava.

    Args:
        folder: made if absent; a project that is there is replaced.
        program: what Lava runs exactly.
        inputs: messages (time, samples, ...).
        name: what the network is called.

    Raises:
        UnsupportedError: Lava cannot run the Program exactly; the reasons.
        InputError: the folder holds something else.
    """
    reasons = LavaTarget().unsupported(program)
    if reasons:
        raise UnsupportedError(f"Lava project: {'; '.join(reasons)}")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; give --lava-project a folder")
    there = {path.name for path in folder.iterdir()} if folder.exists() else set[str]()
    others = sorted(there - {*FILES, "trace.npz", "__pycache__"})
    if others:
        raise InputError(f"{folder}: holds {others[0]!r}, which is no part of a Lava project; give another folder")
    trace = LoihiTarget().compile(program).run(inputs, rasters=True)
    expected: dict[str, NDArray[Any]] = {}
    for population, raster in trace.rasters.items():
        expected[f"spikes/{population}"] = raster.spikes.astype(np.int32)
        if raster.u is not None and raster.v is not None:
            expected |= {f"u/{population}": raster.u.astype(np.int32), f"v/{population}": raster.v.astype(np.int32)}
    _npz(folder / "program.npz", dict(program.arrays()))
    _npz(folder / "input.npz", {"input": inputs})
    _npz(folder / "expected.npz", expected)
    write_json(folder / "program.json", program.header()["program"])
    write_text(folder / "network.py", stand_alone(WORKER.read_text(encoding="utf-8")))
    write_text(folder / "run.py", SCRIPT.read_text(encoding="utf-8"))
    write_text(folder / "requirements.txt", requirements("lava"))
    kinds = ["LIFReset"] * bool(program.spiking) + ["GradedReluVec"] * bool(program.graded)
    kinds += ["SigmaDelta, Sigma and Delta"] * bool(program.sigma_delta)
    readme = README.format(
        name=name,
        samples=inputs.shape[1],
        steps=program.steps,
        shape=", ".join(map(str, program.input.shape)),
        sha256=program.sha256(),
        processes=" and ".join(kinds) + " are the likely ones",
    )
    write_text(folder / "README.md", readme)
