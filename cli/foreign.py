"""``evaluate`` on NIR files of any origin."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ..eval.records.foreign import Foreign

RunOrFile = Annotated[
    Path,
    typer.Argument(
        metavar="RUN|FILE.nir", help="Run folder, or a NIR file of any framework; other options follow from it."
    ),
]
_FILE = "FILE.nir"
Data = Annotated[
    Path | None,
    typer.Option(
        help="An .npz with x: images (samples, ...) in [0, 1] or spikes (time, samples, ...); and labels y, if any.",
        rich_help_panel=_FILE,
    ),
]
Steps = Annotated[
    int | None, typer.Option(min=1, max=2**16, help="Time steps a sample, needed for images.", rich_help_panel=_FILE)
]
Bits = Annotated[int | None, typer.Option(min=2, max=8, help="Weight bits, 8 by default.", rich_help_panel=_FILE)]
InputBits = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=24,
        help="Bits of an input message; 0: binary spikes. By default 8 for images, 0 for (time, samples, ...).",
        rich_help_panel=_FILE,
    ),
]
Samples = Annotated[
    int | None,
    typer.Option("--samples", "-n", min=1, help="The first so many, of --data or for --protocol; all by default."),
]
OutFile = Annotated[Path | None, typer.Option("--out", "-o", help="Record to write, JSON.", rich_help_panel=_FILE)]

TARGETS = ("loihi", "twin", "onnx")


def is_file(path: Path, device: str | None) -> bool:
    """Return whether ``path`` names a NIR file; a device is of no use there.

    Raises:
        InputError: a device was given for a NIR file.
    """
    from ..toolkit.errors import InputError

    found = path.suffix == ".nir" and not path.is_dir()
    if found and device is not None:
        raise InputError(f"--device {device}: for run folders only; NIR files are executed on the CPU")
    return found


def not_for_runs(options: dict[str, Any]) -> None:
    """Refuse options of NIR files where a run folder was given.

    Raises:
        InputError: one of them was given.
    """
    from ..toolkit.errors import InputError

    asked = [name for name, value in options.items() if value is not None and value is not False]
    given = [f"--{name.replace('_', '-')}" for name in asked]
    if given:
        raise InputError(f"{', '.join(given)}: for FILE.nir only; a run folder holds what was chosen in its recipe")


def evaluate(
    file: Path,
    targets: list[str] | None,
    as_json: bool,
    *,
    data: Path | None,
    steps: int | None,
    bits: int | None,
    input_bits: int | None,
    samples: int | None,
    out: Path | None,
    **told: Any,
) -> None:
    """Run a NIR file as its origin meant it and as integers on targets; print and keep what differs.

    Args:
        file: the graph.
        targets: names; loihi, twin and onnx by default.
        as_json: print JSON.
        data: the samples.
        steps: time steps a sample.
        bits: of weights.
        input_bits: of an input message.
        samples: how many.
        out: record to write.
        told: what is known of the file, see :class:`.eval.foreign.Told`.

    Raises:
        InputError: an option is missing or does not fit; the file or a target refused.
        DisagreementError: targets differ.
    """
    from ..eval.run.steps import quiet_libraries
    from . import show

    with show.loading(as_json):
        from ..eval.agreement import foreign
        from ..eval.agreement.samples import load_samples
        from ..eval.records.base import write_record
        from ..export.lowering.lower import Deployment
        from ..toolkit.errors import DisagreementError, InputError, UnsupportedError

        quiet_libraries()
    known = foreign.Told(**told)
    settings = known.settings()
    graph, warnings = foreign.load_graph(file, known)
    if data is None:
        raise InputError(f"{file}: say what to run it on with --data SAMPLES.npz")
    shapes = list(graph.shapes.values())
    given = load_samples(data, shapes[0], shapes[-1], steps=steps, input_bits=input_bits, samples=samples)
    deployment = Deployment(len(given.real), given.input_bits, settings, bits=bits or 8)
    program = foreign.lowered(graph, deployment, str(file))
    with show.progress(as_json) as track:
        found = foreign.measure(
            graph, program, settings, given, list(TARGETS) if targets is None else targets, track=track
        )
    record = foreign.record(file, data, known, deployment, given, program, found, warnings)
    if out is not None:
        write_record(out, record)
    if as_json:
        show.show(record.model_dump(mode="json"), True)
    else:
        _print(found, warnings)
    if not found.equal:
        raise DisagreementError(found.first_difference())
    if found.refused:
        reasons = (f"target {name!r}: {'; '.join(why)}" for name, why in found.refused.items())
        raise UnsupportedError(f"refused by {' | '.join(reasons)}")


def _print(found: "Foreign", warnings: list[str]) -> None:
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
    rows = [("float, its origin's", found.float_accuracy, "", "")]
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
    out.print(f"same class as in float: {percent(same.value)} % ({same.correct} of {same.samples})", highlight=False)
    if len(found.targets) > 1:
        out.print("targets: " + ("[green]equal, bit for bit[/]" if found.equal else "[red]NOT equal[/]"))
