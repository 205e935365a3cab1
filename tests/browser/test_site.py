"""The documentation builds without a warning, and is legible in a real browser without any other host."""

import functools
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: Any) -> None: ...


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site from a copy, so that the tree stays as it is; warnings are errors."""
    copy = tmp_path_factory.mktemp("site")
    for name in ("mkdocs.yml", "README.md", "CHANGELOG.md"):
        shutil.copy(ROOT / name, copy / name)
    shutil.copytree(ROOT / "docs", copy / "docs")
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    done = subprocess.run(command, cwd=copy, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    said = done.stdout
    assert done.returncode == 0, said
    # Complaints of the readers of docstrings do not fail a strict build; here they do.
    assert re.fullmatch(r"Build started\s+No issues found\s+Build finished in [\d.]+s\s*", said), said
    return copy / "site"


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def test_every_page_is_built(site: Path) -> None:
    sources = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")}
    assert {path.relative_to(site) for path in site.rglob("*.html")} == sources | {Path("404.html")}


def test_the_reference_holds_signatures_and_docstrings(site: Path) -> None:
    text = (site / "api" / "index.html").read_text(encoding="utf-8")
    assert 'id="spikeproof' in text
    assert "doc-signature" in text


def test_pages_fit_and_ask_no_other_host(browser: Any, site: Path, address: str) -> None:
    context = browser.new_context(color_scheme="light")
    page, complaints = context.new_page(), []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda sent: sent.url.startswith(address) or complaints.append(sent.url))
    for path in sorted(site.rglob("*.html")):
        page.goto(address + path.relative_to(site).as_posix())
        for width in (1280, 400):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (path.name, width)
    context.close()
    assert complaints == []


@pytest.mark.parametrize(("scheme", "name"), [("light", "default"), ("dark", "slate")])
def test_the_scheme_is_followed(browser: Any, address: str, scheme: str, name: str) -> None:
    context = browser.new_context(color_scheme=scheme)
    page = context.new_page()
    page.goto(address + "program.html")
    assert page.evaluate("document.body.dataset.mdColorScheme") == name
    context.close()


def test_search_finds_a_page(browser: Any, address: str) -> None:
    page = browser.new_page()
    page.goto(address + "index.html")
    page.get_by_role("button", name="Search").first.click()
    page.get_by_role("combobox").press_sequentially("zero-gradient share")
    page.locator('a[href*="sparsity.html#zero-gradient-share"]').first.click()
    page.wait_for_url("**/sparsity.html*")
    page.close()
