"""No module of the package imports, over whatever way, one that imports it.

Counted are all imports of a module's text: at its top, inside functions, and those for type checkers alone. An import
that stands in a function to dodge a circle is still a circle for whoever reads the two files, and a type is needed to
understand a line just as a value is. That a module loads the packages it lies in is not counted: Python does that.
"""

import ast
from pathlib import Path

import networkx
import pytest

ROOT = Path(__file__).resolve().parents[1]
WINGS = ("toolkit", "export", "hw_targets", "eval", "cli")


def name_of(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path, root: Path, modules: set[str]) -> set[str]:
    """Return the modules of the package that a file imports; of a package, those of which it takes a name."""
    package = list(path.relative_to(root).parent.parts)
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            start = package[: len(package) - node.level + 1] + (node.module or "").split(".") * bool(node.module)
            base = ".".join(start)
            # "from . import x" means the file x if there is one, else a name of the package itself.
            found |= {
                f"{base}.{alias.name}".lstrip(".") if f"{base}.{alias.name}".lstrip(".") in modules else base
                for alias in node.names
            }
        elif isinstance(node, ast.ImportFrom | ast.Import):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            assert not [name for name in names if name.split(".")[0] == "spikeproof"], f"{path}: write it relative"
    return found & modules


def graph(root: Path) -> "networkx.DiGraph[str]":
    """Return who imports whom in the package at ``root``."""
    files = {name_of(path, root): path for wing in WINGS for path in (root / wing).rglob("*.py")}
    files[""] = root / "__init__.py"
    made: networkx.DiGraph[str] = networkx.DiGraph()
    made.add_nodes_from(files)
    for name, path in files.items():
        made.add_edges_from((name, other) for other in imported(path, root, set(files)))
    return made


def circles(root: Path) -> list[list[str]]:
    made = graph(root)
    knots = [sorted(part) for part in networkx.strongly_connected_components(made) if len(part) > 1]
    return sorted(knots) + [[name] for name in sorted(networkx.nodes_with_selfloops(made))]


def test_nothing_imports_in_a_circle() -> None:
    assert circles(ROOT) == []


def test_the_graph_is_that_of_the_package() -> None:
    made = graph(ROOT)
    assert made.number_of_nodes() > 150
    assert made.has_edge("eval.robustness.probes", "eval.robustness.attackers")
    assert made.has_edge("cli.robustness", "eval.run.robustness")  # inside a function
    assert made.has_edge("toolkit.attacks", "toolkit.attacks.base")  # for type checkers alone


@pytest.mark.parametrize(
    "line",
    [
        "from .b import y",
        "from . import b",
        "def f():\n    from .b import y\n",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ..toolkit.b import y\n",
    ],
)
def test_a_planted_circle_is_found(tmp_path: Path, line: str) -> None:
    (tmp_path / "toolkit").mkdir()
    (tmp_path / "__init__.py").write_text("")
    (tmp_path / "toolkit" / "__init__.py").write_text("")
    (tmp_path / "toolkit" / "a.py").write_text(line)
    (tmp_path / "toolkit" / "b.py").write_text("x = y = 1\n")
    assert circles(tmp_path) == []
    (tmp_path / "toolkit" / "b.py").write_text("from .c import x\ny = 1\n")
    (tmp_path / "toolkit" / "c.py").write_text("from .a import f as x\n")
    assert circles(tmp_path) == [["toolkit.a", "toolkit.b", "toolkit.c"]]
