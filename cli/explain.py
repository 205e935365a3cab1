"""``explain``: why the deployed number differs."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ..eval.records.explanation import Explanation
    from ..toolkit.progress import Track

WIDTH = 16
"""Least width of a table's first column: names wrap between words, not letters."""


def explain(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder, made by 'train' or 'run'.")],
    samples: Annotated[
        int | None, typer.Option("--samples", "-n", min=1, help="The first so many test images; all by default.")
    ] = None,
    lava: Annotated[
        bool | None, typer.Option("--lava/--no-lava", help="Walk on to Lava; by default where it is installed.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as JSON on standard output, no progress bars.")
    ] = False,
) -> None:
    """Say where spikes differ from float to the Program, what causes it, and what to do."""
    from ..eval.run.folder import Run
    from ..toolkit.errors import DisagreementError
    from . import show

    with show.loading(as_json):
        from ..eval.run.steps import quiet_libraries

        quiet_libraries()
    with show.progress(as_json) as track:
        record = explain_run(Run.open(run).folder, samples, lava, track)
    files = {"record": str(run / "explain.json"), "report": str(run / "explain.html")}
    if as_json:
        show.show({"step": "explain", **record.model_dump(mode="json"), **files}, True)
    else:
        _print(record)
        show.out.print(f"record: {files['record']}\nreport: {files['report']}", soft_wrap=True, highlight=False)
    last = record.pairs[-1]
    if last.after == "Lava" and last.effect.different:
        raise DisagreementError(
            f"Lava fires {last.effect.different} of {last.effect.compared} spike values otherwise than the Program on "
            f"loihi; run 'spikeproof compare --bitwise {run}'"
        )


def explain_run(folder: Path, samples: int | None, lava: bool | None, track: "Track") -> "Explanation":
    """Explain a run and write explain.json and explain.html.

    Args:
        folder: the run.
        samples: the first so many test images; all if None.
        lava: whether Lava is run; None: where it is installed.
        track: progress.
    """
    from ..eval.explain.explainer import explain as find
    from ..eval.measure.forms import Forms
    from ..eval.records.evaluation import machine, now, packages
    from ..eval.records.explanation import Explanation, write
    from ..eval.report.explain import write_explanation
    from ..eval.run.folder import Run
    from ..export.program import read_program
    from ..hw_targets.target import get_target
    from ..toolkit.checkpoint import load_network
    from ..toolkit.data import load_data
    from ..toolkit.quantize import load_quantized

    begun = time.perf_counter()
    run = Run.open(folder)
    network, recipe = load_network(run.path("model.safetensors"))
    quantized, _ = load_quantized(run.path("quantized.safetensors"))
    program = read_program(run.path("program.safetensors"))
    for step in ("train", "quantize", "export"):
        run.require(step)
    data = load_data(recipe.data, recipe.coding.steps)
    images, labels = data.test_images[:samples], data.test_labels[:samples]
    target, notes, most = get_target("lava"), list[str](), 0
    if lava:
        target.compile(program)  # Unavailable or refused: said now.
    missing = target.unavailable()
    reasons = ["--no-lava"] if lava is False else [missing] if missing else target.unsupported(program)
    if reasons:
        notes.append(f"Lava was not run: {reasons[0]}.")
    else:
        most = min(recipe.evaluate.lava_samples, len(labels))
        if most < len(labels):
            notes.append(f"Lava was run on the first {most} samples only.")
    if len(labels) < 300:
        notes.append(f"Only {len(labels)} test samples: intervals are wide, do not quote.")
    forms = Forms(network, quantized, program)
    found, overlays = find(forms, images, labels, lava=most, batch=recipe.evaluate.batch, track=track)
    record = Explanation(
        **dict(found),
        name=recipe.name,
        created=now(),
        data={"name": data.name, "sha256": data.sha256, "test": len(data.test_labels)},
        program={"sha256": program.sha256(), "profile": program.profile},
        recipe=recipe.model_dump(mode="json"),
        machine=machine(),
        packages=packages(),
        notes=notes,
        seconds=time.perf_counter() - begun,
    )
    write(run.path("explain.json"), record)
    write_explanation(run.path("explain.html"), record, overlays)
    run.finished("explain")
    return record


def _print(record: "Explanation") -> None:
    from rich.markup import escape

    from ..eval.explain.causes import CAUSES
    from ..eval.report.explain import points
    from ..eval.report.words import listed
    from .show import _table as table
    from .show import out, percent

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
