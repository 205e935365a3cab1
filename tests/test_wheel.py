"""The wheel holds exactly the package, and works in an empty environment beside somebody else's ``export`` folder."""

import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from spikeproof.toolkit.kernels.compiler import LEVELS

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("cli", "eval", "export", "hw_targets", "toolkit")
FILES = ("__init__.py", "__main__.py", "py.typed")
NO_COMPILER = shutil.which("false")


def run(*command, cwd, env=None):
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=env, capture_output=True, text=True, timeout=850, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy, so that the tree's own build folder neither helps nor hinders."""
    source = tmp_path_factory.mktemp("source")
    (source / "records").mkdir()
    (source / "records" / "note.toml").write_text("not of the package\n")
    for name in (*FOLDERS, *FILES, "pyproject.toml", "setup.py", "README.md", "LICENSE"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source / name)
    git = ("git", "-c", "user.name=test", "-c", "user.email=test", "-c", "commit.gpgsign=false", "-C", source)
    for command in (("init", "-q"), ("add", "-A"), ("commit", "-qm", "all"), ("tag", "v9.8.7")):
        run(*git, *command, cwd=source)
    # What is built stays out of git, as in the tree itself, and so does not make it dirty.
    (source / ".git" / "info" / "exclude").write_text("build/\n*.egg-info/\n")
    return source


def built(source, out, **environment):
    env = {**os.environ, **environment}
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", out, source, cwd=out, env=env)
    (found,) = out.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory):
    return built(source, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def pure_wheel(source, wheel, tmp_path_factory):
    """What is built where the compiler fails, after a build in the same folder with one that does not."""
    return built(source, tmp_path_factory.mktemp("pure"), CC=NO_COMPILER)


def packed(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def package():
    """Every file of the package, and those of them that are C."""
    tree = {f"spikeproof/{name}" for name in FILES}
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                tree.add(f"spikeproof/{path.relative_to(ROOT)}")
    return tree, {name for name in tree if name.endswith(".c")}


def test_wheel_holds_every_file_of_the_package_and_the_compiled_loops(wheel, need_compiler):
    tree, loops = package()
    assert len(loops) == 3
    assert packed(wheel) == tree | {f"{name[:-2]}-{level}.so" for name in loops for level in LEVELS}
    # Of this platform, and for every Python.
    assert wheel.name.split("-", 2)[2].startswith("py3-none-")
    assert not wheel.name.endswith("-any.whl")


def test_the_version_is_the_tag_in_a_wheel_and_in_a_source_archive(wheel, source, need_compiler, tmp_path):
    assert wheel.name.startswith("spikeproof-9.8.7-")
    run(sys.executable, "-m", "build", "--sdist", "--outdir", tmp_path, source, cwd=tmp_path)
    (archive,) = tmp_path.glob("*.tar.gz")
    assert archive.name == "spikeproof-9.8.7.tar.gz"
    again = built(archive, tmp_path)
    assert again.name == wheel.name
    assert packed(again) == packed(wheel)


def test_a_tree_without_git_says_that_its_version_is_unknown(source, tmp_path):
    shutil.copytree(source, tmp_path / "tree", ignore=shutil.ignore_patterns(".git", "build", "*.egg-info"))
    assert built(tmp_path / "tree", tmp_path, CC=NO_COMPILER).name == "spikeproof-0.0+unknown-py3-none-any.whl"


def test_the_version_is_looked_up_when_asked_for():
    code = (
        "import sys, importlib.metadata as m, spikeproof; assert '__version__' not in vars(spikeproof);"
        "print(spikeproof.__version__); m.version = lambda _: (_ for _ in ()).throw(m.PackageNotFoundError());"
        "print(spikeproof.__version__)"
    )
    assert run(sys.executable, "-c", code, cwd=ROOT.parent).split() == [version("spikeproof"), "0.0+unknown"]


def test_without_a_compiler_the_wheel_is_for_every_platform(pure_wheel):
    assert packed(pure_wheel) == package()[0]
    assert pure_wheel.name.endswith("-py3-none-any.whl")


def loops_of(wheel, folder, **environment):
    """Return doctor's rows of a wheel that was unpacked, not installed."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "unpacked")
    env = {**os.environ, "PYTHONPATH": str(folder / "unpacked"), "SPIKEPROOF_CACHE": str(folder / "cache")}
    command = (sys.executable, "-m", "spikeproof", "doctor", "--json")
    done = subprocess.run(
        command, cwd=folder, env=env | environment, capture_output=True, text=True, timeout=300, check=False
    )
    return json.loads(done.stdout)["compiled loops"]


def test_the_wheels_loops_are_used_without_a_compiler(wheel, need_compiler, tmp_path):
    rows = loops_of(wheel, tmp_path, CC=NO_COMPILER, SPIKEPROOF_NATIVE="1", ATEN_CPU_CAPABILITY="")
    assert [row["compiled"] for row in rows] == ["yes"] * 3
    fast = torch.backends.cpu.get_cpu_capability().startswith("AVX")
    assert {row["from"] for row in rows} == {"wheel (avx2)" if fast else "wheel (any)"}
    assert not list((tmp_path / "cache").glob("*.so"))


def test_a_wheel_without_loops_compiles_them_on_first_use(pure_wheel, need_compiler, tmp_path):
    rows = loops_of(pure_wheel, tmp_path, SPIKEPROOF_NATIVE="1")
    assert {(row["compiled"], row["from"]) for row in rows} == {("yes", "compiled on first use")}
    assert len(list((tmp_path / "cache").glob("*.so"))) == 3


def test_demo_runs_from_an_empty_environment(wheel, tmp_path):
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    other = tmp_path / "other"
    (other / "export").mkdir(parents=True)
    (other / "export" / "__init__.py").write_text("OWNER = 'somebody else'\n")
    (other / "pyproject.toml").write_text(
        '[project]\nname = "other"\nversion = "1"\n[tool.setuptools]\npackages = ["export"]\n'
    )
    # What is imported is compiled then; compiling all of it takes longer than unpacking it.
    pip = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile")
    run(*pip, "--constraint", ROOT / "constraints.txt", f"{wheel}[all]", other, cwd=tmp_path)

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
