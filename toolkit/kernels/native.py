"""Loops in C: found in the wheel, or in a source tree compiled for this machine when they are first needed.

Whoever calls them has the same loop in PyTorch, slower, which gives the same bits, and takes that one where there is no
library; :class:`Status` says why there is none. ``SPIKEPROOF_NATIVE=0`` switches the loops off;
``SPIKEPROOF_REQUIRE_NATIVE=1`` makes it an error if they are missing.
"""

import ctypes
import os
import platform
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from ctypes import c_double, c_float, c_int, c_int64, c_uint, c_void_p
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from ..cache import VARIABLE as CACHE_VARIABLE
from ..cache import cache_folder
from ..errors import SpikeproofError
from ..files import digest
from .compiler import ANY, FLAGS, LEVELS, NATIVE, NotCompiled, compile_c, compiler, shipped

SOURCE = Path(__file__).resolve().with_name("training.c")
VARIABLE = "SPIKEPROOF_NATIVE"
REQUIRE_VARIABLE = "SPIKEPROOF_REQUIRE_NATIVE"
SHARE = 2**16
"""Neurons times steps that are worth a thread of their own."""
Functions = Mapping[str, tuple[Any, tuple[Any, ...]]]
"""What is called of a C file: name -> type of the result and types of the arguments."""
P, I, F, D = c_void_p, c_int64, c_float, c_double  # noqa: E741
FUNCTIONS: Functions = {
    "lif_forward": (None, (P, I, P, P, I, I, I, I, F, F)),
    "lif_backward": (c_int, (P, I, P, I, I, P, I, I, I, F, F, F, F)),
    "lif_again": (c_int, (P, I, P, I, I, P, I, I, I, F, F, F, F)),
    "pool_forward": (None, (P, P, P, I, I, I)),
    "pool_backward": (None, (P, P, P, I, I, I)),
    "window_forward": (None, (P, P, F, I, I, I)),
    "window_backward": (None, (P, P, F, I, I, I)),
    "lif_pool_forward": (c_int, (P, I, P, P, I, I, P, I, I, I, I, I, F, F)),
    "lif_pool_backward": (c_int, (P, I, P, P, I, I, P, I, I, I, P, I, I, I, F, F, F, F)),
}
"""Of training.c."""


@dataclass(frozen=True)
class Status:
    """What became of the loops of one C file.

    Attributes:
        loops: the file's name.
        library: the functions of its table; None if they cannot be used.
        origin: where they come from, or "".
        missing: why they cannot be used, or "".
    """

    loops: str
    library: Any = None
    origin: str = ""
    missing: str = ""

    def row(self) -> dict[str, str]:
        """Return what ``spikeproof doctor`` shows."""
        if self.library is not None:
            return {"loops": self.loops, "compiled": "yes", "from": self.origin, "why not": "", "costs": ""}
        why = self.missing.splitlines()[0]
        costs = "slower: PyTorch's operators instead; the same bits"
        return {"loops": self.loops, "compiled": "no", "from": self.origin, "why not": why, "costs": costs}

    def use(self) -> Any:
        """Return the library, or None.

        Raises:
            SpikeproofError: there is none, and ``SPIKEPROOF_REQUIRE_NATIVE=1`` asks for it.
        """
        required = os.environ.get(REQUIRE_VARIABLE) == "1" and os.environ.get(VARIABLE) != "0"
        if self.library is None and required:
            raise SpikeproofError(
                f"no compiled loops of {self.loops}, which {REQUIRE_VARIABLE}=1 asks for: {self.missing}"
            )
        return self.library


def processor() -> str:
    """Return what tells apart processors that need a compilation of their own, as SHA-256."""
    return digest(_cpu().encode())


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    features = [line for line in lines if line.startswith(("flags", "Features", "model name"))][:2]
    return " ".join([platform.machine(), platform.processor(), *features])


def kept(folder: Path, name: str, content: bytes, make: Callable[[str, Path], None]) -> Path:
    """Return a compiled file in ``folder``, made now if not there.

    Args:
        folder: where it is kept.
        name: how its name begins and ends; a ``*`` stands for what tells it apart.
        content: what it is made from, beside the compiler and this CPU.
        make: calls the compiler, whose path it is given, with the path to write.

    Raises:
        NotCompiled: no compiler, what it says, or a folder that cannot be written.
    """
    command = compiler()
    if command is None:
        raise NotCompiled("no C compiler ($CC, cc, gcc or clang); install one, for example gcc")
    made = folder / name.replace("*", digest(content + f"{command} {_cpu()}".encode())[:16])
    if made.exists():
        return made
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as work:
            fresh = Path(work) / "made"
            make(command, fresh)
            fresh.replace(made)
    except OSError as error:
        raise NotCompiled(f"{folder} cannot be written: {error}; choose another with {CACHE_VARIABLE}") from error
    return made


