"""The pages of a run in a real browser: links and keys work, nothing overflows, and dark is as legible as light."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from spikeproof.eval.run import pages
from spikeproof.eval.run.compare import cost
from spikeproof.eval.run.explain import explain
from spikeproof.eval.run.folder import Run
from spikeproof.eval.run.robustness import robustness

PAGES = ("report.html", "compare.html", "robustness.html", "explain.html")


@pytest.fixture(scope="module")
def folder(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = Path(shutil.copytree(finished, tmp_path_factory.mktemp("browser") / "run"))
    run = Run.open(made)
    robustness(run, "quick", epsilon=0.1, samples=6)
    cost(run, samples=6)
    explain(run, samples=6, lava=False)
    pages.write_pages(run)
    return made


@pytest.fixture(params=[(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")], ids=lambda p: f"{p[0]}-{p[1]}")
def page(browser: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    width, scheme = request.param
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    opened = context.new_page()
    opened.complaints = []
    opened.on("console", lambda message: opened.complaints.append(message.text))
    opened.on("pageerror", lambda error: opened.complaints.append(str(error)))
    opened.on("request", lambda sent: sent.url.startswith("file:") or opened.complaints.append(sent.url))
    yield opened
    assert opened.complaints == []
    context.close()


def go(page: Any, path: Path) -> None:
    page.goto(path.as_uri())


def test_every_section_is_reached_by_its_link(page: Any, folder: Path) -> None:
    from playwright.sync_api import expect

    for name, least in (("report.html", 8), ("compare.html", 8), ("explain.html", 5)):
        go(page, folder / name)
        links = page.locator('nav[aria-label="Sections"] a')
        assert links.count() >= least
        for index in range(links.count()):
            target = str(links.nth(index).get_attribute("href"))
            links.nth(index).click()
            assert page.url.endswith(target)
            expect(page.locator(target)).to_be_in_viewport()


def test_pages_lead_to_each_other_and_back(page: Any, folder: Path) -> None:
    go(page, folder / "report.html")
    page.get_by_role("link", name="Side by side").click()
    assert page.url.endswith("compare.html")
    assert page.get_by_role("heading", name="Sparsity in four views").is_visible()
    page.get_by_role("link", name="Robustness").first.click()
    assert page.url.endswith("robustness.html")
    page.go_back()
    page.get_by_role("link", name="Report").click()
    assert page.url.endswith("report.html")


def test_nothing_but_tables_and_figures_scrolls_sideways(page: Any, folder: Path) -> None:
    for name in PAGES:
        go(page, folder / name)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name


def test_the_keyboard_reaches_and_scrolls_every_table_and_opens_details(page: Any, folder: Path) -> None:
    go(page, folder / "compare.html")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    page.wait_for_url("**/compare.html#accuracy")
    regions = set()
    for _ in range(200):
        page.keyboard.press("Tab")
        found = page.evaluate("[document.activeElement.tagName, document.activeElement.getAttribute('aria-label')]")
        regions.add(found[1])
        if found[0] == "SUMMARY":
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
            assert page.locator("details table").is_visible()
            page.keyboard.press("Enter")
            assert not page.locator("details table").is_visible()
            page.keyboard.press("Enter")
            assert page.locator("details table").is_visible()
            break
    assert {"Accuracy", "Robustness", "Sparsity in four views", "Latency", "Memory"} <= regions
    scrolled = page.locator('[aria-label="Constants"]')
    scrolled.focus()
    if page.evaluate("(e => e.scrollWidth > e.clientWidth + 20)(document.activeElement)"):
        page.keyboard.press("ArrowRight")
        page.wait_for_timeout(300)
        assert page.evaluate("document.activeElement.scrollLeft") > 0


CONTRAST = """
() => {
  const parse = c => (c.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => {
    const f = v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b);
  };
  const behind = e => {
    for (; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor);
      if (c.length === 3 || c[3] > 0) return c;
    }
    return [255, 255, 255];
  };
  const low = [];
  const walker = document.createTreeWalker(document.querySelector('main'), NodeFilter.SHOW_TEXT);
  for (let node; node = walker.nextNode();) {
    const e = node.parentElement;
    if (!node.data.trim() || !e.getClientRects().length) continue;
    const style = getComputedStyle(e);
    const ink = parse(e.closest('svg') ? style.fill : style.color);
    const [a, b] = [light(ink), light(behind(e))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) low.push([node.data.trim().slice(0, 40), ratio.toFixed(2)]);
  }
  return low;
}
"""


def test_every_word_stands_out_from_what_is_behind_it(page: Any, folder: Path) -> None:
    """WCAG 2.2, success criterion 1.4.3: a contrast of 4.5 to 1, in both colour schemes."""
    for name in PAGES:
        go(page, folder / name)
        assert page.evaluate(CONTRAST) == [], name


def test_the_scheme_is_followed(page: Any, folder: Path, request: pytest.FixtureRequest) -> None:
    go(page, folder / "compare.html")
    dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    expected = "rgb(22, 24, 27)" if dark else "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == expected
