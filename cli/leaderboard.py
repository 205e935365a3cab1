"""``spikeproof leaderboard``: methods, measured alike, from training to the chip."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..eval.leaderboard import METHODS
from .options import Ray

if TYPE_CHECKING:
    from ..eval.records.leaderboard import Entry

Methods = Annotated[
    str,
    typer.Option(help="Comma-separated: 'plain', a defence, or several as 'at+sr'; '-avg' at the end: average pools."),
]
Seeds = Annotated[str, typer.Option(help="Comma-separated seeds of training.")]
Protocols = Annotated[str, typer.Option(help="Comma-separated protocols; none if empty.")]
Prove = Annotated[
    str,
    typer.Option(help="Comma-separated radii in levels of the chip's input, as 1,2,4, at which Programs are proved."),
]
Limit = Annotated[float, typer.Option(help="Solver steps a sample, with --prove; 1 is a second or two of a core.")]
Markdown = Annotated[bool, typer.Option("--markdown", help="Print the table as Markdown.")]
Records = Annotated[Path | None, typer.Option(help="Measure nothing: make table and page from these records.")]


def show_board(entries: "list[Entry]", as_json: bool, markdown: bool) -> None:
    """Print the leaderboard."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from ..eval.leaderboard import page
    from ..eval.records.base import FORMS
    from . import show

    if as_json:
        show.print_json({"methods": [entry.model_dump(mode="json") for entry in entries]})
    elif markdown:
        typer.echo(page.markdown(entries), nl=False)
    else:
        names = [*page.conditions(entries), *page.proofs(entries)]
        table = Table(box=SIMPLE_HEAD, pad_edge=False, caption=page.MARKS.replace("`", ""))
        for name in ("method", "form"):
            table.add_column(name)
        for name in names:
            table.add_column(f"{name}, %", justify="right", no_wrap=True)
        for entry in entries:
            for form in FORMS:
                columns = [column for column in page.accuracies([entry]) if column.form == form]
                ((_, cells),) = page.rows([entry], columns)
                shown = [f"{one.text}{' !' if one.doubt else ''}" for one in cells]
                table.add_row(entry.method if form == "float" else "", page.NAMES[form], *shown)
        show.out.print(table)


def command(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="What all methods share; its name ends in the page.")
    ] = "digits",
    methods: Methods = METHODS,
    seeds: Seeds = "3407,3408,3409",
    protocols: Protocols = "standard,strong",
    prove: Prove = "",
    limit: Limit = 10.0,
    samples: Annotated[int, typer.Option("--samples", "-n", min=1, help="How many test images.")] = 200,
    epsilon: Annotated[float, typer.Option(help="L-infinity radius in pixels of [0, 1].")] = 0.1,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of cells, records and the page.")] = Path(
        "runs/leaderboard"
    ),
    ray: Ray = None,
    records: Records = None,
    markdown: Markdown = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the records as JSON, no progress bars.")] = False,
) -> None:
    """Train, deploy and attack every method alike; one record a method, a table, and a page that sorts."""
    from ..toolkit.errors import InputError
    from . import show

    with show.loading(as_json or markdown):
        from ..eval.leaderboard import page
        from ..eval.leaderboard.measure import leaderboard
        from ..eval.records.leaderboard import read_all
        from ..eval.robustness.threat import levels
        from ..toolkit.attacks.protocol import check_name

    if records is not None:
        entries = read_all(records)
        page.write_page(out / "leaderboard.html", entries)
    else:
        try:
            numbers = [int(seed) for seed in seeds.split(",")]
            radii = [int(radius) for radius in prove.split(",") if radius]
        except ValueError as error:
            given = f"--seeds {seeds!r}, --prove {prove!r}"
            raise InputError(f"{given}: expected whole numbers with commas between") from error
        names = [check_name(name) for name in protocols.split(",") if name]
        levels(epsilon)
        plan: dict[str, Any] = {"protocols": names, "samples": samples, "epsilon": epsilon}
        if radii:
            plan |= {"prove": radii, "limit": limit}
        with show.progress(as_json or markdown) as track:
            entries = leaderboard(recipe, out, methods.split(","), numbers, plan, ray, track)
    show_board(entries, as_json, markdown)
    if not as_json and not markdown:
        show.out.print(f"page: {out / 'leaderboard.html'}", soft_wrap=True, highlight=False)
