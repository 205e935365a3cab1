"""Records of the methods: every cell, means, and what the acceptance figures say."""

import json
import statistics
from pathlib import Path
from typing import Any

from methods import METHODS, Found
from setups import Numbers

from spikeproof.eval.records.base import header, write_record
from spikeproof.eval.records.benchmark import Benchmark

COMMITTED = Path(__file__).resolve().parents[2] / "records" / "defences"
OUT = Path("runs/benchmarks/defences")


def path_of(method: str) -> Path:
    return OUT / f"{method}.json"


def cells_of(method: str) -> dict[str, dict[str, Any]]:
    path = path_of(method)
    return json.loads(path.read_text())["cells"] if path.exists() else {}


def summary(cells: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return mean and spread (smallest, largest) of every number, by setup and variant."""
    groups: dict[str, list[Numbers]] = {}
    for cell in cells.values():
        groups.setdefault(f"{cell['setup']} | {cell['variant']}", []).append(cell["numbers"])
    return {
        group: {"seeds": len(found)}
        | {
            number: {
                "mean": statistics.fmean(cell[number] for cell in found),
                "least": min(cell[number] for cell in found),
                "most": max(cell[number] for cell in found),
            }
            for number in found[0]
        }
        for group, found in groups.items()
    }


def verdict(method: str, cells: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what each acceptance figure says, from the seeds that were measured with and without the method."""
    plain = list(cells_of("plain").values())
    everything = [*plain, *(cell for cell in cells.values() if cell not in plain)]
    seeds = set.intersection(
        *(
            {cell["seed"] for cell in part if cell["setup"] == setup}
            for part in (plain, cells.values())
            for setup in METHODS[method].setups
        )
    )
    found = Found(everything, seeds)
    checks = METHODS[method].checks if seeds else ()
    return [{"must": words, "accepted": holds(found), "seeds": sorted(seeds)} for words, holds in checks]


def complete(method: str, cells: dict[str, dict[str, Any]]) -> bool:
    """Return whether every variant has the same seeds in every setup."""
    groups = [
        {cell["seed"] for cell in cells.values() if (cell["setup"], cell["variant"]) == (setup, variant)}
        for setup in METHODS[method].setups
        for variant in METHODS[method].variants
    ]
    return all(group == groups[0] for group in groups)


def write(method: str, cells: dict[str, dict[str, Any]], overhead: dict[str, Any] | None = None) -> None:
    path = path_of(method)
    before = json.loads(path.read_text()) if path.exists() else {}
    record = {
        "method": method,
        "paper": METHODS[method].paper,
        "ours": summary(cells),
        "acceptance": verdict(method, cells) if complete(method, cells) else [],
        "overhead": overhead or before.get("overhead"),
        "cells": cells,
    }
    write_record(path, Benchmark(**header(method, f"python benchmarks/defences --methods {method}"), **record))


def table() -> str:
    """Return Markdown of all records: what must hold, whether it does, on how many seeds; and the cost of training."""
    lines = ["| method | must show | met | seeds |", "| --- | --- | --- | --- |"]
    costs = ["| method | time | memory |", "| --- | ---: | ---: |"]
    for method in METHODS:
        path = path_of(method)
        if not path.exists():
            continue
        record = json.loads(path.read_text())
        for one in record["acceptance"]:
            seeds = ", ".join(map(str, one["seeds"]))
            lines.append(f"| `{method}` | {one['must']} | {'yes' if one['accepted'] else '**no**'} | {seeds} |")
        if record["overhead"]:
            cost = record["overhead"]
            costs.append(f"| `{method}` | {cost['seconds']:.2f} | {cost['bytes']:.2f} |")
    return "\n".join(lines) + "\n\n" + "\n".join(costs) + "\n"
