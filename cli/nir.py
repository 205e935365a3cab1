"""Commands on NIR files of any origin."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import (
    EXIT_REFUSED,
    AsHard,
    Bits,
    Data,
    InputBits,
    Json,
    Once,
    OneSpike,
    Origin,
    OutFile,
    Output,
    Reset,
    Start,
    Steps,
    Targets,
    TimeStep,
    Unscaled,
    bits_of,
    names,
)

if TYPE_CHECKING:
    from ..eval.records.foreign import Foreign
    from ..export.lint import Report

NirFile = Annotated[Path, typer.Argument(metavar="FILE", help="A NIR file of any framework.")]
Strict = Annotated[bool, typer.Option("--strict", help="Fail on warnings, too.")]
Count = Annotated[
    int | None,
    typer.Option("--samples", "-n", min=1, help="The first so many of --data; all by default."),
]
Reference = Annotated[
    Path | None,
    typer.Option(
        help="An .npz with the origin's own outputs, named as nodes (or output), (time, samples, ...): are they ours?"
    ),
]

app = typer.Typer(
    help="NIR files of any framework: look for faults, run them as meant and as integers.", no_args_is_help=True
)


@app.callback()
def _main() -> None:
    """Nothing happens before the command."""


@app.command(cls=Once)
def check(
    file: NirFile,
    dt: TimeStep = None,
    origin: Origin = None,
    reset: Reset = None,
    one_spike: OneSpike = False,
    unscaled: Unscaled = False,
    start: Start = None,
    output: Output = None,
    strict: Strict = False,
    as_json: Json = False,
) -> None:
    """Look for what is wrong with a NIR file; exit code 2 if it cannot be deployed (--strict: on warnings, too)."""
    from . import show

    with show.loading(as_json):
        from ..export.lint import check as look
    report = look(file, dt, origin, reset, one_spike=one_spike, unscaled=unscaled, start=start, output=output)
    if as_json:
        show.print_json(report.to_dict())
    else:
        _print(report)
    if report.refused(strict):
        raise typer.Exit(EXIT_REFUSED)


def _print(report: "Report") -> None:
    from rich.markup import escape

    from .show import out

    colours = {"error": "red", "warning": "yellow", "note": "dim"}
    for finding in report.findings:
        where = f"node {finding.node!r}: " if finding.node else ""
        head = f"[{colours[finding.severity]}]{finding.severity}[/] [bold]{finding.code}[/] "
        out.print(head + escape(where + finding.message), soft_wrap=True, highlight=False)
    counts = ", ".join(f"{report.count(what)} {what}s" for what in colours)
    out.print(f"{escape(str(report.path))}: {len(report.nodes)} nodes; {counts}", soft_wrap=True, highlight=False)


@app.command(cls=Once)
def evaluate(
    file: NirFile,
    targets: Targets = None,
    data: Data = None,
    steps: Steps = None,
    bits: Bits = None,
    input_bits: InputBits = None,
    samples: Count = None,
    reference: Reference = None,
    out: OutFile = None,
    dt: TimeStep = None,
    origin: Origin = None,
    reset: Reset = None,
    one_spike: OneSpike = False,
    unscaled: Unscaled = False,
    start: Start = None,
    output: Output = None,
    as_hard: AsHard = False,
    as_json: Json = False,
) -> None:
    """Run a NIR file as its framework meant it and as integers on targets; print and keep what differs."""
    from . import show

    with show.loading(as_json):
        from ..eval.agreement.foreign import Told
        from ..eval.agreement.nir_file import evaluate_nir
        from ..eval.records.base import write_record
        from ..toolkit.errors import DisagreementError, UnsupportedError
    with show.progress(as_json) as track:
        answer = evaluate_nir(
            file,
            data,
            Told(origin, dt, reset, one_spike, unscaled, as_hard, start, output),
            targets=names(targets),
            steps=steps,
            bits=bits_of(bits),
            input_bits=input_bits,
            samples=samples,
            reference=reference,
            track=track,
        )
    found = answer.found
    if out is not None:
        write_record(out, answer.record)
    if as_json:
        show.print_json(answer.record.model_dump(mode="json"))
    else:
        _print_evaluation(found, answer.record.scale, answer.warnings)
    parts = found.against_origin()
    if parts is not None:
        raise DisagreementError(parts)
    if not found.equal:
        raise DisagreementError(found.first_difference())
    if found.refused:
        reasons = (f"target {name!r}: {'; '.join(why)}" for name, why in found.refused.items())
        raise UnsupportedError(f"refused by {' | '.join(reasons)}")


def _print_evaluation(found: "Foreign", scale: str, warnings: list[str]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    from .show import err, out, percent

    def table(first: str, *others: str) -> Table:
        made = Table(first, box=SIMPLE_HEAD, pad_edge=False)
        for column in others:
            made.add_column(column, justify="right", no_wrap=True)
        return made

    for text in warnings:
        err.print(f"[yellow]warning:[/] {escape(text)}", soft_wrap=True, highlight=False)
    forms = table(f"form ({found.samples} samples)", "accuracy in %", "95 % interval", "values compared", "differ")
    # Only the origin's own outputs show that this is how it computes.
    checked, apart = (sum(getattr(one, what) for one in found.reference) for what in ("compared", "different"))
    proven = (f"{checked:,}", f"{apart:,}") if checked else ("", "")
    rows = [("float, its origin's" if checked else "float, as told", found.float_accuracy, *proven)]
    for index, one in enumerate(found.targets):
        # The first is what the others are compared with.
        counts = (f"{one.compared:,}", f"{one.different:,}") if index else ("", "")
        rows.append((f"program, {one.target}", one.accuracy, *counts))
    for name, share, *counted in rows:
        cells = (percent(share.value), f"{percent(share.low)}\u2013{percent(share.high)}") if share else ("", "")
        forms.add_row(name, *cells, *counted)
    out.print(forms)
    spikes = table("population", "float rate", "program rate", "spikes that differ, %")
    for row in found.spikes:
        spikes.add_row(row.population, f"{row.float_rate:.4f}", f"{row.program_rate:.4f}", f"{100 * row.share:.2f}")
    out.print(spikes)
    same = found.same_class
    out.print(f"input: {scale}", highlight=False)
    out.print(f"same class as in float: {percent(same.value)} % ({same.correct} of {same.samples})", highlight=False)
    if len(found.targets) > 1:
        out.print("targets: " + ("[green]equal, bit for bit[/]" if found.equal else "[red]NOT equal[/]"))
