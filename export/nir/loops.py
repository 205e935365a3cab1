"""Loops of a graph: where they are cut, and in which order the nodes run then."""

from collections.abc import Iterable
from heapq import heapify, heappop, heappush

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from ...toolkit.errors import UnsupportedError

Edge = tuple[str, str]

LOOP_LIMIT, ENTRY_LIMIT = 32, 8
"""Deepest nesting of loops, and most entries to one that are tried: bounds on the work that a file can ask for."""


def reach(start: str, edges: Iterable[Edge]) -> set[str]:
    """Return all nodes that ``start`` leads to, itself included."""
    after: dict[str, list[str]] = {}
    for a, b in edges:
        after.setdefault(a, []).append(b)
    found, left = {start}, [start]
    while left:
        new = [name for name in after.get(left.pop(), ()) if name not in found]
        found.update(new)
        left += new
    return found


def _loops(edges: Iterable[Edge]) -> list[set[str]]:
    """Return the sets of nodes that can all reach one another."""
    edges = list(edges)
    names = sorted({name for edge in edges for name in edge})
    index = {name: place for place, name in enumerate(names)}
    if not names:
        return []
    rows, columns = ([index[edge[side]] for edge in edges] for side in (0, 1))
    matrix = csr_array((np.ones(len(edges)), (rows, columns)), shape=(len(names), len(names)))
    _, labels = connected_components(matrix, connection="strong")
    found: dict[int, set[str]] = {}
    for name, label in zip(names, labels, strict=True):
        found.setdefault(int(label), set()).add(name)
    own = {start for start, end in edges if start == end}
    return [group for group in found.values() if len(group) > 1 or group & own]


def _distances(start: str, edges: Iterable[Edge]) -> dict[str, int]:
    after: dict[str, list[str]] = {}
    for a, b in edges:
        after.setdefault(a, []).append(b)
    found, level = {start: 0}, [start]
    while level:
        level = sorted({end for name in level for end in after.get(name, ()) if end not in found})
        found.update(dict.fromkeys(level, max(found.values()) + 1))
    return found


def feedback_edges(entry: str, leave: str, edges: list[Edge], spiking: set[str]) -> frozenset[Edge]:
    """Return the edges to cut so that no loop is left.

    A loop is cut where it is entered. Where it has several entries, it is cut at the one that leaves the most nodes
    on a way to the output, then at a spiking node, then at the one nearest to the input.

    Raises:
        UnsupportedError: a loop without a spiking node, or loops too deeply nested.
    """
    dead = _loops(edge for edge in edges if not spiking & set(edge))
    if dead:
        names = ", ".join(sorted(dead[0])[:8])
        raise UnsupportedError(f"loop without a spiking node, whose value would depend on itself: {names}")
    distance = _distances(entry, edges)
    cut: set[Edge] = set()
    for _ in range(LOOP_LIMIT):
        open_edges = [edge for edge in edges if edge not in cut]
        loops = _loops(open_edges)
        if not loops:
            return frozenset(cut)
        for loop in loops:
            inside = [edge for edge in open_edges if set(edge) <= loop]
            entries = sorted(
                {end for start, end in edges if end in loop and start not in loop},
                key=lambda name: (name not in spiking, distance[name], name),
            )[:ENTRY_LIMIT]

            def stranded(name: str, inside: list[Edge] = inside, open_edges: list[Edge] = open_edges) -> int:
                closing = {edge for edge in inside if edge[1] == name}
                return -len(reach(leave, (edge[::-1] for edge in open_edges if edge not in closing)))

            head = min(entries, key=stranded) if len(entries) > 1 else entries[0]
            cut |= {edge for edge in inside if edge[1] == head}
    raise UnsupportedError(f"loops are nested more than {LOOP_LIMIT} deep")


def forward_order(names: Iterable[str], edges: list[Edge]) -> list[str]:
    """Return the nodes so that every edge points forwards; among the free ones, by name (edges must hold no loop)."""
    waiting = dict.fromkeys(names, 0)
    after: dict[str, list[str]] = {}
    for start, end in edges:
        waiting[end] += 1
        after.setdefault(start, []).append(end)
    ready = [name for name, count in waiting.items() if not count]
    heapify(ready)
    order = []
    while ready:
        order.append(heappop(ready))
        for end in after.get(order[-1], ()):
            waiting[end] -= 1
            if not waiting[end]:
                heappush(ready, end)
    return order
