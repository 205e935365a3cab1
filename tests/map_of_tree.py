"""Writes the map of the tree in CONTRIBUTING.md from the first sentence of every file: ``make map``."""

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "CONTRIBUTING.md"
FOLDERS = ("cli", "eval", "hw_targets", "export", "toolkit")
START, END = "<!-- map: made by `make map` -->", "<!-- /map -->"


def sentence(path: Path) -> str:
    """Return the first sentence of a file's docstring, without its full stop."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    first = " ".join(text.split("\n\n")[0].split())
    end = first.find(". ")
    return (first if end < 0 else first[:end]).rstrip(".")


def tree() -> str:
    """Return the map as Markdown: a line a folder, and a line a file below it."""
    lines = []
    for top in FOLDERS:
        for folder in sorted({path.parent for path in (ROOT / top).rglob("*.py")}):
            files = sorted(path for path in folder.glob("*.py") if path.name != "__init__.py")
            lines += ["", f"**`{folder.relative_to(ROOT)}/`** {sentence(folder / '__init__.py')}", ""]
            lines += [f"* `{path.stem}` {sentence(path)}" for path in files]
    return "\n".join(lines).strip("\n")


def page(text: str) -> str:
    """Return CONTRIBUTING.md with the map of the tree as it is."""
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}\n\n{tree()}\n\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    sys.stdout.write(f"{PAGE.name}: {len(tree().splitlines())} lines of map\n")
