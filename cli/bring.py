"""``import``: a run that begins with a Program from elsewhere, a ``.net`` file of lava-dl or a Program's own file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import Json, Out

if TYPE_CHECKING:
    from ..eval.records.imported import Imported

File = Annotated[
    Path, typer.Argument(metavar="FILE", help="A .net file of lava-dl, or a Program's own file (.safetensors).")
]
Data = Annotated[
    Path,
    typer.Option(
        help="An .npz with x: images (samples, ...) in [0, 1] or spikes (time, samples, ...); and labels y, if any."
    ),
]
Steps = Annotated[
    int | None, typer.Option(min=1, max=2**16, help="Time steps a sample; as the file, or the spikes, say.")
]
InputBits = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=24,
        help="Bits of an input message; 0: spikes. By default 8 for images into synapses; bias-coded input needs none.",
    ),
]
InputRange = Annotated[
    tuple[float, float] | None,
    typer.Option(
        metavar="LOW HIGH",
        help="Bias-coded input: what black and white were in training, as -1 1 for 2 x - 1; 0 1 by default.",
    ),
]
Readout = Annotated[
    str | None,
    typer.Option(
        metavar="spike_count|first_spike|membrane",
        help="How classes are read, which a .net file does not say; the membrane where the last layer cannot fire.",
    ),
]
Together = Annotated[
    bool,
    typer.Option(
        "--together",
        help="All layers start with a sample's first step, as on a chip where nothing holds them back; by default each "
        "starts when the sample reaches it, as in training.",
    ),
]
Count = Annotated[
    int | None, typer.Option("--samples", "-n", min=1, help="The first so many of --data; all by default.")
]
Importer = Annotated[
    int,
    typer.Option(
        "--netx", min=0, metavar="N", help="Run the file itself on lava-dl's importer, too, with the first N samples."
    ),
]


def bring(
    file: File,
    data: Data,
    out: Out,
    steps: Steps = None,
    input_bits: InputBits = None,
    input_range: InputRange = None,
    readout: Readout = None,
    together: Together = False,
    samples: Count = None,
    importer: Importer = 0,
    as_json: Json = False,
) -> None:
    """Bring a .net file of lava-dl, or a Program's own file, as a run.

    It has no float network; simulate, evaluate, agree, profiles, robustness, prove, compare, explain, fit, faults and
    decision work on it.
    """
    from ..toolkit.errors import InputError
    from . import show

    known = ("spike_count", "first_spike", "membrane")
    if readout is not None and readout not in known:
        raise InputError(f"--readout {readout}: unknown; choose {', '.join(known)}")
    with show.loading(as_json):
        from ..eval.run.bring import import_program
    with show.progress(as_json) as track:
        record = import_program(
            file,
            data,
            out,
            steps=steps,
            input_bits=input_bits,
            input_range=input_range,
            readout=readout,  # type: ignore[arg-type]
            together=together,
            samples=samples,
            importer=importer,
            track=track,
        )
    if as_json:
        show.print_json({"step": "import", **record.model_dump(mode="json")})
    else:
        _print(record, out)


def _print(record: "Imported", out: Path) -> None:
    from rich.markup import escape

    from .show import err, percent
    from .show import out as console

    def line(text: str) -> None:
        console.print(escape(text), soft_wrap=True, highlight=False)

    warnings = list(record.warnings)
    if record.silent:
        warnings.append(f"no neuron fires on any sample: {', '.join(record.silent)}; are the samples what it takes?")
    if record.labels == "program":
        warnings.append("no labels: the Program's own answers take their place, so clean accuracy is 100 % of itself")
    for text in warnings:
        err.print(f"[yellow]warning:[/] {escape(text)}", soft_wrap=True, highlight=False)
    unit = "spikes" if record.coding == "events" else f"messages of 0 to {record.levels}, the same at every step"
    line(
        f"{record.source}: {record.classes} outputs, read by {record.readout}; {record.samples} samples of shape "
        f"{record.shape}, {record.steps} steps; {unit}"
    )
    if record.accuracy is not None:
        share = record.accuracy
        line(f"accuracy on loihi: {percent(share.value)} % ({percent(share.low)}\u2013{percent(share.high)})")
    found = record.importer
    if found is not None:
        line(
            f"lava-dl's importer, the file itself, first {found.samples} samples: {found.compared:,} spikes and states "
            f"compared ({found.spikes:,} spikes), {found.different} differ"
        )
        if found.unloadable:
            line(f"not compared: {found.unloadable}")
    line(f"run folder: {out}")
