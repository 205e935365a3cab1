"""Noise averaged out: the exact network without random numbers for one that sends expected spikes."""

from collections import OrderedDict

import torch
from torch import nn

from ..errors import UnsupportedError
from ..layers import INPUT, SpikingNetwork
from ..neurons import LIF
from .neuron import OpenLIF


def averaged(network: SpikingNetwork) -> SpikingNetwork:
    """Return the network with every p of failing spikes multiplied into the weights that receive them.

    W (p s) = (p W) s, so that the neurons send spikes again. Pools and reshaping in between commute with p. The network
    is changed in place; call it on a copy, after batch norm is folded.

    Raises:
        UnsupportedError: neurons that no exact rewrite makes LIF; named with the reason.
    """
    layers = OrderedDict(network.named_layers())

    def chances(name: str, seen: frozenset[str] = frozenset()) -> set[float]:
        """Return all p of the signals that layer ``name`` receives."""
        found: set[float] = set()
        for source in set(network.sources(name)) - seen:
            layer = layers.get(source)
            if isinstance(layer, LIF):
                found.add(layer.chance if isinstance(layer, OpenLIF) else 1.0)
            elif source == INPUT or isinstance(layer, nn.Conv2d | nn.Linear):
                found.add(1.0)
            else:
                found |= chances(source, seen | {source})
        return found

    for name, layer in layers.items():
        if isinstance(layer, OpenLIF) and (layer.noisy_inference or layer.current is not None):
            reason = layer.unlike()
            if reason is not None:
                raise UnsupportedError(f"layer {name!r}: {reason}")
        if isinstance(layer, nn.Conv2d | nn.Linear | LIF):
            found = chances(name)
            if found == {1.0}:
                continue
            if isinstance(layer, LIF) or len(found) > 1:
                raise UnsupportedError(
                    f"layer {name!r}: receives spikes of {sorted(found)}; one factor on its weights cannot average them"
                )
            with torch.no_grad():
                layer.weight.mul_(found.pop())
    for layer in layers.values():
        if isinstance(layer, OpenLIF):
            layer.chance = 1.0
    return network
