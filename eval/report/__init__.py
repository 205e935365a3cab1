"""The report: one self-contained HTML page, without scripts and without anything from elsewhere."""

import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from ...hw_targets.target import Trace
from ...toolkit.errors import InputError
from ...toolkit.extras import extra
from ...toolkit.files import write_text
from ..records.evaluation import Evaluation

with extra("report"):
    import matplotlib  # noqa: F401 - the other files of this folder draw with it
    from jinja2 import Environment, FunctionLoader, StrictUndefined

from .content import content

__all__ = ["relinked", "render", "write_report"]


def _template(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def environment() -> Environment:
    """Return what all pages are rendered with."""
    # Undefined names fail instead of vanishing: a hole in a report would go unseen.
    return Environment(
        loader=FunctionLoader(_template),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(record: Evaluation, trace: Trace, links: Mapping[str, str] | None = None) -> str:
    """Return the report of a record as HTML.

    Args:
        record: what was measured; at least one form, each with the condition "clean".
        trace: a run of one sample, with rasters.
        links: title of the run's other pages, by file name.

    Raises:
        InputError: the record holds no form, or one that was not measured on clean images.
    """
    if not record.forms or any("clean" not in form.conditions for form in record.forms):
        raise InputError("record: each report needs a form, and each form the condition 'clean'; evaluate again")
    parts = content(record, trace) | {"links": dict(links or {})}
    return environment().get_template("report.html.j2").render(parts).strip() + "\n"


def relinked(page: str, links: Mapping[str, str]) -> str:
    """Return a page of a run with links to other pages than it had; nothing else in it changes.

    Args:
        page: HTML, from one of this folder's templates.
        links: titles of the run's other pages, by file name.

    Raises:
        InputError: the page has no place for links.
    """
    nav = environment().get_template("links.html.j2").render(links=links).strip()
    found, count = re.subn(r"<!-- pages -->.*?<!-- /pages -->", lambda match: nav, page, flags=re.DOTALL)
    if count != 1:
        raise InputError("page: was made by another version; run the step that makes it again")
    return found


def write_report(path: Path, record: Evaluation, trace: Trace, links: Mapping[str, str] | None = None) -> None:
    """Write the report of a record, with the raster of one sample.

    Args:
        path: replaced atomically.
        record: what was measured.
        trace: a run of one sample, with rasters.
        links: title of the run's other pages, by file name.

    Raises:
        InputError: see :func:`render`.
        FileError: ``path`` cannot be written.
    """
    write_text(path, render(record, trace, links))
