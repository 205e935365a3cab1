"""``spikeproof leaderboard``: methods, measured alike, from training to the chip."""

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ..eval.records.leaderboard import Entry
    from ..toolkit.config import Recipe
    from ..toolkit.progress import Track

METHODS = "plain,plain-avg,at,trades,rat,sr,tgo,slif,trr,lfm,sca,self_connection,cap"
Methods = Annotated[
    str,
    typer.Option(help="Comma-separated: 'plain', a defence, or several as 'at+sr'; '-avg' at the end: average pools."),
]
Seeds = Annotated[str, typer.Option(help="Comma-separated seeds of training.")]
Protocols = Annotated[str, typer.Option(help="Comma-separated protocols; none if empty.")]
Ray = Annotated[
    str | None, typer.Option(metavar="local|ADDRESS", help="Run cells on Ray: here, or on a cluster that sees --out.")
]
Markdown = Annotated[bool, typer.Option("--markdown", help="Print the table as Markdown.")]
Records = Annotated[Path | None, typer.Option(help="Measure nothing: make table and page from these records.")]


def recipe_of(method: str, base: "Recipe", seed: int) -> "Recipe":
    """Return the recipe of a method: ``base`` with its defences, pools and seed.

    Args:
        method: "plain", or names of defences joined by "+"; "-avg" at the end asks for average pools.
        base: what all methods share.
        seed: of training.

    Raises:
        RecipeError: there is no such defence.
    """
    from ..toolkit.config import parse_recipe

    names, _, pool = method.partition("-")
    values: dict[str, Any] = base.model_dump(mode="json")
    values["name"] = f"{base.name}-{method}"
    values["train"]["seed"] = seed
    if pool:
        values["model"]["pool"] = pool
    defences = [] if names == "plain" else names.split("+")
    if defences:
        values["defences"] = defences
    return parse_recipe(values, f"method {method!r}")


def leaderboard(
    recipe: str,
    out: Path,
    methods: list[str],
    seeds: list[int],
    plan: dict[str, Any],
    ray: str | None,
    track: "Track",
) -> "list[Entry]":
    """Measure all methods and write one record a method, the table and the page into ``out``.

    Raises:
        InputError: a method or an option is refused.
    """
    from ..eval.leaderboard import page
    from ..eval.records.evaluation import machine, now, packages
    from ..eval.records.leaderboard import Entry, measured_claims, reported_claims, write
    from ..eval.study.cells import Cell, code_version, run_cells
    from ..eval.study.measure import measure
    from ..toolkit.config import load_recipe
    from ..toolkit.data import load_data

    base = load_recipe(recipe)
    data = load_data(base.data, base.coding.steps)
    cells = {
        method: {seed: Cell(f"{method} {seed}", recipe_of(method, base, seed), plan, data.sha256) for seed in seeds}
        for method in methods
    }
    flat = [cell for row in cells.values() for cell in row.values()]
    results = run_cells(flat, measure, out / "cells", ray=ray, track=track)
    options = ["--methods", ",".join(methods), "--seeds", ",".join(map(str, seeds))]
    options += ["--protocols", ",".join(plan["protocols"]), "--samples", str(plan["samples"])]
    command = shlex.join(["spikeproof", "leaderboard", Path(recipe).name, *options, "--epsilon", str(plan["epsilon"])])
    entries = []
    for method, row in cells.items():
        found = {seed: results[cell.name] for seed, cell in row.items()}
        first = next(iter(row.values())).recipe
        entry = Entry(
            method=method,
            created=now(),
            data={"name": data.name, "provenance": data.provenance, "sha256": data.sha256},
            deploys=_deploys(found.values()),
            seeds=tuple(seeds),
            recipe=first.model_dump(mode="json"),
            plan=plan,
            keys={str(seed): cell.key for seed, cell in row.items()},
            code=code_version(),
            command=command,
            machine=machine(),
            packages=packages(),
            claims=(*measured_claims(method, found, command), *reported_claims(method)),
        )
        write(out / f"{method}.json", entry)
        entries.append(entry)
    page.write_page(out / "leaderboard.html", entries)
    return entries


def _deploys(results: Iterable[dict[str, Any]]) -> str:
    reasons = {result["refused"] for result in results}
    return "as a Program, bit for bit on loihi" if reasons == {None} else str(next(r for r in reasons if r))


def show_board(entries: "list[Entry]", as_json: bool, markdown: bool) -> None:
    """Print the leaderboard."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from ..eval.leaderboard import page
    from ..eval.records.leaderboard import FORMS
    from . import show

    if as_json:
        show.show({"methods": [entry.model_dump(mode="json") for entry in entries]}, True)
    elif markdown:
        typer.echo(page.markdown(entries), nl=False)
    else:
        names = page.conditions(entries)
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
        from ..eval.records.leaderboard import read_all
        from ..eval.robustness.plan import check, levels

    if records is not None:
        entries = read_all(records)
        page.write_page(out / "leaderboard.html", entries)
    else:
        try:
            numbers = [int(seed) for seed in seeds.split(",")]
        except ValueError as error:
            raise InputError(f"--seeds {seeds!r}: expected whole numbers with commas between") from error
        names = [check(name) for name in protocols.split(",") if name]
        levels(epsilon)
        plan = {"protocols": names, "samples": samples, "epsilon": epsilon}
        with show.progress(as_json or markdown) as track:
            entries = leaderboard(recipe, out, methods.split(","), numbers, plan, ray, track)
    show_board(entries, as_json, markdown)
    if not as_json and not markdown:
        show.out.print(f"page: {out / 'leaderboard.html'}", soft_wrap=True, highlight=False)
