"""Networks written out layer by layer: what a recipe with ``kind = "layers"`` builds, and the same the other way."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from ..coding import Coder
from ..errors import InputError, UnsupportedError
from ..kernels.norm import Norm
from ..kernels.pool import MaxPool
from ..network.joins import Join
from ..network.layers import Membrane
from ..network.network import SpikingNetwork
from ..network.neurons import CUBA, IF, LI, LIF, Delay, Integrator
from ..network.population import LeakyIntegrator, Population
from ..network.signals import Delays, Read, Reshape, Scale, Slice, Threshold, Wire
from ..settings import LayerSettings, ModelSettings
from .builder import Shape

_PLAIN: dict[str, tuple[type[nn.Module], tuple[str, ...]]] = {
    "conv2d": (
        nn.Conv2d,
        ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "bias"),
    ),
    "linear": (nn.Linear, ("in_features", "out_features", "bias")),
    "norm2d": (Norm, ("num_features", "eps", "momentum")),
    "norm1d": (nn.BatchNorm1d, ("num_features", "eps", "momentum")),
    "avgpool2d": (
        nn.AvgPool2d,
        ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override"),
    ),
    "maxpool2d": (MaxPool, ("kernel_size", "stride", "padding", "dilation", "ceil_mode")),
    "flatten": (nn.Flatten, ()),
    "reshape": (Reshape, ("shape",)),
    "slice": (Slice, ("start", "shape")),
    "pad": (nn.ZeroPad2d, ("padding",)),
    "wire": (Wire, ()),
    "read": (Read, ()),
    "integrator": (Integrator, ()),
    "li": (LI, ("keep",)),
    "delay": (Delay, ("steps",)),
    "join": (Join, ("kind",)),
    "lif": (LIF, ("beta", "threshold", "alpha", "surrogate")),
    "if": (IF, ("threshold", "alpha", "surrogate")),
    "cuba": (CUBA, ("current", "beta", "threshold", "alpha", "surrogate")),
}
"""Layers by kind, with the arguments of their constructors that a recipe gives; each is an attribute of the layer."""
_AS_IS = {nn.BatchNorm2d: "norm2d", nn.MaxPool2d: "maxpool2d"}
_OWN = ("reset", "at_threshold", "several", "surrogate", "alpha")
_ARRAYS: dict[str, tuple[type[nn.Module], str, tuple[str, ...]]] = {
    "scale": (Scale, "scale", ()),
    "threshold": (Threshold, "threshold", ("surrogate", "alpha")),
    "delays": (Delays, "steps", ()),
}
"""Layers of one constant, a number or an array; with its name, and the other arguments."""
KINDS = (*_PLAIN, *_ARRAYS, "population", "leaky")


def _constants(given: Any) -> dict[str, Any]:
    """Return a population's constants: numbers as they are, arrays of ones where a file brings the values."""
    if not isinstance(given, Mapping):
        raise InputError("'constants' is a table of numbers, or of { shape = [...] }")
    found: dict[str, Any] = {}
    for name, value in given.items():
        if isinstance(value, Mapping):
            shape: Any = value.get("shape")
            whole = isinstance(shape, list) and all(type(size) is int and size > 0 for size in shape)
            if list(value) != ["shape"] or not whole:
                raise InputError(f"constant {name!r}: expected a number or {{ shape = [sizes] }}")
            found[name] = torch.ones(shape)
        elif isinstance(value, int | float) or value is None:
            found[name] = value
        else:
            raise InputError(f"constant {name!r}: expected a number or {{ shape = [sizes] }}, got {value!r:.40}")
    return found


def _population(options: dict[str, Any]) -> nn.Module:
    values, learned = _constants(options.pop("constants", {})), frozenset(options.pop("learned", ()))
    return Population(values, learned=learned, **options)


def _leaky(options: dict[str, Any]) -> nn.Module:
    return LeakyIntegrator(_constants(options.pop("constants", {})), frozenset(options.pop("learned", ())))


def _known(kind: str, options: dict[str, Any], names: tuple[str, ...]) -> None:
    unknown = sorted(set(options) - set(names))
    if unknown:
        raise InputError(f"unknown options {', '.join(unknown)}; {kind} takes {', '.join(names) or 'none'}")


def _of_array(kind: str, options: dict[str, Any]) -> nn.Module:
    made, constant, names = _ARRAYS[kind]
    _known(kind, options, (constant, *names))
    value = _constants({constant: options.pop(constant, 1.0)})[constant]
    return made(torch.as_tensor(value, dtype=torch.get_default_dtype()), **options)


def _plain(kind: str, options: dict[str, Any]) -> nn.Module:
    made, names = _PLAIN[kind]
    _known(kind, options, names)
    return made(**{name: tuple(value) if isinstance(value, list) else value for name, value in options.items()})