def build(folder: Path, source: Path = SOURCE) -> Path:
    """Return the library of ``source`` in ``folder``, compiled now if not there.

    Raises:
        NotCompiled: no compiler, what it says, or a folder that cannot be written.
    """
    content = source.read_bytes() + f"{FLAGS} {NATIVE}".encode()
    return kept(folder, "native-*.so", content, lambda command, into: compile_c(command, source, into, NATIVE))


def _find(source: Path) -> tuple[Path, str]:
    """Return the library of a C file and where it comes from: the wheel, or compiled here."""
    fast = torch.backends.cpu.get_cpu_capability().startswith("AVX")  # AVX2 or AVX512, which has AVX2, too
    for level in reversed(LEVELS):
        if (level == ANY or fast) and shipped(source, level).exists():
            return shipped(source, level), f"wheel ({level})"
    return build(cache_folder(), source), "compiled on first use"


def typed(loaded: ctypes.CDLL, functions: Functions) -> Any:
    """Return the functions of a table, which know their types, and no others; AttributeError if one is not there."""
    for name, (result, arguments) in functions.items():
        function = getattr(loaded, name)
        function.restype, function.argtypes = result, arguments
    return SimpleNamespace(**{name: getattr(loaded, name) for name in functions})


def load(source: Path, functions: Functions, wrong: Callable[[Any], str] | None = None) -> Status:
    """Return what becomes of the loops of a C file; never raises for a library that cannot be had.

    Args:
        source: the C file.
        functions: its table.
        wrong: the self-check; returns what of the library has not the bits of PyTorch, or "".
    """
    if os.environ.get(VARIABLE) == "0":
        return Status(source.name, missing=f"switched off by {VARIABLE}=0")
    try:
        path, origin = _find(source)
    except NotCompiled as error:
        return Status(source.name, missing=str(error))
    try:
        library = typed(ctypes.CDLL(str(path)), functions)
    except (OSError, AttributeError) as error:
        return Status(source.name, None, origin, f"the library cannot be loaded: {error}")
    failed = wrong(library) if wrong is not None else ""
    if failed:
        return Status(source.name, None, origin, f"self-check failed, not the bits of PyTorch: {failed}")
    return Status(source.name, library, origin)


@cache
def status() -> Status:
    """Return what became of the loops of training.c."""
    return load(SOURCE, FUNCTIONS, lambda library: "" if _rounds_as_pytorch(library) else "lif_forward")


def library() -> Any:
    """Return the loops of training.c, or None; see :meth:`Status.use`."""
    return status().use()


def library_for(tensor: Tensor) -> Any:
    """Return the compiled loops if they can take ``tensor``: on the CPU, float32, not empty; else None."""
    usable = tensor.device.type == "cpu" and tensor.dtype == torch.float32 and tensor.numel() > 0
    # Who traces or compiles a network, as exporters do, can only follow PyTorch's own operators.
    followed = torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    return library() if usable and not followed else None


def _rounds_as_pytorch(loaded: Any) -> bool:
    """Return whether a product and a sum round one after the other: where they are fused, spikes differ."""
    current = torch.linspace(-1, 1, 4096).square().view(2, 2048)
    membranes, spikes = torch.empty_like(current), torch.empty_like(current)
    size = current[0].numel()
    loaded.lif_forward(at(current), size, at(membranes), at(spikes), 2, size, 0, size, 0.9, 0.5)
    before = current[0] * (current[0] <= 0.5)
    return torch.equal(membranes[1], before * 0.9 + current[1]) and torch.equal(spikes, (membranes > 0.5).float())


def at(tensor: Tensor | None) -> c_void_p:
    """Return where a tensor's memory begins; NULL for None."""
    return c_void_p(None if tensor is None else tensor.data_ptr())


def enough(done: int) -> None:
    """Raise what a loop returned 0 for."""
    if not done:
        raise MemoryError("the compiled loops found no memory for a block of neurons; use fewer time steps at once")


_Task = ctypes.CFUNCTYPE(None, c_void_p)


@cache
def _team() -> Any:
    """Return what runs a task on the threads of PyTorch's OpenMP (libgomp), or None: another one, or none, is loaded.

    Those threads wait for work in a loop. Others beside them would have to share the cores with that waiting.
    """
    try:
        parallel = ctypes.CDLL(None).GOMP_parallel
    except (AttributeError, OSError, TypeError):
        return None
    parallel.restype, parallel.argtypes = None, (_Task, c_void_p, c_uint, c_uint)
    return parallel


def spread(run: Callable[[c_int64, c_int64], object], size: int, steps: int) -> None:
    """Call ``run(first, last)`` for all of ``size`` neurons, in as many threads as torch may use and are worth it."""
    parts = max(1, min(torch.get_num_threads(), size * steps // SHARE))
    edges = [size * part // parts for part in range(parts + 1)]
    ends = [(c_int64(first), c_int64(last)) for first, last in pairwise(edges)]
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
        team(_Task(work), None, parts, 0)
    else:
        with ThreadPoolExecutor(parts - 1) as threads:
            for _ in ends[1:]:
                threads.submit(work)
            work()
    if raised:
        raise raised[0]
