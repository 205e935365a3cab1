"""``compare``: float, quantized and deployed side by side."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import Json, RunFolder, Samples

if TYPE_CHECKING:
    from ..eval.cost.cells import Row
    from ..eval.cost.table import SideBySide
    from ..eval.records.trace import TraceComparison


def compare(
    run: RunFolder,
    samples: Samples = None,
    csv: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write the table as CSV, too.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Measure costs again, even if nothing has changed.")] = False,
    worst_energy: Annotated[
        float | None,
        typer.Option(
            metavar="EPSILON",
            help="Search the ball for the images that cost most, and bound what any can cost; direct coding.",
        ),
    ] = None,
    ann: Annotated[
        bool,
        typer.Option(
            "--ann", help="Train the same layers with ReLU, in INT8: accuracy, time, and the run's protocol on it, too."
        ),
    ] = False,
    sanafe: Annotated[
        bool,
        typer.Option("--sanafe", help="Ask SANA-FE for a second opinion on Loihi 1; $SPIKEPROOF_SANAFE is its python."),
    ] = False,
    trace: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Compare nothing but this: spikes, u and v that a board or a simulator recorded, .npz or .csv.",
        ),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(metavar="NAMES", help="Of a CSV trace without names: input,v/lif,spikes/lif; '-' skips one."),
    ] = None,
    clock: Annotated[
        bool, typer.Option("--clock", help="Rows of the trace are steps of one clock, not of each window.")
    ] = False,
    first: Annotated[
        int, typer.Option(metavar="IMAGE", min=0, help="Test image that the trace begins with, if it holds no input.")
    ] = 0,
    as_json: Json = False,
) -> None:
    """Put float, quantized and deployed side by side: accuracy, robustness, sparsity, latency, energy, memory."""
    from ..eval.run.folder import Run
    from ..toolkit.errors import InputError
    from . import show

    if trace is not None:
        _traced(
            run,
            trace,
            columns,
            clock,
            first,
            as_json,
            samples or csv or again or ann or sanafe or worst_energy is not None,
        )
        return
    if columns is not None or clock or first:
        raise InputError("--columns, --clock and --first belong to --trace")
    found = Run.open(run)
    with show.loading(as_json):
        from ..eval.run.compare import compare as put_beside
        from ..toolkit.files import write_text
    with show.progress(as_json) as track:
        result = put_beside(
            found, samples=samples, again=again, worst_energy=worst_energy, ann=ann, sanafe=sanafe, track=track
        )
    if csv is not None:
        write_text(csv, result.table.to_csv())
    if as_json:
        show.print_json(result.to_dict())
    else:
        _print(result.table)
        show.files(result.record_file, result.report_file)


def _traced(
    run: Path, trace: Path, columns: str | None, clock: bool, first: int, as_json: bool, others: object
) -> None:
    """Compare a recorded trace with the Program, and nothing else; exit code 4 where they part."""
    from ..eval.run.folder import Run
    from ..toolkit.errors import DisagreementError, InputError
    from . import show

    if others:
        raise InputError("--trace compares the trace alone; leave the other options out")
    if not run.is_file():
        Run.open(run)
    with show.loading(as_json):
        from ..eval.run.trace import trace as compare_with
    names = None if columns is None else [name.strip() for name in columns.split(",")]
    with show.progress(as_json) as track:
        record = compare_with(run, trace, columns=names, clock=clock, first=first, track=track)
    if as_json:
        show.print_json({"step": "trace", **record.model_dump(mode="json")})
    else:
        _print_trace(record)
    if not record.equal:
        raise DisagreementError(record.verdict[0])


def _print_trace(record: "TraceComparison") -> None:
    from rich.markup import escape

    from .show import out, table

    shown = table(
        f"{record.file}: {record.samples} samples, {record.steps} steps, against the Program",
        ("population",),
        ("neurons", "values", "differ", "steps equal", "first at"),
    )
    for one in record.values:
        where = "" if one.first is None else f"step {one.first.step}, neuron {one.first.neuron}"
        counts = (
            f"{one.neurons:,}",
            f"{one.compared:,}",
            f"{one.different:,}",
            f"{one.equal_steps:,} of {one.steps:,}",
        )
        shown.add_row(f"{escape(one.population)}, {one.quantity}", *counts, where)
    out.print(shown)
    for sentence in record.verdict if record.equal else record.verdict[1:]:
        out.print(escape(sentence), highlight=False)


def _print(found: "SideBySide") -> None:
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    from ..eval.report.words import figure
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
        every = [row for row in found.rows if row.group == group and not row.part]
        rows = [row for row in every if any(one.how != "missing" for one in row.cells.values())]
        columns = [name for name in found.columns if any(name in row.cells for row in rows)]
        table = Table(title=group, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
        table.add_column("quantity\nimages", overflow="fold")
        for name in columns:
            table.add_column(name.replace(" · ", "\n"), justify="right")
        for row in rows:
            title = escape(row.name) + (f"\n[dim]{escape(row.condition)}[/]" if row.condition else "")
            table.add_row(title, *(cell(row, name) for name in columns))
        if rows:
            out.print(table)
        else:
            out.print(f"[italic]{escape(group)}[/]")
        if len(rows) < len(every):
            # Twenty rows of "none" would hide the others; the page and --csv have them all.
            out.print(f"[dim]without any figure yet:[/] {len(every) - len(rows)} rows", highlight=False)
        reasons = dict.fromkeys(
            one.note for row in every for one in row.cells.values() if one.how == "missing" and one.note
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
                table.add_row(term, *(figure(one, "J")[0] for one in cells))
            out.print(table)
    for note in found.notes:
        out.print(f"[yellow]note:[/] {escape(note)}", soft_wrap=True, highlight=False)
