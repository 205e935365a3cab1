"""Finished attacks are kept under all that decides them, the code included."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from spikeproof.toolkit.code import FOLDERS, ROOT

SCRIPT = """
import json, sys
from pathlib import Path
import numpy as np, torch
from spikeproof.eval.robustness.runner import Runner
from spikeproof.toolkit.attacks.gradient import FGSM
from spikeproof.toolkit.code import ROOT

torch.manual_seed(0)
victim = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3)).eval()
images = 0.25 + 0.5 * np.random.default_rng(0).random((6, 1, 4, 4), dtype=np.float32)
labels = victim(torch.from_numpy(images)).argmax(1).numpy()
done = Runner(Path(sys.argv[1]))(FGSM(epsilon=0.1), victim, images, labels)
print(json.dumps({"root": str(ROOT), "distance": float(np.abs(done.images - images).max())}))
"""
PLANTED = """
_whole = BallAttack.project
BallAttack.project = lambda self, raw, clean: clean + (_whole(self, raw, clean) - clean) / 2
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Copy the package to a folder of its own."""
    copied = tmp_path / "copy" / "spikeproof"
    for part in FOLDERS:
        shutil.copytree(ROOT / part, copied / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "__init__.py", copied)
    return copied


def attack(package: Path, folder: Path) -> tuple[float, int]:
    """Attack in a process of its own; return how far examples lie, and how many finished attacks are kept then."""
    environment = os.environ | {"PYTHONPATH": str(package.parent), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-P", "-c", SCRIPT, str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["root"] == str(package.resolve())
    return told["distance"], len(list(folder.glob("*.done.safetensors")))


def test_a_change_of_an_attacks_projection_is_noticed(package: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    assert attack(package, kept) == (pytest.approx(0.1, abs=1e-6), 1)
    (file,) = kept.glob("*.done.safetensors")
    before = file.stat().st_mtime_ns
    # The same code again: what is kept is served, and nothing is written.
    assert attack(package, kept) == (pytest.approx(0.1, abs=1e-6), 1)
    assert file.stat().st_mtime_ns == before
    # Planted: the projection leaves half of every change.
    with (package / "toolkit" / "attacks" / "ball.py").open("a", encoding="utf-8") as source:
        source.write(PLANTED)
    assert attack(package, kept) == (pytest.approx(0.05, abs=1e-6), 2)
    assert file.stat().st_mtime_ns == before
