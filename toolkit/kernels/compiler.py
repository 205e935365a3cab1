"""The C compiler and its flags. ``setup.py`` runs this file alone, so it imports nothing but the standard library."""

import os
import platform
import shutil
import subprocess
from pathlib import Path

# No contraction and no fast-math: every operation rounds by itself, as in PyTorch, whatever the CPU has.
FLAGS = ("-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")
NATIVE = ("-march=native",)
"""For a library that stays on this machine."""
ANY = "any"
LEVELS = {ANY: ()} | ({"avx2": ("-mavx2", "-mfma")} if platform.machine() in ("x86_64", "AMD64") else {})
"""The libraries of a wheel, and their flags: one for every CPU of this architecture, and a faster one for CPUs with
what PyTorch's own AVX2 kernels need. The builder's CPU plays no part; the bits of all are the same."""


class NotCompiled(Exception):
    """There is no library; the message says why."""


def compiler() -> str | None:
    """Return the path of a C compiler: $CC, cc, gcc or clang."""
    names = [os.environ.get("CC"), "cc", "gcc", "clang"]
    return next((found for name in names if name and (found := shutil.which(name))), None)


def compile_c(command: str, source: Path, into: Path, flags: tuple[str, ...]) -> None:
    """Compile a C file to a library.

    Args:
        command: the compiler.
        source: the C file.
        into: the library, overwritten.
        flags: beside :data:`FLAGS`.

    Raises:
        NotCompiled: with what the compiler said.
    """
    run_compiler([command, *FLAGS, *flags, "-o", str(into), str(source), "-lm"])


def run_compiler(step: list[str], seconds: float = 120) -> str:
    """Run a compiler, or a tool of it, and return what it wrote on standard output.

    Args:
        step: its command line.
        seconds: that it may take.

    Raises:
        NotCompiled: with what the compiler said.
    """
    command = step[0]
    try:
        done = subprocess.run(step, capture_output=True, text=True, errors="replace", timeout=seconds, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotCompiled(f"{command} could not be run: {error}") from error
    if done.returncode != 0:
        raise NotCompiled(f"{command} failed with exit code {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def shipped(source: Path, level: str) -> Path:
    """Return where a wheel holds the library of a C file for one of :data:`LEVELS`: beside it."""
    return source.with_name(f"{source.stem}-{level}.so")
