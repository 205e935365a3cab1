"""From what was seen to a network: layers in order, their wiring, and the read-out."""

import copy
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..coding import Coder
from ..errors import UnsupportedError
from ..kernels.norm import Norm
from ..kernels.pool import MaxPool
from ..network.network import INPUT, SpikingNetwork
from ..network.neurons import Integrator
from ..network.population import LeakyIntegrator, Population
from .cat import WAY_OUT
from .graph import Node, Value
from .trace import Recorder

MEMBRANES = {"membrane": "the membrane", "neuron": "spikes", "layer": "a layer without state", "add": "a sum"}


@dataclass(frozen=True)
class Built:
    """A network as adopted.

    Attributes:
        network: in evaluation mode.
        populations: layer name of each neuron module that was seen, by the module's identity.
        readout: in words.
        shape: (channels, height, width) of an image.
    """

    network: SpikingNetwork
    populations: dict[int, str]
    readout: str
    shape: tuple[int, int, int]


def image_shape(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return (channels, height, width) for the shape of a sample: rows of features are channels of one pixel.

    Raises:
        UnsupportedError: it has more than three axes.
    """
    if len(shape) == 1:
        return shape[0], 1, 1
    if len(shape) == 2:
        return shape[0], 1, shape[1]
    if len(shape) == 3:
        return shape[0], shape[1], shape[2]
    raise UnsupportedError(f"samples of shape {shape}; known are features, (channels, length) and images")


class _Builder:
    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.rows = recorder.nodes.rows
        self.layers: OrderedDict[str, nn.Module] = OrderedDict()
        self.wiring: dict[str, tuple[str, ...]] = {}
        self.flat: str | None = None

    def sources(self, row: Node) -> tuple[str, ...]:
        """Return the layers whose outputs add up to what a node receives."""
        found: list[str] = []
        for source in row.sources:
            before = self.rows[source]
            names = self.sources(before) if before.kind == "add" else (before.name,)
            if before.kind == "cat":
                raise UnsupportedError(f"{row.name!r} gets what torch.cat joined; {WAY_OUT}")
            if before.kind in ("membrane", "not"):
                raise UnsupportedError(f"{row.name!r} gets {before.name!r}: only spikes and layers' outputs go on")
            found += [self.flat or INPUT if name == INPUT else name for name in names]
        if len(set(found)) < len(found):
            raise UnsupportedError(f"{row.name!r} gets the same signal twice; scale the weights instead")
        return tuple(found)

    def used(self, end: int) -> set[int]:
        """Return the nodes that lead to the one that is read."""
        seen, rest = set(), [end]
        while rest:
            now = rest.pop()
            if now not in seen:
                seen.add(now)
                rest += self.rows[now].sources
        return seen

    def add(self, row: Node, layer: nn.Module) -> None:
        """Append a node's layer, and the loop of its spikes."""
        sources = self.sources(row)
        self.layers[row.name] = layer
        if row.loop is not None:
            loop = f"{row.name}_loop"
            self.layers[loop] = planar(row.loop)
            self.wiring[loop] = (row.name,)
            sources = (*sources, loop)
        self.wiring[row.name] = sources


def planar(layer: Any) -> nn.Module:
    """Return a copy of a layer of torch, or derived from one, as the network has it: 1-D ones as 2-D of height 1.

    Raises:
        UnsupportedError: a setting has no form.
    """
    if isinstance(layer, nn.Conv1d | nn.Conv2d):
        if isinstance(layer.padding, str) or layer.padding_mode != "zeros":
            raise UnsupportedError("convolution: padding must be numbers, of zeros")
        one = isinstance(layer, nn.Conv1d)
        how: dict[str, Any] = {
            name: (least, *getattr(layer, name)) if one else getattr(layer, name)
            for name, least in (("kernel_size", 1), ("stride", 1), ("padding", 0), ("dilation", 1))
        }
        made: Any = nn.Conv2d(
            layer.in_channels, layer.out_channels, groups=layer.groups, bias=layer.bias is not None, **how
        )
        return _filled(made, layer, layer.weight.unsqueeze(2) if one else layer.weight)
    if isinstance(layer, nn.Linear):
        return _filled(nn.Linear(layer.in_features, layer.out_features, layer.bias is not None), layer, layer.weight)
    if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
        if layer.running_mean is None or not layer.affine:
            raise UnsupportedError("batch norm needs running statistics and its own scale to be folded into weights")
        # Batch norm over rows of features is left as it is; over sequences it is one over images of height 1.
        kind = nn.BatchNorm1d if isinstance(layer, nn.BatchNorm1d) and not getattr(layer, "planar", False) else Norm
        made = kind(layer.num_features, layer.eps, layer.momentum)
        made.load_state_dict(layer.state_dict(), strict=False)
        normed: nn.Module = made.eval()
        return normed
    if isinstance(layer, nn.MaxPool1d | nn.AvgPool1d):
        size, stride, padding = (_single(getattr(layer, name)) for name in ("kernel_size", "stride", "padding"))
        if isinstance(layer, nn.MaxPool1d):
            wide = _single(layer.dilation)
            return MaxPool((1, size), (1, stride), (0, padding), (1, wide), ceil_mode=layer.ceil_mode)
        return nn.AvgPool2d((1, size), (1, stride), (0, padding), layer.ceil_mode, layer.count_include_pad)
    if isinstance(layer, nn.MaxPool2d):
        return MaxPool(layer.kernel_size, layer.stride, layer.padding, layer.dilation, ceil_mode=layer.ceil_mode)
    if isinstance(layer, nn.AvgPool2d):
        whole = layer.ceil_mode, layer.count_include_pad, layer.divisor_override
        return nn.AvgPool2d(layer.kernel_size, layer.stride, layer.padding, *whole)
    if isinstance(layer, nn.Flatten):
        return nn.Flatten()
    other: nn.Module = copy.deepcopy(layer)
    return other


def _single(value: Any) -> int:
    return int(value[0] if isinstance(value, tuple) else value)


def _filled(made: Any, layer: Any, weight: torch.Tensor) -> nn.Module:
    with torch.no_grad():
        made.weight.copy_(weight)
        if layer.bias is not None:
            made.bias.copy_(layer.bias)
    filled: nn.Module = made
    return filled


def build(recorder: Recorder, read: Value, coder: Coder) -> Built:
    """Return the network that a model was seen to be.

    Args:
        recorder: after the model ran.
        read: what the model gave.
        coder: what makes input of images.

    Raises:
        UnsupportedError: it has no such form; the place is named.
    """
    steps = recorder.steps
    if steps is None:
        raise UnsupportedError(
            "the model has no spiking neurons that were called; for a network of ReLUs see sp.convert"
        )
    make, rows = _Builder(recorder), recorder.nodes.rows
    shape = image_shape(recorder.shape)
    if len(recorder.shape) == 1:
        make.flat = "flat" if "flat" not in recorder.nodes.names else "flat_input"
        make.layers[make.flat], make.wiring[make.flat] = nn.Flatten(), (INPUT,)
    end = read.node
    membrane = rows[end].kind == "membrane"
    neuron = rows[end].sources[0] if membrane else end
    if rows[end].kind == "cat":
        raise UnsupportedError(f"the model gives what torch.cat joined; {WAY_OUT}")
    needed = make.used(neuron)
    for index, row in enumerate(rows):
        if index not in needed or row.kind in ("input", "add", "membrane", "not", "cat"):
            continue
        layer = row.layer
        assert layer is not None
        try:
            if row.kind == "layer":
                layer = planar(layer)
            elif index == neuron and membrane:
                layer = _read_membrane(layer)
            make.add(row, copy.deepcopy(layer) if row.kind == "neuron" else layer)
        except UnsupportedError as error:
            raise UnsupportedError(f"layer {row.name!r}: {error}") from error
    gain, words = _read_out(make, rows[end], read, steps)
    # What simply follows the layer before needs no wire.
    before = INPUT
    for name in make.layers:
        if make.wiring.get(name) == (before,):
            del make.wiring[name]
        before = name
    network = SpikingNetwork(make.layers, coder, gain, make.wiring).eval()
    populations = {one: rows[seen.node].name for one, seen in recorder.neurons.items() if seen.node in needed}
    return Built(network, populations, words, shape)


def _read_membrane(layer: nn.Module) -> nn.Module:
    """Return what is read by its membrane in place of neurons whose spikes nobody needs."""
    if isinstance(layer, LeakyIntegrator):
        return layer
    if not isinstance(layer, Population) or layer.reset != "none":
        raise UnsupportedError(
            "the loss reads the membrane of neurons that fire and reset, which no layer here does; read their spikes, "
            "or make them with reset_mechanism='none'"
        )
    values = {name: getattr(layer, name) for name in layer.shapes() if name not in ("threshold", "reset_to")}
    return LeakyIntegrator(values)


def _read_out(make: _Builder, row: Node, read: Value, steps: int) -> tuple[float, str]:
    """Append what is read, and return the scale of the logits and the read-out in words."""
    factor = read.factor
    last = read.when == "at" and read.step == steps - 1
    over = read.when == "run" or (read.when == "sum" and len(read.steps) == steps)
    if read.when == "run":
        factor /= steps
    # Logits are gain / steps times what the last layer added up, or what its membrane is at the end.
    gain = factor * steps
    names = list(make.layers)
    integrates = isinstance(make.layers[names[-1]], LeakyIntegrator)
    if row.kind == "membrane" or (row.kind == "neuron" and integrates):
        if last:
            return gain, "the membrane after the last step"
        if over:
            make.layers["read"] = Integrator()
            return gain, "the membrane, added up over time"
    elif over and row.kind == "neuron":
        return gain, "spikes, added up over time"
    elif over:
        if row.kind == "add":
            make.wiring["read"] = make.sources(row)
        make.layers["read"] = Integrator()
        return gain, f"{row.name!r}, added up over time"
    found = (
        f"step {read.step}" if read.when == "at" else f"{len(read.steps)} steps" if read.when == "sum" else read.when
    )
    raise UnsupportedError(
        f"the model gives {MEMBRANES.get(row.kind, row.kind)} of {row.name!r} at {found} of {steps}; known are sums "
        "and means over all steps, and membranes after the last"
    )
