"""``spikeproof study graphs``: what width does to accuracy, attacks and their transfer, on a graph or on images."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import Ray, RecordJson, Records, Seeds, whole_numbers

if TYPE_CHECKING:
    from ..eval.records.graphs import GraphStudy


def graphs(
    recipe: Annotated[
        str,
        typer.Argument(metavar="RECIPE", help="What all cells share; of images, or of a graph (cora, digits-graph)."),
    ] = "cora",
    widths: Annotated[str, typer.Option(help="Comma-separated widths of the first layer.")] = "4,16,64",
    seeds: Seeds = "3407,3408,3409",
    edges: Annotated[float, typer.Option(min=0.0, max=1.0, help="Flipped edges, as a share of the edges.")] = 0.05,
    features: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Flipped features, as a share of those above 0.")
    ] = 0.01,
    rounds: Annotated[int, typer.Option(min=1, help="Gradients over which flips are spread.")] = 10,
    epsilon: Annotated[float, typer.Option(help="L-infinity radius of PGD, and of decision surfaces.")] = 0.1,
    samples: Annotated[int, typer.Option("--samples", "-n", min=1, help="How many test images are attacked.")] = 500,
    cap: Annotated[bool, typer.Option(help="On a graph: also train GCNs by CAP, and by its halves.")] = True,
    cap_width: Annotated[int, typer.Option(min=1, help="Width of those GCNs.")] = 16,
    rho: Annotated[float, typer.Option(min=0.0, help="CAP: length of the weights' perturbation.")] = 0.1,
    shift: Annotated[
        float, typer.Option(min=0.0, help="CAP: length of the features' perturbation, in mean lengths of a node's.")
    ] = 0.125,
    warmup: Annotated[int, typer.Option(min=0, help="CAP: epochs of plain training before.")] = 50,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of cells, record and page.")] = Path("runs/graphs"),
    ray: Ray = None,
    records: Records = None,
    as_json: RecordJson = False,
) -> None:
    """Attack networks of several widths by themselves and by each other, in float and on the chip's integers.

    On a graph edges and features are flipped, and a GCN stands beside each spiking network; on images it is PGD.
    """
    from . import show

    with show.loading(as_json):
        from ..eval.records.base import command_line
        from ..eval.records.graphs import read
        from ..eval.study import graphs_page
        from ..eval.study.capacity import source_of
        from ..eval.study.graphs import study
        from ..toolkit.config import load_recipe

    if records is not None:
        found = read(records)
        graphs_page.write_page(out / "graphs.html", found)
    else:
        sizes, numbers = whole_numbers("--widths", widths), whole_numbers("--seeds", seeds)
        base = load_recipe(recipe)
        plan: dict[str, Any] = {"edges": edges, "features": features, "rounds": rounds, "epsilon": epsilon}
        ways: dict[str, Any] = {"width": cap_width, "rho": rho, "epsilon": shift, "warmup": warmup}
        on_graph = source_of(base) is not None
        typed: dict[str, Any] = {"widths": sizes, "seeds": numbers, "epsilon": epsilon}
        if on_graph:
            typed |= {"edges": edges, "features": features, "rounds": rounds}
            typed |= {"cap_width": cap_width, "rho": rho, "shift": shift, "warmup": warmup} if cap else {"no_cap": True}
        else:
            typed["samples"] = samples
        command = command_line("study", "graphs", Path(recipe).name, **typed)
        with show.progress(as_json) as track:
            found = study(
                base,
                sizes,
                numbers,
                plan | {"samples": samples},
                ways if cap and on_graph else {},
                command,
                out,
                ray,
                track,
            )
    if as_json:
        show.print_json(found.model_dump(mode="json"))
    else:
        _print(found)
        show.files(out / "graphs.json" if records is None else records, out / "graphs.html", "page")


def _print(found: "GraphStudy") -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from ..eval.study import graphs_page
    from . import show

    parts = [("accuracy, %", graphs_page.accuracies(found)), ("sensitive neurons, %", graphs_page.sensitive(found))]
    parts += [(f"transfer: {name}", table) for name, table in graphs_page.transfers(found)]
    if found.trained:
        parts.append(("a GCN trained in four ways", graphs_page.trained(found)))
    for title, (head, body) in parts:
        table = Table(box=SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
        for place, name in enumerate(head):
            table.add_column(name, justify="right" if place else "left")
        for row in body:
            table.add_row(*row)
        show.out.print(table)
