"""The shape of the tree: imports point one way, and files can be read in one sitting."""

import ast
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ORDER = ("toolkit", "export", "hw_targets", "eval", "cli")
FILES = [path for folder in ORDER for path in sorted((ROOT / folder).rglob("*.py"))]


def imported_folders(path):
    """Yield the top-level folders of spikeproof that a file imports."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            parts = (*base, *(node.module or "").split("."))
            yield from [parts[0]] if parts[0] else [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom | ast.Import):
            names = [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            assert not any(name == "spikeproof" or name.startswith("spikeproof.") for name in names), (
                "import relatively"
            )


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path):
    own = ORDER.index(path.relative_to(ROOT).parts[0])
    upward = [name for name in imported_folders(path) if name in ORDER and ORDER.index(name) > own]
    assert upward == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_are_read_in_one_sitting(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


def test_nothing_is_unpickled():
    """No call that could execute what is in a file."""
    forbidden = {"pickle", "dill", "joblib", "shelve", "marshal", "cloudpickle"}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
                assert not forbidden & {module.split(".")[0] for module in modules}, path
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("torch.load", "eval", "exec"):
                raise AssertionError(f"{path}: {ast.unparse(node)}")
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert ast.unparse(node.value) == "False", path


def test_the_map_in_contributing_is_that_of_the_tree():
    script = runpy.run_path(str(ROOT / "tests" / "map_of_tree.py"))
    text = script["PAGE"].read_text(encoding="utf-8")
    assert script["page"](text) == text, "run 'make map'"
    assert all(script["sentence"](path) for path in FILES), "every file begins with a sentence"


def test_nothing_below_the_command_line_imports_it_and_it_imports_no_torch_at_its_top():
    heavy = {"torch", "numpy", "snntorch", "scipy", "nir", "onnx"}
    for path in (ROOT / "cli").rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
                assert not heavy & {name.split(".")[0] for name in names}, path
    for folder in ("tests", "benchmarks", "examples"):
        for path in (ROOT / folder).rglob("*.py"):
            # The pages' commands are run as they stand there, so tests of pages need the command line.
            if path.relative_to(ROOT).parts[:2] in (("tests", "cli"), ("tests", "docs")):
                continue
            for part in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                module = part.module or "" if isinstance(part, ast.ImportFrom) and not part.level else ""
                names = [f"{module}.{alias.name}" for alias in part.names] if isinstance(part, ast.ImportFrom) else []
                assert not any(name.startswith("spikeproof.cli") for name in names), path
