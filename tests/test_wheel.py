"""The wheel holds exactly the package, and works in an empty environment beside somebody else's ``export`` folder."""

import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("cli", "eval", "export", "hw_targets", "toolkit")


def run(*command, cwd, env=None):
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=env, capture_output=True, text=True, timeout=850, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build from a copy, so that the tree's own build folder neither helps nor hinders."""
    source = tmp_path_factory.mktemp("source")
    for name in (*FOLDERS, "__init__.py", "__main__.py", "py.typed", "pyproject.toml", "README.md", "LICENSE"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source / name)
    out = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", out, source, cwd=out)
    (found,) = out.glob("*.whl")
    return found


def test_wheel_holds_every_file_of_the_package(wheel):
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    tree = {"spikeproof/__init__.py", "spikeproof/__main__.py", "spikeproof/py.typed"}
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                tree.add(f"spikeproof/{path.relative_to(ROOT)}")
    assert packed == tree


def test_demo_runs_from_an_empty_environment(wheel, tmp_path):
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    other = tmp_path / "other"
    (other / "export").mkdir(parents=True)
    (other / "export" / "__init__.py").write_text("OWNER = 'somebody else'\n")
    (other / "pyproject.toml").write_text(
        '[project]\nname = "other"\nversion = "1"\n[tool.setuptools]\npackages = ["export"]\n'
    )
    pip = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    run(*pip, "--constraint", ROOT / "constraints.txt", wheel, other, cwd=tmp_path)

    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "eval").mkdir(parents=True)
    (elsewhere / "eval" / "__init__.py").write_text("raise RuntimeError('a folder of the user was imported')\n")
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    check = "import export, spikeproof.export; print(export.OWNER, spikeproof.export.__name__)"
    assert run(python, "-c", check, cwd=elsewhere, env=env).split() == ["somebody", "else", "spikeproof.export"]
    text = run(tmp_path / "env/bin/spikeproof", "demo", "--fast", "--json", "--out", "run", cwd=elsewhere, env=env)
    result = json.loads(text)
    assert {(form["form"], form["target"]) for form in result["forms"]} >= {("float", "torch"), ("program", "loihi")}
    assert (elsewhere / "run" / "report.html").stat().st_size > 10_000
