"""Environments in the user's cache folder, each keyed by the hash of its pinned requirements.

``lava`` holds lava-nc, ``netx`` lava-dl's importer on top of it, both on Python 3.10; ``xylosim`` SynSense's simulator
of Xylo, on Python 3.11.
"""

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ...toolkit.cache import cache_folder
from ...toolkit.errors import TargetError
from ...toolkit.files import digest

Kind = Literal["lava", "netx", "xylosim"]

PYTHON_VARIABLE = "SPIKEPROOF_LAVA_PYTHON"


@dataclass(frozen=True)
class _Environment:
    """How one environment is made.

    Args:
        command: that installs it.
        requirements: file beside this one.
        options: for pip.
        check: Python that must run in it.
        version: of Python.
    """

    command: str
    requirements: str
    options: tuple[str, ...]
    check: str
    version: str = "3.10"

    @property
    def path(self) -> Path:
        # Resolved: a strict editable installation links only the files that were there when it was made.
        return Path(__file__).resolve().with_name(self.requirements)


_KINDS: dict[str, _Environment] = {
    "lava": _Environment(
        "spikeproof lava install", "requirements.txt", (), "import lava.proc.lif.process, safetensors"
    ),
    "netx": _Environment(
        "spikeproof lava install --netx",
        "requirements-netx.txt",
        ("--no-deps",),
        # The importer itself asks for the PyTorch that is left out, see worker_netx.py.
        "import h5py, safetensors, lava.proc.lif.process, lava.lib.dl",
    ),
    "xylosim": _Environment(
        "spikeproof lava install --xylosim",
        "requirements-xylosim.txt",
        (),
        "import xylosim.v2, numpy, safetensors",
        "3.11",
    ),
}


def _how(kind: Kind) -> str:
    version = _KINDS[kind].version
    return (
        f"{'xylosim' if kind == 'xylosim' else 'Lava'} needs an interpreter of Python {version} (pyenv install "
        f"{version}, uv python install {version}, or your system's package); then run '{_KINDS[kind].command} "
        f"[--python PATH]', or set {PYTHON_VARIABLE}"
    )


def folder(kind: Kind = "lava") -> Path:
    """Return where the environment belongs, whether or not it is there."""
    return cache_folder() / f"{kind}-{digest(_KINDS[kind].path.read_bytes())[:16]}"


def requirements(kind: Kind = "lava") -> str:
    """Return the pinned requirements of the environment as text, without what only spikeproof's workers need."""
    lines = _KINDS[kind].path.read_text(encoding="utf-8").splitlines()
    return "".join(f"{line}\n" for line in lines if not line.startswith(("#", "safetensors")))


def environment_python(kind: Kind = "lava") -> Path | None:
    """Return the environment's interpreter, or None if it is not installed completely."""
    python = folder(kind) / "bin" / "python"
    return python if python.exists() and (folder(kind) / "complete").exists() else None


def _is_version(python: Path, version: str) -> bool:
    code = f"import sys; print('%d.%d' % sys.version_info[:2] == {version!r})"
    try:
        answer = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.stdout.strip() == "True"


def find_python(given: str | None = None, kind: Kind = "lava") -> Path:
    """Return an interpreter of the kind's Python: the given one, else from PATH, pyenv's versions, or uv's.

    Raises:
        TargetError: there is none, or the given one is another version.
    """
    version = _KINDS[kind].version
    given = given or os.environ.get(PYTHON_VARIABLE)
    if given:
        found = Path(shutil.which(given) or given)
        if not _is_version(found, version):
            raise TargetError(f"target {kind!r}: {given} is not an interpreter of Python {version}; {_how(kind)}")
        return found
    home = Path.home()
    pyenv = Path(os.environ.get("PYENV_ROOT") or home / ".pyenv")
    uv = Path(os.environ.get("UV_PYTHON_INSTALL_DIR") or home / ".local/share/uv/python")
    candidates = [Path(path) for path in [shutil.which(f"python{version}")] if path]
    candidates += sorted(pyenv.glob(f"versions/{version}*/bin/python"), reverse=True)
    candidates += sorted(uv.glob(f"cpython-{version}*/bin/python{version}"), reverse=True)
    for candidate in candidates:
        if _is_version(candidate, version):
            return candidate
    raise TargetError(f"target {kind!r}: no Python {version} found; {_how(kind)}")


@dataclass(frozen=True)
class Status:
    """Whether Lava can be used, and how to get it if not."""

    installed: bool
    folder: str
    python: str | None
    how: str


def status(kind: Kind = "lava") -> Status:
    """Return whether the environment is there; looks for an interpreter only if it is not."""
    if environment_python(kind) is not None:
        return Status(True, str(folder(kind)), str(environment_python(kind)), "installed")
    try:
        return Status(False, str(folder(kind)), str(find_python(None, kind)), f"run '{_KINDS[kind].command}'")
    except TargetError as error:
        return Status(False, str(folder(kind)), None, str(error))


def install(given: str | None = None, kind: Kind = "lava") -> Path:
    """Make the environment if it is not there and return its interpreter.

    A virtual environment cannot be moved, so it is made in place; without its file ``complete``, written last, it does
    not count, so an interrupted installation leaves nothing half done.

    Raises:
        TargetError: no interpreter, or pip failed; its last lines are in the message.
    """
    ready = environment_python(kind)
    if ready is not None:
        return ready
    python, recipe = find_python(given, kind), _KINDS[kind]
    target = folder(kind)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(target, ignore_errors=True)
    made = str(target / "bin" / "python")
    steps = [
        [str(python), "-m", "venv", str(target)],
        [made, "-m", "pip", "install", "--quiet", *recipe.options, "-r", str(recipe.path)],
        [made, "-c", recipe.check],
    ]
    with tempfile.TemporaryFile("w+") as log:
        for step in steps:
            try:
                code = subprocess.run(step, stdout=log, stderr=log, timeout=1200, check=False).returncode
            except (OSError, subprocess.TimeoutExpired) as error:
                shutil.rmtree(target, ignore_errors=True)
                raise TargetError(f"target {kind!r}: {step[0]} failed: {error}") from error
            if code != 0:
                log.seek(0)
                last = " | ".join(log.read().strip().splitlines()[-3:])
                shutil.rmtree(target, ignore_errors=True)
                raise TargetError(f"target {kind!r}: installation failed with status {code}: {last}")
    (target / "complete").touch()
    found = environment_python(kind)
    if found is None:
        raise TargetError(f"target {kind!r}: installation in {target} is incomplete; remove that folder and try again")
    return found
