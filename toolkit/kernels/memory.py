"""Memory of the process: what PyTorch frees is kept for its next tensors."""

import ctypes
import os
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Of glibc's malloc.h."""


def keep_freed_memory() -> bool:
    """Have glibc's malloc keep freed memory instead of giving it back to the kernel; return whether it does.

    Tensors of many megabytes are otherwise new pages of the kernel every time, which are cleared before their use: a
    third of the time of a training step. It changes the whole process, so only programs call it, never the library.
    """
    if not sys.platform.startswith("linux") or os.environ.get("LD_PRELOAD"):  # perhaps another malloc
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    mallopt.restype, mallopt.argtypes = ctypes.c_int, (ctypes.c_int, ctypes.c_int)
    return bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, 2**31 - 1))
