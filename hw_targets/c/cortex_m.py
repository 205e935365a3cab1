"""The C file of a Program on an emulated Cortex-M4: QEMU's board mps2-an386, samples through semihosting."""

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ...toolkit.errors import TargetError
from ...toolkit.kernels.compiler import NotCompiled, run_compiler
from .build import ARM, CORTEX_M4, STANDARD

QEMU = "qemu-system-arm"
EMULATOR = (
    *(QEMU, "-M", "mps2-an386", "-display", "none", "-monitor", "none", "-serial", "none"),
    *("-icount", "shift=0", "-semihosting-config", "enable=on,target=native", "-kernel"),
)
PACKAGES = "gcc-arm-none-eabi, libnewlib-arm-none-eabi and qemu-system-arm"
LINK = """
MEMORY { flash (rx) : ORIGIN = 0x00000000, LENGTH = 4M  ram (rwx) : ORIGIN = 0x20000000, LENGTH = 4M }
ENTRY(_start)
SECTIONS {
    .text : { KEEP(*(.vectors)) *(.text*) *(.rodata*) KEEP(*(.init)) KEEP(*(.fini)) } > flash
    .ARM.extab : { *(.ARM.extab*) } > flash
    .ARM.exidx : { __exidx_start = .; *(.ARM.exidx*) __exidx_end = .; } > flash
    .init_array : {
        __preinit_array_start = .; KEEP(*(.preinit_array)) __preinit_array_end = .;
        __init_array_start = .; KEEP(*(.init_array*)) __init_array_end = .;
        __fini_array_start = .; KEEP(*(.fini_array*)) __fini_array_end = .;
    } > ram
    .data : { *(.data*) } > ram
    .bss : { __bss_start__ = .; *(.bss*) *(COMMON) __bss_end__ = .; . = ALIGN(8); end = .; __end__ = .; } > ram
}
"""
# QEMU loads an ELF file as it is, so that nothing has to be copied from flash to RAM. Its clock runs by instructions:
# -icount shift=0 makes one of them a nanosecond, and SysTick counts at 25 MHz, one tick in 40.
BOARD = """
#include "network.c"
#include <stdio.h>

extern void _start(void);
static void stop(void) { for (;;) { } }
static void *const vectors[16] __attribute__((section(".vectors"), used)) = {
    (void *)0x20400000, (void *)_start, (void *)stop, (void *)stop};
#define SYSTICK ((volatile uint32_t *)0xE000E010)

static snn_message sample[SNN_STEPS * SNN_INPUTS];
static int32_t outputs[SNN_OUTPUTS];

int main(void) {
    unsigned long ticks = 0, samples = 0;
    FILE *from = fopen("samples.bin", "rb");
    if (from == NULL) return 1;
    SYSTICK[1] = 0xffffff;
    SYSTICK[2] = 0;
    SYSTICK[0] = 5;
    while (fread(sample, sizeof sample, 1, from) == 1) {
        const uint32_t before = SYSTICK[2];
        snn_run(sample, outputs);
        ticks += (before - SYSTICK[2]) & 0xffffffu;
        samples++;
        printf("%ld", (long)snn_class());
        for (int32_t i = 0; i < SNN_OUTPUTS; i++) printf(" %ld", (long)outputs[i]);
        printf("\\n");
    }
    printf("instructions %lu\\n", samples ? 40 * ticks / samples : 0);
    return 0;
}
"""


@dataclass(frozen=True)
class Board:
    """What an emulated board did.

    Attributes:
        lines: what the C file's own ``main`` would print, a sample each.
        instructions: executed a sample, to 40; a real Cortex-M4 needs one cycle or more for each.
    """

    lines: list[str]
    instructions: int


def unavailable() -> str | None:
    """Return how to get what is missing, or None if the board can be emulated."""
    missing = [name for name in (ARM, QEMU) if shutil.which(name) is None]
    return f"no {' and no '.join(missing)}; install Debian's {PACKAGES}" if missing else None


def run_on_cortex_m4(text: str, samples: bytes, *, seconds: float = 120) -> Board:
    """Run a C file on an emulated Cortex-M4.

    Args:
        text: the file.
        samples: as its ``main`` reads them; one after another, none of more than 600 million instructions.
        seconds: that the emulator may take.

    Raises:
        TargetError: compiler or emulator are missing or failed.
    """
    missing = unavailable()
    if missing is not None:
        raise TargetError(f"Cortex-M4: {missing}")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "network.c").write_text(text, encoding="ascii")
        (folder / "board.c").write_text(BOARD, encoding="ascii")
        (folder / "board.ld").write_text(LINK, encoding="ascii")
        (folder / "samples.bin").write_bytes(samples)
        made = folder / "board.elf"
        # A function as an entry of a table of pointers to data is beyond -pedantic.
        standard = [flag for flag in STANDARD if flag != "-pedantic"]
        step = [ARM, *standard, "-O2", *CORTEX_M4, "-DSNN_NO_MAIN", "--specs=rdimon.specs"]
        try:
            run_compiler([*step, "-T", str(folder / "board.ld"), "-o", str(made), str(folder / "board.c")])
            done = subprocess.run(
                [*EMULATOR, str(made)],
                cwd=folder,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=seconds,
                check=False,
            )
        except (NotCompiled, OSError, subprocess.TimeoutExpired) as error:
            raise TargetError(f"Cortex-M4: {error}") from error
    *lines, last = [line for line in (done.stdout + done.stderr).splitlines() if line] or [""]
    counted = re.fullmatch(r"instructions (\d+)", last)
    if done.returncode != 0 or counted is None:
        raise TargetError(f"Cortex-M4: the emulator ended with status {done.returncode}: {last or 'no word'}")
    return Board(lines, int(counted[1]))
