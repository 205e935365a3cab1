"""The ANN that a spiking network is compared with: its layers with ReLU for neurons, one pass, in float and in INT8."""

from collections import OrderedDict
from typing import Any

import torch
from torch import nn

from .coding import Direct
from .errors import UnsupportedError
from .extras import extra
from .network.fold import fold
from .network.layers import Membrane
from .network.network import INPUT, SpikingNetwork
from .network.neurons import Integrator, Neuron

STATELESS = (nn.Conv2d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d, nn.MaxPool2d, nn.AvgPool2d, nn.Flatten, nn.Dropout)
BITS = 8


def relu_network(network: SpikingNetwork) -> SpikingNetwork:
    """Return a network with the same layers, ReLU in the place of hidden neurons, and logits in that of the last ones.

    It runs for one step, on images as they are. The layers are the given network's own, not copies: give one that was
    just built.

    Args:
        network: of images, feed-forward.

    Raises:
        UnsupportedError: it needs time: sequences, loops, delays, or joins of spikes.
    """
    if network.coder.sequences:
        raise UnsupportedError("an ANN of one pass: takes images, and this network takes sequences of them")
    if network.recurrent:
        raise UnsupportedError("an ANN of one pass: this network has loops, which need time")
    last = network.readout
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for name, layer in network.named_layers():
        if name == last and isinstance(layer, Membrane):
            layers[name] = Integrator()
        elif isinstance(layer, Neuron):
            layers[name] = nn.ReLU()
        elif isinstance(layer, STATELESS):
            layers[name] = layer
        else:
            raise UnsupportedError(f"an ANN of one pass: layer {name!r} is a {type(layer).__name__}, made for spikes")
    # The gain scales rates between 0 and 1, which an ANN has not.
    return SpikingNetwork(layers, Direct(1), 1.0, network.wiring)


def int8_network(ann: SpikingNetwork) -> SpikingNetwork:
    """Return the fake-quantized copy of a network of :func:`relu_network`, to be fine-tuned.

    Batch norms are folded; input, weights and what each ReLU sends have 8 bits and one scale a tensor (Brevitas),
    biases and logits stay float32.

    Args:
        ann: trained.

    Raises:
        UnsupportedError: a batch norm that cannot be folded.
    """
    with extra("train"):
        from brevitas.nn import QuantConv2d, QuantIdentity, QuantLinear, QuantReLU
        from brevitas.quant import Int8WeightPerTensorFloat, Uint8ActPerTensorFloat

    folded = fold(ann)
    act: dict[str, Any] = {"act_quant": Uint8ActPerTensorFloat, "bit_width": BITS}
    layers: OrderedDict[str, nn.Module] = OrderedDict({INPUT: QuantIdentity(**act)})
    for name, layer in folded.named_layers():
        if isinstance(layer, nn.ReLU):
            layers[name] = QuantReLU(**act)
            continue
        if not isinstance(layer, nn.Conv2d | nn.Linear):
            layers[name] = layer
            continue
        common: dict[str, Any] = {
            "bias": layer.bias is not None,
            "weight_quant": Int8WeightPerTensorFloat,
            "weight_bit_width": BITS,
        }
        if isinstance(layer, nn.Conv2d):
            made: nn.Module = QuantConv2d(
                layer.in_channels,
                layer.out_channels,
                layer.kernel_size,
                stride=layer.stride,
                padding=layer.padding,
                dilation=layer.dilation,
                groups=layer.groups,
                **common,
            )
        else:
            made = QuantLinear(layer.in_features, layer.out_features, **common)
        with torch.no_grad():
            for own, given in ((made.weight, layer.weight), (made.bias, layer.bias)):
                if isinstance(given, torch.Tensor) and isinstance(own, torch.Tensor):
                    own.copy_(given)
        layers[name] = made
    return SpikingNetwork(layers, folded.coder, folded.gain, folded.wiring)
