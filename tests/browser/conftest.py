"""A real browser, for the pages of a run and for the documentation."""

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")


def leave(reason: str) -> None:
    """Skip, or fail if SPIKEPROOF_REQUIRE_BROWSER says that a browser must be there."""
    (pytest.fail if os.environ.get("SPIKEPROOF_REQUIRE_BROWSER") == "1" else pytest.skip)(reason)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        leave("Playwright is not installed: pip install playwright")
    program = next((found for name in NAMES if (found := shutil.which(name))), None)
    if program is None:
        leave(f"no {', '.join(NAMES)} on PATH: apt-get install chromium")
    with sync_playwright() as playwright:
        # Chromium's sandbox refuses root, which is what containers run as; the pages are our own files.
        started = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield started
        started.close()
