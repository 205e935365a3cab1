"""Several inputs as one, and one output of several."""

from math import prod

import nir
import numpy as np

from ...toolkit.errors import UnsupportedError
from .loops import reach
from .nodes import Shape, Slice, declared_shape

Edge = tuple[str, str]


def _joint_shape(shapes: list[Shape]) -> Shape:
    """Return the shape of inputs one after the other: along the first axis where the others agree, else flat."""
    if len({shape[1:] for shape in shapes}) == 1:
        return (sum(shape[0] for shape in shapes), *shapes[0][1:])
    return (sum(prod(shape) for shape in shapes),)


def joint(nodes: dict[str, nir.NIRNode], edges: list[Edge], entries: list[str], assumed: list[tuple[str, str]]) -> str:
    """Put one input in front of several, which become slices of it; return its name.

    Args:
        nodes: changed.
        edges: changed.
        entries: the inputs, in the order in which their elements lie in the joint one.
        assumed: takes a note of it.
    """
    name = "input"
    while name in nodes:
        name += "_"
    shapes = [declared_shape(entry, nodes[entry]) for entry in entries]
    whole = _joint_shape(shapes)
    start = 0
    for entry, shape in zip(entries, shapes, strict=True):
        nodes[entry] = Slice(start, shape)
        edges.append((name, entry))
        start += prod(shape)
    nodes[name] = nir.Input({"input": np.array(whole)})
    told = ", ".join(f"{entry!r} {shape}" for entry, shape in zip(entries, shapes, strict=True))
    assumed.append((name, f"{len(entries)} inputs are taken as one of {whole}, in this order: {told}"))
    return name


def pruned(
    nodes: dict[str, nir.NIRNode], edges: list[Edge], leave: str, exits: list[str], assumed: list[tuple[str, str]]
) -> list[Edge]:
    """Remove the other outputs and all that leads to them alone; return the edges that are left.

    Args:
        nodes: changed.
        edges: of the graph.
        leave: the output that is read.
        exits: all outputs.
        assumed: takes a note of it.

    Raises:
        UnsupportedError: something goes out of an output.
    """
    for start, end in edges:
        if start in exits:
            raise UnsupportedError(f"edge {start!r} -> {end!r}: nothing goes out of an output")
    others = reach(leave, (edge[::-1] for edge in edges))
    needed_only_elsewhere: set[str] = set()
    for exit_ in exits:
        if exit_ != leave:
            needed_only_elsewhere |= reach(exit_, (edge[::-1] for edge in edges))
    gone = needed_only_elsewhere - others
    for name in gone:
        del nodes[name]
    rest = sorted(name for name in gone if name not in exits)
    more = f"; nodes that lead to the others alone are left out: {', '.join(rest)}" if rest else ""
    assumed.append((leave, f"one of {len(exits)} outputs is read{more}"))
    return [edge for edge in edges if not gone & set(edge)]
