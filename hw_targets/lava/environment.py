"""Lava's own Python 3.10 environment in the user's cache folder, keyed by the hash of its pinned requirements."""

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_path

from ...toolkit.errors import TargetError
from ...toolkit.files import digest

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
PYTHON_VARIABLE = "SPIKEPROOF_LAVA_PYTHON"
CACHE_VARIABLE = "SPIKEPROOF_CACHE"
HOW = (
    "Lava needs an interpreter of Python 3.10 (pyenv install 3.10, uv python install 3.10, or your system's package); "
    f"then run 'spikeproof lava install [--python PATH]', or set {PYTHON_VARIABLE}"
)


def cache() -> Path:
    """Return spikeproof's cache folder; the environment variable SPIKEPROOF_CACHE moves it."""
    given = os.environ.get(CACHE_VARIABLE)
    return Path(given) if given else user_cache_path("spikeproof", appauthor=False)


def folder() -> Path:
    """Return where the environment belongs, whether or not it is there."""
    return cache() / f"lava-{digest(REQUIREMENTS.read_bytes())[:16]}"


def environment_python() -> Path | None:
    """Return the environment's interpreter, or None if it is not installed completely."""
    python = folder() / "bin" / "python"
    return python if python.exists() and (folder() / "complete").exists() else None


def _is_310(python: Path) -> bool:
    code = "import sys; print(sys.version_info[:2] == (3, 10))"
    try:
        answer = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.stdout.strip() == "True"


def find_python(given: str | None = None) -> Path:
    """Return an interpreter of Python 3.10: the given one, else from PATH, pyenv's versions, or uv's.

    Raises:
        TargetError: there is none, or the given one is another version.
    """
    given = given or os.environ.get(PYTHON_VARIABLE)
    if given:
        found = Path(shutil.which(given) or given)
        if not _is_310(found):
            raise TargetError(f"target 'lava': {given} is not an interpreter of Python 3.10; {HOW}")
        return found
    home = Path.home()
    pyenv = Path(os.environ.get("PYENV_ROOT") or home / ".pyenv")
    uv = Path(os.environ.get("UV_PYTHON_INSTALL_DIR") or home / ".local/share/uv/python")
    candidates = [Path(path) for path in [shutil.which("python3.10")] if path]
    candidates += sorted(pyenv.glob("versions/3.10*/bin/python"), reverse=True)
    candidates += sorted(uv.glob("cpython-3.10*/bin/python3.10"), reverse=True)
    for candidate in candidates:
        if _is_310(candidate):
            return candidate
    raise TargetError(f"target 'lava': no Python 3.10 found; {HOW}")


@dataclass(frozen=True)
class Status:
    """Whether Lava can be used, and how to get it if not."""

    installed: bool
    folder: str
    python: str | None
    how: str


def status() -> Status:
    """Return whether the environment is there; looks for an interpreter only if it is not."""
    if environment_python() is not None:
        return Status(True, str(folder()), str(environment_python()), "installed")
    try:
        return Status(False, str(folder()), str(find_python()), "run 'spikeproof lava install'")
    except TargetError as error:
        return Status(False, str(folder()), None, str(error))


def install(given: str | None = None) -> Path:
    """Make the environment if it is not there and return its interpreter.

    Made beside its place and moved there once complete, so an interrupted installation leaves nothing half done.

    Raises:
        TargetError: no interpreter, or pip failed; its last lines are in the message.
    """
    ready = environment_python()
    if ready is not None:
        return ready
    python = find_python(given)
    target = folder()
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(target, ignore_errors=True)
    # A virtual environment cannot be moved, so it is made in place; the file 'complete' is written last.
    steps = [
        [str(python), "-m", "venv", str(target)],
        [str(target / "bin" / "python"), "-m", "pip", "install", "--quiet", "-r", str(REQUIREMENTS)],
        [str(target / "bin" / "python"), "-c", "import lava.proc.lif.process, safetensors"],
    ]
    with tempfile.TemporaryFile("w+") as log:
        for step in steps:
            try:
                code = subprocess.run(step, stdout=log, stderr=log, timeout=1200, check=False).returncode
            except (OSError, subprocess.TimeoutExpired) as error:
                shutil.rmtree(target, ignore_errors=True)
                raise TargetError(f"target 'lava': {step[0]} failed: {error}") from error
            if code != 0:
                log.seek(0)
                last = " | ".join(log.read().strip().splitlines()[-3:])
                shutil.rmtree(target, ignore_errors=True)
                raise TargetError(f"target 'lava': installation failed with status {code}: {last}")
    (target / "complete").touch()
    made = environment_python()
    if made is None:
        raise TargetError(f"target 'lava': installation in {target} is incomplete; remove that folder and try again")
    return made
