"""The graph convolutional network that spiking ones are compared with, and its training, plain or by CAP."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from ..data.graph import Features, Graph
from ..defences.base import Batch, Defence
from ..task import CLASSES
from ..train import seeded, step_gradients
from .flips import Of

RATE, DECAY, EPOCHS = 0.01, 5e-4, 200
"""Kipf and Welling's, arXiv 1609.02907, but no early stopping; the decay is of the first layer; dropout is 1/2."""


def symmetric(adjacency: Tensor) -> Tensor:
    """Return D^-1/2 (A + I) D^-1/2 of A + I, (nodes, nodes)."""
    scale = adjacency.sum(1).rsqrt()
    return scale[:, None] * adjacency * scale


def prepared(features: Tensor) -> Tensor:
    """Return words (nodes, features), zeros and ones, with rows that add up to 1; other features as they are."""
    if not bool(((features == 0) | (features == 1)).all()):
        return features
    return features / features.sum(1, keepdim=True).clamp(min=torch.finfo(features.dtype).tiny)


class GCN(nn.Module):
    """Two graph convolutions: logits = S ReLU(S X W1 + b1) W2 + b2, S = D^-1/2 (A + I) D^-1/2.

    Args:
        features: of a node.
        hidden: width.
        classes: how many.
    """

    def __init__(self, features: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.first = nn.Linear(features, hidden, bias=False)
        self.second = nn.Linear(hidden, classes, bias=False)
        self.biases = nn.ParameterList([torch.zeros(hidden), torch.zeros(classes)])
        for layer in (self.first, self.second):
            nn.init.xavier_uniform_(layer.weight)

    def hidden(self, propagation: Tensor, features: Tensor) -> Tensor:
        """Return the hidden layer (nodes, hidden)."""
        found: Tensor = propagation @ self.first(self._dropped(features)) + self.biases[0]
        return found.relu()

    def _dropped(self, x: Tensor) -> Tensor:
        """Return twice x or nothing, in training: one random bit an entry, of which torch's dropout draws 32."""
        if not self.training:
            return x
        return x * torch.randint(2, x.shape, dtype=torch.uint8, device=x.device).mul_(2)

    def forward(self, propagation: Tensor, features: Tensor) -> Tensor:
        """Return logits (nodes, classes) for S (nodes, nodes), dense or sparse, and :func:`prepared` features."""
        found: Tensor = propagation @ self.second(self._dropped(self.hidden(propagation, features))) + self.biases[1]
        return found


@dataclass(frozen=True)
class OnGraph:
    """A :class:`GCN` as attacks see it."""

    network: GCN

    def logits(self, graph: Graph) -> Tensor:
        """Return logits (nodes, classes)."""
        with torch.no_grad():
            return cast(Tensor, self.network.eval()(propagation(graph), inputs(graph)))

    def gradient(self, graph: Graph, right: Tensor, of: Of) -> Tensor:
        """Return the loss's derivatives by the entries of A (nodes, nodes), or of X (nodes, features).

        Args:
            graph: where.
            right: nodes (nodes,) whose cross-entropies are added up.
            of: "edges" or "features".
        """
        adjacency = torch.from_numpy(graph.adjacency().toarray()).requires_grad_(of == "edges")
        features = torch.from_numpy(graph.features).requires_grad_(of == "features")
        spread = symmetric(adjacency) if of == "edges" else symmetric(adjacency).to_sparse()
        found = self.network.eval()(spread, prepared(features))
        loss = nn.functional.cross_entropy(found[right], torch.from_numpy(graph.labels)[right], reduction="sum")
        return torch.autograd.grad(loss, [adjacency if of == "edges" else features])[0]


def propagation(graph: Graph) -> Tensor:
    """Return S of a graph, sparse."""
    return symmetric(torch.from_numpy(graph.adjacency().toarray())).to_sparse()


def inputs(graph: Graph) -> Tensor:
    """Return the features of a graph as a GCN takes them."""
    return prepared(torch.from_numpy(graph.features))


def train_gcn(
    graph: Graph, hidden: int, seed: int, *, defences: Sequence[Defence] = (), epochs: int = EPOCHS
) -> tuple[GCN, list[float]]:
    """Return a trained GCN, and the loss of each epoch; an epoch is one step on all training nodes.

    Args:
        graph: with nodes to train on.
        hidden: width.
        seed: of weights and dropout.
        defences: hooks into every step; "images" are the features here, a sample is a node.
        epochs: how many.
    """
    spread, given = propagation(graph), inputs(graph)
    nodes = torch.from_numpy(graph.train)
    labels = torch.from_numpy(graph.labels)[nodes]
    history = []
    with seeded(seed):
        network = GCN(given.shape[1], hidden, graph.classes)
        groups: list[dict[str, Any]] = [
            {"params": [network.first.weight, network.biases[0]], "weight_decay": DECAY},
            {"params": [network.second.weight, network.biases[1]]},
        ]
        optimizer = torch.optim.Adam(groups, lr=RATE)
        for epoch in range(epochs):
            network.train()
            torch.manual_seed(seed * 100_003 + epoch)  # what CAP draws in one epoch must not change the next ones
            batch = Batch(
                lambda features: cast(Tensor, network(spread, features))[nodes],
                cast(Any, network),
                given,
                labels,
                epoch,
                epoch,
                epoch / epochs,
            )
            loss = step_gradients(batch, defences, torch.Tensor.backward, optimizer, CLASSES.loss)
            optimizer.step()
            history.append(loss.item())
    return network.eval(), history


def accuracy(logits: Tensor, graph: Graph) -> Any:
    """Return which test nodes (tested,) are classified rightly."""
    found: Features = logits.argmax(1).numpy()
    return np.asarray(found[graph.test] == graph.labels[graph.test])
