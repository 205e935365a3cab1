"""GCN and spiking network on a whole graph, their gradients against dense autograd, flips, and CAP's two properties."""

from collections import OrderedDict
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from spikeproof.toolkit.attacks.iterative import lengths
from spikeproof.toolkit.data.digits_graph import DigitsGraph
from spikeproof.toolkit.data.graph import Graph
from spikeproof.toolkit.defences.base import Batch
from spikeproof.toolkit.defences.cap import CAP
from spikeproof.toolkit.errors import UnsupportedError
from spikeproof.toolkit.graphs.flips import gradient_edges, gradient_features, random_edges, random_features
from spikeproof.toolkit.graphs.gcn import GCN, OnGraph, accuracy, inputs, propagation, train_gcn
from spikeproof.toolkit.graphs.whole import WholeGraph
from spikeproof.toolkit.network.network import SpikingNetwork
from spikeproof.toolkit.network.neurons import LIF, Integrator

SLOTS = 6


@pytest.fixture
def graph() -> Graph:
    """A ring of 24 nodes of 3 classes, whose words tell their class."""
    rng = np.random.default_rng(3)
    nodes = np.arange(24)
    labels = nodes % 3
    features = (rng.random((24, 12)) < 0.2 + 0.6 * (np.arange(12) % 3 == labels[:, None])).astype(np.float32)
    edges = np.stack([nodes, (nodes + 3) % 24])
    return Graph(features, edges, labels, nodes[:9], nodes[9:10], nodes[10:], 3)


def spiking(hidden: int = 5) -> SpikingNetwork:
    torch.manual_seed(1)
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        hidden=nn.Conv2d(12, hidden, 1, bias=False),
        neurons=LIF(0.5, 0.3, 2.0),
        mean=nn.AvgPool2d((SLOTS, 1)),
        flat=nn.Flatten(),
        classes=nn.Linear(hidden, 3, bias=False),
        read=Integrator(),
    )
    return SpikingNetwork(layers, 4, 10.0).eval()


@pytest.fixture(scope="module")
def noisy() -> Graph:
    return DigitsGraph().graph()


@pytest.fixture(scope="module")
def plain(noisy: Graph) -> tuple[GCN, list[float]]:
    return train_gcn(noisy, 32, 0, epochs=60)


def test_a_gcn_is_two_products_with_the_normalised_adjacency(graph: Graph) -> None:
    torch.manual_seed(0)
    network = GCN(12, 4, 3).eval()
    with torch.no_grad():
        for bias in network.biases:
            bias.normal_()
    matrix = graph.adjacency().toarray().astype(np.float64)
    spread = matrix / np.sqrt(np.outer(matrix.sum(1), matrix.sum(1)))
    rows = graph.features / graph.features.sum(1, keepdims=True)
    first, second = (layer.weight.detach().numpy().T for layer in (network.first, network.second))
    hidden = np.maximum(spread @ rows @ first + network.biases[0].detach().numpy(), 0)
    expected = spread @ hidden @ second + network.biases[1].detach().numpy()
    np.testing.assert_allclose(OnGraph(network).logits(graph), expected, atol=1e-5)


@pytest.mark.parametrize("of", ["edges", "features"])
def test_a_gcns_gradient_is_the_slope_of_its_loss(graph: Graph, of: Literal["edges", "features"]) -> None:
    torch.manual_seed(0)
    network = GCN(12, 4, 3).double().eval()
    nodes = torch.arange(24)
    adjacency = torch.from_numpy(graph.adjacency().toarray()).double()
    features = torch.from_numpy(graph.features).double()

    def loss(adjacency: Tensor, features: Tensor) -> Tensor:
        degree = adjacency.sum(1)
        spread = adjacency / (degree[:, None] * degree[None]).sqrt()
        rows = features / features.sum(1, keepdim=True)
        return nn.functional.cross_entropy(network(spread, rows), torch.from_numpy(graph.labels), reduction="sum")

    found = OnGraph(network.float()).gradient(graph, nodes, of)
    network.double()
    for row, column in ((0, 3), (5, 9), (20, 1)):
        step = torch.zeros_like(adjacency if of == "edges" else features)
        step[row, column] = 1e-5
        moved = [
            (adjacency + s * step, features) if of == "edges" else (adjacency, features + s * step) for s in (1, -1)
        ]
        slope = (loss(*moved[0]) - loss(*moved[1])) / 2e-5
        assert float(found[row, column]) == pytest.approx(slope.item(), rel=1e-2, abs=1e-4)


def test_the_whole_graph_gives_what_the_samples_give(graph: Graph) -> None:
    network = spiking()
    samples = torch.from_numpy(graph.samples(np.arange(24), SLOTS))
    with torch.no_grad():
        expected = network(samples)
    assert expected.std() > 0
    torch.testing.assert_close(WholeGraph(network, SLOTS).logits(graph), expected)


