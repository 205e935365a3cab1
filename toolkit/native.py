"""The loops of native.c and training.c, compiled for this machine when first needed; without a compiler not needed.

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

from .files import digest

VARIABLE = "SPIKEPROOF_NATIVE"
CACHE_VARIABLE = "SPIKEPROOF_CACHE"
# No contraction and no fast-math: every operation rounds by itself, as in PyTorch.
FLAGS = ("-O3", "-march=native", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")
SOURCES = ("native.c", "training.c")
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


def build(folder: Path) -> Path | None:
    """Return the compiled library in ``folder``, compiled now if it is not there; None if that cannot be done."""
    command, sources = compiler(), [Path(__file__).resolve().with_name(name) for name in SOURCES]
    if command is None:
        return None
    facts = b"".join(source.read_bytes() for source in sources) + f"{command} {FLAGS} {_cpu()}".encode()
    made = folder / f"native-{digest(facts)[:16]}.so"
    if made.exists():
        return made
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as work:
            fresh = Path(work) / "native.so"
            step = [command, *FLAGS, "-o", str(fresh), *map(str, sources), "-lm"]
            if subprocess.run(step, capture_output=True, timeout=120, check=False).returncode != 0:
                return None
            fresh.replace(made)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return made


@cache
def library() -> ctypes.CDLL | None:
    """Return the compiled loops, or None: switched off, no compiler, or not the right bits."""
    if os.environ.get(VARIABLE) == "0":
        return None
    given = os.environ.get(CACHE_VARIABLE)
    made = build(Path(given) if given else user_cache_path("spikeproof", appauthor=False))
    if made is None:
        return None
    try:
        loaded = ctypes.CDLL(str(made))
        return loaded if _rounds_as_pytorch(loaded) else None
    except (OSError, AttributeError):
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


def spread(run: Callable[[ctypes.c_int64, ctypes.c_int64], object], size: int, steps: int) -> None:
    """Call ``run(first, last)`` for all of ``size`` neurons, in as many threads as torch may use and are worth it."""
    parts = max(1, min(torch.get_num_threads(), size * steps // SHARE))
    edges = [size * part // parts for part in range(parts + 1)]
    ends = [(ctypes.c_int64(first), ctypes.c_int64(last)) for first, last in pairwise(edges)]
    if parts == 1:
        run(*ends[0])
        return
    with ThreadPoolExecutor(parts) as threads:
        list(threads.map(lambda part: run(*part), ends))  # raises what a thread raised
