"""Which code computes: the hash of the package's own files, and the commit they were checked out from.

What is kept to be used again (finished attacks, states of training, cells of studies, costs) is kept under this hash: a
number that other code made is not served as if this code had made it.
"""

import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .files import digest, read_bytes

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("toolkit", "export", "hw_targets", "eval")
"""Folders whose code decides a number; the command line only calls them."""
SUFFIXES = (".py", ".c", ".toml")
MEASURED = ("records", "benchmarks/results")
"""Folders that measuring itself writes: they do not make a checkout another one."""


@cache
def code_hash(root: Path = ROOT) -> str:
    """Return the SHA-256 of the package's own code below :data:`FOLDERS`: names and contents.

    Raises:
        FileError: a file cannot be read.
    """
    files = sorted(path for part in FOLDERS for path in (root / part).rglob("*") if path.suffix in SUFFIXES)
    hashes = [f"{path.relative_to(root).as_posix()} {digest(read_bytes(path))}\n" for path in files]
    return digest("".join(hashes).encode())


@dataclass(frozen=True)
class Revision:
    """Where the code comes from.

    Attributes:
        commit: of git; None outside a checkout of this package.
        dirty: whether any file but those of :data:`MEASURED` differs from that commit; None outside a checkout.
    """

    commit: str | None = None
    dirty: bool | None = None


@cache
def revision(root: Path = ROOT) -> Revision:
    """Return the commit of the checkout whose top is ``root``; none if the package lies in another place, or no git."""

    def git(*words: str) -> str:
        command = ["git", "--no-optional-locks", "-C", str(root), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != root:
            return Revision()
        others = [f":(exclude){folder}" for folder in MEASURED]
        return Revision(git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--", ".", *others)))
    except (OSError, subprocess.SubprocessError):
        return Revision()
