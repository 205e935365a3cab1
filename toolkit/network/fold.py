"""What a network in PyTorch has and a chip has not, folded away: norms, mixtures, ADD joins, biases of currents."""

import copy
from collections import OrderedDict
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from ..errors import UnsupportedError
from .joins import Mix
from .layers import Layer, Membrane
from .network import INPUT, SpikingNetwork, joins
from .signals import Wire

Term = tuple[str, Tensor]
"""A convolution or linear layer by name, and what it is multiplied by."""
NORMS = (nn.BatchNorm2d, nn.BatchNorm1d)


def _padded(pad: nn.ZeroPad2d, conv: nn.Conv2d) -> nn.Conv2d | None:
    """Return a convolution that pads by itself, on both sides alike: its kernel has zeros where one needs less.

    With L zeros before and R behind, P = max(L, R): P on both sides, and a kernel with P - L and P - R zeros more.
    None where the kernel's own entries are apart, or what is around is not zeros.
    """
    if conv.dilation != (1, 1) or conv.padding_mode != "zeros" or isinstance(conv.padding, str) or min(pad.padding) < 0:
        return None
    left, right, top, bottom = pad.padding
    rows, columns = (
        (a + own, b + own) for (a, b), own in zip(((top, bottom), (left, right)), conv.padding, strict=True)
    )
    high, wide = max(rows), max(columns)
    more = (wide - columns[0], wide - columns[1], high - rows[0], high - rows[1])
    made = copy.deepcopy(conv)
    made.weight = nn.Parameter(nn.functional.pad(conv.weight.detach(), more))
    made.kernel_size, made.padding = (made.weight.shape[2], made.weight.shape[3]), (high, wide)
    return made


class _Folding:
    def __init__(self, network: SpikingNetwork) -> None:
        self.network = network
        self.layers = dict(network.named_layers())
        self.sources = network.wires()
        self._pads()
        self.users: dict[str, list[str]] = {}
        for name, given in self.sources.items():
            for source in given:
                self.users.setdefault(source, []).append(name)
        norms = [name for name, layer in self.layers.items() if isinstance(layer, NORMS)]
        self.terms = {name: self._terms(name) for name in norms}
        self.shared = [conv for terms in self.terms.values() for conv, _ in terms]

    def _pads(self) -> None:
        """Make padding a part of the convolutions behind it, where all that read it are such; it is a wire then."""
        seen = {INPUT}
        for name, pad in list(self.layers.items()):
            seen.add(name)
            users = [user for user, given in self.sources.items() if name in given]
            # A wire that a way back leads to would take away the step that the way takes.
            if not isinstance(pad, nn.ZeroPad2d) or not users or not seen.issuperset(self.sources[name]):
                continue
            convs = [self.layers[user] for user in users]
            made = [_padded(pad, conv) if isinstance(conv, nn.Conv2d) else None for conv in convs]
            if all(one is not None for one in made) and all(self.sources[user] == (name,) for user in users):
                self.layers[name] = Wire()
                self.layers.update({user: one for user, one in zip(users, made, strict=True) if one is not None})

    def _terms(self, norm: str) -> list[Term]:
        """Return the convolutions, or linear layers, that a batch norm receives the sum of."""
        kind, weighted = (
            (nn.Conv2d, "convolution") if isinstance(self.layers[norm], nn.BatchNorm2d) else (nn.Linear, "linear layer")
        )
        parts = [self._linear(source, torch.ones(())) for source in self.sources[norm]]
        terms = [term for part in parts for term in part] if all(parts) else []
        if not terms or not all(isinstance(self.layers[name], kind) for name, _ in terms):
            raise UnsupportedError(f"layer {norm!r}: batch norm must follow a {weighted} to be folded into it")
        return terms

    def _linear(self, name: str, scale: Tensor) -> list[Term]:
        layer = self.layers.get(name)
        if any(not isinstance(self.layers[user], (*NORMS, Mix)) for user in self.users.get(name, [])):
            return []
        if isinstance(layer, nn.Conv2d | nn.Linear):
            return [(name, scale)]
        if not isinstance(layer, Mix):
            return []
        share = layer.share.detach()
        parts = [
            self._linear(*one) for one in zip(self.sources[name], (scale * share, scale * (1 - share)), strict=True)
        ]
        return parts[0] + parts[1] if all(parts) else []

    def norm(self, name: str) -> dict[str, tuple[nn.Conv2d | nn.Linear, tuple[str, ...]]]:
        """Return the layers that a batch norm becomes, with their sources; the norm's shift goes to the first."""
        norm = copy.deepcopy(self.layers[name]).eval()
        assert isinstance(norm, NORMS)
        if norm.running_mean is None:
            raise UnsupportedError(f"layer {name!r}: batch norm without running statistics is no fixed function")
        if norm.bias is None:  # without affine: gamma 1, beta 0
            norm.weight = nn.Parameter(torch.ones_like(norm.running_mean))
            norm.bias = nn.Parameter(torch.zeros_like(norm.running_mean))
        found = {}
        for number, (conv, scale) in enumerate(self.terms[name]):
            layer = copy.deepcopy(self.layers[conv]).eval()
            assert isinstance(layer, nn.Conv2d | nn.Linear)
            if len(self.terms[name]) > 1:
                layer.weight.data *= scale
                if layer.bias is not None:
                    layer.bias.data *= scale
            folded = (
                fuse_conv_bn_eval(layer, norm) if isinstance(layer, nn.Conv2d) else fuse_linear_bn_eval(layer, norm)
            )
            if number == 0:
                norm.bias.data.zero_()
                norm.running_mean.zero_()
            elif layer.bias is None:
                folded.bias = None
            alone = self.shared.count(conv) == 1
            found[conv if alone else f"{name}_{conv}"] = folded, self.sources[conv]
        return found


def fold(network: SpikingNetwork, *, move_biases: bool = True) -> SpikingNetwork:
    """Return a copy of convolutions, linear layers, pools and neurons alone, in evaluation mode.

    Every batch norm is folded into the convolution or linear layer before it, with its running statistics; where it
    follows :class:`.joins.Mix`, into a copy of each one that is mixed. An ADD becomes wiring. A bias b that enters the
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
    for name, layer in folding.layers.items():
        if isinstance(layer, NORMS):
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
    return SpikingNetwork(layers, network.coder, network.gain, wiring, every_step=network.every_step).eval()


def _bias_of_currents(layers: dict[str, nn.Module], wiring: dict[str, tuple[str, ...]]) -> None:
    for name, layer in layers.items():
        if not isinstance(layer, Membrane):
            continue
        for source in wiring[name]:
            before = layers.get(source)
            if not isinstance(before, nn.Conv2d | nn.Linear) or before.bias is None:
                continue
            bias = before.bias.detach()
            if not layer.take_bias(bias.view(-1, 1, 1) if isinstance(before, nn.Conv2d) else bias):
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
