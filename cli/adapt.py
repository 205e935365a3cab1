"""``adapt``: a run of a network made fit for the chip."""

from typing import TYPE_CHECKING, Annotated

import typer

from .options import Json, Out, RunFolder, Samples

if TYPE_CHECKING:
    from ..eval.records.adaptation import Adaptation

Pools = Annotated[str, typer.Option(help="What becomes of max pools of currents: 'after' the neurons, or 'average'.")]
Populations = Annotated[
    int, typer.Option(min=1, help="Into how many populations of equal constants a layer may be split.")
]


def adapt(
    run: RunFolder,
    out: Out,
    samples: Samples = None,
    pools: Pools = "after",
    populations: Populations = 64,
    as_json: Json = False,
) -> None:
    """Change what a run's network has and the chip has not into a new run, and say what each change costs."""
    from . import show

    with show.loading(as_json):
        from ..eval.run.adapt import adapt as do
        from ..eval.run.folder import Run
        from ..toolkit.errors import InputError
    if pools not in ("after", "average"):
        raise InputError(f"--pools {pools}: expected after or average")
    with show.progress(as_json) as track:
        record = do(
            Run.open(run),
            out,
            samples=samples,
            pools=pools,  # type: ignore[arg-type]
            populations=populations,
            track=track,
        )
    show.record("adapt", record, out / "adaptation", as_json, _print)


def _print(record: "Adaptation") -> None:
    from rich.markup import escape

    from .show import out, percent, table

    rows = table(f"{record.name}, adapted", ("layer", "what", "was", "is", "exact"), ("alone, %", "same class, %"))
    for one in record.changes:
        cost = () if one.accuracy is None or one.same is None else (percent(one.accuracy.value), percent(one.same))
        rows.add_row(one.layer, one.kind, one.was, one.becomes, "yes" if one.exact else "no", *cost)
    if record.changes:
        out.print(rows)
    for sentence in (*record.sentences, *(f"Left: {one}." for one in record.left)):
        out.print(escape(sentence), soft_wrap=True, highlight=False)
