"""What killed workers leave behind: shared memory and folders of jobs, with names that say whose they are."""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

PREFIX = "spikeproof-lava-"
SEGMENTS = Path("/dev/shm")
"""Where Linux keeps shared memory by name; on systems without it there is nothing to look for."""


def job_folder() -> str:
    """Return the prefix of a job folder's name, which holds this process's number: see :func:`sweep`."""
    return f"{PREFIX}{os.getpid()}-"


def remove_segments(folder: str) -> None:
    """Remove the shared memory that the workers of the job folder called ``folder`` made."""
    for segment in SEGMENTS.glob(f"{folder}-*") if SEGMENTS.is_dir() else ():
        with contextlib.suppress(OSError):  # gone meanwhile
            segment.unlink()


def _gone(name: str) -> bool:
    """Return whether the process that a name holds the number of does not exist any more."""
    number = name.removeprefix(PREFIX).split("-")[0]
    if not number.isdecimal():
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # another user's
        return False
    return False


def sweep() -> None:
    """Remove what is left of earlier processes of this user: they and their workers were killed together."""
    if os.name != "posix":
        return
    for place in (SEGMENTS, Path(tempfile.gettempdir())):
        for path in place.glob(f"{PREFIX}*") if place.is_dir() else ():
            with contextlib.suppress(OSError):
                if _gone(path.name) and path.stat().st_uid == os.getuid():
                    shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()
