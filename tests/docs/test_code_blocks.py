"""Every code block of every page runs, in the order of the page; what cannot run here says why."""

import re
import shlex
import shutil
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import typer.main
from markdown_it import MarkdownIt

from spikeproof.cli import app, main
from spikeproof.cli.old import translated
from spikeproof.toolkit.config import Recipe, parse_recipe
from spikeproof.toolkit.data import load_data

ROOT = Path(__file__).resolve().parents[2]
GENERATED = ("docs/commands.md",)
"""Made from the program by ``make commands``; a test compares the whole page."""
MEASURED = ("speed.md",)
"""Its rows name the commands as they were typed when they were measured: an old spelling may stand there."""


@dataclass(frozen=True)
class Block:
    """A code block: ```` ```language {.class key=value} ````."""

    page: str
    line: int
    language: str
    text: str
    settings: dict[str, str]
    """``reason``: why it is not run; ``exit``: the exit code of its last command; ``title``: the file that it is."""

    @property
    def runs(self) -> bool:
        return "norun" not in self.settings

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    """Return every page that a person writes, the README among them."""
    found = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md"]
    return [path for path in found if str(path.relative_to(ROOT)) not in GENERATED]


def blocks(page: Path) -> list[Block]:
    """Return the blocks of a page in order, indented ones with language ``indented``."""
    found = []
    for token in MarkdownIt().enable("table").parse(page.read_text(encoding="utf-8")):
        if token.type not in ("fence", "code_block"):
            continue
        language, _, rest = (token.info.strip() or "indented").partition(" ")
        pairs = (part.lstrip(".").partition("=") for part in shlex.split(rest.strip().strip("{}")))
        assert token.map is not None
        name, line = str(page.relative_to(ROOT)), token.map[0] + 1
        found.append(Block(name, line, language, token.content, {key: value for key, _, value in pairs}))
    return found


def spans(page: Path) -> list[str]:
    """Return the commands that a page names in its text, as ``spikeproof ...``."""
    tokens = MarkdownIt().enable("table").parse(page.read_text(encoding="utf-8"))
    inner = [child for token in tokens if token.type == "inline" for child in token.children or []]
    texts = [re.sub(r"\s+", " ", child.content) for child in inner if child.type == "code_inline"]
    return [text for text in texts if text.startswith("spikeproof ")]


NOT_RUN_AT_MOST = 5
LANGUAGES = {"bash", "python", "toml", "text"}
PAGES = [pytest.param(page, id=str(page.relative_to(ROOT))) for page in pages()]
ALL = [block for page in pages() for block in blocks(page)]


@pytest.fixture
def folder(
    finished: Path, recipe_file: Path, slayer_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """What pages speak of: RUN is a finished run, RECIPE.toml its recipe, FILE.nir its network, DATA.npz images.

    NET.net is a file as lava-dl writes it, of 8 x 8 images; board.csv is the recording in examples/board.
    """
    shutil.copytree(finished, tmp_path / "RUN")
    shutil.copytree(finished, tmp_path / "runs" / "demo")
    shutil.copy(recipe_file, tmp_path / "RECIPE.toml")
    shutil.copy(finished / "network.nir", tmp_path / "FILE.nir")
    shutil.copy(slayer_file, tmp_path / "NET.net")
    data = load_data(Recipe().data)
    np.savez(tmp_path / "DATA.npz", x=data.test_images[:8], y=data.test_labels[:8])
    shutil.copy(ROOT / "examples" / "board" / "nir_paper_loihi.csv", tmp_path / "board.csv")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], int]:
    """Run a line of a shell block in this process and return its exit code."""

    def run(line: str) -> int:
        monkeypatch.setattr(sys, "argv", shlex.split(line))
        with pytest.raises(SystemExit) as caught:
            main()
        return int(caught.value.code or 0)

    return run


def run_block(block: Block, names: ModuleType, shell: Callable[[str], int]) -> None:
    """Run one block in the current folder; a block with a title is a file of that name."""
    if "title" in block.settings:
        Path(block.settings["title"]).write_text(block.text, encoding="utf-8")
    if block.language == "python":
        exec(compile("\n" * block.line + block.text, ROOT / block.page, "exec"), names.__dict__)
    elif block.language == "toml":
        settings = tomllib.loads(block.text)
        if block.settings.get("title") != "pyproject.toml":
            parse_recipe(settings, str(block))
    elif block.language == "bash":
        lines = block.text.replace("\\\n", " ").splitlines()
        for line in lines:
            assert line.startswith("spikeproof "), f"{block}: {line!r} is no command of spikeproof: mark the block"
            expected = int(block.settings.get("exit", 0)) if line is lines[-1] else 0
            assert shell(line) == expected, f"{block}: {line}"


@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_the_page_runs(
    page: Path, folder: Path, shell: Callable[[str], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", names)
    for block in blocks(page):
        if block.runs:
            run_block(block, names, shell)


@pytest.mark.parametrize("block", ALL, ids=str)
def test_a_block_is_of_a_known_language_and_says_why_it_is_not_run(block: Block) -> None:
    assert block.language in LANGUAGES, f"{block}: fence it as one of {LANGUAGES}"
    assert set(block.settings) <= {"norun", "reason", "exit", "title"}, block
    assert block.runs == ("reason" not in block.settings), f'{block}: a block that is not run has a reason="..."'
    assert block.runs or len(block.settings["reason"]) > 10, block


def test_few_blocks_are_not_run() -> None:
    left = [str(block) for block in ALL if not block.runs]
    assert len(left) <= NOT_RUN_AT_MOST, left
    assert sum(block.runs and block.language != "text" for block in ALL) > 30


@pytest.mark.parametrize("page", PAGES)
def test_commands_that_the_text_names_exist(page: Path) -> None:
    for text in spans(page):
        found: Any = typer.main.get_command(app)
        words = shlex.split(text.replace("[", "").replace("]", ""))[1:]
        if page.name in MEASURED:
            words = translated(words)[0]
        while hasattr(found, "commands") and words and not words[0].startswith("-"):
            assert words[0] in found.commands, f"{page}: {text}"
            found = found.commands[words.pop(0)]
        known = {option for parameter in found.params for option in (*parameter.opts, *parameter.secondary_opts)}
        for word in words:
            for option in word.split("|") if word.startswith("-") else ():
                assert option.partition("=")[0] in known | {"--help"}, f"{page}: {text}"
