"""The linter for NIR files: what cannot be deployed, and what would silently mean something else elsewhere."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import nir
import numpy as np
from pydantic import ValidationError

from ..toolkit.errors import FileError, SpikeproofError, UnsupportedError
from .lowering.lower import Deployment, lower_graph
from .nir.dynamics import Settings, settings_of
from .nir.graph import Graph, flatten
from .nir.read import read_graph
from .nir.rules import RULES, Finding, Subject, stated_shapes

__all__ = ["Finding", "Report", "check", "read_graph"]

TRIAL_LIMIT = 2**24
"""Most values that all nodes together may send in a step: a small file can declare any shape."""

_ORDER = {"error": 0, "warning": 1, "note": 2}


@dataclass(frozen=True)
class Report:
    """What was found in a file.

    Attributes:
        path: the file.
        origin: the framework that wrote it, as far as told.
        dt: seconds a time step, as far as known.
        nodes: (name, kind, output shape) of each node, in the order of computation; empty if there is no order.
        feedback: edges that deliver one step late.
        findings: errors first.
    """

    path: Path
    origin: str | None
    dt: float | None
    nodes: tuple[tuple[str, str, tuple[int, ...]], ...]
    feedback: tuple[tuple[str, str], ...]
    findings: tuple[Finding, ...]

    def count(self, severity: str) -> int:
        """Return how many findings have a severity."""
        return sum(finding.severity == severity for finding in self.findings)

    def refused(self, strict: bool = False) -> bool:
        """Return whether the file fails: on an error, and with ``strict`` on a warning, too."""
        return self.count("error") > 0 or (strict and self.count("warning") > 0)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "file": str(self.path),
            "origin": self.origin,
            "dt": self.dt,
            "nodes": [{"node": name, "type": kind, "shape": list(shape)} for name, kind, shape in self.nodes],
            "feedback": [list(edge) for edge in self.feedback],
            "errors": self.count("error"),
            "warnings": self.count("warning"),
            "notes": self.count("note"),
            "findings": [finding.to_dict() for finding in self.findings],
        }


def _sub_graphs(graph: nir.NIRGraph, prefix: str = "") -> Iterator[str]:
    for name, node in graph.nodes.items():
        if isinstance(node, nir.NIRGraph):
            yield prefix + name
            yield from _sub_graphs(node, f"{prefix}{name}.")


def _not_finite(graph: nir.NIRGraph, prefix: str = "") -> Iterator[Finding]:
    for name, node in graph.nodes.items():
        if isinstance(node, nir.NIRGraph):
            yield from _not_finite(node, f"{prefix}{name}.")
            continue
        for what, value in vars(node).items():
            array = value if isinstance(value, np.ndarray | np.number) else np.zeros(())
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                message = f"{what} holds NaN or infinity; export a trained network again"
                yield Finding("error", "not-finite", prefix + name, message)


def _deployable(graph: Graph, settings: Settings) -> Iterator[Finding]:
    """Lower the graph as a trial, with real weights rounded to 8 bits and pixels as input."""
    size = sum(prod(shape) for shape in graph.shapes.values())
    if size > TRIAL_LIMIT:
        message = f"its nodes send {size} values a step; more than {TRIAL_LIMIT} are not deployed"
        yield Finding("error", "too-large", None, message)
        return
    try:
        lower_graph(graph, Deployment(steps=1, input_bits=8, settings=settings))
    except (UnsupportedError, ValidationError) as error:
        yield Finding("error", "cannot-lower", None, " ".join(str(error).split()))


def check(
    path: Path,
    dt: float | None = None,
    origin: str | None = None,
    reset: str | None = None,
    *,
    one_spike: bool = False,
    unscaled: bool = False,
    start: str | None = None,
    output: str | None = None,
    trial: bool = True,
) -> Report:
    """Look for what would go wrong with a NIR file; nothing in it makes this raise.

    Args:
        path: the file.
        dt: seconds a time step; the origin's own by default.
        origin: the framework that wrote it, see :data:`.nir.execute.ORIGINS`.
        reset: how its neurons reset, where that is not the origin's default.
        one_spike: its neurons send at most one spike a step, whatever the origin's default.
        unscaled: its LIF and LI nodes add their input as it is.
        start: where its membranes start, v_leak or v_reset, where that is not the origin's default.
        output: the Output node that is read, where there are several.
        trial: lower it, too, if there is no other error: that is the last word on whether it can be deployed.

    Raises:
        UnsupportedError: ``dt``, ``origin``, ``reset`` or ``start`` is impossible.
    """
    told = settings_of(origin or "nir", dt, reset, one_spike=one_spike, unscaled=unscaled, start=start)
    settings = None if dt is None and origin is None else told
    known = None if settings is None else settings.dt

    def report(findings: list[Finding], graph: Graph | None = None) -> Report:
        nodes, feedback = (), ()
        if graph is not None:
            nodes = tuple((n, type(node).__name__, graph.shapes[n]) for n, node in graph.nodes.items())  # type: ignore[assignment]
            feedback = tuple(sorted(graph.feedback))  # type: ignore[assignment]
        ordered = sorted(findings, key=lambda finding: _ORDER[finding.severity])
        return Report(path, origin, known, nodes, feedback, tuple(ordered))

    try:
        read = read_graph(path)
    except FileError as error:
        return report([Finding("error", "file", None, _without(error, path))])
    broken = list(_not_finite(read))
    if broken:
        return report(broken)
    try:
        graph = flatten(read, str(path), output)
        declared = list(stated_shapes(read))
    except UnsupportedError as error:
        return report([Finding("error", "graph", None, _without(error, path))])
    subject = Subject(graph, declared, list(_sub_graphs(read)), origin, settings, reset is not None)
    findings = [finding for rule in RULES for finding in rule(subject)]
    if trial and settings is not None and not any(finding.severity == "error" for finding in findings):
        findings += _deployable(graph, settings)
    return report(findings, graph)


def _without(error: SpikeproofError, path: Path) -> str:
    return str(error).removeprefix(f"{path}: ")
