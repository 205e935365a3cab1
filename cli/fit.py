"""``fit``: whether a run's Program fits a chip, where it lies, and what each core holds."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import (
    EXIT_DOES_NOT_FIT,
    Bits,
    Data,
    InputBits,
    Json,
    OneSpike,
    Origin,
    OutFile,
    Output,
    Reset,
    RunFolder,
    Start,
    Steps,
    TimeStep,
    Unscaled,
    bits_of,
)

if TYPE_CHECKING:
    from ..eval.records.fit import Fit

ChipName = Annotated[str, typer.Option("--chip", metavar="CHIP", help="Whose limits.")]
MapperName = Annotated[
    str,
    typer.Option(
        "--mapper", metavar="greedy|partition", help="Fill the mesh in order, or put cores that talk near each other."
    ),
]
RunSamples = Annotated[
    int,
    typer.Option("--samples", "-n", min=0, help="Test images to run split and whole Program on; 0: none."),
]


def fit(
    run: RunFolder,
    chip: ChipName = "loihi1",
    mapper: MapperName = "partition",
    samples: RunSamples = 8,
    data: Data = None,
    steps: Steps = None,
    bits: Bits = None,
    input_bits: InputBits = None,
    out: OutFile = None,
    dt: TimeStep = None,
    origin: Origin = None,
    reset: Reset = None,
    one_spike: OneSpike = False,
    unscaled: Unscaled = False,
    start: Start = None,
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Place the Program on a chip: fit-CHIP.json and fit.html; exit code 5 if it does not fit.

    RUN may also be a NIR file, which is lowered as 'nir evaluate' does it and with its options, or a Program's file.
    """
    from ..eval.run.folder import Run
    from ..toolkit.errors import InputError
    from . import show

    told = {"origin": origin, "dt": dt, "reset": reset, "one_spike": one_spike, "unscaled": unscaled}
    told |= {"start": start, "output": output}
    lowering = {"data": data, "steps": steps, "bits": bits_of(bits), "input_bits": input_bits}
    if run.is_file():
        _file(run, told, lowering, chip, mapper, samples, out, as_json)
        return
    if out is not None or any(value not in (None, False) for value in (*told.values(), *lowering.values())):
        raise InputError(
            "--data, --steps, --bits, --out and what a NIR file means belong to NIR files; a run has its own"
        )
    found = Run.open(run)
    with show.loading(as_json):
        from ..eval.run.fit import fit as place
    with show.loading(as_json, f"placing it on {chip}, and running it split and whole"):
        record = place(found, chip=chip, mapper=mapper, samples=samples)
    files = {"record": str(found.path(f"fit-{chip}.json")), "report": str(found.path("fit.html"))}
    if as_json:
        show.print_json({"step": "fit", **record.model_dump(mode="json"), **files})
    else:
        _print(record, files)
    if record.verdict == "refused":
        raise typer.Exit(EXIT_DOES_NOT_FIT)


def _file(
    file: Path,
    told: dict[str, Any],
    lowering: dict[str, Any],
    chip: str,
    mapper: str,
    samples: int,
    out: Path | None,
    as_json: bool,
) -> None:
    """Place the Program of a NIR file, or one by itself; ``out``: record to write, and the page beside it."""
    from rich.markup import escape

    from . import show

    with show.loading(as_json):
        from ..eval.agreement.foreign import Told
        from ..eval.agreement.nir_fit import fit_file
        from ..eval.records.base import write_record
        from ..eval.report.fit import write_fit
    with show.loading(as_json, f"placing it on {chip}"):
        found = fit_file(file, Told(**told), chip=chip, mapper=mapper, samples=samples, **lowering)
    record, files = found.record, dict[str, str]()
    if out is not None:
        write_record(out, record)
        write_fit(out.with_suffix(".html"), file.name, [record])
        files = {"record": str(out), "report": str(out.with_suffix(".html"))}
    if as_json:
        show.print_json({"step": "fit", **record.model_dump(mode="json"), **files})
    else:
        for text in found.warnings:
            show.err.print(f"[yellow]warning:[/] {escape(text)}", soft_wrap=True, highlight=False)
        _print(record, files)
    if record.verdict == "refused":
        raise typer.Exit(EXIT_DOES_NOT_FIT)


def _print(record: "Fit", files: dict[str, str]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    from .show import out

    def table(title: str, first: str, *others: str) -> Table:
        made = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
        made.add_column(first, overflow="fold")
        for column in others:
            made.add_column(column, justify="right", no_wrap=True)
        return made

    counts = record.limits.main
    heads = tuple(key.replace("_", " ") for key in counts)
    layers = table("what each population needs, as if one core held it", "population", *heads, "cores")
    for layer in record.layers:
        layers.add_row(
            layer.population, *(f"{layer.demand[key]:,}" for key in counts), str(len(layer.cores) or "\u2013")
        )
    out.print(layers)
    if record.cores:
        cores = table(f"cores of {record.limits.title}, mapper {record.mapper}", "core", *heads, "fullest")
        for core in record.cores:
            key, (_, share) = max(core.use.items(), key=lambda item: item[1][1])
            held = ", ".join(f"{name} {start}\u2013{stop - 1}" for name, start, stop in core.slices)
            cores.add_row(
                f"{core.number}: {held}",
                *(f"{core.demand[name]:,}" for name in counts),
                f"{key.replace('_', ' ')} {100 * share:.0f} %",
            )
        out.print(cores)
    for one in record.traffic:
        out.print(
            f"{one.of}: {one.packets:,.0f} packets, {one.east_west + one.north_south:,.0f} tile hops", highlight=False
        )
    if record.integers is not None:
        out.print(
            f"{record.cut} populations cut; split and whole Program on {record.integers.samples} images: "
            f"{record.integers.different} of {record.integers.compared:,} values differ",
            highlight=False,
        )
    colours = {"fits": "green", "unsure": "yellow", "refused": "red"}
    for text in record.reasons:
        out.print(f"[red]refused:[/] {escape(text)}", soft_wrap=True, highlight=False)
    for text in record.warnings:
        out.print(f"[yellow]warning:[/] {escape(text)}", soft_wrap=True, highlight=False)
    if record.unknown:
        names = ", ".join(name.replace("_", " ") for name in record.unknown)
        out.print(f"[yellow]note:[/] no public limit of {names}", highlight=False)
    out.print(f"{record.limits.title}: [{colours[record.verdict]}]{record.verdict}[/]")
    for what, path in files.items():
        out.print(f"{what}: {path}", soft_wrap=True, highlight=False)
