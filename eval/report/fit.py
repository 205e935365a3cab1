"""The page of ``spikeproof fit``: a picture of the chip, what every core holds, and where each limit comes from."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...export.chip.limits import Limit, Mesh
from ...export.chip.mapper import NAMES
from ...toolkit.files import write_text
from ..records.fit import CoreFit, Fit
from . import environment, words

CELL, GAP, MARGIN = 44, 10, 1
"""Pixels: a core's side, the room between tiles, the room around them."""
COLOURS = 8
"""Colours that the page's style has; populations beyond take the first ones again."""


def render_fit(name: str, records: Sequence[Fit]) -> str:
    """Return the page of a run's records, one section a chip, as HTML."""
    page = environment().get_template("fit.html.j2").render(name=name, chips=[_chip(record) for record in records])
    return page.strip() + "\n"


def write_fit(path: Path, name: str, records: Sequence[Fit]) -> None:
    """Write the page of a run's records.

    Args:
        path: replaced atomically.
        name: of the recipe.
        records: of one Program, one a chip.

    Raises:
        FileError: ``path`` cannot be written.
    """
    write_text(path, render_fit(name, records))


def _ends(limit: Limit) -> str:
    if limit.high is None:
        return "not public"
    return f"{limit.high:,}" if limit.low == limit.high else f"{limit.low:,} to {limit.high:,}"


def _share(use: tuple[float, float]) -> str:
    low, high = (words.percent(share) for share in use)
    return f"{low} %" if low == high else f"{low} to {high} %"


def _chip(record: Fit) -> dict[str, Any]:
    mesh = record.limits.mesh
    colours = {layer.population: index % COLOURS for index, layer in enumerate(record.layers)}
    main = record.limits.main
    cores = [_core(core, mesh, colours, main) for core in record.cores]
    used = {core.number for core in record.cores}
    rows = 1 + max([mesh.rows - 1, *(core.tile[1] for core in record.cores)])
    side = 2 * CELL + GAP
    return {
        "record": record,
        "main": [(key, NAMES[key]) for key in main],
        "verdict": {
            "fits": "fits every known limit",
            "unsure": "may not fit",
            "refused": "does not fit",
        }[record.verdict],
        "unknown": words.listed([NAMES[key] for key in record.unknown]),
        "cores": cores,
        "empty": [_place(core, mesh) for core in range(rows * mesh.columns * mesh.cores_a_tile) if core not in used],
        "width": mesh.columns * side - GAP + 2 * MARGIN,
        "height": rows * side - GAP + 2 * MARGIN,
        "colours": colours,
        "limits": [(NAMES[key], _ends(limit), limit) for key, limit in record.limits.limits.items()],
        "fields": [
            (key.replace("_", " "), f"{one.low:,} to {one.high:,}", one) for key, one in record.limits.fields.items()
        ],
        "mesh": f"{mesh.columns} by {mesh.rows} tiles of {mesh.cores_a_tile} cores",
    }


def _place(core: int, mesh: Mesh) -> tuple[int, int]:
    """Return the left upper corner of a core in the picture: two cores a row in each tile."""
    column, row = mesh.tile(core)
    inner = core % mesh.cores_a_tile
    side = 2 * CELL + GAP
    return MARGIN + column * side + inner % 2 * CELL, MARGIN + row * side + inner // 2 * CELL


def _core(core: CoreFit, mesh: Mesh, colours: dict[str, int], main: Sequence[str]) -> dict[str, Any]:
    left, top = _place(core.number, mesh)
    fullest, use = max(core.use.items(), key=lambda item: item[1][1])
    height = min(use[1], 1) * (CELL - 4)
    neurons = sum(stop - first for _, first, stop in core.slices)
    bars, start = [], left + 2.0
    for name, first, stop in core.slices:
        width = (stop - first) / neurons * (CELL - 4)
        bars.append((start, top + CELL - 2 - height, width, height, colours[name]))
        start += width
    held = words.listed([f"{name} {first:,} to {stop - 1:,}" for name, first, stop in core.slices])
    shares = {key: _share(core.use[key]) if key in core.use else "" for key in main}
    needs = ", ".join(
        f"{core.demand[key]:,} {NAMES[key]}" + (f" ({share})" if share else "") for key, share in shares.items()
    )
    return {
        "number": core.number,
        "left": left,
        "top": top,
        "bars": bars,
        "percent": f"{100 * use[1]:.0f} %",
        "over": use[1] > 1,
        "fullest": f"{NAMES[fullest]} {_share(use)}",
        "held": held,
        "tile": f"{core.tile[0]}, {core.tile[1]}",
        "label": f"Core {core.number}, tile {core.tile[0]}, {core.tile[1]}: neurons {held}; {needs}",
        "cells": [(f"{core.demand[key]:,}", share) for key, share in shares.items()],
    }
