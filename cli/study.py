"""``spikeproof study``; of it ``seed``: what pooling, residual kind and coder do to gradients and robustness."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import Once, Ray, RecordJson, Records, Seeds, whole_numbers
from .stability import stability
from .study_graphs import graphs

if TYPE_CHECKING:
    from ..eval.records.study import Study

app = typer.Typer(help="Studies: many cells, one record, one page; interrupted, they go on.", no_args_is_help=True)


app.command("graphs", cls=Once)(graphs)
app.command("stability", cls=Once)(stability)


@app.command("seed", cls=Once)
def seed(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="What all cells share.")] = "digits",
    pools: Annotated[str, typer.Option(help="Comma-separated: max, avg.")] = "max,avg",
    networks: Annotated[
        str, typer.Option(help="Comma-separated: plain, sew-add, sew-and, sew-iand, spiking.")
    ] = "plain,sew-add",
    coders: Annotated[
        str, typer.Option(help="Comma-separated coders, with time steps that differ from the recipe's.")
    ] = "direct,phase:10",
    bits: Annotated[str, typer.Option(help="Comma-separated weight bits of the Program.")] = "8",
    seeds: Seeds = "3407,3408,3409",
    protocols: Annotated[str, typer.Option(help="Comma-separated protocols in pixel space; none if empty.")] = "strong",
    samples: Annotated[int, typer.Option("--samples", "-n", min=1, help="How many test images.")] = 500,
    epsilon: Annotated[float, typer.Option(help="L-infinity radius of the protocols.")] = 0.1,
    trail: Annotated[int, typer.Option(min=0, help="Epochs between points of the trail; 0: none.")] = 5,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of cells, record and page.")] = Path("runs/seed"),
    ray: Ray = None,
    records: Records = None,
    as_json: RecordJson = False,
) -> None:
    """Repeat the seed paper's claim, test it under a reliable attack, and again on the chip's integers."""
    from . import show

    with show.loading(as_json):
        from ..eval.records.study import read
        from ..eval.robustness.threat import levels
        from ..eval.study import page
        from ..eval.study.seed import ATTACKS, study
        from ..toolkit.attacks.protocol import check_name
        from ..toolkit.config import load_recipe

    if records is not None:
        found = read(records)
        page.write_page(out / "seed.html", found)
    else:
        numbers = whole_numbers("--seeds", seeds)
        widths = [f"{one} bit" for one in whole_numbers("--bits", bits)]
        for coder in coders.split(","):
            whole_numbers(f"--coders {coder}:", coder.partition(":")[2] or "1")
        names = [check_name(name) for name in protocols.split(",") if name]
        levels(epsilon)
        attacks = [
            {"name": name, "epsilon": radius} | ({"steps": count} if count else {}) for name, radius, count in ATTACKS
        ]
        plan = {"protocols": names, "samples": samples, "epsilon": epsilon, "attacks": attacks, "paper": True}
        axes = {"pool": pools.split(","), "network": networks.split(","), "coder": coders.split(","), "bits": widths}
        command = _command(recipe, locals())
        with show.progress(as_json) as track:
            found = study(load_recipe(recipe), axes, numbers, trail, plan, command, out, ray, track)
    if as_json:
        show.print_json(found.model_dump(mode="json"))
    else:
        _print(found)
        show.files(out / "seed.json" if records is None else records, out / "seed.html", "page")


def _command(recipe: str, given: dict[str, Any]) -> str:
    words = ["spikeproof", "study", "seed", Path(recipe).name]
    for name in ("pools", "networks", "coders", "bits", "seeds", "protocols", "samples", "epsilon", "trail"):
        words += [f"--{name}", str(given[name])]
    return shlex.join(words)


def _print(found: "Study") -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from ..eval.study import page
    from . import show

    head, body = page.table(found)
    for network in dict.fromkeys(row[0] for row in body):
        # A column a form: a row would not fit a terminal.
        forms = [row for row in body if row[0] == network]
        table = Table(box=SIMPLE_HEAD, pad_edge=False, title=network, title_justify="left")
        table.add_column("accuracy in %, then facts")
        for row in forms:
            table.add_column(row[1], justify="right")
        for place, name in enumerate(head[2:], 2):
            table.add_row(name, *(row[place] for row in forms))
        show.out.print(table)
    show.out.print("! marks a number with an alarm: it is not to be believed")
