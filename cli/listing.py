"""``list``: what a recipe or a command may name, and which package brings it."""

from typing import Annotated

import typer

from .options import Json

Kind = Annotated[str | None, typer.Argument(metavar="[KIND]", help="One kind; without it the kinds are listed.")]


def listed(kind: Kind = None, as_json: Json = False) -> None:
    """List everything that has a name: targets, attacks, defences, coders, data sets, neurons, metrics, chips."""
    from ..toolkit.errors import SpikeproofError
    from ..toolkit.registry import KINDS, registry
    from . import show

    rows: list[dict[str, str]] = []
    if kind is None:
        kinds = [registry(each) for each in KINDS]
        rows = [{"kind": each.kind, "names": ", ".join(each.names()), "group": each.group} for each in kinds]
    else:
        found = registry(kind)
        with show.loading(as_json):
            for entry in found.entries():
                try:
                    summary = found.summary(entry.name)
                except SpikeproofError as error:  # another package's fault must not hide the others
                    summary = f"error: {error}"
                rows.append({"name": entry.name, "origin": entry.origin, "summary": summary})
    if as_json:
        show.print_json({"kinds": rows} if kind is None else {"kind": kind, "entries": rows})
        return
    table = show.table("kinds" if kind is None else f"{kind}s", tuple(rows[0]), ())
    for row in rows:
        table.add_row(*row.values())
    show.out.print(table)
