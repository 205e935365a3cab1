"""Intervals through a network: what every layer may send when the image is anywhere between two others."""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, linear

from ..coding import Direct
from ..errors import InputError, UnsupportedError
from ..kernels.scan import one_step
from .joins import Join
from .layers import Layer, Membrane
from .network import INPUT, SpikingNetwork
from .neurons import Delay

Interval = tuple[Tensor, Tensor]
"""Low and high end, (time, batch, ...) each."""
MONOTONE = (nn.MaxPool2d, nn.AvgPool2d, nn.Flatten, Delay)
"""Layers that send more for more, as do joins other than IAND and the layer that rounds the input."""


def intervals(network: SpikingNetwork, low: Tensor, high: Tensor) -> dict[str, Interval]:
    """Return what every layer may send for all images between two ends, by name.

    With m the middle and r half the width of what arrives, a linear layer gives W m + b -+ |W| r. The voltage of a
    neuron is bounded for every step s of its last spike by itself,

    v(s, t) = beta min(v(s, t-1), threshold) + I(t),  v(s, s) = 0;

    it may fire at t if any of those that are possible can be above the threshold, and must if all of them are. Batch
    norm has its running statistics. The ends have gradients as spikes do, and are sound but for the rounding of floats.

    *Reconstructed:* Gowal et al., arXiv 1810.12715, for linear layers; the last spikes are ours, as in ``eval/proof``.

    Args:
        network: without loops, on images that are the same at every step.
        low: images (batch, channels, height, width).
        high: the same, nowhere below ``low``.

    Raises:
        InputError: the network has loops, or its coder sends something else at each step.
        UnsupportedError: no interval is known for a layer; with its name.
    """
    if network.recurrent or not isinstance(network.coder, Direct):
        raise InputError("intervals: only for networks without loops and with the coder 'direct'")
    sent: dict[str, Interval] = {INPUT: (network.coder.encode(low), network.coder.encode(high))}
    wires = network.wires()
    for name, layer in network.named_layers():
        parts = [sent[source] for source in wires[name]]
        try:
            sent[name] = (
                _joined(layer, parts) if isinstance(layer, Layer) and layer.joins else _sent(name, layer, parts)
            )
        except UnsupportedError as error:
            raise UnsupportedError(f"layer {name!r}: {error}") from error
    return sent


def worst_logits(network: SpikingNetwork, sent: dict[str, Interval], labels: Tensor) -> Tensor:
    """Return logits (batch, classes) whose lead of any class over the label no image between the ends exceeds.

    Spikes: the label's fewest against the most of each other class. Membranes that follow a linear layer: 0 for the
    label, and for class j the most of (W_j - W_y) x + b_j - b_y over what that layer receives.

    Args:
        network: whose intervals these are.
        sent: of :func:`intervals`.
        labels: (batch,).
    """
    name = list(network.wires())[-1]
    (source, *others) = network.sources(name)
    before = dict(network.named_layers()).get(source)
    if network.membrane and isinstance(before, nn.Linear) and not others:
        low, high = (end.sum(0) for end in _arriving([sent[one] for one in network.sources(source)]))
        weight, bias = _weights(before)
        against = weight - weight[labels][:, None]
        middle, half = (low + high) / 2, (high - low) / 2
        most = torch.einsum("bcf,bf->bc", against, middle) + torch.einsum("bcf,bf->bc", against.abs(), half)
        if bias is not None:
            most = most + network.steps * (bias - bias[labels][:, None])
        return network.logits(most[None])
    low, high = (network.logits(end) for end in sent[name])
    return torch.where(nn.functional.one_hot(labels, low.shape[1]).bool(), low, high)


def _arriving(parts: list[Interval]) -> Interval:
    """Return the sum of what sources send."""
    if len(parts) == 1:
        return parts[0]
    low, high = (torch.stack([part[side] for part in parts]).sum(0) for side in (0, 1))
    return low, high


def _sent(name: str, layer: nn.Module, parts: list[Interval]) -> Interval:
    low, high = _arriving(parts)
    if isinstance(layer, nn.Conv2d | nn.Linear | nn.BatchNorm2d):
        return _linear(layer, low, high)
    if isinstance(layer, Membrane):
        return _neurons(layer, low, high)
    if isinstance(layer, Delay):
        return layer(low), layer(high)
    if isinstance(layer, MONOTONE) or name == INPUT:
        return _at_each_step(layer, low), _at_each_step(layer, high)
    raise UnsupportedError(f"no interval is known for {type(layer).__name__}")