def _build(row: LayerSettings) -> nn.Module:
    makers: dict[str, Callable[[dict[str, Any]], nn.Module]] = {"population": _population, "leaky": _leaky}
    options = dict(row.options)
    try:
        if row.kind in makers:
            return makers[row.kind](options)
        if row.kind in _PLAIN:
            return _plain(row.kind, options)
        if row.kind in _ARRAYS:
            return _of_array(row.kind, options)
        raise InputError(f"kind {row.kind!r} is unknown; known are {', '.join(KINDS)}")
    except (InputError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"model.layers: layer {row.name!r} ({row.kind}): {error}") from error


def layered_network(settings: ModelSettings, coder: Coder | int, shape: Shape, classes: int) -> SpikingNetwork:
    """Build the network of the layers that are written out.

    Args:
        settings: the recipe's model section, with ``layers``.
        coder: as of :class:`..network.network.SpikingNetwork`.
        shape: (channels, height, width) of one step of the encoding.
        classes: number of output neurons.

    Raises:
        InputError: a layer cannot be made, or layers do not fit together; by name.
    """
    names = [row.name for row in settings.layers]
    if len(set(names)) < len(names):
        raise InputError(f"model.layers: names must differ, got {sorted(n for n in names if names.count(n) > 1)}")
    layers = OrderedDict((row.name, _build(row)) for row in settings.layers)
    if not isinstance(next(reversed(layers.values())), Membrane | Read):
        raise InputError("model.layers: the last layer is what is read: neurons, an integrator, or a read")
    wiring = {row.name: tuple(row.sources) for row in settings.layers if row.sources}
    network = SpikingNetwork(layers, coder, settings.gain, wiring, every_step=settings.every_step)
    if all(not part.is_meta for part in (*network.parameters(), *network.buffers())):
        _check(network, shape, classes)
    return network


def _check(network: SpikingNetwork, shape: Shape, classes: int) -> None:
    """Run a black image through a new network."""
    training, passed = network.training, [""]
    try:
        with torch.no_grad():
            found = network.eval().respond(torch.zeros(1, 1, *shape), lambda name, _: passed.append(name))
    except (RuntimeError, ValueError, IndexError) as error:
        where = f"after {passed[-1]!r}" if passed[-1] else "at the first layer"
        raise InputError(f"model.layers: layers do not fit together {where} for input {shape}: {error}") from error
    network.train(training)
    if tuple(found.shape[2:]) != (classes,):
        raise InputError(f"model.layers: {tuple(found.shape[2:])} outputs, the data have {classes} classes")


def _written(constant: torch.Tensor) -> Any:
    """Return a constant as a recipe holds it: a number, or the shape of an array."""
    return {"shape": list(constant.shape)} if constant.dim() else float(constant)


def _described(layer: nn.Module) -> tuple[str, dict[str, Any]]:
    for kind, (made, constant, names) in _ARRAYS.items():
        if type(layer) is made:
            given = {name: getattr(layer, name) for name in names}
            return kind, {constant: _written(getattr(layer, constant)), **given}
    if isinstance(layer, Population | LeakyIntegrator):
        constants = {name: _written(getattr(layer, name)) for name in layer.shapes()}
        options: dict[str, Any] = {"constants": constants, "learned": layer.learned()}
        if isinstance(layer, LeakyIntegrator):
            return "leaky", options
        return "population", options | {name: getattr(layer, name) for name in _OWN}
    found = [kind for kind, (made, _) in _PLAIN.items() if type(layer) is made]
    plain = found[0] if found else _AS_IS.get(type(layer))
    if plain is None:
        raise UnsupportedError(f"a {type(layer).__name__} cannot be written into a recipe")
    return plain, {name: _option(layer, name) for name in _PLAIN[plain][1]}


def _option(layer: Any, name: str) -> Any:
    if name == "surrogate":
        return derivative_kind(layer)
    value = getattr(layer, "gamma" if name == "current" else name)
    if name == "bias":
        return value is not None
    return list(value) if isinstance(value, tuple) else value


def derivative_kind(layer: Any) -> str:
    """Return the surrogate that a layer trains with, by name."""
    spike = layer.neuron.spike_grad if hasattr(layer, "neuron") else layer.spike_grad
    return str(getattr(getattr(spike, "derivative", None), "kind", "arctan"))


def described(network: SpikingNetwork) -> list[dict[str, Any]]:
    """Return the table ``model.layers`` of a network: names, kinds, options and wiring, without the weights.

    Raises:
        UnsupportedError: a layer cannot be written into a recipe; by name.
    """
    rows = []
    for name, layer in network.named_layers():
        try:
            kind, options = _described(layer)
        except UnsupportedError as error:
            raise UnsupportedError(f"layer {name!r}: {error}") from error
        rows.append({"name": name, "kind": kind, "sources": list(network.wiring.get(name, ())), "options": options})
    return rows
