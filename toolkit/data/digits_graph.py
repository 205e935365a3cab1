"""A graph of scikit-learn's digits, with noise: each is joined to those that look most alike."""

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from ..extras import extra
from .graph import Graph, GraphSource, undirected

NEIGHBOURS = 8
A_CLASS = 10
"""Labelled digits of each class: 100 in all."""
TESTED = 500


class DigitsGraph(GraphSource):
    """The digits under noise, each joined to its 8 nearest; 100 of 1797 are labelled, 500 tested.

    Args:
        slots: nodes of a neighbourhood, the node itself included.
        noise: standard deviation of what is added to every pixel of [0, 1], cut to that range.
    """

    title: ClassVar[str] = "8-neighbour graph of noisy scikit-learn digits"

    def __init__(
        self,
        slots: Annotated[int, Field(ge=2, le=1024)] = 24,
        noise: Annotated[float, Field(ge=0.0, le=10.0)] = 0.35,
    ) -> None:
        super().__init__(None, slots)
        self.noise = noise

    def graph(self) -> Graph:
        """Return the graph, always the same."""
        with extra("data"):
            from sklearn.datasets import load_digits
            from sklearn.neighbors import kneighbors_graph

        digits, random = load_digits(), np.random.default_rng(0)
        order = random.permutation(len(digits.target))
        clean, labels = (digits.data / 16)[order], digits.target[order].astype(np.int64)
        pixels = np.clip(clean + self.noise * random.standard_normal(clean.shape), 0, 1).astype(np.float32)
        nearest = kneighbors_graph(pixels, NEIGHBOURS).tocoo()
        edges = undirected(nearest.row.astype(np.int64), nearest.col.astype(np.int64), len(labels))
        train = np.sort(np.concatenate([np.flatnonzero(labels == each)[:A_CLASS] for each in range(10)]))
        rest = np.setdiff1d(np.arange(len(labels)), train)
        return Graph(pixels, edges, labels, train, rest[TESTED : 2 * TESTED], rest[:TESTED], 10)
