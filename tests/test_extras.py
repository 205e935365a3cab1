"""With the hard dependencies alone a Program can be simulated, and all else says which extra it needs."""

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement

from spikeproof.export.program import read_program
from spikeproof.hw_targets.loihi.simulator import LoihiTarget

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WITHOUT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
"""
MAIN = "from spikeproof.cli import main; sys.argv[0] = 'spikeproof'; main()"


def without(modules: set[str], code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run code in a process in which some modules are not installed."""
    command = [sys.executable, "-c", f"ABSENT = {sorted(modules)}\n{WITHOUT}\n{code}", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def installed_with(requirements: list[str]) -> set[str]:
    """Return the distributions that these requirements bring, and what those require in turn."""
    found: set[str] = set()

    def follow(text: str, extra: str) -> Iterator[tuple[str, str]]:
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            name = re.sub("[-_.]+", "-", requirement.name).lower()
            yield from ((name, wanted) for wanted in ("", *requirement.extras))

    todo, seen = [pair for text in requirements for pair in follow(text, "")], set()
    while todo:
        name, extra = pair = todo.pop()
        if pair not in seen:
            seen.add(pair)
            found.add(name)
            try:
                todo += [more for text in requires(name) or () for more in follow(text, extra)]
            except PackageNotFoundError:
                continue  # for another platform
    return found


@pytest.fixture(scope="module")
def others() -> set[str]:
    """Every installed module that the hard dependencies do not bring."""
    kept = installed_with(PROJECT["dependencies"]) | {"spikeproof"}
    return {
        module
        for module, owners in packages_distributions().items()
        if not kept & {re.sub("[-_.]+", "-", owner).lower() for owner in owners}
    }


def test_hard_dependencies_are_few_and_all_holds_every_other_that_is_imported(others: set[str]) -> None:
    assert len(PROJECT["dependencies"]) <= 15
    # Jinja2 is one of PyTorch's own, too.
    assert {"art", "brevitas", "lightning_fabric", "matplotlib", "onnx", "onnxruntime", "PIL", "sklearn"} <= others
    extras = PROJECT["optional-dependencies"]
    (every,) = extras["all"]
    assert Requirement(every).extras == set(extras) - {"all", "convert", "docs", "events", "gpu", "ray", "test"}


def test_a_program_is_simulated_with_hard_dependencies_alone(
    run_folder: Path, images: np.ndarray, others: set[str], tmp_path: Path
) -> None:
    np.savez(tmp_path / "mine.npz", x=images)
    program = read_program(run_folder / "program.safetensors")
    expected = LoihiTarget().compile(program)
    messages = np.broadcast_to(np.rint(images * 255).astype(np.int32), (program.steps, *images.shape))
    code = """
from pathlib import Path
import numpy as np
from spikeproof.export.program import read_program
from spikeproof.hw_targets.target import get_target
program = read_program(Path(sys.argv[1]))
messages = np.load(sys.argv[2])
print(get_target("loihi").compile(program).run(messages, rasters=True).output.tolist())
"""
    np.save(tmp_path / "messages.npy", messages)
    done = without(others, code, run_folder / "program.safetensors", tmp_path / "messages.npy")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == expected.run(messages).output.tolist()
    command = ("simulate", run_folder, "--images", tmp_path / "mine.npz", "--json")
    done = without(others, MAIN, *command)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["samples"] == len(images)


def test_every_module_can_be_imported_or_says_which_extra_it_needs(others: set[str]) -> None:
    code = """
import importlib
from spikeproof.toolkit.errors import MissingExtraError
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except MissingExtraError as error:
        print(name, error)
"""
    files = [path.relative_to(ROOT) for folder in ("cli", "eval", "export", "hw_targets", "toolkit")
             for path in (ROOT / folder).rglob("*.py") if not path.name.startswith("worker")]  # fmt: skip
    names = sorted({".".join(("spikeproof", *path.with_suffix("").parts)).removesuffix(".__init__") for path in files})
    done = without(others, code, *names)
    assert done.returncode == 0, done.stderr
    needing = {line.split()[0] for line in done.stdout.splitlines()}
    assert "spikeproof.export.formats.onnx" in needing
    assert {name for name in needing if name.split(".")[1] in ("toolkit", "hw_targets", "cli")} == set()


@pytest.mark.parametrize(
    ("module", "extra", "command"),
    [
        ("art", "attacks", ("attack", "RUN")),
        ("lightning_fabric", "train", ("train", "RECIPE", "--out", "NEW")),
        ("sklearn", "data", ("train", "RECIPE", "--out", "NEW")),
        ("brevitas", "train", ("quantize", "RUN")),
        ("onnx", "onnx", ("export", "RUN")),
        ("onnxruntime", "onnx", ("simulate", "RUN", "--target", "onnx")),
        ("jinja2", "report", ("evaluate", "RUN")),
        ("matplotlib", "report", ("fit", "RUN", "--chip", "loihi2")),
        ("onnx", "onnx", ("support",)),
    ],
)
def test_a_command_says_which_extra_it_needs(
    module: str, extra: str, command: tuple[str, ...], run_folder: Path, recipe_file: Path, tmp_path: Path
) -> None:
    known = {"RUN": run_folder, "RECIPE": recipe_file, "NEW": tmp_path / "new"}
    done = without({module}, MAIN, *(known.get(part, part) for part in command))
    assert done.returncode == (3 if "--target" in command else 2), done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert f"Python package {module!r} is not installed; pip install 'spikeproof[{extra}]'" in line


def test_targets_are_listed_without_onnx() -> None:
    done = without({"onnxruntime"}, MAIN, "targets", "--json")
    rows = {row["target"]: row["missing"] for row in json.loads(done.stdout)["targets"]}
    assert "spikeproof[onnx]" in rows["onnx"]
    assert rows["loihi"] == rows["twin"] == ""


def test_an_image_without_pillow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from spikeproof.toolkit.data.folder import read_image
    from spikeproof.toolkit.errors import MissingExtraError

    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingExtraError, match=r"spikeproof\[data\]"):
        read_image(tmp_path / "a.png")
