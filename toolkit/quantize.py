"""Quantization on Loihi's weight grid: batch norm folded, Brevitas' fake quantization, fine-tuning."""

import copy
import math
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from brevitas.function.ops_ste import round_ste
from brevitas.inject.enum import RestrictValueType, ScalingImplType
from brevitas.nn import QuantConv2d, QuantLinear
from brevitas.quant.base import IntQuant
from brevitas.quant.solver.weight import WeightQuantSolver
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from .checkpoint import learned, load_weights, read_geometry, to_arrays, to_tensors
from .coding import Coder
from .config import Recipe
from .defences.averaged import averaged
from .defences.sca import SelfConsistent
from .defences.self_connection import Diagonal
from .errors import FileError, UnsupportedError
from .files import read_arrays, write_arrays
from .layers import INPUT, SpikingNetwork
from .models import build_network
from .neurons import LIF, Delay


class InputGrid(nn.Module):
    """Round to messages that the chip can receive, x -> round(levels x) / levels; the backward pass is the identity.

    Args:
        coder: of graded messages.
    """

    def __init__(self, coder: Coder) -> None:
        super().__init__()
        self.levels, self.peak = coder.levels, coder.peak

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., channels, height, width) on the grid."""
        rounded: Tensor = round_ste(x * self.levels)
        if self.peak < self.levels:
            rounded = rounded.clamp(max=self.peak)
        return rounded / self.levels


class LoihiWeight(IntQuant, WeightQuantSolver):  # type: ignore[misc]
    """Signed n-bit weights, one constant power-of-two step a layer: q in [-2^(n-1), 2^(n-1) - 1].

    Loihi keeps mixed-sign weights of n bits as w = q 2^(9-n), so 8 bits give the even integers -256...254.
    """

    scaling_impl_type = ScalingImplType.CONST
    restrict_scaling_type = RestrictValueType.FP
    scaling_per_output_channel = False


def weight_step(weight: Tensor, bits: int, part: float = 1.0) -> float:
    """Return the smallest power of two, times ``part``, that covers ``weight``.

    step = part 2^ceil(log2(max|w| / (part (2^(bits-1) - 1)))).

    Args:
        weight: any shape.
        bits: bits a weight, 2 to 8.
        part: what the step is a power of two of.
    """
    peak = float(weight.detach().abs().max()) / part
    # A layer of zeros has no scale of its own; any power of two represents it exactly.
    return part * (2.0 ** math.ceil(math.log2(peak / (2 ** (bits - 1) - 1))) if peak > 0 else 1.0)


def _joined(network: SpikingNetwork) -> set[str]:
    """Return the weight layers that bring images to LIF neurons to which others bring spikes.

    A unit of graded input may be worth 1/255 of a spike, and the chip's exponents only bridge powers of two: the steps
    of these layers are multiples of 255/256 instead.
    """
    layers = dict(network.named_layers())

    def weights(name: str, seen: set[str]) -> set[str]:
        found: set[str] = set()
        for source in set(network.sources(name)) - seen:
            if isinstance(layers.get(source), nn.Conv2d | nn.Linear):
                found.add(source)
            elif source != INPUT and not isinstance(layers[source], LIF):
                found |= weights(source, seen | {source})
        return found

    def sees_images(name: str, seen: set[str]) -> bool:
        return any(
            source == INPUT or (not isinstance(layers[source], LIF) and sees_images(source, seen | {source}))
            for source in set(network.sources(name)) - seen
        )

    marked: set[str] = set()
    for name, layer in layers.items():
        if isinstance(layer, LIF):
            before = weights(name, set())
            images = {other for other in before if sees_images(other, set())}
            marked |= images if images != before else set()
    return marked


def fold_norms(network: SpikingNetwork) -> SpikingNetwork:
    """Return a copy in which every batch norm is folded into the convolution before it, with its running statistics.

    Raises:
        UnsupportedError: a batch norm does not follow a convolution, or the convolution feeds something else, too.
    """
    sources = {name: network.sources(name) for name, _ in network.named_layers()}
    folded: OrderedDict[str, nn.Module] = OrderedDict()
    instead: dict[str, str] = {}
    for name, layer in network.named_layers():
        if not isinstance(layer, nn.BatchNorm2d):
            folded[name] = copy.deepcopy(layer)
            continue
        (before, *others) = sources[name]
        users = [other for other, given in sources.items() if before in given]
        if others or not isinstance(folded.get(before), nn.Conv2d) or users != [name]:
            raise UnsupportedError(f"layer {name!r}: batch norm must follow a convolution to be folded into it")
        folded[before] = fuse_conv_bn_eval(folded[before].eval(), copy.deepcopy(layer).eval())  # type: ignore[type-var]
        instead[name] = before
    wiring = {name: [instead.get(source, source) for source in sources[name]] for name in folded}
    return SpikingNetwork(folded, network.coder, network.gain, wiring).eval()


def _quantized_layer(name: str, layer: nn.Module, bits: int, step: float) -> nn.Module:
    # Brevitas divides the constant by 2^(bits-1) to get the step.
    common: dict[str, Any] = {
        "bias": layer.bias is not None,
        "weight_quant": LoihiWeight,
        "weight_bit_width": bits,
        "weight_scaling_init": step * 2 ** (bits - 1),
        "return_quant_tensor": False,
    }
    if isinstance(layer, nn.Conv2d):
        if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
            raise UnsupportedError(f"layer {name!r}: padding must be numbers, with zeros; the chip knows no other")
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
        assert isinstance(layer, nn.Linear)
        made = QuantLinear(layer.in_features, layer.out_features, **common)
    with torch.no_grad():
        assert isinstance(made.weight, Tensor)
        made.weight.copy_(layer.weight)
        if isinstance(layer.bias, Tensor):
            assert isinstance(made.bias, Tensor)
            made.bias.copy_(layer.bias)
    if isinstance(layer, Diagonal):
        made.weight.register_hook(lambda grad: grad * torch.eye(len(grad), device=grad.device))
    return made


def quantized_network(network: SpikingNetwork, bits: int, steps: dict[str, float] | None = None) -> SpikingNetwork:
    """Return the fake-quantized copy of a float network, ready to be fine-tuned or lowered.

    Args:
        network: convolutions, batch norms, linear layers, LIF, max or average pools, flatten.
        bits: bits a weight.
        steps: weight step a layer; chosen from the weights by :func:`weight_step` when absent.

    Raises:
        UnsupportedError: a layer that cannot be deployed, by name and with the reason.
    """
    coder = network.coder
    layers: OrderedDict[str, nn.Module] = OrderedDict() if coder.binary else OrderedDict({INPUT: InputGrid(coder)})
    folded = averaged(fold_norms(network))
    joined = _joined(folded)
    power = coder.levels / 2 ** math.ceil(math.log2(coder.levels))
    for name, layer in folded.named_layers():
        if name == INPUT:
            raise UnsupportedError(f"layer {name!r}: this name is taken by the layer that rounds the input; rename it")
        if isinstance(layer, nn.Conv2d | nn.Linear):
            part = power if name in joined else 1.0
            step = weight_step(layer.weight, bits, part) if steps is None else steps[name]
            layers[name] = _quantized_layer(name, layer, bits, step)
        elif isinstance(layer, LIF | Delay | nn.MaxPool2d | nn.AvgPool2d | nn.Flatten):
            layers[name] = layer
        elif isinstance(layer, SelfConsistent):
            raise UnsupportedError(f"layer {name!r}: {layer.undeployable}")
        else:
            raise UnsupportedError(
                f"layer {name!r}: {type(layer).__name__} has no exact form in Loihi's integers; deployable layers are "
                "Conv2d, BatchNorm2d after Conv2d, Linear, LIF, Delay, MaxPool2d of spikes, AvgPool2d and Flatten"
            )
    return SpikingNetwork(layers, network.coder, network.gain, folded.wiring).eval()


def weight_steps(network: SpikingNetwork) -> dict[str, float]:
    """Return the weight step of every quantized layer, by name."""
    return {
        name: float(layer.quant_weight().scale)
        for name, layer in network.named_layers()
        if isinstance(layer, QuantConv2d | QuantLinear)
    }


def save_quantized(path: Path, network: SpikingNetwork, recipe: Recipe, shape: tuple[int, ...], classes: int) -> None:
    """Write a quantized network: weights before rounding, biases, and the step of every layer."""
    header = {
        "recipe": recipe.model_dump(mode="json"),
        "shape": list(shape),
        "classes": classes,
        "steps": weight_steps(network),
    }
    write_arrays(path, "quantized", to_arrays(learned(network)), header)


def load_quantized(path: Path) -> tuple[SpikingNetwork, Recipe]:
    """Return the quantized network in ``path``, in evaluation mode, with its recipe.

    Raises:
        FileError: missing, corrupt, foreign, or not matching its own recipe.
    """
    arrays, header = read_arrays(path, "quantized")
    recipe, shape, classes = read_geometry(header, path)
    steps = header.get("steps")
    network = build_network(recipe, shape, classes)
    wanted = [name for name, layer in network.named_layers() if isinstance(layer, nn.Conv2d | nn.Linear)]
    if not isinstance(steps, dict) or sorted(steps) != sorted(wanted):
        raise FileError(f"{path}: no weight steps for {', '.join(wanted)}; write it again with 'quantize'")
    for name, step in steps.items():
        if not isinstance(step, float) or not 2.0**-40 <= step <= 2.0**40 or math.frexp(step)[0] != 0.5:
            raise FileError(
                f"{path}: step {step!r} of {name!r} is not a power of two from 2^-40 to 2^40; quantize again"
            )
    quantized = quantized_network(network, recipe.quantize.bits, steps)
    load_weights(quantized, to_tensors(arrays), path)
    return quantized, recipe
