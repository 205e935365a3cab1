"""``spikeproof study stability``: how far trainings part whose samples differ in one example."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import Ray, RecordJson, Records, whole_numbers

if TYPE_CHECKING:
    from ..eval.records.stability import Stability


def stability(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="Data, and the network and training that 'recipe' means.")
    ] = "digits",
    networks: Annotated[
        str, typer.Option(help="Comma-separated: tanh:WIDTH, lif:WIDTH (shallow), recipe.")
    ] = "tanh:16,tanh:64,tanh:256,lif:64",
    samples: Annotated[
        str, typer.Option("--samples", "-n", help="Comma-separated sizes of the training sample.")
    ] = "50,100,200,400",
    twins: Annotated[int, typer.Option(min=1, help="Trainings with one sample replaced.")] = 10,
    steps: Annotated[
        str, typer.Option(help="Of shallow networks: after how many steps they are looked at.")
    ] = "25,50,100,200,400",
    epochs: Annotated[str, typer.Option(help="Of the recipe's network: the same, in epochs.")] = "1,2,5,10,20",
    rate: Annotated[float, typer.Option(help="Of shallow networks: the step of gradient descent.")] = 0.1,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Of shallow networks: samples a step; all if left out.")
    ] = None,
    scale: Annotated[
        str, typer.Option(help="Of shallow networks: pixels, or unit (each image divided by its length).")
    ] = "pixels",
    targets: Annotated[
        str, typer.Option(help="Of shallow networks: +1 for the upper half of the classes, or for odd ones (parity).")
    ] = "half",
    seeds: Annotated[str, typer.Option(help="Comma-separated seeds of sample, weights and order.")] = "3407,3408,3409",
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of cells, record and page.")] = Path(
        "runs/stability"
    ),
    ray: Ray = None,
    records: Records = None,
    as_json: RecordJson = False,
) -> None:
    """Train again with one example replaced: how far the weights part, and how large the gap becomes."""
    from ..toolkit.errors import InputError
    from . import show

    with show.loading(as_json):
        from ..eval.records.base import command_line
        from ..eval.records.stability import read
        from ..eval.study import stability_page as page
        from ..eval.study.stability import study
        from ..toolkit.config import load_recipe

    if records is not None:
        found = read(records)
        page.write_page(out / "stability.html", found)
    else:
        options = {"samples": samples, "steps": steps, "epochs": epochs, "seeds": seeds}
        numbers = {name: whole_numbers(f"--{name}", text) for name, text in options.items()}
        if not rate > 0:
            raise InputError(f"--rate {rate}: must be positive")
        shared = {"twins": twins, "rate": rate, "batch": batch, "scale": scale, "targets": targets}
        plan = shared | {"steps": numbers["steps"], "epochs": numbers["epochs"]}
        named = networks.split(",")
        command = command_line("study", "stability", Path(recipe).name, networks=named, **options, **shared)
        with show.progress(as_json) as track:
            found = study(
                load_recipe(recipe), named, numbers["samples"], numbers["seeds"], plan, command, out, ray, track
            )
    if as_json:
        show.print_json(found.model_dump(mode="json"))
    else:
        _print(found)
        show.files(out / "stability.json" if records is None else records, out / "stability.html", "page")


def _print(found: "Stability") -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from ..eval.study import stability_page as page
    from . import show

    for title, (head, body) in (
        ("distance of twins", page.distances(found)),
        ("what the curves do", page.behaviour(found)),
    ):
        table = Table(box=SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
        for place, name in enumerate(head):
            table.add_column(name, justify="right" if place else "left", overflow="fold")
        for row in body:
            table.add_row(*row)
        show.out.print(table)
