"""Exact rewrites: from neurons of defences to those that Loihi has."""

from collections import OrderedDict

import torch
from torch import nn

from ..errors import UnsupportedError
from ..network.network import INPUT, SpikingNetwork
from ..network.neurons import CUBA, Neuron
from .neuron import OpenLIF
from .self_connection import own_synapse


def exact(network: SpikingNetwork) -> SpikingNetwork:
    """Return the network with neurons that exist on Loihi; it fires the same spikes at inference.

    * p of failing spikes goes into the weights that receive them, W (p s) = (p W) s; pools and reshaping in between
      commute with p.
    * S-LIF with g a = 1 - a, both fixed, becomes CUBA that keeps gamma = 1 - a of its current, with a recurrent synapse
      of -gamma threshold from each neuron to itself: g I_p(t-1) is then the sum over k >= 1 of
      gamma^k (I(t-k) - threshold s(t-k)).

    The network is changed in place; call it on a copy, after batch norm is folded.

    Raises:
        UnsupportedError: neurons that no exact rewrite brings to Loihi; named with the reason.
    """
    _average(network)
    _predict(network)
    return network


def _predict(network: SpikingNetwork) -> None:
    """Replace S-LIF by CUBA and a recurrent synapse where that is exact."""
    wiring = {name: network.sources(name) for name, _ in network.named_layers()}
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for name, layer in network.named_layers():
        gamma = layer.current.gamma() if isinstance(layer, OpenLIF) and layer.current is not None else None
        if gamma is None:
            layers[name] = layer
            continue
        assert isinstance(layer, OpenLIF)
        made = CUBA(gamma, layer.beta, layer.threshold, layer.alpha)
        made.spike_grad = layer.neuron.spike_grad
        back = f"{name}_prediction"
        layers |= {name: made, back: own_synapse(network, name, -gamma * layer.threshold)}
        wiring[back], wiring[name] = (name,), (*wiring[name], back)
    if len(layers) > len(network.layers):
        network.rebuild(layers, wiring)


def _average(network: SpikingNetwork) -> None:
    """Multiply every p into the weights behind it, and refuse what cannot be deployed."""
    layers = OrderedDict(network.named_layers())

    def chances(name: str, seen: frozenset[str] = frozenset()) -> set[float]:
        """Return all p of the signals that layer ``name`` receives."""
        found: set[float] = set()
        for source in set(network.sources(name)) - seen:
            layer = layers.get(source)
            if isinstance(layer, Neuron):
                found.add(layer.chance if isinstance(layer, OpenLIF) else 1.0)
            elif source == INPUT or isinstance(layer, nn.Conv2d | nn.Linear):
                found.add(1.0)
            else:
                found |= chances(source, seen | {source})
        return found

    for name, layer in layers.items():
        if isinstance(layer, OpenLIF) and (layer.noisy_inference or layer.current is not None):
            fits = not layer.noisy_inference and layer.current is not None and layer.current.gamma() is not None
            reason = None if fits else layer.unlike()
            if reason is not None:
                raise UnsupportedError(f"layer {name!r}: {reason}")
        if isinstance(layer, nn.Conv2d | nn.Linear | Neuron):
            found = chances(name)
            if found == {1.0}:
                continue
            if isinstance(layer, Neuron) or len(found) > 1:
                raise UnsupportedError(
                    f"layer {name!r}: receives spikes of {sorted(found)}; one factor on its weights cannot average them"
                )
            with torch.no_grad():
                layer.weight.mul_(found.pop())
    for layer in layers.values():
        if isinstance(layer, OpenLIF):
            layer.chance = 1.0
