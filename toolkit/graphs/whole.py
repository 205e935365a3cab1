"""A spiking network of samples that are neighbourhoods, seen as a function of the whole graph: what edges do to it."""

from collections import OrderedDict
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from ..data.graph import Graph
from ..errors import UnsupportedError
from ..network.layers import Membrane
from ..network.network import SpikingNetwork
from .flips import Of


@dataclass(frozen=True)
class WholeGraph:
    """A network that works alike in every slot, then takes the mean over slots, on all nodes at once.

    r = local(D^-1 (A + I) X) for every node once; z_i = sum over the slots of node i of r / slots; logits = head(z). On
    every node these are the logits that the network gives its sample, but for the order of sums.

    Args:
        network: local layers (convolutions 1 x 1, neurons), an average pool over all slots, the rest.
        slots: of a sample.

    Raises:
        UnsupportedError: the network is another.
    """

    network: SpikingNetwork
    slots: int

    def __post_init__(self) -> None:
        """Find the layers before and after the pool."""
        layers = list(self.network.named_layers())
        pools = [
            place
            for place, (_, layer) in enumerate(layers)
            if isinstance(layer, nn.AvgPool2d) and layer.kernel_size == (self.slots, 1)
        ]
        local = layers[: pools[0]] if pools else []
        names = [name for name, _ in layers]
        chain = all(list(self.network.sources(name)) == [before] for before, name in pairwise(names))
        if not local or not all(_local(layer) for _, layer in local) or not chain:
            raise UnsupportedError(
                f"graph: the network is no chain of convolutions 1 x 1 and neurons, then an average over {self.slots} "
                "slots; only of such is it known what an edge does"
            )
        for name, part in (("_local", local), ("_head", layers[pools[0] + 1 :])):
            made = SpikingNetwork(OrderedDict(part), self.network.coder, self.network.gain).eval()
            object.__setattr__(self, name, made)

    def _sent(self, means: Tensor) -> Tensor:
        """Return what the nodes send (nodes, time, hidden) for their means (nodes, features)."""
        picture = means.T[None, :, :, None]
        sent: Tensor = self._local.respond(self.network.coder.encode(picture))  # type: ignore[attr-defined]
        return sent[:, 0, :, :, 0].permute(2, 0, 1)

    def _read(self, pooled: Tensor) -> Tensor:
        """Return logits (nodes, classes) of what the slots sent on average, (nodes, time, hidden)."""
        last: Tensor = self._head.respond(pooled.transpose(0, 1)[..., None, None])  # type: ignore[attr-defined]
        return self.network.logits(last)

    def _slots(self, graph: Graph) -> Tensor:
        """Return who stands in a slot of whom, times 1 / slots: (nodes, nodes), sparse."""
        places = graph.places(self.slots)
        node, slot = np.nonzero(places >= 0)
        where = np.stack([node, places[node, slot]])
        weight, shape = torch.full((len(node),), 1 / self.slots), (graph.nodes, graph.nodes)
        return torch.sparse_coo_tensor(torch.from_numpy(where), weight, shape, check_invariants=False).coalesce()

    def _passed(self, graph: Graph, means: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return what nodes send and what they get, flat (nodes, time x hidden), and the logits."""
        sent = self._sent(means)
        flat = sent.flatten(1)
        pooled = torch.sparse.mm(self._slots(graph), flat)
        return flat, pooled, self._read(pooled.unflatten(1, sent.shape[1:]))

    def logits(self, graph: Graph) -> Tensor:
        """Return logits (nodes, classes)."""
        with torch.no_grad():
            return self._passed(graph, torch.from_numpy(graph.means()))[2]

    def rates(self, graph: Graph) -> Tensor:
        """Return the share of steps in which hidden neurons fire, (nodes, hidden)."""
        with torch.no_grad():
            return self._sent(torch.from_numpy(graph.means())).mean(1)

    def gradient(self, graph: Graph, right: Tensor, of: Of) -> Tensor:
        """Return the loss's derivatives by the entries of A (nodes, nodes), or of X (nodes, features).

        A counts twice: in the means, and in who stands in a slot (where a full neighbourhood counts as if it were not).

        Args:
            graph: where.
            right: nodes (nodes,) whose cross-entropies are added up.
            of: "edges" or "features".
        """
        means = torch.from_numpy(graph.means()).requires_grad_()
        flat, pooled, logits = self._passed(graph, means)
        loss = nn.functional.cross_entropy(logits[right], torch.from_numpy(graph.labels)[right], reduction="sum")
        by_pooled, by_means = torch.autograd.grad(loss, [pooled, means])
        adjacency = graph.adjacency()
        scaled = by_means / torch.from_numpy(adjacency.sum(1))[:, None]
        if of == "features":
            return torch.from_numpy(np.asarray(adjacency.T @ scaled.numpy()))
        # The quotient rule: one neighbour more also makes all others count less.
        by_mean = _times(scaled, torch.from_numpy(graph.features)) - (scaled * means.detach()).sum(1, keepdim=True)
        return by_pooled @ flat.detach().T / self.slots + by_mean


def _times(left: Tensor, features: Tensor) -> Tensor:
    """Return left @ features.T, (nodes, nodes); features are mostly zeros."""
    found: Tensor = torch.sparse.mm(features.to_sparse(), left.T.contiguous())
    return found.T


def _local(layer: nn.Module) -> bool:
    """Return whether a layer does the same in every slot, and nothing between slots."""
    if isinstance(layer, nn.Conv2d):
        alone = (layer.kernel_size, layer.stride, layer.padding) == ((1, 1), (1, 1), (0, 0))
        # An empty slot must stay silent.
        return alone and layer.bias is None
    return isinstance(layer, Membrane) or not list(layer.parameters())
