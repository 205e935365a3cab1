"""SynSense's xylosim 0.1.3 in a process of its own: what our arithmetic is compared with, and target ``xylosim``."""

import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...toolkit.errors import FileError, TargetError
from ...toolkit.files import read_arrays, write_arrays
from ..lava.environment import environment_python, status
from .arithmetic import Core, Recording

WORKER = Path(__file__).with_name("worker.py")
Job = tuple[Core, NDArray[Any]]


def record(jobs: Sequence[Job], *, python: Path | None = None, limit: float = 600) -> list[Recording]:
    """Return what xylosim records of cores on their inputs; nothing that it clips is counted.

    Args:
        jobs: configurations, each with spikes (time, batch, channels).
        python: interpreter with xylosim; that of the installed environment by default.
        limit: seconds for all of them.

    Raises:
        TargetError: xylosim is not installed, dies, or does not finish.
    """
    python = python or environment_python("xylosim")
    if python is None:
        raise TargetError(f"target 'xylosim': {status('xylosim').how}")
    with tempfile.TemporaryDirectory(prefix="spikeproof-xylosim-") as name:
        folder = Path(name)
        for number, (core, inputs) in enumerate(jobs):
            arrays = {part.name: np.asarray(getattr(core, part.name)) for part in fields(core)}
            write_arrays(folder / f"core-{number}.safetensors", "core", {**arrays, "inputs": inputs}, {})
        words = [str(python), str(WORKER), str(folder)]
        environment = {**os.environ, "PYTHONPATH": "", "OMP_NUM_THREADS": "1"}
        try:
            done = subprocess.run(words, capture_output=True, text=True, timeout=limit, env=environment, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise TargetError(f"target 'xylosim': the worker failed: {error}") from error
        if done.returncode:
            said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise TargetError(f"target 'xylosim': the worker died with status {done.returncode}; {said}")
        return [_recording(folder / f"trace-{number}.safetensors", *job) for number, job in enumerate(jobs)]


def _recording(path: Path, core: Core, inputs: NDArray[Any]) -> Recording:
    try:
        arrays, _ = read_arrays(path, "trace")
    except FileError as error:
        raise TargetError(f"target 'xylosim': the worker answered nonsense: {error}") from error
    steps, batch, (hidden, outputs) = len(inputs), inputs.shape[1], core.weights_out.shape
    shapes = {
        "spikes": (hidden,),
        "i": core.dash_syn.shape,
        "v": (hidden,),
        "spikes_out": (outputs,),
        "i_out": (outputs,),
        "v_out": (outputs,),
    }
    for name, shape in shapes.items():
        if name not in arrays or arrays[name].shape != (steps, batch, *shape):
            raise TargetError(f"target 'xylosim': the worker's answer lacks {name!r} of shape {(steps, batch, *shape)}")
    return Recording(**{name: arrays[name].astype(np.int64) for name in shapes}, clipped=(0, 0, 0, 0))
