"""Concatenation: what follows is done to its parts; a weight layer is split by source, W cat(a, b) = Wa a + Wb b."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from ..errors import UnsupportedError
from .graph import Node, Nodes, Value

POOLS: tuple[Any, ...] = (nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d)
WAY_OUT = (
    "a concatenation has a form where it goes into linear layers and convolutions, also through pools and Flatten; "
    "neurons of their own for each part, concatenated after, do the same"
)


def joined(nodes: Nodes, values: list[Value], shapes: list[tuple[int, ...]]) -> int:
    """Return the node of a concatenation; one of concatenations is one of all their parts."""
    sources: list[int] = []
    sizes: list[tuple[int, ...]] = []
    for value, shape in zip(values, shapes, strict=True):
        row = nodes.rows[value.node]
        sources += row.sources if row.kind == "cat" else [value.node]
        sizes += row.sizes if row.kind == "cat" else [shape]
    if len(sources) == 1:
        return sources[0]
    return nodes.add(("cat", *sources), "cat", lambda name: Node(name, "cat", tuple(sources), sizes=tuple(sizes)))


def apart(nodes: Nodes, value: Value, key: tuple[Any, ...], name: str, make: Callable[[], nn.Module]) -> Value:
    """Return what a layer without state sends for a concatenation.

    Raises:
        UnsupportedError: it is none that can be done to the parts.
    """
    row = nodes.rows[value.node]
    whole: Any = make()
    if isinstance(whole, nn.Linear | nn.Conv1d | nn.Conv2d):
        parts = _split(nodes, row, key, name, whole)
        total = nodes.add(("add", *parts), "add", lambda free: Node(free, "add", parts))
        return replace(value, node=total)
    pool = next((kind for kind in POOLS if isinstance(whole, kind)), None)
    if pool is None and not isinstance(whole, nn.Flatten):
        raise UnsupportedError(f"layer {name!r} ({type(whole).__name__}): {WAY_OUT}")
    done = []
    for source in row.sources:

        def same(free: str, source: int = source) -> Node:
            return Node(free, "layer", (source,), whole)

        done.append(nodes.add((*key, source), name, same))
    shapes: list[tuple[int, ...]] = []
    for size in row.sizes:
        if pool is None:
            shapes.append((math.prod(size),))
        else:
            # Torch's own function on a sample alone: another framework's takes time as well.
            shapes.append(tuple(pool.forward(whole, torch.zeros(1, *size)).shape[1:]))
    return replace(value, node=joined(nodes, [replace(value, node=node) for node in done], shapes))


def _split(nodes: Nodes, row: Node, key: tuple[Any, ...], name: str, whole: Any) -> tuple[int, ...]:
    """Return the nodes of a weight layer's parts, one a source; the first has the bias."""
    linear = isinstance(whole, nn.Linear)
    if linear and any(len(size) > 1 for size in row.sizes):
        raise UnsupportedError(f"layer {name!r}: takes rows of a concatenation along channels; flatten it before")
    if not linear and whole.groups != 1:
        raise UnsupportedError(f"layer {name!r}: its {whole.groups} groups go over a concatenation; {WAY_OUT}")
    found, start = [], 0
    for place, (source, size) in enumerate(zip(row.sources, row.sizes, strict=True)):
        columns = slice(start, start + size[0])
        start = columns.stop

        def part(
            free: str, source: int = source, columns: slice = columns, width: int = size[0], bias: bool = place == 0
        ) -> Node:
            return Node(free, "layer", (source,), _part(whole, columns, width, bias and whole.bias is not None))

        found.append(nodes.add((*key, source, place), name, part))
    return tuple(found)


def _part(whole: Any, columns: slice, width: int, bias: bool) -> nn.Module:
    if isinstance(whole, nn.Linear):
        made: Any = nn.Linear(width, whole.out_features, bias)
    else:
        how = {name: getattr(whole, name) for name in ("stride", "padding", "dilation", "padding_mode")}
        kind = nn.Conv1d if isinstance(whole, nn.Conv1d) else nn.Conv2d
        made = kind(width, whole.out_channels, whole.kernel_size, bias=bias, **how)
    with torch.no_grad():
        made.weight.copy_(whole.weight[:, columns])
        if bias:
            made.bias.copy_(whole.bias)
    layer: nn.Module = made
    return layer
