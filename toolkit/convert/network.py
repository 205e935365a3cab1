"""SpikingJelly's converted network as a :class:`SpikingNetwork`, and the proof that they are the same."""

import copy
import math
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, fx, nn

from ..errors import DisagreementError, InputError, UnsupportedError
from ..extras import extra
from ..network.network import INPUT, SpikingNetwork
from ..network.neurons import Integrator
from ..network.population import Population
from .channels import equalized
from .flat import flat

Per = Literal["layer", "channel"]
"""What has a threshold of its own."""
Groups = dict[float, list[str]]
"""What arrives: the sum over factors of the factor times the sum of what the layers of these names send."""
BATCH = 256
MOST = 2**24
"""Numbers of which torch takes a quantile."""
LEAST_EQUAL = 0.95
"""Share of samples whose logits must be SpikingJelly's; others may differ by a spike at a tie of rounding."""


@contextmanager
def _quiet() -> Iterator[None]:
    """Let SpikingJelly's converter log and draw nothing."""
    from spikingjelly.activation_based.ann2snn.recipes import rate_coding

    before = rate_coding.tqdm
    rate_coding.tqdm = lambda batches, **_: batches
    try:
        yield
    finally:
        rate_coding.tqdm = before


def by_spikingjelly(ann: nn.Module, sample: Tensor, percentile: float, per: Per = "layer") -> fx.GraphModule:
    """Return what SpikingJelly's converter makes of a network: IF neurons with soft reset between scales.

    Args:
        ann: not changed.
        sample: (samples, ...), inputs on which activations are measured.
        percentile: of all activations of a layer, which becomes its threshold.
        per: "channel" divides every channel by its own percentile before, see :func:`.channels.equalized`.

    Raises:
        UnsupportedError: a layer has no counterpart.
        InputError: a layer is silent on ``sample``, so that it has no threshold.
    """
    with extra("convert"):
        from spikingjelly.activation_based.ann2snn import Converter
        from spikingjelly.activation_based.ann2snn.recipes import RateCodingRecipe
    given = flat(ann, sample[:2])
    shapes = {node.name: node.meta.get("shape") for node in given.graph.nodes}
    if per == "channel":
        given, _ = equalized(given, sample, percentile)
    largest = max(math.prod(shape[1:]) for shape in shapes.values() if shape)
    batch = max(1, min(BATCH, MOST // largest))
    recipe = RateCodingRecipe(list(sample.split(batch)), mode=f"{percentile}%")
    try:
        with _quiet():
            made = Converter(recipe).convert(given)
    except ValueError as error:
        raise InputError(f"convert: SpikingJelly's converter: {error}") from error
    for node in made.graph.nodes:
        node.meta["shape"] = shapes.get(node.name)
    assert isinstance(made, fx.GraphModule)
    return made.eval()


class _Writer:
    """Writes the nodes of a converted graph into layers; scales go into weights and thresholds."""

    def __init__(self, converted: fx.GraphModule) -> None:
        self.modules = dict(converted.named_modules())
        self.layers: OrderedDict[str, nn.Module] = OrderedDict()
        self.wires: dict[str, tuple[str, ...]] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.weighted: set[str] = set()
        self.sent: dict[fx.Node, Groups] = {}

    def add(self, name: str, layer: nn.Module, sources: Sequence[str], shape: tuple[int, ...] | None) -> str:
        while name in self.layers or name == INPUT:
            name += "_"
        if len(set(sources)) < len(sources):
            raise UnsupportedError(f"convert: {name!r} receives the same spikes twice; the chip has one synapse")
        self.layers[name], self.wires[name] = layer, tuple(sources)
        passes = isinstance(layer, nn.AvgPool2d | nn.MaxPool2d | nn.Flatten) and set(sources) <= self.weighted
        if passes or isinstance(layer, nn.Conv2d | nn.Linear | nn.BatchNorm1d | nn.BatchNorm2d):
            self.weighted.add(name)
        self.shapes[name] = shape or self.shapes[sources[0]]
        return name

    def node(self, node: fx.Node) -> None:
        if node.op == "placeholder":
            self.sent[node] = {1.0: [INPUT]}
            self.shapes[INPUT] = node.meta["shape"]
        elif node.op == "output":
            assert isinstance(node.args[0], fx.Node)
            self.current("readout", Integrator(), self.sent[node.args[0]], 1.0)
        elif node.op == "call_function":
            total: Groups = {}
            for part in node.args:
                assert isinstance(part, fx.Node)
                for factor, names in self.sent[part].items():
                    total[factor] = [*total.get(factor, []), *names]
            self.sent[node] = total
        else:
            self.sent[node] = self.module(node, self.modules[str(node.target)], self.sent[node.args[0]])  # type: ignore[index]

    def module(self, node: fx.Node, module: nn.Module, given: Groups) -> Groups:
        from spikingjelly.activation_based.ann2snn.modules import VoltageScaler
        from spikingjelly.activation_based.neuron import IFNode

        name, shape = node.name, node.meta["shape"]
        if isinstance(module, VoltageScaler):
            return {factor * float(module.scale): names for factor, names in given.items()}
        if isinstance(module, IFNode):
            return {1.0: [self.neurons(name.removesuffix("_if_node"), module, given)]}
        if isinstance(module, nn.Conv2d | nn.Linear):
            return {1.0: self.weights(name, module, given, shape)}
        plain = _plain(module)
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.MaxPool2d):
            if len(given) > 1 or (isinstance(module, nn.MaxPool2d) and len(next(iter(given.values()))) > 1):
                raise UnsupportedError(
                    f"convert: {name!r} ({type(module).__name__}) of a residual sum; put a ReLU before it"
                )
            (factor, names), *_ = given.items()
            if factor != 1 and not isinstance(module, nn.MaxPool2d):
                raise UnsupportedError(f"convert: {name!r}: batch norm must follow a convolution or a linear layer")
            return {factor: [self.add(name, plain, names, shape)]}
        return {factor: [self.add(name, copy.deepcopy(plain), names, shape)] for factor, names in given.items()}

    def weights(self, name: str, module: nn.Conv2d | nn.Linear, given: Groups, shape: tuple[int, ...]) -> list[str]:
        """Append a weight layer for every scale that arrives; the bias stands in the first one."""
        found: list[str] = []
        for factor, names in given.items():
            layer = _plain(module)
            assert isinstance(layer, nn.Conv2d | nn.Linear)
            layer.weight.data *= factor
            if found:
                layer.bias = None
            found.append(self.add(name, layer, names, shape))
        return found

    def neurons(self, name: str, module: Any, given: Groups) -> str:
        if module.v_reset is not None or float(module.v_threshold) != 1:
            raise UnsupportedError(f"convert: {name!r}: expected IF neurons with soft reset and threshold 1")
        # What weights send is taken as it is, with a threshold of 1 / factor.
        plain = [factor for factor, names in given.items() if set(names) & self.weighted]
        unit = plain[0] if plain else next(iter(given))
        cell = Population({"threshold": 1 / unit}, reset="subtract", at_threshold=True)
        return self.current(name, cell, given, unit)

    def current(self, name: str, layer: nn.Module, given: Groups, unit: float) -> str:
        """Append a population; what arrives in another unit, or from no weights, goes through weights of its own."""
        sources = []
        for factor, names in given.items():
            for one in names:
                if factor == unit and one in self.weighted:
                    sources.append(one)
                else:
                    sources.append(
                        self.add(f"{name}_from_{one}", _scaled(factor / unit, self.shapes[one]), [one], None)
                    )
        return self.add(name, layer, sources, None)


def _plain(module: nn.Module) -> nn.Module:
    """Return PyTorch's own layer of one of SpikingJelly's."""
    found = next(kind for kind in type(module).__mro__ if kind.__module__.startswith("torch.nn"))
    made = copy.deepcopy(module)
    made.__class__ = found
    for own in ("_step_mode", "step_mode"):
        made.__dict__.pop(own, None)
    return made


def _scaled(factor: float, shape: tuple[int, ...]) -> nn.Module:
    """Return the weights of a shortcut: each channel, or each neuron, times a factor."""
    size = shape[1]
    layer = nn.Conv2d(size, size, 1, groups=size, bias=False) if len(shape) == 4 else nn.Linear(size, size, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.eye(size) * factor if len(shape) == 2 else torch.full_like(layer.weight, factor))
    return layer


def converted_network(converted: fx.GraphModule, steps: int) -> SpikingNetwork:
    """Return SpikingJelly's converted network as one of layers, populations and wires; logits are means over time.

    Raises:
        UnsupportedError: something in it has no counterpart; by name.
    """
    writer = _Writer(converted)
    for node in converted.graph.nodes:
        writer.node(node)
    return SpikingNetwork(writer.layers, steps, 1.0, writer.wires).eval()


def check(network: SpikingNetwork, converted: fx.GraphModule, sample: Tensor) -> float:
    """Return the share of samples to which both give the same logits, in float64.

    Args:
        network: from :func:`converted_network`.
        converted: what it was made of.
        sample: (samples, channels, height, width).

    Raises:
        DisagreementError: fewer than :data:`LEAST_EQUAL`.
    """
    from spikingjelly.activation_based import functional

    ours, theirs, x = copy.deepcopy(network).double(), copy.deepcopy(converted).double(), sample.double()
    functional.reset_net(theirs)
    with torch.no_grad():
        expected = torch.stack([theirs(x) for _ in range(network.steps)]).mean(0)
        found = ours(x)
    right = torch.isclose(found, expected, rtol=1e-5, atol=1e-7).all(1)
    share = float(right.double().mean())
    if share < LEAST_EQUAL:
        first = int(right.int().argmin())
        raise DisagreementError(
            f"convert: other logits than SpikingJelly's for {int((~right).sum())} of {len(x)} samples, the first is "
            f"sample {first}"
        )
    return share