def _joined(layer: Layer, parts: list[Interval]) -> Interval:
    (low, high), (below, above) = parts
    if isinstance(layer, Join) and layer.kind == "iand":
        return layer(high, below), layer(low, above)
    return layer(low, below), layer(high, above)


def _at_each_step(layer: Any, x: Tensor) -> Tensor:
    """Return what a layer without state sends, (time, batch, ...); computed once where every step is the same."""
    now = one_step(x)
    if now is not None:
        once: Tensor = layer(now)
        return once.unsqueeze(0).expand(len(x), *once.shape)
    return cast(Tensor, layer(x.flatten(0, 1)).unflatten(0, x.shape[:2]))


def _weights(layer: Any) -> tuple[Tensor, Tensor | None]:
    return (layer.quant_weight().value if hasattr(layer, "quant_weight") else layer.weight), layer.bias


def _linear(layer: Any, low: Tensor, high: Tensor) -> Interval:
    """Return W m + b -+ |W| r."""
    if isinstance(layer, nn.BatchNorm2d):
        assert layer.running_mean is not None
        assert layer.running_var is not None
        scale = (layer.running_var + layer.eps).rsqrt() * layer.weight
        scale, shift = (part[:, None, None] for part in (scale, layer.bias - layer.running_mean * scale))

        def apply(x: Tensor, middle: bool) -> Tensor:
            return x * scale + shift if middle else x * scale.abs()
    else:
        weight, bias = _weights(layer)

        def apply(x: Tensor, middle: bool) -> Tensor:
            given = (weight, bias) if middle else (weight.abs(), None)
            if isinstance(layer, nn.Linear):
                return linear(x, *given)
            return conv2d(x, *given, layer.stride, layer.padding, layer.dilation, layer.groups)

    bottom, top = one_step(low), one_step(high)
    constant = bottom is not None and top is not None
    if bottom is None or top is None:
        bottom, top = low.flatten(0, 1), high.flatten(0, 1)
    middle, half = apply((bottom + top) / 2, True), apply((top - bottom) / 2, False)
    low, high = (
        end.unsqueeze(0).expand(len(low), *end.shape) if constant else end.unflatten(0, low.shape[:2])
        for end in (middle - half, middle + half)
    )
    return low, high


def _neurons(layer: Any, low: Tensor, high: Tensor) -> Interval:
    """Return the fewest and the most spikes at each step, or the ends of membranes that never fire."""
    facts = layer.dynamics()
    if facts.current is not None:
        low, high = (_current(end, facts.current) for end in (low, high))
    if facts.bias is not None:
        bias = facts.bias.view(-1, *[1] * (low.dim() - 3))
        low, high = low + bias, high + bias
    if facts.threshold is None:
        return _current(low, facts.keep), _current(high, facts.keep)
    spike = layer.neuron.spike_grad if hasattr(layer, "neuron") else layer.spike_grad
    nothing = torch.zeros_like(low[0])
    # One entry for each step of a last spike, the first for none so far: the voltage's ends, and whether it can be.
    bottom, top, alive = nothing[None], nothing[None], torch.ones_like(nothing[None], dtype=torch.bool)
    fewest, most = [], []
    for least, largest in zip(low, high, strict=True):
        bottom, top = facts.keep * bottom + least, facts.keep * top + largest
        fewest.append(spike(bottom.masked_fill(~alive, torch.inf).amin(0) - facts.threshold))
        most.append(spike(top.masked_fill(~alive, -torch.inf).amax(0) - facts.threshold))
        alive = torch.cat([alive & (bottom <= facts.threshold), most[-1][None] > 0])
        bottom, top = torch.cat([bottom, nothing[None]]), torch.cat([top.clamp(max=facts.threshold), nothing[None]])
    return torch.stack(fewest), torch.stack(most)


def _current(x: Tensor, keep: float | Tensor) -> Tensor:
    """Return y(t) = keep y(t-1) + x(t)."""
    found = [x[0]]
    for now in x[1:]:
        found.append(keep * found[-1] + now)
    return torch.stack(found)
