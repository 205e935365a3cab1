"""The identity of the code: what changes it, what does not, and where it comes from."""

import shutil
import subprocess
import time
from pathlib import Path

import pytest

from spikeproof.toolkit import code
from spikeproof.toolkit.code import ROOT, Revision, code_hash, revision


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Make a small package of the same shape."""
    files = ("toolkit/attacks/a.py", "toolkit/kernels/b.c", "export/c.toml", "hw_targets/d.py", "eval/e.py")
    for name in (*files, "cli/f.py", "toolkit/g.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def fresh(root: Path) -> str:
    """Return the hash that another process would find."""
    code_hash.cache_clear()
    return code_hash(root)


def test_the_hash_is_that_of_this_package_and_is_fast() -> None:
    assert (ROOT / "toolkit" / "code.py").samefile(code.__file__)
    begun = time.perf_counter()
    assert fresh(ROOT) == code_hash()
    assert time.perf_counter() - begun < 5


def test_the_hash_sees_every_folder_of_the_package_that_computes(package: Path) -> None:
    copied = package / "copy"
    for part in code.FOLDERS:
        shutil.copytree(ROOT / part, copied / part, ignore=shutil.ignore_patterns("__pycache__"))
        assert any((copied / part).rglob("*.py"))
    assert fresh(copied) == code_hash()
    for place in ("toolkit/attacks/gradient.py", "export/lowering/lower.py", "hw_targets/target.py", "eval/fit.py"):
        before = fresh(copied)
        (copied / place).write_text((copied / place).read_text() + "\n")
        assert fresh(copied) != before, place


@pytest.mark.parametrize(
    "name", ["toolkit/attacks/a.py", "toolkit/kernels/b.c", "export/c.toml", "hw_targets/d.py", "eval/e.py"]
)
def test_a_changed_a_renamed_and_a_new_file_make_other_code(package: Path, name: str) -> None:
    before = fresh(package)
    text = (package / name).read_text()
    (package / name).write_text(text + " ")
    assert fresh(package) != before
    (package / name).write_text(text)
    assert fresh(package) == before
    (package / name).rename(package / name.replace(".", "2."))
    assert fresh(package) != before
    (package / name).write_text(text)
    assert fresh(package) != before


@pytest.mark.parametrize("name", ["cli/f.py", "toolkit/g.md"])
def test_the_command_line_and_texts_do_not(package: Path, name: str) -> None:
    before = fresh(package)
    (package / name).write_text("other")
    assert fresh(package) == before


def test_a_revision_is_that_of_the_checkout_and_knows_whether_it_is_clean(package: Path) -> None:
    assert fresh_revision(package) == Revision(None, None)

    def git(*words: str) -> str:
        options = ["-c", "user.name=x", "-c", "user.email=x@y.z", "-c", "commit.gpgsign=false"]
        done = subprocess.run(["git", "-C", package, *options, *words], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    git("init", "-q")
    git("add", "-A")
    git("commit", "-q", "-m", "x")
    commit = git("rev-parse", "HEAD")
    assert fresh_revision(package) == Revision(commit, dirty=False)
    # What measuring writes does not make the code another one; anything else does, new files too.
    (package / "records").mkdir()
    (package / "records" / "x.json").write_text("{}")
    assert fresh_revision(package) == Revision(commit, dirty=False)
    (package / "eval" / "new.py").write_text("")
    assert fresh_revision(package) == Revision(commit, dirty=True)
    # A package installed below somebody else's checkout has no commit of its own.
    assert fresh_revision(package / "toolkit") == Revision(None, None)


def fresh_revision(root: Path) -> Revision:
    revision.cache_clear()
    return revision(root.resolve())
