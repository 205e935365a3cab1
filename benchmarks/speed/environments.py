"""The peers' environment: pinned, on top of the interpreter that runs this, so that all use the same PyTorch."""

import subprocess
import sys
from hashlib import sha256
from pathlib import Path

from spikeproof.toolkit.cache import cache_folder

PINS = Path(__file__).with_name("peers.txt")


def peers() -> Path:
    """Return the interpreter of the peers' environment, made now if it is not there.

    Raises:
        SystemExit: pip failed.
    """
    own = next(path for path in sys.path if path.endswith("site-packages"))
    key = sha256(PINS.read_bytes() + own.encode()).hexdigest()[:16]
    folder = cache_folder() / f"speed-peers-{key}"
    python = folder / "bin" / "python"
    if (folder / "complete").exists():
        return python
    print("making the peers' environment (once)", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    install = [str(python), "-m", "pip", "install", "--quiet", "--no-deps", "-r", str(PINS)]
    if subprocess.run(install, check=False).returncode:
        raise SystemExit("pip could not install the peers; try again, or leave them out with --without-peers")
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = folder / "lib" / version / "site-packages"
    # Behind its own packages: torch, NumPy and what the peers need come from the interpreter that runs this.
    (site / "parent.pth").write_text(f"import site; site.addsitedir({own!r})\n")
    (folder / "complete").touch()
    return python
