"""Attacks on graphs: edges added or removed, features flipped; where the gradient says, or by chance."""

from collections.abc import Callable
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from ..data.graph import Graph, Indices

ROUNDS = 10
"""A gradient is good for small changes: the budget is spent in so many parts, each with a gradient of its own."""

Of = Literal["edges", "features"]


class Victim(Protocol):
    """A network as a function of the whole graph."""

    def logits(self, graph: Graph) -> Tensor:
        """Return logits (nodes, classes)."""
        ...

    def gradient(self, graph: Graph, right: Tensor, of: Of) -> Tensor:
        """Return the derivatives of the loss of nodes ``right`` by A (nodes, nodes) or X (nodes, features)."""
        ...


def _still_right(victim: Victim, graph: Graph) -> Tensor:
    """Return the test nodes that are classified rightly, all if none is: more loss on the others gains nothing."""
    test = torch.from_numpy(graph.test)
    right = victim.logits(graph)[test].argmax(1) == torch.from_numpy(graph.labels)[test]
    return test[right] if bool(right.any()) else test


def _greedy(
    graph: Graph,
    budget: int,
    rounds: int,
    gains: Callable[[Graph], Tensor],
    flipped: Callable[[Graph, Indices], Graph],
) -> Indices:
    """Return ``budget`` places of a matrix (2, budget), the best of each round; no place twice."""
    chosen = np.zeros((2, 0), dtype=np.int64)
    for part in np.diff(np.linspace(0, budget, rounds + 1).round().astype(int)):
        if part == 0:
            continue
        gain = gains(flipped(graph, chosen)).clone()
        gain[tuple(torch.from_numpy(chosen))] = -torch.inf
        best = gain.flatten().topk(int(part)).indices.numpy()
        chosen = np.concatenate([chosen, np.stack(np.unravel_index(best, tuple(gain.shape)))], axis=1)
    return chosen


def gradient_edges(victim: Victim, graph: Graph, budget: int, rounds: int = ROUNDS) -> Indices:
    """Return pairs of nodes (2, budget), the lower number first, whose edge is to be added or removed.

    Greedy: those where (1 - 2 A_ij) (dL/dA_ij + dL/dA_ji) is largest, L the cross-entropy of the test nodes that are
    still right.

    Args:
        victim: whose loss.
        graph: clean.
        budget: how many flips.
        rounds: gradients.
    """

    def gains(now: Graph) -> Tensor:
        by_edge = victim.gradient(now, _still_right(victim, now), "edges")
        signs = 1 - 2 * torch.from_numpy(now.adjacency().toarray())
        return ((by_edge + by_edge.T) * signs).masked_fill(torch.ones_like(signs).tril().bool(), -torch.inf)

    return _greedy(graph, budget, rounds, gains, Graph.with_edges_flipped)


def gradient_features(victim: Victim, graph: Graph, budget: int, rounds: int = ROUNDS) -> Indices:
    """Return places of X, (2, budget): node and feature, to be flipped to 1 - x.

    Greedy: those where (1 - 2 x) dL/dx is largest, L as of :func:`gradient_edges`.

    Args:
        victim: whose loss.
        graph: clean.
        budget: how many flips.
        rounds: gradients.
    """

    def gains(now: Graph) -> Tensor:
        by_feature = victim.gradient(now, _still_right(victim, now), "features")
        return by_feature * (1 - 2 * torch.from_numpy(now.features))

    return _greedy(graph, budget, rounds, gains, Graph.with_features_flipped)


def random_edges(graph: Graph, like: Indices, seed: int) -> Indices:
    """Return as many pairs as ``like`` (2, flips) removes and adds, drawn without replacement."""
    matrix = graph.adjacency().toarray() > 0
    return _like(np.triu(matrix, 1), np.triu(~matrix, 1), matrix, like, seed)


def random_features(graph: Graph, like: Indices, seed: int) -> Indices:
    """Return as many places of X as ``like`` (2, flips) takes from above 1/2 and from below, drawn at random."""
    high = graph.features > 0.5
    return _like(high, ~high, high, like, seed)


def _like(high: np.ndarray, low: np.ndarray, matrix: np.ndarray, like: Indices, seed: int) -> Indices:
    random = np.random.default_rng(seed)
    down = int(matrix[tuple(like)].sum())
    parts = [(high, down), (low, like.shape[1] - down)]
    found = [random.choice(np.flatnonzero(each), count, replace=False) for each, count in parts]
    return np.stack(np.unravel_index(np.concatenate(found), matrix.shape))
