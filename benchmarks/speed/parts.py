"""Everything that can be measured, part by part."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from measures import MEASURES
from plan import COMPARISONS
from sides import Failed, compare

from spikeproof.eval.records.base import now
from spikeproof.toolkit.code import code_hash

Part = Callable[[int, bool], dict[str, Any]]


def parts(peers: Path | None, lava: bool) -> dict[str, Part]:
    """Return everything that can be measured, by name."""
    found: dict[str, Part] = {
        what.name: partial(compare, what, peers) for what in COMPARISONS if lava or "lava" not in what.sides
    }
    return found | MEASURES


def measured(part: Part, threads: int, quick: bool) -> dict[str, Any]:
    """Return what a part found, or why it failed, with when, by which code, and how busy the machine was."""
    about = {"created": now(), "code": code_hash(), "load": os.getloadavg()[0]}
    try:
        return about | part(threads, quick)
    except Failed as error:
        return about | {"error": str(error)}


def complete(found: dict[str, Any] | None) -> bool:
    """Return whether this code has measured a part, and nothing of it failed."""
    return found is not None and found.get("code") == code_hash() and "error" not in found and not found.get("errors")
