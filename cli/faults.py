"""``faults``: what flipped bits of the Program's memory cost, by chance and by search, and what is proved."""

from typing import TYPE_CHECKING, Annotated

import typer

from .options import Json, RunFolder, Samples

if TYPE_CHECKING:
    from ..eval.records.faults import Faults

Layer = Annotated[str | None, typer.Option(help="Flip bits of this population only.")]
FieldName = Annotated[
    str | None, typer.Option("--field", metavar="weight|bias|vth|du|dv", help="Flip bits of this kind only.")
]
Bit = Annotated[
    int | None, typer.Option(min=0, help="Flip bits at this position of the word only; 0 is the least significant.")
]
Seeds = Annotated[int, typer.Option(min=1, help="Seeds of random flips.")]
Most = Annotated[int, typer.Option(min=1, help="Random flips, at most: 1, 2, 4, ... up to here.")]
Worst = Annotated[int, typer.Option(min=0, help="Searched flips, at most; 0: no search.")]
Level = Annotated[
    float | None,
    typer.Option(min=0, max=1, help="Accuracy at which a search stops; by default that of guessing and a tenth."),
]


def faults(
    run: RunFolder,
    samples: Samples = None,
    layer: Layer = None,
    field: FieldName = None,
    bit: Bit = None,
    seeds: Seeds = 20,
    most: Most = 1024,
    worst: Worst = 20,
    level: Level = None,
    as_json: Json = False,
) -> None:
    """Flip bits of the Program's stored weights, biases, thresholds and decays: faults.json and faults.html."""
    from ..eval.run.folder import Run
    from . import show

    found = Run.open(run)
    with show.loading(as_json):
        from ..eval.run.faults import faults as measure
        from ..toolkit.progress import bars
    with bars(as_json, show.err, keep=False) as track:
        record = measure(
            found,
            samples=samples,
            layer=layer,
            field=field,
            bit=bit,
            seeds=seeds,
            most=most,
            worst=worst,
            level=level,
            track=track,
        )
    show.record("faults", record, found.path("faults"), as_json, _print)


def _print(record: "Faults") -> None:
    from rich.markup import escape

    from .show import out, percent, table

    def points(share: float) -> str:
        return f"{round(100 * share, 1) + 0.0:.1f}"  # no minus before 0

    chosen = record.selection
    of = ", ".join(
        f"{name} {value}"
        for name, value in (("layer", chosen.layer), ("field", chosen.field), ("bit", chosen.bit))
        if value is not None
    )
    out.print(f"{record.name}: {record.bits:,} stored bits{of and ', flips of ' + escape(of)}", highlight=False)
    for chance in record.chances:
        title = f"accuracy in % with random flips, {chance.field or 'any field'} ({chance.bits:,} bits)"
        rows = table(title, ("flips",), ("mean", "least", "most", "points lost"))
        rows.add_row("0", percent(record.clean.value), "", "", "")
        for one in chance.random:
            rows.add_row(str(one.flips), percent(one.mean), percent(one.least), percent(one.most), points(one.lost))
        out.print(rows)
    for sentence in record.sentences:
        out.print(escape(sentence), soft_wrap=True, highlight=False)
    worst = table("costliest groups", ("layer, field",), ("bit", "flips", "points lost"))
    for group in sorted(record.groups, key=lambda group: -group.lost)[:10]:
        place = "any" if group.bit is None else str(group.bit)
        worst.add_row(f"{group.layer}, {group.field}", place, f"{group.flips} of {group.bits:,}", points(group.lost))
    out.print(worst)
    for search in record.searches:
        what = search.field or "any field"
        steps = table(f"worst flips, {what}", ("flip", "before", "after"), ("accuracy",))
        for flip in search.flips:
            place = f"{flip.layer}, {flip.field} {flip.word}, bit {flip.bit}"
            steps.add_row(place, str(flip.before), str(flip.after), percent(flip.accuracy))
        out.print(steps)
    for reason in record.left_out:
        out.print(f"[yellow]left out:[/] {escape(reason)}", soft_wrap=True, highlight=False)
