"""Loops in C, compiled for this machine when they are first needed; without a compiler nobody needs them.

Whoever calls them has the same loop in PyTorch, which gives the same bits. ``SPIKEPROOF_NATIVE=0`` uses that one only.
"""

import ctypes
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from platformdirs import user_cache_path
from torch import Tensor

from ..files import digest

SOURCE = Path(__file__).resolve().with_name("training.c")
VARIABLE = "SPIKEPROOF_NATIVE"
CACHE_VARIABLE = "SPIKEPROOF_CACHE"
# No contraction and no fast-math: every operation rounds by itself, as in PyTorch.
FLAGS = ("-O3", "-march=native", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")
SHARE = 2**16
"""Neurons times steps that are worth a thread of their own."""


def compiler() -> str | None:
    """Return the path of a C compiler: $CC, cc, gcc or clang."""
    names = [os.environ.get("CC"), "cc", "gcc", "clang"]
    return next((found for name in names if name and (found := shutil.which(name))), None)


def _cpu() -> str:
    """Return what tells apart CPUs that need a compilation of their own."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    features = [line for line in lines if line.startswith(("flags", "Features", "model name"))][:2]
    return " ".join([platform.machine(), platform.processor(), *features])


def build(folder: Path, source: Path = SOURCE) -> Path | None:
    """Return the library of ``source`` in ``folder``, compiled now if not there; None if that cannot be done."""
    command = compiler()
    if command is None:
        return None
    made = folder / f"native-{digest(source.read_bytes() + f'{command} {FLAGS} {_cpu()}'.encode())[:16]}.so"
    if made.exists():
        return made
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as work:
            fresh = Path(work) / "native.so"
            step = [command, *FLAGS, "-o", str(fresh), str(source), "-lm"]
            if subprocess.run(step, capture_output=True, timeout=120, check=False).returncode != 0:
                return None
            fresh.replace(made)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return made


@cache
def loops(source: Path) -> ctypes.CDLL | None:
    """Return the compiled loops of a C file, or None: switched off, or no compiler."""
    if os.environ.get(VARIABLE) == "0":
        return None
    given = os.environ.get(CACHE_VARIABLE)
    made = build(Path(given) if given else user_cache_path("spikeproof", appauthor=False), source)
    try:
        return None if made is None else ctypes.CDLL(str(made))
    except OSError:
        return None


@cache
def library() -> ctypes.CDLL | None:
    """Return the loops of training.c, or None: see :func:`loops`, or not the right bits."""
    loaded = loops(SOURCE)
    try:
        return loaded if loaded is not None and _rounds_as_pytorch(loaded) else None
    except AttributeError:
        return None


def library_for(tensor: Tensor) -> Any:
    """Return the compiled loops if they can take ``tensor``: on the CPU, float32, not empty; else None."""
    usable = tensor.device.type == "cpu" and tensor.dtype == torch.float32 and tensor.numel() > 0
    # Who traces or compiles a network, as exporters do, can only follow PyTorch's own operators.
    followed = torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    return library() if usable and not followed else None


def _rounds_as_pytorch(loaded: ctypes.CDLL) -> bool:
    """Return whether a product and a sum round one after the other: where they are fused, spikes differ."""
    current = torch.linspace(-1, 1, 4096).square().view(2, 2048)
    membranes, spikes = torch.empty_like(current), torch.empty_like(current)
    size = ctypes.c_int64(current[0].numel())
    ends = ctypes.c_int64(0), size
    beta, threshold = ctypes.c_float(0.9), ctypes.c_float(0.5)
    loaded.lif_forward(at(current), size, at(membranes), at(spikes), ctypes.c_int64(2), size, *ends, beta, threshold)
    before = current[0] * (current[0] <= 0.5)
    return torch.equal(membranes[1], before * 0.9 + current[1]) and torch.equal(spikes, (membranes > 0.5).float())


def at(tensor: Tensor | None) -> ctypes.c_void_p:
    """Return where a tensor's memory begins; NULL for None."""
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())


def enough(done: int) -> None:
    """Raise what a loop returned 0 for."""
    if not done:
        raise MemoryError("the compiled loops found no memory for a block of neurons; use fewer time steps at once")


_Task = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


@cache
def _team() -> Any:
    """Return what runs a task on the threads of PyTorch's OpenMP (libgomp), or None: another one, or none, is loaded.

    Those threads wait for work in a loop. Others beside them would have to share the cores with that waiting.
    """
    try:
        return ctypes.CDLL(None).GOMP_parallel
    except (AttributeError, OSError, TypeError):
        return None


def spread(run: Callable[[ctypes.c_int64, ctypes.c_int64], object], size: int, steps: int) -> None:
    """Call ``run(first, last)`` for all of ``size`` neurons, in as many threads as torch may use and are worth it."""
    parts = max(1, min(torch.get_num_threads(), size * steps // SHARE))
    edges = [size * part // parts for part in range(parts + 1)]
    ends = [(ctypes.c_int64(first), ctypes.c_int64(last)) for first, last in pairwise(edges)]
    if parts == 1:
        run(*ends[0])
        return
    pending, raised = iter(ends), list[BaseException]()

    def work(_: object = None) -> None:
        try:
            for part in pending:
                run(*part)
        except BaseException as error:  # of any kind: C cannot pass it on
            raised.append(error)

    team = _team()
    if team is not None:
        team(_Task(work), None, ctypes.c_uint(parts), ctypes.c_uint(0))
    else:
        with ThreadPoolExecutor(parts - 1) as threads:
            for _ in ends[1:]:
                threads.submit(work)
            work()
    if raised:
        raise raised[0]