@pytest.mark.parametrize("of", ["edges", "features"])
def test_the_whole_graphs_gradient_is_that_of_dense_matrices(graph: Graph, of: Literal["edges", "features"]) -> None:
    """The same layers on D^-1 A X with A dense, which is too large for real graphs, by autograd alone."""
    network, nodes = spiking(), torch.arange(10, 24)
    layers = dict(network.named_layers())
    adjacency = torch.from_numpy(graph.adjacency().toarray()).requires_grad_()
    features = torch.from_numpy(graph.features).requires_grad_()
    means = adjacency @ features / adjacency.sum(1, keepdim=True)
    current = means @ layers["hidden"].weight[:, :, 0, 0].T  # type: ignore[union-attr, index]
    sent = layers["neurons"](current.expand(4, *current.shape))
    got = torch.einsum("ij,tjh->tih", adjacency, sent) / SLOTS
    logits = 10.0 * layers["classes"](got).sum(0) / 4
    loss = nn.functional.cross_entropy(logits[nodes], torch.from_numpy(graph.labels)[nodes], reduction="sum")
    expected = torch.autograd.grad(loss, adjacency if of == "edges" else features)[0]
    assert expected.abs().max() > 0.01
    found = WholeGraph(network, SLOTS).gradient(graph, nodes, of)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_another_network_is_refused() -> None:
    for change in ("bias", "kernel", "pool"):
        layers: Any = OrderedDict(spiking().named_layers())
        if change == "bias":
            layers["hidden"] = nn.Conv2d(12, 5, 1)
        elif change == "kernel":
            layers["hidden"] = nn.Conv2d(12, 5, (3, 1), padding=(1, 0), bias=False)
        else:
            del layers["mean"]
        with pytest.raises(UnsupportedError, match="chain of convolutions"):
            WholeGraph(SpikingNetwork(layers, 4, 10.0), SLOTS)


def test_flips_by_chance_are_of_the_same_kinds(graph: Graph) -> None:
    like = np.array([[0, 0, 1, 2], [3, 1, 4, 3]])  # two edges and two pairs without one
    drawn = random_edges(graph, like, 0)
    matrix = graph.adjacency().toarray()
    assert matrix[tuple(drawn)].sum() == matrix[tuple(like)].sum() == 2
    assert (drawn[0] < drawn[1]).all()
    places = np.argwhere(graph.features > 0.5)[:3].T
    drawn = random_features(graph, places, 0)
    assert (graph.features[tuple(drawn)] == 1).all()
    assert len({tuple(place) for place in drawn.T.tolist()}) == 3


def test_gradient_flips_hurt_more_than_flips_by_chance(noisy: Graph, plain: tuple[GCN, list[float]]) -> None:
    """Design notes, section 8: at least 1 point more at the same budget."""
    victim = OnGraph(plain[0])
    edges = gradient_edges(victim, noisy, 500, 4)
    features = gradient_features(victim, noisy, 500, 4)
    assert edges.shape == features.shape == (2, 500)
    assert len(np.unique(edges[0] * noisy.nodes + edges[1])) == 500

    def right(graph: Graph) -> float:
        return float(accuracy(victim.logits(graph), noisy).mean())

    by_edges = right(noisy.with_edges_flipped(edges))
    by_features = right(noisy.with_features_flipped(features))
    assert right(noisy.with_edges_flipped(random_edges(noisy, edges, 0))) >= by_edges + 0.01
    assert right(noisy.with_features_flipped(random_features(noisy, features, 0))) >= by_features + 0.01


def test_the_warm_up_of_cap_is_plain_training(noisy: Graph, plain: tuple[GCN, list[float]]) -> None:
    warm, history = train_gcn(noisy, 32, 0, epochs=60, defences=[CAP(rho=0.1, epsilon=0.5, warmup=60)])
    assert history == plain[1]
    for one, other in zip(warm.parameters(), plain[0].parameters(), strict=True):
        assert torch.equal(one, other)
    _, later = train_gcn(noisy, 32, 0, epochs=60, defences=[CAP(rho=0.1, epsilon=0.5, warmup=20)])
    assert later[:21] == plain[1][:21]  # the loss is that of the first pass
    assert later[22:] != plain[1][22:]


@pytest.mark.parametrize("number", [30, 31])
def test_cap_takes_the_gradient_elsewhere_and_undoes_it(noisy: Graph, number: int) -> None:
    """Even: at X + epsilon g / |g|, row by row. Odd: at W + rho g / |g|. Weights and features stay what they were."""
    torch.manual_seed(0)
    network = GCN(64, 8, 10).eval()  # no dropout: both passes can be told by hand
    spread, features, nodes = propagation(noisy), inputs(noisy), torch.from_numpy(noisy.train)
    labels = torch.from_numpy(noisy.labels)[nodes]

    def gradients(given: Tensor) -> list[Tensor]:
        loss = nn.functional.cross_entropy(network(spread, given)[nodes], labels)
        return list(torch.autograd.grad(loss, [*network.parameters(), given]))

    before = [weight.detach().clone() for weight in network.parameters()]
    *by_weights, by_features = gradients(features.clone().requires_grad_())
    if number % 2:
        norm = torch.cat([each.flatten() for each in by_weights]).norm()
        with torch.no_grad():
            for weight, each in zip(network.parameters(), by_weights, strict=True):
                weight.add_(each, alpha=float(0.1 / norm))
        *expected, _ = gradients(features.clone().requires_grad_())
        with torch.no_grad():
            for weight, value in zip(network.parameters(), before, strict=True):
                weight.copy_(value)
    else:
        moved = features + 0.5 * by_features / lengths(by_features).clamp(min=1e-12)
        *expected, _ = gradients(moved.requires_grad_())
    batch: Any = Batch(lambda x: network(spread, x)[nodes], network, features, labels, number, number, 0.5)  # type: ignore[arg-type]

    def plainly() -> Tensor:
        batch.images = batch.images.detach().requires_grad_()
        batch.logits = batch.model(batch.images)
        loss = nn.functional.cross_entropy(batch.logits, labels)
        network.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    CAP(rho=0.1, epsilon=0.5, warmup=0).around(batch, plainly)
    for weight, value, gradient in zip(network.parameters(), before, expected, strict=True):
        assert torch.equal(weight, value)
        torch.testing.assert_close(weight.grad, gradient, rtol=1e-3, atol=1e-6)
    assert torch.equal(batch.images.detach(), features)
