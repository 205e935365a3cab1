"""A NIR graph made flat and checked: one level of nodes in an order to run them in, with shapes of our own.

The package's shape inference is wrong for kernels that are not square and for groups (docs/nir.md), so shapes are
computed here, from the weights and the input alone; shapes that a file declares for inner nodes are not trusted.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import nir

from ...toolkit.errors import UnsupportedError
from .joins import joint, pruned
from .loops import feedback_edges, forward_order, reach
from .nodes import KINDS, SPIKING, Shape, declared_shape, output_shape
from .shapes import assumption

Edge = tuple[str, str]

NODE_LIMIT, EDGE_LIMIT, NESTING_LIMIT, NAME_LIMIT = 1024, 4096, 16, 200
"""Bounds on the work that a file can ask for."""


@dataclass(frozen=True)
class Graph:
    """A flat graph, every node of which lies on a way from the input to the output.

    Attributes:
        nodes: by name, in topological order of the edges that are not ``feedback``; input first, output last.
        edges: (start, end), by the order of their ends; several edges into one node add up.
        feedback: the edges that point backwards: they deliver what was sent one step earlier.
        shapes: output shape of each node, without time and batch.
        assumed: what the file leaves open and how it was taken, (node, text).
    """

    nodes: dict[str, nir.NIRNode]
    edges: list[Edge]
    feedback: frozenset[Edge]
    shapes: dict[str, Shape]
    assumed: tuple[tuple[str, str], ...] = ()

    def before(self, name: str) -> list[str]:
        """Return the nodes whose outputs add up to the node's input."""
        return [start for start, end in self.edges if end == name]

    def after(self, name: str) -> list[str]:
        """Return the nodes that the node's output goes to."""
        return [end for start, end in self.edges if start == name]


def _shapes(
    order: list[str], nodes: dict[str, nir.NIRNode], edges: list[Edge], feedback: frozenset[Edge]
) -> tuple[dict[str, Shape], dict[str, tuple[nir.Flatten, Shape, str]]]:
    """Return the output shapes, and the Flatten nodes that are implied: by the node after them, with the reason."""
    shapes: dict[str, Shape] = {}
    arriving: dict[str, Shape] = {}
    implied: dict[str, tuple[nir.Flatten, Shape, str]] = {}
    sources: dict[str, list[str]] = {name: [] for name in order}
    for start, end in edges:
        if (start, end) not in feedback:
            sources[end].append(start)
    for name in order:
        node = nodes[name]
        found = {shapes[start] for start in sources[name]}
        if len(found) > 1:
            raise UnsupportedError(f"node {name!r}: inputs of different shapes meet: {sorted(found)}; they must add up")
        if isinstance(node, nir.Input):
            shapes[name] = declared_shape(name, node)
            continue
        arriving[name] = found.pop()
        try:
            shapes[name] = output_shape(name, node, arriving[name])
        except UnsupportedError:
            taken = assumption(name, node, arriving[name], [nodes[start] for start in sources[name]])
            if taken is None:
                raise
            implied[name], shapes[name] = taken
    for start, end in sorted(feedback):
        if shapes[start] != arriving[end]:
            raise UnsupportedError(
                f"node {end!r}: {start!r} feeds back {shapes[start]} where {arriving[end]} arrives; they must add up"
            )
    return shapes, implied


def _inline(graph: nir.NIRGraph, prefix: str, depth: int, nodes: dict[str, nir.NIRNode], edges: list[Edge]) -> None:
    """Add a graph's nodes and edges, with names made unique by the names of the graphs around it."""
    if depth > NESTING_LIMIT:
        raise UnsupportedError(f"graph {prefix[:-1]!r}: more than {NESTING_LIMIT} graphs within one another")
    ports: dict[str, Edge] = {}
    for name, node in graph.nodes.items():
        if not isinstance(name, str) or not name or len(prefix + name) > NAME_LIMIT or not name.isprintable():
            raise UnsupportedError(f"node {name!r}: a name must be 1 to {NAME_LIMIT} printable characters")
        if prefix + name in nodes:
            raise UnsupportedError(f"node {prefix + name!r}: exists twice once sub-graphs are opened; rename one")
        if type(node) is not nir.NIRGraph:
            if type(node) not in KINDS:
                raise UnsupportedError(f"node {prefix + name!r}: {type(node).__name__} is not a node of NIR 1.0")
            nodes[prefix + name] = node
        else:
            inner = f"{prefix}{name}."
            for kind in (nir.Input, nir.Output):
                found = [inner + key for key, part in node.nodes.items() if type(part) is kind]
                if len(found) != 1:
                    raise UnsupportedError(f"graph {inner[:-1]!r}: {len(found)} {kind.__name__} nodes, expected one")
                ports[name] = (*ports.get(name, ()), found[0])
            _inline(node, inner, depth + 1, nodes, edges)
        if len(nodes) > NODE_LIMIT:
            raise UnsupportedError(f"more than {NODE_LIMIT} nodes")
    for start, end in graph.edges:
        for name in (start, end):
            if name not in graph.nodes:
                raise UnsupportedError(
                    f"edge {prefix + start!r} -> {prefix + end!r}: there is no node {prefix + name!r}"
                )
        # An edge to a graph is one to its input, an edge from it one from its output.
        edges.append(
            (ports[start][1] if start in ports else prefix + start, ports[end][0] if end in ports else prefix + end)
        )
        if len(edges) > EDGE_LIMIT:
            raise UnsupportedError(f"more than {EDGE_LIMIT} edges")


