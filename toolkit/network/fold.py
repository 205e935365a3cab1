"""What a network in PyTorch has and a chip has not, folded away: norms, mixtures, ADD joins, biases of currents."""

import copy
from collections import OrderedDict
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..errors import UnsupportedError
from .joins import Mix
from .layers import Layer, Membrane
from .network import SpikingNetwork, joins

Term = tuple[str, Tensor]
"""A convolution by name, and what it is multiplied by."""


class _Folding:
    def __init__(self, network: SpikingNetwork) -> None:
        self.network = network
        self.layers = dict(network.named_layers())
        self.sources = {name: network.sources(name) for name in self.layers}
        self.users: dict[str, list[str]] = {}
        for name, given in self.sources.items():
            for source in given:
                self.users.setdefault(source, []).append(name)
        norms = [name for name, layer in self.layers.items() if isinstance(layer, nn.BatchNorm2d)]
        self.terms = {name: self._terms(name) for name in norms}
        self.shared = [conv for terms in self.terms.values() for conv, _ in terms]

    def _terms(self, norm: str) -> list[Term]:
        """Return the convolutions that a batch norm receives the sum of."""
        (before, *others) = self.sources[norm]
        terms = [] if others else self._linear(before, torch.ones(()))
        if not terms:
            raise UnsupportedError(f"layer {norm!r}: batch norm must follow a convolution to be folded into it")
        return terms

    def _linear(self, name: str, scale: Tensor) -> list[Term]:
        layer = self.layers.get(name)
        if any(not isinstance(self.layers[user], nn.BatchNorm2d | Mix) for user in self.users.get(name, [])):
            return []
        if isinstance(layer, nn.Conv2d):
            return [(name, scale)]
        if not isinstance(layer, Mix):
            return []
        share = layer.share.detach()
        parts = [
            self._linear(*one) for one in zip(self.sources[name], (scale * share, scale * (1 - share)), strict=True)
        ]
        return parts[0] + parts[1] if all(parts) else []

    def norm(self, name: str) -> dict[str, tuple[nn.Conv2d, tuple[str, ...]]]:
        """Return the convolutions that a batch norm becomes, with their sources; the norm's shift goes to the first."""
        norm = copy.deepcopy(self.layers[name]).eval()
        assert isinstance(norm, nn.BatchNorm2d)
        found = {}
        for number, (conv, scale) in enumerate(self.terms[name]):
            layer = copy.deepcopy(self.layers[conv]).eval()
            assert isinstance(layer, nn.Conv2d)
            if len(self.terms[name]) > 1:
                layer.weight.data *= scale
                if layer.bias is not None:
                    layer.bias.data *= scale
            folded = fuse_conv_bn_eval(layer, norm)
            if number == 0:
                assert norm.bias is not None
                assert norm.running_mean is not None
                norm.bias.data.zero_()
                norm.running_mean.zero_()
            elif layer.bias is None:
                folded.bias = None
            alone = self.shared.count(conv) == 1
            found[conv if alone else f"{name}_{conv}"] = folded, self.sources[conv]
        return found


def fold(network: SpikingNetwork, *, move_biases: bool = True) -> SpikingNetwork:
    """Return a copy of convolutions, linear layers, pools and neurons alone, in evaluation mode.

    Every batch norm is folded into the convolution before it, with its running statistics; where it follows
    :class:`.joins.Mix`, into a copy of each convolution that is mixed. An ADD becomes wiring. A bias b that enters the
    current of a :class:`.neurons.CUBA`, where it would pile up to b / (1 - gamma), becomes a bias of that size of the
    voltage, which is the one that Loihi has: the same from the step on at which the current has settled.

    Args:
        network: not changed.
        move_biases: whether biases of currents are moved; without, the copy answers as the network does.

    Raises:
        UnsupportedError: a norm or a join that cannot be folded, by name.
    """
    folding = _Folding(network)
    mixed = {conv for terms in folding.terms.values() for conv, _ in terms}
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    sources: dict[str, tuple[str, ...]] = {}
    instead: dict[str, tuple[str, ...]] = {}
    for name, layer in network.named_layers():
        if isinstance(layer, nn.BatchNorm2d):
            made = folding.norm(name)
            instead[name] = tuple(made)
            for conv, (folded, given) in made.items():
                layers[conv], sources[conv] = folded, given
            continue
        stands = layer.folded() if isinstance(layer, Layer) else layer
        if stands is None:
            instead[name] = folding.sources[name]
        elif name not in mixed and not (isinstance(layer, Mix) and folding.users.get(name)):
            layers[name], sources[name] = copy.deepcopy(stands), folding.sources[name]

    def senders(name: str) -> tuple[str, ...]:
        return tuple(end for one in instead[name] for end in senders(one)) if name in instead else (name,)

    wiring = {name: tuple(end for one in given for end in senders(one)) for name, given in sources.items()}
    for name, given in wiring.items():
        if len(set(given)) < len(given):
            raise UnsupportedError(f"layer {name!r}: the same spikes are added to it twice; the chip has one synapse")
        if joins(layers[name]) and len(given) != 2:
            raise UnsupportedError(f"layer {name!r}: joins sums, but AND and IAND are of the spikes of two layers")
    if move_biases:
        _bias_of_currents(layers, wiring)
    return SpikingNetwork(layers, network.coder, network.gain, wiring).eval()


def _bias_of_currents(layers: dict[str, nn.Module], wiring: dict[str, tuple[str, ...]]) -> None:
    for name, layer in layers.items():
        if not isinstance(layer, Membrane):
            continue
        for source in wiring[name]:
            before = layers.get(source)
            if not isinstance(before, nn.Conv2d | nn.Linear) or before.bias is None:
                continue
            if not layer.take_bias(before.bias.detach()):
                continue
            users = [other for other, given in wiring.items() if source in given]
            if users != [name]:
                raise UnsupportedError(f"layer {source!r}: its bias enters the currents of {users}; give each its own")
            before.bias = None


def moved_biases(network: SpikingNetwork) -> dict[str, Tensor]:
    """Return what :func:`fold` adds to the biases of voltages, by layer: of currents with memory, once settled.

    Args:
        network: as :func:`fold` takes it; not changed.
    """
    before, after = fold(network, move_biases=False), fold(network)
    kept, found = dict(after.named_layers()), {}
    for name, layer in before.named_layers():
        if not isinstance(layer, Membrane) or not _arriving(before, name, kept):
            continue
        now, was = (one.dynamics().bias for one in (cast(Membrane, kept[name]), layer))
        assert now is not None
        found[name] = now.detach() if was is None else now.detach() - was.detach()
    return found


def _arriving(before: SpikingNetwork, name: str, after: dict[str, nn.Module]) -> bool:
    """Return whether a layer before ``name`` lost its bias."""
    layers = dict(before.named_layers())
    return any(
        getattr(layers.get(source), "bias", None) is not None and getattr(after[source], "bias", None) is None
        for source in before.sources(name)
    )
