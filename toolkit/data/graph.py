"""Graphs whose nodes are classified, and a node with its neighbourhood as one sample of fixed size."""

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import coo_array, csr_array

from ..errors import InputError
from .source import Arrays, Cut, DataSource, Found

Indices = NDArray[np.int64]
Features = NDArray[np.float32]
SLOTS = 16
"""A node and 15 neighbours: all of them for 98 of 100 nodes of Cora."""


def undirected(start: Indices, end: Indices, nodes: int) -> Indices:
    """Return each undirected edge once, loops left out, in order."""
    low, high = np.minimum(start, end), np.maximum(start, end)
    return np.stack(np.divmod(np.unique((low * nodes + high)[low < high]), nodes))


@dataclass(frozen=True)
class Graph:
    """An undirected graph without loops, with features and a class for each node.

    Attributes:
        features: (nodes, features), in [0, 1].
        edges: (2, edges), each once.
        labels: (nodes,).
        train: nodes whose labels are trained on.
        validation: nodes to choose settings by; nothing here does.
        test: nodes that are classified.
        classes: how many.
    """

    features: Features
    edges: Indices
    labels: Indices
    train: Indices
    validation: Indices
    test: Indices
    classes: int

    @property
    def nodes(self) -> int:
        """How many."""
        return len(self.features)

    def adjacency(self) -> csr_array:
        """Return A + I, (nodes, nodes), of zeros and ones."""
        own = np.arange(self.nodes)
        start, end = np.concatenate([self.edges, self.edges[::-1], [own, own]], axis=1)
        return csr_array(coo_array((np.ones(len(start), np.float32), (start, end)), (self.nodes, self.nodes)))

    def means(self) -> Features:
        """Return what each node and its neighbours have on average: D^-1 (A + I) X, (nodes, features), in [0, 1]."""
        adjacency = self.adjacency()
        sums: Features = adjacency @ self.features
        means: Features = np.clip(sums / adjacency.sum(1, dtype=np.float32)[:, None], 0, 1)
        return means

    def places(self, slots: int) -> Indices:
        """Return who stands in the slots of each node, (nodes, slots): itself, its neighbours by number, then -1.

        Of a node with more neighbours than slots the first ones stay.
        """
        found = np.full((self.nodes, slots), -1, dtype=np.int64)
        start, end = np.concatenate([self.edges, self.edges[::-1]], axis=1)
        order = np.lexsort((end, start))
        start, end = start[order], end[order]
        place = 1 + np.arange(len(start)) - np.searchsorted(start, start)
        kept = place < slots
        found[:, 0] = np.arange(self.nodes)
        found[start[kept], place[kept]] = end[kept]
        return found

    def samples(self, nodes: Indices, slots: int) -> Features:
        """Return nodes as images (samples, features, slots, 1): in each slot the :meth:`means` of who stands there.

        An empty slot is dark, so that neurons without a bias do not fire there.
        """
        places = self.places(slots)[nodes]
        rows = np.concatenate([self.means(), np.zeros((1, self.features.shape[1]), np.float32)])
        return np.ascontiguousarray(rows[places].transpose(0, 2, 1)[..., None])

    def with_edges_flipped(self, pairs: Indices) -> "Graph":
        """Return the graph without those of ``pairs`` (2, flips) that are edges, and with the others as edges."""
        low, high = np.sort(pairs, axis=0)
        if (low == high).any() or len(np.unique(low * self.nodes + high)) < len(low):
            raise InputError("edges to flip: a loop, or the same pair twice")
        known = np.sort(self.edges, axis=0)
        keys, flips = known[0] * self.nodes + known[1], low * self.nodes + high
        left = np.concatenate([keys[~np.isin(keys, flips)], flips[~np.isin(flips, keys)]])
        return replace(self, edges=np.stack(np.divmod(np.sort(left), self.nodes)))

    def with_features_flipped(self, places: Indices) -> "Graph":
        """Return the graph with x -> 1 - x at ``places``: (2, flips), node and feature."""
        features = self.features.copy()
        features[tuple(places)] = 1 - features[tuple(places)]
        return replace(self, features=features)


class GraphSource(DataSource):
    """A graph as a data set: a sample is a node with its neighbourhood.

    Args:
        path: the folder; None looks under ``$SPIKEPROOF_DATA``.
        slots: nodes of a neighbourhood, the node itself included.
    """

    def __init__(self, path: str | None = None, slots: Annotated[int, Field(ge=2, le=1024)] = SLOTS) -> None:
        self.path = path
        self.slots = slots

    @abstractmethod
    def graph(self) -> Graph:
        """Return the graph.

        Raises:
            FileError: a file is missing, or not the published one.
        """

    def read(self, cut: Cut, steps: int) -> Found:
        """Return training and test nodes as samples."""
        graph = self.graph()
        train, test = graph.train[: cut[0]], graph.test[: cut[1]]
        arrays: Arrays = {
            "x_train": graph.samples(train, self.slots),
            "y_train": graph.labels[train],
            "x_test": graph.samples(test, self.slots),
            "y_test": graph.labels[test],
        }
        return Found(arrays, (len(graph.train), len(graph.test)), graph.classes)
