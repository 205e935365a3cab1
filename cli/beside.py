"""``compare RUN``: float, quantized and deployed side by side."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..eval.cost.table import Row, SideBySide


def asked(targets: str | None, bitwise: bool, csv: Path | None, again: bool) -> bool:
    """Return whether the forms are to be put side by side, and not targets compared bit for bit.

    Raises:
        InputError: options of both were given.
    """
    from ..toolkit.errors import InputError

    if targets is None and not bitwise:
        return True
    for name, given in (("--csv", csv is not None), ("--again", again)):
        if given:
            raise InputError(f"{name}: for the forms side by side; leave --targets and --bitwise out")
    return False


def compare(folder: Path, samples: int | None, csv: Path | None, again: bool, as_json: bool) -> None:
    """Measure what is not on record, print the forms side by side, and write cost.json, compare.html and the CSV.

    Args:
        folder: the run.
        samples: the first so many test images; all if None.
        csv: file to write, or None.
        again: whether to measure costs that are on record, too.
        as_json: print JSON.

    Raises:
        FileError: a step is missing, or a file has changed since.
    """
    from ..eval.run.folder import Run
    from . import show

    run = Run.open(folder)
    with show.loading(as_json):
        from ..eval.run.cost import cost
        from ..eval.run.pages import beside, write_pages
        from ..eval.run.steps import quiet_libraries
        from ..toolkit.files import write_text

        quiet_libraries()
    with show.progress(as_json) as track:
        measured = cost(run, samples=samples, again=again, track=track)
    found = beside(run)
    write_pages(run)
    if csv is not None:
        write_text(csv, found.to_csv())
    files = {"record": str(run.path("cost.json")), "report": str(run.path("compare.html"))}
    if as_json:
        show.show({"step": "side by side", "measured": measured, **found.to_dict(), **files}, True)
    else:
        _print(found)
        for name, path in files.items():
            show.out.print(f"{name}: {path}", soft_wrap=True, highlight=False)


def _print(found: "SideBySide") -> None:
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    from ..eval.report.words import figure, interval
    from .show import out

    def cell(row: "Row", name: str) -> str:
        if name not in row.cells:
            return ""
        shown, ends = figure(row.cells[name], row.unit)
        plain = "[dim]none[/]" if row.cells[name].how == "missing" else f"[bold]{escape(shown)}[/]"
        doubt = "\n[red]unreliable[/]" if row.cells[name].doubtful else ""
        return (f"{plain}\n[dim]{escape(ends)}[/]" if ends else plain) + doubt

    out.print(f"{found.name}: float, quantized and deployed side by side", highlight=False)
    for group in dict.fromkeys(row.group for row in found.rows):
        rows = [row for row in found.rows if row.group == group and not row.part]
        columns = [name for name in found.columns if any(name in row.cells for row in rows)]
        table = Table(title=group, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
        table.add_column("quantity\nimages", overflow="fold")
        for name in columns:
            table.add_column(name.replace(" · ", "\n"), justify="right")
        for row in rows:
            title = escape(row.name) + (f"\n[dim]{escape(row.condition)}[/]" if row.condition else "")
            table.add_row(title, *(cell(row, name) for name in columns))
        out.print(table)
        reasons = dict.fromkeys(
            one.note for row in rows for one in row.cells.values() if one.how == "missing" and one.note
        )
        for reason in reasons:
            out.print(f"[dim]none:[/] {escape(reason)}", soft_wrap=True, highlight=False)
        parts = [row for row in found.rows if row.group == group and row.part]
        for name in dict.fromkeys(row.name for row in parts):
            terms = [row for row in parts if row.name == name]
            table = Table(title=f"{name}, by term", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
            table.add_column("term")
            conditions = list(dict.fromkeys(row.condition for row in terms))
            for condition in conditions:
                table.add_column(condition, justify="right")
            for term in dict.fromkeys(row.part for row in terms):
                cells = [one for row in terms if row.part == term for one in row.cells.values()]
                table.add_row(term, *(interval(one.low or 0.0, one.high or 0.0, "J") for one in cells))
            out.print(table)
    for note in found.notes:
        out.print(f"[yellow]note:[/] {escape(note)}", soft_wrap=True, highlight=False)
