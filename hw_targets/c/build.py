"""Compiles the C file of a Program: to a program that is kept for the next time, and to sizes of flash and RAM."""

import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ...toolkit.cache import cache_folder
from ...toolkit.kernels.compiler import NATIVE, compiler, run_compiler
from ...toolkit.kernels.native import kept

STANDARD = ("-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror")
"""What every file is compiled with: a warning is an error."""
FAST = ("-O3", *NATIVE)
KEPT = 64
"""Compiled Programs that stay in the cache; the oldest go first."""
ARM = "arm-none-eabi-gcc"
CORTEX_M4 = ("-mcpu=cortex-m4", "-mthumb")


@dataclass(frozen=True)
class Compiled:
    """What one compiler makes of a C file without its ``main``.

    Attributes:
        compiler: its name and flags.
        flash: bytes of code, constants and initial values.
        ram: bytes of variables, beside the stack.
    """

    compiler: str
    flash: int
    ram: int


def build(text: str, flags: tuple[str, ...] = FAST) -> Path:
    """Return the program of a C file, compiled now unless it was kept.

    Args:
        text: the file.
        flags: of the compiler, beside :data:`STANDARD`.

    Raises:
        NotCompiled: no compiler, what it says, or a cache that cannot be written.
    """

    def make(command: str, into: Path) -> None:
        source = into.with_name("network.c")
        source.write_text(text, encoding="ascii")
        run_compiler([command, *STANDARD, *flags, "-o", str(into), str(source)], seconds=600)

    folder = cache_folder()
    made = kept(folder, "program-*", f"{STANDARD} {flags}\n{text}".encode(), make)
    with suppress(OSError):  # another process may be at the same
        made.touch()
        programs = sorted(folder.glob("program-*"), key=lambda path: path.stat().st_mtime, reverse=True)
        for old in programs[KEPT:]:
            old.unlink(missing_ok=True)
    return made


def compiled_sizes(text: str) -> list[Compiled]:
    """Return what the compilers that are here make of a C file for the least flash: this machine's, and Cortex-M4's.

    Empty where there is neither, or no ``size``.

    Raises:
        NotCompiled: what a compiler said.
    """
    found = []
    here = compiler()
    for command, tool, flags in (
        (here, shutil.which("size"), ()),
        (shutil.which(ARM), shutil.which("arm-none-eabi-size"), CORTEX_M4),
    ):
        if command is None or tool is None:
            continue
        with tempfile.TemporaryDirectory() as work:
            source, made = Path(work) / "network.c", Path(work) / "network.o"
            source.write_text(text, encoding="ascii")
            options = ("-Os", *flags)
            run_compiler(
                [command, *STANDARD, *options, "-DSNN_NO_MAIN", "-c", "-o", str(made), str(source)], seconds=600
            )
            row = run_compiler([tool, str(made)]).splitlines()[1]
        code, data, bss = map(int, row.split()[:3])
        found.append(Compiled(" ".join((Path(command).name, *options)), code + data, data + bss))
    return found
