"""A network while it is changed: layers and wires that can be moved, and weights that take factors."""

import copy
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ..network.network import INPUT, SpikingNetwork, joins

Weighted = nn.Conv2d | nn.Linear
Norms = nn.BatchNorm1d | nn.BatchNorm2d


class Draft:
    """A copy of a network whose layers and wires are to be changed.

    Args:
        network: not changed.
    """

    def __init__(self, network: SpikingNetwork) -> None:
        copied = copy.deepcopy(network)
        self.layers: OrderedDict[str, nn.Module] = OrderedDict(copied.named_layers())
        self.wires = copied.wires()
        self.coder, self.gain, self.training = copied.coder, copied.gain, copied.training
        self.every_step = copied.every_step

    def network(self) -> SpikingNetwork:
        """Return what the draft has become."""
        made = SpikingNetwork(self.layers, self.coder, self.gain, self.wires, every_step=self.every_step)
        return made.train(self.training)

    @property
    def last(self) -> str:
        """Name of the layer that is read."""
        return next(reversed(self.layers))

    def users(self, name: str) -> list[str]:
        """Return the names of the layers that receive from a layer."""
        return [user for user, sources in self.wires.items() if name in sources]

    def bypass(self, name: str) -> None:
        """Take a layer out of the way: who received from it receives what it received."""
        given = self.wires.pop(name)
        for user in self.users(name):
            ends = [end for source in self.wires[user] for end in (given if source == name else (source,))]
            self.wires[user] = tuple(dict.fromkeys(ends))
        del self.layers[name]

    def insert(self, name: str, layer: nn.Module, after: str) -> None:
        """Put a layer behind another one: who received from that receives from the new one."""
        for user in self.users(after):
            self.wires[user] = tuple(name if source == after else source for source in self.wires[user])
        self.wires[name] = (after,)
        order = list(self.layers)
        self.layers[name] = layer
        for later in order[order.index(after) + 1 :]:
            self.layers.move_to_end(later)

    def may_bypass(self, name: str) -> bool:
        """Return whether a layer can be taken out of the way: nobody joins it, or receives its sources already."""
        return not any(
            joins(self.layers[user]) or set(self.wires[user]) & set(self.wires[name]) for user in self.users(name)
        )

    def ends(self, name: str) -> list[str] | None:
        """Return the layers whose output can be scaled in the place of what ``name`` receives.

        Convolutions, linear layers and norms, through pools; None where something else arrives, or where what arrives
        goes elsewhere, too.
        """
        found: list[str] = []
        for source in self.wires[name]:
            layer = self.layers.get(source)
            if source == INPUT or self.users(source) != [name]:
                return None
            if isinstance(layer, Weighted | Norms):
                found.append(source)
            elif isinstance(layer, nn.AvgPool2d | nn.MaxPool2d) and (more := self.ends(source)) is not None:
                found += more
            else:
                return None
        return found

    def scale(self, ends: list[str], factor: Tensor) -> None:
        """Multiply the output of layers, from :meth:`ends`, by one number, or by one a channel or neuron."""
        factor = factor.detach().flatten()
        for name in ends:
            layer = self.layers[name]
            assert isinstance(layer, Weighted | Norms)
            _fill(layer)
            with torch.no_grad():
                layer.weight.mul_(factor.to(layer.weight).view(-1, *[1] * (layer.weight.dim() - 1)))
                if layer.bias is not None:
                    layer.bias.mul_(factor.to(layer.bias))

    def shift(self, ends: list[str], offset: Tensor) -> None:
        """Add a constant, one number, or one a channel or neuron, to the output of the first of some layers."""
        layer = self.layers[ends[0]]
        assert isinstance(layer, Weighted | Norms)
        _fill(layer)
        with torch.no_grad():
            if layer.bias is None:
                layer.bias = nn.Parameter(torch.zeros(len(layer.weight), dtype=layer.weight.dtype))
            layer.bias.add_(offset.detach().flatten().to(layer.bias))

    def fits(self, ends: list[str], value: Tensor) -> bool:
        """Return whether a constant is one number, or one for each channel or neuron that layers send."""
        if value.numel() == 1:
            return True
        flat = value.dim() == 1 or set(value.shape[1:]) == {1}
        return flat and all(_width(self.layers[name]) == len(value) for name in ends)

    def passes(self, name: str) -> bool:
        """Return whether a constant that is added before the pools that lead to ``name`` arrives as it is."""
        for source in self.wires[name]:
            layer = self.layers.get(source)
            if isinstance(layer, nn.AvgPool2d | nn.MaxPool2d):
                changes = isinstance(layer, nn.AvgPool2d) and (
                    (layer.padding not in (0, (0, 0)) and layer.count_include_pad) or layer.divisor_override is not None
                )
                if changes or not self.passes(source):
                    return False
        return True


def _width(layer: nn.Module) -> int:
    if isinstance(layer, Norms):
        return int(layer.num_features)
    assert isinstance(layer, Weighted)
    return len(layer.weight)


def _fill(layer: nn.Module) -> None:
    """Give a norm without weight and bias those that it has in effect."""
    if isinstance(layer, Norms) and layer.weight is None:
        layer.affine = True
        known = layer.running_var
        assert known is not None
        layer.weight, layer.bias = nn.Parameter(torch.ones_like(known)), nn.Parameter(torch.zeros_like(known))


@dataclass(frozen=True)
class Change:
    """One change of one layer.

    Attributes:
        layer: its name.
        kind: what is changed, a word.
        was: what it was.
        becomes: what it is.
        exact: whether the network's spikes, and its logits but for a common factor, stay what they were for every
            input, up to rounding.
        why: a sentence: why, and when it is exact.
        make: makes it, in a draft of the network that it was found for, whatever other changes were made there.
    """

    layer: str
    kind: str
    was: str
    becomes: str
    exact: bool
    why: str
    make: Callable[[Draft], None] = field(repr=False, compare=False)
