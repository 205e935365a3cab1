"""The report: one self-contained HTML page, without scripts and without anything from elsewhere."""

from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from ...hw_targets.target import Trace
from ...toolkit.errors import InputError
from ...toolkit.extras import extra
from ...toolkit.files import write_text
from ..records.evaluation import Record

with extra("report"):
    import matplotlib  # noqa: F401 - the other files of this folder draw with it
    from jinja2 import Environment, FunctionLoader, StrictUndefined

from .content import content

__all__ = ["render", "write_report"]


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


def render(record: Record, trace: Trace, links: Mapping[str, str] | None = None) -> str:
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


def write_report(path: Path, record: Record, trace: Trace, links: Mapping[str, str] | None = None) -> None:
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