def _without_ports(nodes: dict[str, nir.NIRNode], edges: list[Edge], keep: Iterable[str]) -> list[Edge]:
    """Remove inner Input and Output nodes: what went in now goes straight to where it came out."""
    inner = [name for name, node in nodes.items() if type(node) in (nir.Input, nir.Output) and name not in keep]
    for name in inner:
        starts = [start for start, end in edges if end == name]
        ends = [end for start, end in edges if start == name]
        edges = [edge for edge in edges if name not in edge] + [(s, e) for s in starts for e in ends]
        if len(edges) > EDGE_LIMIT:
            raise UnsupportedError(f"more than {EDGE_LIMIT} edges")
        del nodes[name]
    return edges


def _flat(graph: nir.NIRGraph, output: str | None) -> Graph:
    nodes: dict[str, nir.NIRNode] = {}
    edges: list[Edge] = []
    _inline(graph, "", 1, nodes, edges)
    entries, exits = ([n for n, node in graph.nodes.items() if type(node) is kind] for kind in (nir.Input, nir.Output))
    if not entries or not exits:
        raise UnsupportedError(f"0 {'Output' if entries else 'Input'} nodes, expected one")
    if output is not None and output not in exits:
        raise UnsupportedError(f"output {output!r}: there is no Output node of this name; there are {', '.join(exits)}")
    if len(exits) > 1 and output is None:
        raise UnsupportedError(
            f"{len(exits)} Output nodes: {', '.join(exits)}; choose one by name: --output {exits[0]}"
        )
    leave = exits[0] if output is None else output
    edges = _without_ports(nodes, edges, [*entries, *exits])
    assumed: list[tuple[str, str]] = []
    if len(exits) > 1:
        edges = pruned(nodes, edges, leave, exits, assumed)
    entry = entries[0] if len(entries) == 1 else joint(nodes, edges, entries, assumed)
    seen: set[Edge] = set()
    for edge in edges:
        if edge in seen:
            raise UnsupportedError(f"edge {edge[0]!r} -> {edge[1]!r} exists twice; scale the signal instead")
        if (edge[1] in entries and edge[0] != entry) or edge[1] == entry or edge[0] == leave:
            raise UnsupportedError(f"edge {edge[0]!r} -> {edge[1]!r}: nothing goes into the input or out of the output")
        seen.add(edge)
    for start, way, what in (
        (entry, edges, "the input does not reach it"),
        (leave, [e[::-1] for e in edges], "does not reach the output"),
    ):
        lost = sorted(set(nodes) - reach(start, way))
        if lost:
            raise UnsupportedError(
                f"node {lost[0]!r}: {what}; remove it ({len(lost)} such node{'s' * (len(lost) > 1)})"
            )
    spiking = {name for name, node in nodes.items() if isinstance(node, SPIKING)}
    feedback = feedback_edges(entry, leave, edges, spiking)
    # A way back starts behind where it leads: whoever runs the nodes in order sees by that what comes a step later.
    back = [(end, start) for start, end in feedback if start != end]
    order = forward_order(nodes, [edge for edge in edges if edge not in feedback] + back)
    order.append(order.pop(order.index(leave)))
    shapes, implied = _shapes(order, nodes, edges, feedback)
    for name, (node, shape, text) in implied.items():
        new = f"{name}.flatten"
        while new in nodes:
            new += "_"
        nodes[new], shapes[new] = node, shape
        order.insert(order.index(name), new)
        feedback = frozenset((start, new if end == name else end) for start, end in feedback)
        edges = [(start, new if end == name else end) for start, end in edges] + [(new, name)]
        assumed.append((name, text))
    place = {name: index for index, name in enumerate(order)}
    edges = sorted(edges, key=lambda edge: (place[edge[1]], place[edge[0]]))
    ordered = {name: nodes[name] for name in order}
    return Graph(ordered, edges, feedback, {name: shapes[name] for name in order}, tuple(assumed))


def flatten(graph: nir.NIRGraph, source: str, output: str | None = None) -> Graph:
    """Return a graph with its sub-graphs opened, its loops cut and its shapes known.

    Nodes of a sub-graph are named ``graph.node``. Loops are cut where they close, at the input side of what they
    feed; each must contain a spiking node, without which a value would depend on itself within one step. Several
    inputs become one (:mod:`.joins`); a Flatten, and a batch axis of 1, that edges imply become nodes.

    Args:
        graph: as ``nir.read`` gives it; its own types are not used, except the shape of the input.
        source: the file's name, for messages.
        output: the Output node to read, where there are several; what leads to the others alone is left out.

    Raises:
        UnsupportedError: nodes, edges or shapes do not make a graph that can run; the place is named.
    """
    try:
        return _flat(graph, output)
    except UnsupportedError as error:
        raise UnsupportedError(f"{source}: {error}") from error
