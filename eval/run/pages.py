"""The pages of a run: written again when another page appears, so that each links to those that exist."""

from ...export.program import read_program
from ...hw_targets.family import simulator
from ...toolkit.errors import InputError
from ...toolkit.files import read_bytes, write_text
from ..cost.table import SideBySide, side_by_side
from ..records import quality, robustness
from ..records.base import write_record
from ..records.cost import read_cost
from ..records.evaluation import Evaluation, read_record
from .folder import Run
from .simulate import chip_input

PAGES = {
    "report.html": "Report",
    "compare.html": "Side by side",
    "robustness.html": "Robustness",
    "robustness-quality.html": "Quality under attack",
    "prove.html": "Proofs",
    "fit.html": "Fit to a chip",
    "faults.html": "Faults",
    "explain.html": "Explanation",
}


def _links(run: Run, own: str) -> dict[str, str]:
    """Return the titles of the other pages that exist, by file name."""
    return {name: title for name, title in PAGES.items() if name != own and run.path(name).exists()}


def write_run_report(run: Run, record: Evaluation) -> None:
    """Write record.json and report.html, with the raster of the first test image, and note that evaluate is done."""
    # Pages need packages of the extra "report", which a user of records alone has not.
    from ..report import write_report

    write_record(run.path("record.json"), record)
    program = read_program(run.path("program.safetensors"))
    trace = simulator(program).compile(program).run(chip_input(run, 1), rasters=True)
    write_report(run.path("report.html"), record, trace, _links(run, "report.html"))
    run.finished("evaluate")


def beside(run: Run) -> SideBySide:
    """Return all that is on record of a run whose cost was measured, side by side."""
    classed = run.classed()
    record, protocol = run.path("record.json"), run.path(f"robustness{'' if classed else '-quality'}.json")
    read_protocol = robustness.read if classed else quality.read
    return side_by_side(
        read_record(record) if record.exists() else None,
        read_protocol(protocol) if protocol.exists() else None,
        read_cost(run.path("cost.json")),
        str(run.folder),
    )


def write_compare_page(run: Run) -> None:
    """Write compare.html if the run's cost was measured."""
    if run.is_done("cost"):
        from ..report.compare import write_compare

        write_compare(
            run.path("compare.html"),
            beside(run),
            read_cost(run.path("cost.json")),
            read_record(run.path("record.json")) if run.path("record.json").exists() else None,
            _links(run, "compare.html"),
        )


def write_pages(run: Run) -> None:
    """Write compare.html again, which shows what other steps found, and let report.html link to all pages there are."""
    write_compare_page(run)
    if run.is_done("evaluate"):
        from ..report import relinked

        page = run.path("report.html")
        try:
            write_text(page, relinked(read_bytes(page).decode(), _links(run, page.name)))
        except InputError:  # Another version's page.
            write_run_report(run, read_record(run.path("record.json")))
        run.finished("evaluate")
