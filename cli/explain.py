"""``explain``: why the deployed number differs."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import Json, RunFolder, Samples

if TYPE_CHECKING:
    from ..eval.records.explanation import Explanation
    from ..eval.records.sensitivity import Sensitivities

WIDTH = 16
"""Least width of a table's first column: names wrap between words, not letters."""


def explain(
    run: RunFolder,
    samples: Samples = None,
    lava: Annotated[
        bool | None, typer.Option("--lava/--no-lava", help="Walk on to Lava; by default where it is installed.")
    ] = None,
    layers: Annotated[
        bool, typer.Option("--layers/--no-layers", help="Quantize each layer alone, at 2 to 8 bits.")
    ] = True,
    loss: Annotated[
        float,
        typer.Option(metavar="POINTS", min=0, max=100, help="Accuracy that a layer may cost alone, for its bits."),
    ] = 1.0,
    as_json: Json = False,
) -> None:
    """Say where spikes differ from float to the Program, what causes it, and what to do."""
    from ..eval.run.folder import Run
    from ..toolkit.errors import DisagreementError, InputError
    from . import show

    if run.is_file():
        raise InputError(
            f"{run}: explain compares the forms of a run; for a NIR file 'spikeproof nir evaluate {run} --data "
            "SAMPLES.npz' says how far float and Program differ"
        )
    found = Run.open(run)
    with show.loading(as_json):
        from ..eval.run.explain import explain as find_causes
    with show.progress(as_json) as track:
        record = find_causes(found, samples=samples, lava=lava, loss=loss if layers else None, track=track)
    show.record("explain", record, found.path("explain"), as_json, _print)
    last = record.pairs[-1]
    if last.after == "Lava" and last.effect.different:
        raise DisagreementError(
            f"Lava fires {last.effect.different} of {last.effect.compared} spike values otherwise than the Program on "
            f"loihi; run 'spikeproof agree {run}'"
        )


def _print(record: "Explanation") -> None:
    from rich.markup import escape

    from ..eval.explain.causes import CAUSES
    from ..eval.explain.verdict import base_words
    from ..eval.report.words import listed, points
    from .show import out, percent, table

    columns = ("accuracy, %", "spikes differ", "classes\nchanged", "lost, won", "p")
    walk = table(
        f"{record.name}: from {record.stages[0].name} to the Program, {record.samples} samples", ("stage",), columns
    )
    walk.columns[0].min_width = WIDTH
    for stage, pair in zip(record.stages, [None, *record.pairs], strict=True):
        share = stage.accuracy
        name = stage.name if stage.samples == record.samples else f"{stage.name}\n[dim]{stage.samples} samples[/]"
        between = f"{percent(share.low)}\u2013{percent(share.high)}"
        cells = [] if pair is None else _changes(pair.effect)
        walk.add_row(name, f"[bold]{percent(share.value)}[/]\n[dim]{between}[/]", *cells)
    out.print(walk)
    causes = table(
        f"each cause, switched on alone in the {base_words(record)} and repaired alone in the Program",
        ("cause",),
        ("share, %", "alone:\nspikes", "classes,\npoints", "repaired:\nspikes", "classes,\npoints"),
    )
    causes.columns[0].min_width = WIDTH
    accuracy = {stage.name: stage.accuracy for stage in record.stages}
    for one in record.causes:
        cells = [f"{100 * one.share:.1f}"]
        for effect, beside in ((one.alone, accuracy[record.base]), (one.repaired, accuracy["Program"])):
            classes = f"{effect.paired.classes_changed:,}, {points(beside, effect.accuracy)}"
            cells += [f"{effect.different:,}", f"{classes}\n[dim]p {effect.paired.p:.2g}[/]"]
        title = f"[red]{one.title}[/]\n[dim]{one.kind}[/]" if one.kind != "rounding" and one.acts else one.title
        causes.add_row(title, *cells)
    out.print(causes)
    if record.exact:
        out.print(f"[dim]cannot act here: {listed([CAUSES[code].title for code in record.exact])}[/]", highlight=False)
    if record.unknown:
        unknown = listed([CAUSES[code].title for code in record.unknown])
        out.print(f"[dim]not known without a network: {unknown}[/]", highlight=False)
    for sentence in record.verdict:
        out.print(escape(sentence), highlight=False)
    for one in record.causes:
        if one.acts and one.kind == "rounding":
            out.print(f"[bold]{one.title}:[/] {escape(one.remedy)}", highlight=False)
    if record.layers is not None:
        _print_layers(record.layers)
    for note in record.notes:
        out.print(f"[yellow]note:[/] {escape(note)}", highlight=False)


def _print_layers(found: "Sensitivities") -> None:
    from rich.markup import escape

    from ..eval.report.words import points
    from .show import out, percent, table

    bits = sorted({one.bits for layer in found.layers for one in layer.tried})
    shown = table(
        f"each layer's weights alone quantized: points from the {found.base} {percent(found.accuracy.value)} %",
        ("layer",),
        (*(f"{number} bits" for number in bits), "needs"),
    )
    for layer in found.layers:
        cells = []
        for number in bits:
            one = layer.at(number)
            text = "" if one is None else points(found.accuracy, one.accuracy)
            cells.append(f"[bold]{text}[/]" if number == layer.own else text)
        shown.add_row(escape(layer.layer), *cells, "more" if layer.needs is None else str(layer.needs))
    out.print(shown)
    for sentence in found.verdict:
        out.print(escape(sentence), highlight=False)


def _changes(effect: Any) -> list[str]:
    paired = effect.paired
    return [
        f"{effect.different:,}\n[dim]of {effect.compared:,}[/]",
        f"{paired.classes_changed:,}",
        f"{paired.lost:,}, {paired.won:,}",
        f"{paired.p:.2g}",
    ]
