"""A network that can be trained, attacked and executed, of a NIR graph of any origin."""

import re
from collections import OrderedDict
from dataclasses import dataclass, field
from math import prod
from typing import Any

import nir
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...toolkit.coding import Coder
from ...toolkit.errors import InputError, UnsupportedError
from ...toolkit.network import signals
from ...toolkit.network.layers import Membrane
from ...toolkit.network.network import INPUT, SpikingNetwork
from ...toolkit.network.neurons import Delay
from ...toolkit.network.population import LeakyIntegrator, Population
from ...toolkit.network.signals import DELAY_LIMIT, Delays, Read, Reshape, Scale, Threshold, Wire
from .dynamics import Settings, dynamics
from .graph import Graph
from .nodes import Shape, Slice, bias_of, geometry, parameter, weight_of

GAIN = 10.0
"""The logit of a class whose neuron fires at every step, as recipes have it."""
_NAME = 80
"""Longest name of a layer, without what tells it apart from others."""
_TAKEN = frozenset({INPUT, "output", *dir(nn.Sequential())})
"""Names that a layer cannot have."""


def inner_shape(shape: Shape) -> Shape:
    """Return the shape that a signal of a graph has in a network: (channels, length) becomes (channels, 1, length)."""
    return (shape[0], 1, shape[1]) if len(shape) == 2 else shape


def image_shape(graph: Graph) -> tuple[int, int, int]:
    """Return (channels, height, width) of the images of a graph's network: features are (features, 1, 1)."""
    channels, *others = inner_shape(next(iter(graph.shapes.values())))
    height, width = others if len(others) == 2 else (prod(others), 1)
    return channels, height, width


def tensor(values: Any, dtype: torch.dtype) -> Tensor:
    """Return numbers of a file, which may be any view of anything, rounded once."""
    return torch.from_numpy(np.array(values, dtype=np.float64)).to(dtype)


@dataclass
class Translation:
    """The layers of a graph, and their wiring.

    Attributes:
        layers: by name, in order; the last one is what the output receives.
        wiring: what each receives.
        names: the layer that sends what a node sends, by the node's name.
    """

    layers: "OrderedDict[str, nn.Module]" = field(default_factory=OrderedDict)
    wiring: dict[str, tuple[str, ...]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)

    def add(self, wanted: str, layer: nn.Module, *sources: str) -> str:
        """Append a layer, under a name like the wanted one that a recipe can hold; return it."""
        clean = name = re.sub(r"[^A-Za-z0-9_-]", "_", wanted)[:_NAME]
        number = 1
        while name in self.layers or name in _TAKEN:
            number += 1
            name = f"{clean}_{number}"
        self.layers[name], self.wiring[name] = layer, sources
        return name


