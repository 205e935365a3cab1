"""``prove``: which samples no input of a ball can change, proved on the Program's integers."""

from fractions import Fraction
from typing import TYPE_CHECKING, Annotated

import typer

from .options import Json, Ray, RunFolder, Samples

if TYPE_CHECKING:
    from ..eval.records.proof import Proof

Epsilon = Annotated[
    str | None, typer.Option(metavar="NUMBER", help="L-infinity radius in pixels of [0, 1]; fractions as 2/255, too.")
]
Limit = Annotated[float, typer.Option(help="Solver steps a sample; 1 is a second or two of a core.")]
ThreatModel = Annotated[
    str | None, typer.Option(metavar="pixel|encoded-binary", help="By default what the Program's input allows.")
]
Budget = Annotated[int | None, typer.Option(help="Edits of spikes a sample, for binary input.")]
Edit = Annotated[str | None, typer.Option(metavar="flip|shift", help="Which edits; flip by default.")]
Jobs = Annotated[int | None, typer.Option(help="Processes beside each other; one a core by default.")]
Check = Annotated[
    bool, typer.Option("--check", help="Find some certificates again, and run random inputs of proved balls.")
]


def prove(
    run: RunFolder,
    epsilon: Epsilon = None,
    samples: Samples = None,
    limit: Limit = 30.0,
    threat: ThreatModel = None,
    budget: Budget = None,
    edit: Edit = None,
    jobs: Jobs = None,
    ray: Ray = None,
    check: Check = False,
    as_json: Json = False,
) -> None:
    """Prove or break each sample on the Program's integers: robust accuracy with both ends.

    Writes prove.json and .html, and the examples that break; what is decided is kept and not decided again.
    """
    from ..eval.run.folder import Run
    from . import show

    found, radius = Run.open(run), _number(epsilon)
    with show.loading(as_json):
        from ..eval.run.prove import prove as decide
    with show.progress(as_json) as track:
        record = decide(
            found,
            epsilon=radius,
            samples=samples,
            limit=limit,
            threat=threat,
            budget=budget,
            edit=edit,
            jobs=jobs,
            ray=ray,
            check=check,
            track=track,
        )
    show.record("prove", record, found.path("prove"), as_json, _print)


def _number(text: str | None) -> float | None:
    """Return a number or a fraction as 2/255."""
    from ..toolkit.errors import InputError

    try:
        return None if text is None else float(Fraction(text))
    except (ValueError, ZeroDivisionError) as error:
        raise InputError(f"--epsilon: {text!r}, expected a number, or a fraction as 2/255") from error


def _print(record: "Proof") -> None:
    from rich.markup import escape

    from ..eval.records.proof import decided_by
    from .show import out, table

    rows = table(f"{record.name}: {record.threat_model}", ("status", "by"), ("samples", "seconds", "longest"))
    for key, seconds in decided_by(record.samples).items():
        rows.add_row(*key, str(len(seconds)), f"{sum(seconds):.1f}", f"{max(seconds):.2f}")
    out.print(rows)
    for index, sample in enumerate(record.samples):
        if sample.status == "open":
            out.print(f"[yellow]open:[/] sample {index}: {escape(sample.reason)}", highlight=False)
    if record.checked is not None:
        out.print(
            f"second look: {record.checked.trains:,} excluded spike trains of {record.checked.certificates} "
            f"certificates refuted again; {record.checked.points:,} random inputs of proved balls changed no class",
            highlight=False,
        )
    out.print(escape(record.summary), soft_wrap=True, highlight=False)
