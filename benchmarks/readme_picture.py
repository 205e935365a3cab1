"""The README's picture: the head of the report of records/digits/demo.json, as Chromium shows it.

python benchmarks/readme_picture.py writes docs/report.png. It asks for Playwright and a chromium on PATH.
"""

import shutil
import tempfile
from pathlib import Path

import numpy as np
from playwright.sync_api import sync_playwright

from spikeproof.eval.records.evaluation import read_record
from spikeproof.eval.report import write_report
from spikeproof.hw_targets.target import Trace

ROOT = Path(__file__).resolve().parents[1]
WIDTH, HEIGHT = 1000, 748


def main() -> None:
    """Write the picture; what shows a single sample lies below it, so no network is needed."""
    record = read_record(ROOT / "records" / "digits" / "demo.json")
    nothing = Trace(output=np.zeros((1, 1), dtype=np.int64), spike_counts={})
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        page = Path(folder) / "report.html"
        write_report(page, record, nothing)
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        opened = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        opened.goto(page.as_uri())
        opened.screenshot(path=ROOT / "docs" / "report.png")
        browser.close()


if __name__ == "__main__":
    main()
