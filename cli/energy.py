"""``energy``: what an inference of a run would cost on a chip and a board, and how far the model holds on silicon."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import Json, Samples

if TYPE_CHECKING:
    from ..eval.records.cost import Cost
    from ..eval.records.silicon import Silicon

FIRST = (
    "modelled, not measured: events counted in a simulator times public constants, as in NeuroBench's algorithm track; "
    "no chip was used, so nothing here is of its system track"
)


def energy(
    run: Annotated[
        Path | None, typer.Argument(metavar="RUN", help="Run folder with a Program; none with --silicon.")
    ] = None,
    samples: Samples = None,
    silicon: Annotated[
        bool,
        typer.Option("--silicon", help="Check the model against power logs of a real Loihi board instead of a run."),
    ] = False,
    logs: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Their archive, logs.tar.xz; by default looked for under $SPIKEPROOF_DATA."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder of silicon.json and silicon.svg; runs/silicon by default."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Estimate what an inference costs on a chip, alone and on a board; with --silicon, check that on a real board."""
    from ..toolkit.errors import InputError

    if silicon:
        if run is not None or samples is not None:
            raise InputError("--silicon checks the model itself; leave RUN and --samples out")
        _silicon(logs, out or Path("runs/silicon"), as_json)
        return
    if logs is not None or out is not None:
        raise InputError("--logs and --out belong to --silicon")
    if run is None:
        raise InputError("name a run folder, or --silicon to check the model against a board's logs")
    _run(run, samples, as_json)


def _run(folder: Path, samples: int | None, as_json: bool) -> None:
    from ..eval.run.folder import Run
    from . import show

    found = Run.open(folder)
    with show.loading(as_json):
        from ..eval.records.cost import read_cost
        from ..eval.run.compare import cost
    with show.progress(as_json) as track:
        cost(found, samples=samples, track=track)
    record = read_cost(found.path("cost.json"))
    if as_json:
        chips = [chip.model_dump(mode="json") for chip in record.chips]
        show.print_json({"step": "energy", "note": FIRST, "samples": record.samples, "chips": chips})
    else:
        _print(record)
        show.out.print(f"record: {found.path('cost.json')}", soft_wrap=True, highlight=False)


def _print(record: "Cost") -> None:
    from rich.markup import escape

    from ..eval.report.words import interval
    from .show import out, table

    out.print(FIRST, soft_wrap=True, highlight=False)
    for chip in record.chips:
        if chip.absent:
            out.print(f"{chip.chip}: none: {escape(chip.absent)}", soft_wrap=True, highlight=False)
            continue
        conditions = list(chip.total)
        shown = table(f"{chip.chip}: one inference, {chip.steps} steps", ("",), tuple(conditions))
        for term in chip.terms["clean"]:
            shown.add_row(term, *(interval(*chip.terms[name][term], "J") for name in conditions))
        shown.add_row("[bold]chip alone[/]", *(interval(*chip.total[name], "J") for name in conditions))
        shown.add_row("its time", *(interval(*chip.time[name], "s") for name in conditions))
        for key in ("running", "idle", "total", "time") if chip.board else ():
            shown.add_row(
                f"board: {key}", *(interval(*chip.board[n][key], "s" if key == "time" else "J") for n in conditions)
            )
        out.print(shown)
        out.print(escape(chip.basis), soft_wrap=True, highlight=False)
        for reason in chip.unsuitable:
            out.print(f"[yellow]note:[/] only prices are borrowed: {escape(reason)}", soft_wrap=True, highlight=False)


def _silicon(logs: Path | None, out: Path, as_json: bool) -> None:
    from . import show

    with show.loading(as_json):
        from ..eval.records.base import write_record
        from ..eval.silicon.check import check
        from ..eval.silicon.page import write_plot
    with show.progress(as_json) as track:
        record = check(logs, track=track)
    write_record(out / "silicon.json", record)
    write_plot(out / "silicon.svg", record)
    if as_json:
        show.print_json({"step": "energy", "note": FIRST, **record.model_dump(mode="json")})
    else:
        _print_silicon(record)
        show.files(out / "silicon.json", out / "silicon.svg", "plot")


def _print_silicon(record: "Silicon") -> None:
    from rich.markup import escape

    from ..eval.silicon.page import energies, places, slopes, verdict
    from .show import out, table

    out.print(FIRST + "; columns called 'measured' are a board's logs of 2019", soft_wrap=True, highlight=False)
    for title, (head, body) in (
        ("dynamic energy an inference", energies(record)),
        ("what a copy of 10 layers adds", slopes(record)),
        ("on the chip", places(record)),
    ):
        shown = table(title, (head[0],), tuple(head[1:]))
        for row in body:
            shown.add_row(*map(escape, row))
        out.print(shown)
    for said in verdict(record):
        out.print(escape(said), soft_wrap=True, highlight=False)
    for assumed in record.assumed:
        out.print(f"[yellow]assumed:[/] {escape(assumed)}", soft_wrap=True, highlight=False)