class _Translator:
    def __init__(self, graph: Graph, settings: Settings, dtype: torch.dtype) -> None:
        self.graph, self.settings, self.dtype = graph, settings, dtype
        self.made = Translation()

    def tensor(self, values: Any) -> Tensor:
        return tensor(values, self.dtype)

    def constant(self, values: NDArray[Any], shape: Shape) -> Tensor:
        """Return one number for all, one a channel, or one a neuron: the least that says the same."""
        inner = np.broadcast_to(values, shape).reshape(inner_shape(shape))
        if (inner == inner.flat[0]).all():
            return self.tensor(inner.flat[0])
        if inner.ndim == 3 and (inner == inner[:, :1, :1]).all():
            return self.tensor(inner[:, :1, :1])
        return self.tensor(inner)

    def neuron(self, name: str, node: nir.NIRNode, shape: Shape) -> nn.Module:
        found, settings = dynamics(name, node, shape, self.settings), self.settings
        current, gain = found.current or (None, None)
        given = {
            "keep": found.keep,
            "gain": found.gain,
            "rest": found.rest,
            "start": found.start,
            "threshold": found.threshold,
            "reset_to": found.reset,
            "current": current,
            "current_gain": gain,
        }
        values = {what: self.constant(part, shape) for what, part in given.items() if part is not None}
        try:
            if found.threshold is None:
                return LeakyIntegrator(values)
            if settings.several and found.threshold.min() <= 0:
                raise UnsupportedError(f"node {name!r}: several spikes a step need a threshold above 0")
            return Population(
                values, reset=settings.reset, at_threshold=settings.at_threshold, several=settings.several
            )
        except InputError as error:
            raise UnsupportedError(f"node {name!r}: {error}; check its fields and the time step") from error

    def delay(self, name: str, node: nir.Delay, shape: Shape) -> nn.Module:
        real = parameter(name, node, "delay", shape) / self.settings.dt
        steps = np.rint(real)
        if np.abs(real - steps).max() > 1e-3 or steps.min() < 0 or steps.max() > DELAY_LIMIT:
            raise UnsupportedError(
                f"node {name!r}: delays of {real.min():g} to {real.max():g} steps of {self.settings.dt:g} s; expected "
                f"whole numbers up to {DELAY_LIMIT}; give the time step of the origin"
            )
        same = steps.min() == steps.max() > 0
        return Delay(int(steps.max())) if same else Delays(self.tensor(steps.reshape(inner_shape(shape))))

    def weights(self, name: str, node: nir.NIRNode) -> list[nn.Module]:
        """Return a linear layer or a convolution; what is padded more on one side has the zeros before it."""
        given, weight = bias_of(name, node), weight_of(name, node)
        bias, made = None if given is None else self.tensor(given), list[nn.Module]()
        options: dict[str, Any] = {"bias": bias is not None, "device": "meta"}
        layer: nn.Linear | nn.Conv2d
        if isinstance(node, nir.Conv1d | nir.Conv2d):
            moves, outputs, inputs = geometry(name, node), *weight.shape[:2]
            line = isinstance(node, nir.Conv1d)
            weight = weight[:, :, None] if line else weight
            (stride, dilation), ((top, bottom), (left, right)) = (
                ((1, one[0]) if line else (one[0], one[1]) for one in (moves.stride, moves.dilation)),
                ((0, 0), *moves.padding) if line else moves.padding,
            )
            even = top == bottom and left == right
            if not even:
                made.append(nn.ZeroPad2d((left, right, top, bottom)))
            layer = nn.Conv2d(
                inputs * moves.groups,
                outputs,
                (weight.shape[2], weight.shape[3]),
                stride,
                (top, left) if even else 0,
                dilation,
                moves.groups,
                **options,
            )
        else:
            layer = nn.Linear(weight.shape[1], weight.shape[0], **options)
        # Made without memory, so that no random numbers are drawn for weights that are known.
        layer.weight = nn.Parameter(self.tensor(weight))
        layer.bias = None if bias is None else nn.Parameter(bias)
        return [*made, layer]

    def stateless(self, name: str, node: nir.NIRNode, before: Shape, after: Shape) -> list[nn.Module]:
        if isinstance(node, nir.Linear | nir.Affine | nir.Conv1d | nir.Conv2d):
            return self.weights(name, node)
        if isinstance(node, nir.AvgPool2d | nir.SumPool2d):
            moves = geometry(name, node)
            kernel, stride, padding = moves.kernel, moves.stride, tuple(p for p, _ in moves.padding)
            divisor = 1 if isinstance(node, nir.SumPool2d) else None
            return [nn.AvgPool2d(kernel, stride, padding, divisor_override=divisor)]  # type: ignore[arg-type]
        if isinstance(node, nir.Threshold):
            return [Threshold(self.constant(parameter(name, node, "threshold", after), after))]
        if isinstance(node, nir.Scale):
            return [Scale(self.constant(parameter(name, node, "scale", after), after))]
        if isinstance(node, Slice):
            return [signals.Slice(node.start, inner_shape(after))]
        if isinstance(node, nir.Flatten) and inner_shape(before) != inner_shape(after):
            return [nn.Flatten() if len(after) == 1 else Reshape(inner_shape(after))]
        # A wire is removed before deployment, with the step that a way back through it takes.
        late = any(end == name for _, end in self.graph.feedback)
        return [Scale(self.tensor(1.0)) if late else Wire()]

    def entry(self) -> str:
        """Return what nodes behind the input receive: images, features or what else it declares."""
        shape = inner_shape(next(iter(self.graph.shapes.values())))
        if shape == image_shape(self.graph):
            return INPUT
        return self.made.add("flat", nn.Flatten() if len(shape) == 1 else Reshape(shape), INPUT)

    def output(self, name: str, sources: tuple[str, ...]) -> None:
        """Append the read-out, unless the output receives what neurons send that are the last layer."""
        last = next(reversed(self.made.layers), INPUT)
        if sources != (last,) or not isinstance(self.made.layers.get(last), Membrane):
            last = self.made.add("read", Read(), *sources)
        self.made.names[name] = last

    def translate(self) -> Translation:
        graph, names = self.graph, self.made.names
        entry, *inner, leave = graph.nodes
        names[entry] = self.entry()
        waiting: dict[str, str] = {}
        for name in inner:
            node, before = graph.nodes[name], graph.before(name)
            shape = graph.shapes[next(one for one in before if (one, name) not in graph.feedback)]
            if isinstance(node, nir.Delay):
                chain = [self.delay(name, node, shape)]
            elif isinstance(node, nir.I | nir.IF | nir.LI | nir.LIF | nir.CubaLI | nir.CubaLIF):
                chain = [self.neuron(name, node, shape)]
            else:
                chain = self.stateless(name, node, shape, graph.shapes[name])
            first = ""
            for layer in chain[:-1]:
                first = self.made.add(f"{name}_pad", layer)
            names[name] = self.made.add(name, chain[-1], first)
            waiting[name] = first or names[name]
        for name, first in waiting.items():
            self.made.wiring[first] = tuple(names[start] for start in graph.before(name))
        self.output(leave, tuple(names[start] for start in graph.before(leave)))
        return self.made


def translated(graph: Graph, settings: Settings, dtype: torch.dtype = torch.float32) -> Translation:
    """Return the layers of a graph, see :func:`from_nir`."""
    return _Translator(graph, settings, dtype).translate()


def from_nir(
    graph: Graph, settings: Settings, coder: Coder | int, *, gain: float = GAIN, dtype: torch.dtype = torch.float32
) -> SpikingNetwork:
    """Return the network of a graph: its weights can be trained, its neurons have a surrogate.

    Every node becomes a layer, named alike as far as a recipe can hold the name; a convolution that is padded more on
    one side has the zeros before it. Images have the shape :func:`image_shape`. A :class:`.signals.Read` is at the
    end where the output receives anything but neurons that are the last layer.

    Args:
        graph: from :func:`.graph.flatten`.
        settings: time step, integration, reset: :func:`.dynamics.settings_of`.
        coder: makes input over time of images; a number means the direct coder with that many time steps.
        gain: scale of the logits.
        dtype: of weights and constants.

    Raises:
        UnsupportedError: a node's numbers make no sense at this time step; by name.
    """
    made = translated(graph, settings, dtype)
    return SpikingNetwork(made.layers, coder, gain, made.wiring).eval()
