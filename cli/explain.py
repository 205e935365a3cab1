"""``explain``: why the deployed number differs."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import Json, RunFolder, Samples

if TYPE_CHECKING:
    from ..eval.records.explanation import Explanation

WIDTH = 16
"""Least width of a table's first column: names wrap between words, not letters."""


def explain(
    run: RunFolder,
    samples: Samples = None,
    lava: Annotated[
        bool | None, typer.Option("--lava/--no-lava", help="Walk on to Lava; by default where it is installed.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say where spikes differ from float to the Program, what causes it, and what to do."""
    from ..eval.run.folder import Run
    from ..toolkit.errors import DisagreementError
    from . import show

    found = Run.open(run)
    with show.loading(as_json):
        from ..eval.run.explain import explain as find_causes
    with show.progress(as_json) as track:
        record = find_causes(found, samples=samples, lava=lava, track=track)
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
    from ..eval.report.explain import points
    from ..eval.report.words import listed
    from .show import out, percent, table

    columns = ("accuracy, %", "spikes differ", "classes\nchanged", "lost, won", "p")
    walk = table(f"{record.name}: from float to the Program, {record.samples} samples", ("stage",), columns)
    walk.columns[0].min_width = WIDTH
    for stage, pair in zip(record.stages, [None, *record.pairs], strict=True):
        share = stage.accuracy
        name = stage.name if stage.samples == record.samples else f"{stage.name}\n[dim]{stage.samples} samples[/]"
        between = f"{percent(share.low)}\u2013{percent(share.high)}"
        cells = [] if pair is None else _changes(pair.effect)
        walk.add_row(name, f"[bold]{percent(share.value)}[/]\n[dim]{between}[/]", *cells)
    out.print(walk)
    causes = table(
        f"each cause, switched on alone in the {record.base} network and repaired alone in the Program",
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
    for sentence in record.verdict:
        out.print(escape(sentence), highlight=False)
    for one in record.causes:
        if one.acts and one.kind == "rounding":
            out.print(f"[bold]{one.title}:[/] {escape(one.remedy)}", highlight=False)
    for note in record.notes:
        out.print(f"[yellow]note:[/] {escape(note)}", highlight=False)


def _changes(effect: Any) -> list[str]:
    paired = effect.paired
    return [
        f"{effect.different:,}\n[dim]of {effect.compared:,}[/]",
        f"{paired.classes_changed:,}",
        f"{paired.lost:,}, {paired.won:,}",
        f"{paired.p:.2g}",
    ]
