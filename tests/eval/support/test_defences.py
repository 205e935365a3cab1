"""The tables of docs/defences.md are what the code answers."""

from pathlib import Path

from spikeproof.eval.support.defences import deployments, markdown, methods

PAGE = Path(__file__).resolve().parents[3] / "docs" / "defences.md"


def test_the_page_shows_what_the_exporter_answers_today():
    assert markdown(deployments()) in PAGE.read_text(encoding="utf-8")


def test_the_page_shows_all_defences_with_their_defaults():
    assert methods() in PAGE.read_text(encoding="utf-8")
