"""Self-connections."""

from collections import OrderedDict
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..network.network import INPUT, SpikingNetwork
from ..network.neurons import LIF
from .base import Defence


class Diagonal(nn.Linear):
    """One weight a neuron: a linear layer whose other weights are 0 and stay so."""

    def forward(self, x: Tensor) -> Tensor:
        """Return V x, (batch, neurons)."""
        return nn.functional.linear(x, self.weight * torch.eye(len(self.weight), device=x.device))


def _fed_by(network: SpikingNetwork, name: str) -> nn.Module:
    """Return the layer that fixes how many channels or neurons ``name`` has."""
    layers = dict(network.named_layers())
    while name != INPUT:
        name = network.sources(name)[0]
        if isinstance(layers.get(name), nn.Conv2d | nn.Linear):
            return layers[name]
    raise InputError(f"self_connection: layer {name!r} receives no convolution or linear layer")


def _square(fed_by: nn.Module, diagonal: bool) -> nn.Conv2d | nn.Linear:
    """Return a layer from the neurons that ``fed_by`` feeds to themselves, of weights 0."""
    if isinstance(fed_by, nn.Conv2d):
        channels = fed_by.out_channels
        made: nn.Conv2d | nn.Linear = nn.Conv2d(channels, channels, 1, groups=channels if diagonal else 1, bias=False)
    else:
        assert isinstance(fed_by, nn.Linear)
        made = (Diagonal if diagonal else nn.Linear)(fed_by.out_features, fed_by.out_features, bias=False)
    nn.init.zeros_(made.weight)
    return made


def own_synapse(network: SpikingNetwork, name: str, weight: float) -> nn.Module:
    """Return a layer that multiplies the spikes of layer ``name`` by one weight."""
    made = _square(_fed_by(network, name), diagonal=True)
    with torch.no_grad():
        if isinstance(made, nn.Conv2d):
            made.weight.fill_(weight)
        else:
            made.weight.fill_diagonal_(weight)
    return made


class SelfConnection(Defence):
    """Self-connections: the spikes of a layer come back to it one step later, through learned weights.

    v(t) = beta v(t-1) (1 - s(t-1)) + I(t) + V s(t-1),  V = 0 at first: the eigenvalues of the dynamics can be learned.

    V is h x h or diagonal for a linear layer of h neurons. For maps of c channels it is a 1x1 convolution: channel to
    channel at the same place (full), or one weight a channel (diagonal). The read-out has none. On Loihi it is a
    recurrent synapse. A network with loops runs step by step, so batch norm takes its statistics a step.

    *Reconstructed:* Zhang et al., JMLR 25 (2024), arXiv 2207.04876, whose abstract alone was read.

    Attributes:
        matrix: "full" or "diagonal".
    """

    name: Literal["self_connection"] = "self_connection"
    summary: ClassVar[str] = "self-connections: recurrent synapses within each layer"
    matrix: Literal["full", "diagonal"] = "full"

    def prepare(self, network: SpikingNetwork) -> None:
        """Add V behind every hidden LIF layer, and the loop."""
        wiring = {name: network.sources(name) for name, _ in network.named_layers()}
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for name, layer in network.named_layers():
            layers[name] = layer
            if isinstance(layer, LIF) and layer is not list(network.layers)[-1]:
                back = f"{name}_self"
                layers[back] = _square(_fed_by(network, name), self.matrix == "diagonal")
                wiring[back], wiring[name] = (name,), (*wiring[name], back)
        network.rebuild(layers, wiring)
