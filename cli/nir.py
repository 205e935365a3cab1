"""Commands on NIR files of any origin."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..export.lint import Report

EXIT_REFUSED = 2

NirFile = Annotated[Path, typer.Argument(metavar="FILE", help="A NIR file of any framework.")]
TimeStep = Annotated[float | None, typer.Option("--dt", help="Seconds a time step; NIR files do not hold it.")]
Origin = Annotated[
    str | None,
    typer.Option(help="The framework that wrote it: nir, norse, sinabs, snntorch, spikeproof or spikingjelly."),
]
Reset = Annotated[
    str | None,
    typer.Option(
        help="How its neurons reset, if not as its origin's do: zero, subtract, subtract_later, zero_later, none."
    ),
]
OneSpike = Annotated[
    bool, typer.Option("--one-spike", help="Its neurons send at most one spike a step (sinabs' SingleSpike).")
]
Unscaled = Annotated[
    bool, typer.Option("--unscaled", help="Its LIF nodes add their input as it is (sinabs' norm_input=False).")
]
Strict = Annotated[bool, typer.Option("--strict", help="Fail on warnings, too.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]


def check(
    file: NirFile,
    dt: TimeStep = None,
    origin: Origin = None,
    reset: Reset = None,
    one_spike: OneSpike = False,
    unscaled: Unscaled = False,
    strict: Strict = False,
    as_json: Json = False,
) -> None:
    """Look for what is wrong with a NIR file; exit code 2 if it cannot be deployed (--strict: on warnings, too)."""
    from . import show

    with show.loading(as_json):
        from ..export.lint import check as look
    report = look(file, dt, origin, reset, one_spike=one_spike, unscaled=unscaled)
    if as_json:
        show.show(report.to_dict(), True)
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
