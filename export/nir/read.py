"""Reading any NIR file, whoever wrote it: sizes, kinds and links are looked at before a byte of data is loaded."""

from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np

from ...toolkit.errors import FileError
from ..hdf5 import DATA_LIMIT, Untrusted, opened
from .graph import NESTING_LIMIT, NODE_LIMIT
from .nodes import KINDS, PARAMETERS

_TYPES = {kind.__name__: kind for kind in KINDS}


class _Reader(Untrusted):
    def __init__(self, source: str) -> None:
        super().__init__(source)
        self.nodes = 0

    def node(self, group: Any, name: str, depth: int) -> nir.NIRNode:
        """Return the node that a group holds; nodes of inner graphs are named ``graph.node``."""
        where = f"{self.source}: node {name!r}" if name else self.source
        self.nodes += 1
        if self.nodes > NODE_LIMIT:
            raise FileError(f"{where}: more than {NODE_LIMIT} nodes")
        if depth > NESTING_LIMIT:
            raise FileError(f"{where}: more than {NESTING_LIMIT} graphs within one another")
        if not isinstance(group, h5py.Group) or "type" not in group:
            raise FileError(f"{where}: is not a node (it has no type)")
        kind = self.values(self.item(group, "type", where), f"{where}: field 'type'")
        if not isinstance(kind, str):
            raise FileError(f"{where}: its type is not a text")
        if kind == "NIRGraph":
            return self.graph(group, name, where, depth)
        if kind not in _TYPES:
            raise FileError(f"{where}: type {kind!r} is not a node of NIR 1.0")
        names = [field for field in group if field not in ("type", "metadata")]
        if len(names) > 64:
            raise FileError(f"{where}: {len(names)} fields, too many for a node")
        fields = {n: self.values(self.item(group, n, where), f"{where}: field {n!r}") for n in names}
        if kind in ("Conv1d", "Conv2d"):
            fields = {"input_shape": None, "bias": None} | fields
        fields |= _alike(where, {n: fields[n] for n in PARAMETERS.get(_TYPES[kind], ()) if n in fields})
        try:
            return nir.dict2NIRNode({"type": kind, **fields})
        except Exception as error:  # the package asserts, indexes and calls with whatever the file holds
            raise FileError(f"{where}: not a valid {kind} ({type(error).__name__}: {error})") from error

    def graph(self, group: h5py.Group, name: str, where: str, depth: int) -> nir.NIRGraph:
        """Return the graph that a group holds."""
        if "nodes" not in group or "edges" not in group:
            raise FileError(f"{where}: a graph needs nodes and edges")
        members = self.item(group, "nodes", where)
        edges = self.values(self.item(group, "edges", where), f"{where}: field 'edges'")
        if not isinstance(members, h5py.Group) or len(members) > NODE_LIMIT:
            raise FileError(f"{where}: its nodes are not a group of at most {NODE_LIMIT}")
        if isinstance(edges, np.ndarray) and not edges.size:
            edges = []
        pairs = isinstance(edges, list) and all(isinstance(edge, list) and len(edge) == 2 for edge in edges)
        if not pairs or any(not isinstance(name, str) for edge in edges for name in edge):
            raise FileError(f"{where}: edges are not pairs of names")
        nodes = {}
        for member in members:
            inner = f"{name}.{member}" if name else member
            nodes[member] = self.node(self.item(members, member, where), inner, depth + 1)
        return nir.NIRGraph(nodes, [(start, end) for start, end in edges], type_check=False)


def _alike(where: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Return a node's parameters in one shape, as the package wants them: a file may mix numbers and arrays."""
    if len({np.shape(value) for value in fields.values()}) < 2:
        return {}
    # One number is one for all neurons, however many axes of length 1 it has.
    made = {name: np.reshape(value, ()) if np.size(value) == 1 else np.asarray(value) for name, value in fields.items()}
    try:
        shape = np.broadcast_shapes(*(value.shape for value in made.values())) or (1,)
    except ValueError:
        told = ", ".join(f"{name} {np.shape(value)}" for name, value in fields.items())
        raise FileError(f"{where}: parameters of shapes that do not fit one another: {told}") from None
    if float(np.prod(shape, dtype=np.float64)) * 8 > DATA_LIMIT:
        raise FileError(f"{where}: parameters of shape {shape} are too large for a network")
    return {name: np.broadcast_to(value, shape) for name, value in made.items()}


def read_graph(path: Path) -> nir.NIRGraph:
    """Return the graph in a NIR file, of any origin.

    Nothing outside the file is opened, and no more than 1 GiB is unpacked. Metadata is not read: it means nothing.

    Raises:
        FileError: the file is missing, damaged, no NIR graph, or impossibly large; the place in it is named.
    """
    with opened(path, "NIR file", "node") as file:
        reader = _Reader(str(path))
        graph = reader.node(reader.item(file, "node", str(path)), "", 1)
    if not isinstance(graph, nir.NIRGraph):
        raise FileError(f"{path}: holds a single {type(graph).__name__}, expected a graph")
    return graph
