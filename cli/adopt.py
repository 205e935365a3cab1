"""``adopt``: a run that begins with a network from elsewhere, proven equal to it spike for spike."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import Json, OneSpike, Origin, Out, Reset, Start, TimeStep, Unscaled

if TYPE_CHECKING:
    from ..eval.records.adoption import Adoption

Source = Annotated[
    str,
    typer.Argument(
        metavar="FILE.py:FUNCTION|FILE.nir",
        help="A function that returns a torch module (the file is run), or a NIR file of any framework.",
    ),
]
DataName = Annotated[
    str, typer.Option("--data", help="A data set by name, or an .npz file with x_train y_train x_test y_test.")
]
Steps = Annotated[int | None, typer.Option(min=1, help="Time steps, where one call of the model is one step.")]
Time = Annotated[int | None, typer.Option(min=0, max=1, help="Axis of time in what the model takes, for events.")]
Output = Annotated[int | None, typer.Option(min=0, help="Which of several outputs is read; the first by default.")]
Flat = Annotated[bool, typer.Option("--flat", help="The model takes rows of features, not images.")]
Count = Annotated[int, typer.Option("--samples", "-n", min=1, help="Test images on which both run side by side.")]
Bits = Annotated[int, typer.Option(min=2, max=8, help="Bits a weight, for 'quantize'.")]
Port = Annotated[str | None, typer.Option(help="The Output node that is read, where a NIR file has several.")]
Epochs = Annotated[int, typer.Option(min=0, help="Epochs of fine-tuning on the grid, for 'quantize'.")]


def adopt(
    source: Source,
    out: Out,
    data: DataName = "digits",
    steps: Steps = None,
    time: Time = None,
    output: Output = None,
    flat: Flat = False,
    samples: Count = 64,
    bits: Bits = 8,
    epochs: Epochs = 5,
    dt: TimeStep = None,
    origin: Origin = None,
    reset: Reset = None,
    one_spike: OneSpike = False,
    unscaled: Unscaled = False,
    start: Start = None,
    port: Port = None,
    as_json: Json = False,
) -> None:
    """Take a network from elsewhere into a run, proven equal spike for spike; every other command works on it."""
    from . import show

    with show.loading(as_json):
        from ..eval.run.adopt import adopt as do
        from ..toolkit.config import parse_recipe
    named = {"name": "arrays", "path": str(Path(data).resolve())} if data.endswith(".npz") else {"name": data}
    settings = parse_recipe({"data": named}, f"--data {data}").data
    asked = {"steps": steps, "time": time, "output": output, "flat": flat}
    told = {"origin": origin, "dt": dt, "reset": reset, "one_spike": one_spike, "unscaled": unscaled}
    told |= {"start": start, "port": port}
    options: dict[str, Any] = {**asked, "samples": samples, "bits": bits, "epochs": epochs, **told}
    record = do(out, source, settings, **options)
    show.record("adopt", record, out / "adoption", as_json, _print)


def _print(record: "Adoption") -> None:
    from rich.markup import escape

    from .show import out, percent, table

    rows = table(f"{record.source}, adopted", ("layer", "kind", "receives"), ("parameters", "spikes that differ"))
    for layer in record.layers:
        differ = "" if layer.spikes is None else f"{layer.differing:,} of {layer.spikes:,}"
        rows.add_row(layer.name, layer.kind, ", ".join(layer.receives), f"{layer.parameters:,}", differ)
    out.print(rows)
    for sentence in record.sentences:
        out.print(escape(sentence), soft_wrap=True, highlight=False)
    if record.accuracy is not None:
        share = record.accuracy
        out.print(f"accuracy {percent(share.value)} %, {share.correct} of {share.samples}", highlight=False)
    for layer in record.layers:
        for note in layer.notes:
            out.print(f"[yellow]assumed:[/] {escape(f'{layer.name}: {note}')}", soft_wrap=True, highlight=False)
