"""The navigation names every page, and the reference of commands is what the program says of itself."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]


def named(entry: Any) -> Iterator[str]:
    """Yield the files that a part of the navigation names."""
    if isinstance(entry, str):
        yield entry
    else:
        for part in entry if isinstance(entry, list) else entry.values():
            yield from named(part)


def test_the_navigation_names_every_page_once() -> None:
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    pages = [str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")]
    assert sorted(named(settings["nav"])) == sorted(pages)
    assert [next(iter(part)) for part in settings["nav"]] == [
        "Start",
        "Tutorials",
        "How to",
        "Explanation",
        "Reference",
    ]


def test_the_reference_of_commands_is_what_the_program_says(tmp_path: Path) -> None:
    made = tmp_path / "commands.md"
    options = ["--name", "spikeproof", "--title", "Command line", "--output", str(made)]
    command = [sys.executable, "-m", "typer", "spikeproof.cli", "utils", "docs", *options]
    subprocess.run(command, check=True, capture_output=True)
    text = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert text == made.read_text(encoding="utf-8"), "run 'make commands'"
