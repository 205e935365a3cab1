"""CAP on a graph: a GCN trained plainly, with perturbed features, with perturbed weights, and with both in turn."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ...toolkit.attacks.iterative import TINY, lengths
from ...toolkit.data.graph import Graph, Indices
from ...toolkit.defences.cap import CAP
from ...toolkit.graphs.gcn import GCN, accuracy, inputs, propagation, train_gcn
from ..records.base import share

TRAININGS = {"plain": (0.0, 0.0), "feature": (0.0, 1.0), "weight": (1.0, 0.0), "cap": (1.0, 1.0)}
"""Which of rho and epsilon a way of training has."""


def defence(training: str, graph: Graph, plan: Mapping[str, Any]) -> CAP:
    """Return CAP as a way of training has it; with neither perturbation it changes nothing."""
    weights, features = TRAININGS[training]
    length = float(inputs(graph).norm(dim=1).mean())
    return CAP(rho=weights * plan["rho"], epsilon=features * plan["epsilon"] * length, warmup=int(plan["warmup"]))


def measure(graph: Graph, seed: int, plan: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a GCN is after one way of training.

    Args:
        graph: with training and test nodes.
        seed: of training.
        plan: ``training``: of :data:`TRAININGS`; ``width``; ``rho``: length of the weights' perturbation; ``epsilon``:
            that of the features', in mean lengths of a node's features; ``warmup``: epochs.
    """
    training = str(plan["training"])
    both = defence("cap", graph, plan)
    defences = [] if training == "plain" else [defence(training, graph, plan)]
    network = train_gcn(graph, int(plan["width"]), seed, defences=defences)[0]
    spread, features = propagation(graph), inputs(graph)
    with torch.no_grad():
        logits = network(spread, features)
    return {
        "training": training,
        "seed": seed,
        "accuracy": share(accuracy(logits, graph)).model_dump(),
        "train_loss": float(_loss(logits, graph, graph.train)),
        "test_loss": float(_loss(logits, graph, graph.test)),
        **sharpness(network, spread, features, graph, both),
    }


def _loss(logits: Tensor, graph: Graph, nodes: Indices) -> Tensor:
    return torch.nn.functional.cross_entropy(logits[nodes], torch.from_numpy(graph.labels[nodes]))


def sharpness(network: GCN, spread: Tensor, features: Tensor, graph: Graph, how: CAP) -> dict[str, float]:
    """Return what the training loss gains where features, or weights, are moved as far along their gradient as by CAP.

    Args:
        network: in evaluation mode; unchanged afterwards.
        spread: S (nodes, nodes).
        features: (nodes, features).
        graph: whose training nodes.
        how: both lengths.
    """
    features = features.detach().requires_grad_()
    weights = list(network.parameters())
    loss = _loss(network(spread, features), graph, graph.train)
    by_features, *by_weights = torch.autograd.grad(loss, [features, *weights])
    before = [weight.detach().clone() for weight in weights]
    with torch.no_grad():
        moved = features + how.epsilon * by_features / lengths(by_features).clamp(min=TINY)
        by_feature = float(_loss(network(spread, moved), graph, graph.train) - loss)
        norm = torch.stack([each.norm() for each in by_weights]).norm().clamp(min=TINY)
        for weight, gradient in zip(weights, by_weights, strict=True):
            weight.add_(gradient, alpha=float(how.rho / norm))
        by_weight = float(_loss(network(spread, features), graph, graph.train) - loss)
        for weight, value in zip(weights, before, strict=True):
            weight.copy_(value)
    return {"feature_sharpness": by_feature, "weight_sharpness": by_weight}
