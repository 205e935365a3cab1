"""Quantization on Loihi's weight grid: batch norm folded, Brevitas' fake quantization, fine-tuning."""

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from .checkpoint import learned, load_weights, read_geometry, to_arrays, to_tensors
from .coding import Coder
from .config import Recipe
from .defences.exact import exact
from .defences.self_connection import Diagonal
from .errors import FileError, InputError, UnsupportedError
from .extras import extra
from .files import read_arrays, write_arrays
from .models import build_network
from .network.fold import fold
from .network.layers import Layer, Membrane
from .network.network import INPUT, SpikingNetwork, spiking


class InputGrid(nn.Module):
    """Round to messages that the chip can receive, x -> round(levels x) / levels; the backward pass is the identity.

    Args:
        coder: of graded messages.
    """

    def __init__(self, coder: Coder) -> None:
        super().__init__()
        with extra("train"):
            from brevitas.function.ops_ste import round_ste

        self.levels, self.peak, self.round = coder.levels, coder.peak, round_ste

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., channels, height, width) on the grid."""
        rounded: Tensor = self.round(x * self.levels)
        if self.peak < self.levels:
            rounded = rounded.clamp(max=self.peak)
        return rounded / self.levels


@cache
def _loihi_weight() -> Any:
    """Return Brevitas' description of Loihi's weights."""
    with extra("train"):
        from brevitas.inject.enum import RestrictValueType, ScalingImplType
        from brevitas.quant.base import IntQuant
        from brevitas.quant.solver.weight import WeightQuantSolver

    class LoihiWeight(IntQuant, WeightQuantSolver):  # type: ignore[misc]
        """Signed n-bit weights, one constant power-of-two step a layer: q in [-2^(n-1), 2^(n-1) - 1].

        Loihi keeps mixed-sign weights of n bits as w = q 2^(9-n), so 8 bits give the even integers -256...254.
        """

        scaling_impl_type = ScalingImplType.CONST
        restrict_scaling_type = RestrictValueType.FP
        scaling_per_output_channel = False

    return LoihiWeight


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


Bits = int | Mapping[str, int]
"""Bits a weight, 2 to 8: of all layers, or by layer, with "default" (8) for those that are not named."""
DEFAULT_BITS = 8


def bits_by_layer(bits: Bits, names: Sequence[str]) -> dict[str, int]:
    """Return the bits of each weight layer.

    Args:
        bits: of all, or by layer.
        names: of the weight layers.

    Raises:
        InputError: a layer that there is not, or bits other than 2 to 8.
    """
    table: Mapping[str, int] = {"default": bits} if isinstance(bits, int) else bits
    unknown = [name for name in table if name != "default" and name not in names]
    if unknown:
        raise InputError(
            f"quantize.bits: no weight layer {', '.join(map(repr, unknown))}; there are {', '.join(names)}"
        )
    wrong = {name: one for name, one in table.items() if type(one) is not int or not 2 <= one <= 8}
    if wrong:
        raise InputError(f"quantize.bits: {wrong}; a weight has 2 to 8 bits")
    return {name: table.get(name, table.get("default", DEFAULT_BITS)) for name in names}


def _whole(number: float) -> bool:
    """Return whether a number is an integer, but for the rounding of a step to float32."""
    return abs(number - round(number)) < 1e-6


def _parts(network: SpikingNetwork) -> dict[str, float]:
    """Return for each weight layer that needs it what its step is a power of two of, in (1/2, 1].

    The chip's exponents only bridge powers of two, but a unit of a graded input may be worth 1/255 of a spike, and one
    of 3x3 average pooling 1/9. Where such signals and others end in the same neurons, the steps make up for it.
    """
    layers = dict(network.named_layers())

    def count(name: str, seen: frozenset[str] = frozenset()) -> int:
        """Return how many units of what ``name`` sends are worth one spike."""
        if name not in layers or isinstance(layers[name], InputGrid):
            return int(network.coder.levels)
        layer = layers[name]
        if spiking(layer) or name in seen:
            return 1
        size = layer.kernel_size if isinstance(layer, nn.AvgPool2d) and layer.divisor_override is None else 1
        return arriving(name, seen | {name}) * (size * size if isinstance(size, int) else math.prod(size))

    def arriving(name: str, seen: frozenset[str] = frozenset()) -> int:
        return math.lcm(*(count(source, seen) for source in network.sources(name)))

    def odd(number: int) -> int:
        return number // math.gcd(number, 1 << 64)

    found: dict[str, float] = {}
    for name, layer in layers.items():
        if not isinstance(layer, Membrane):
            continue
        weights = [one for one in network.sources(name) if isinstance(layers.get(one), nn.Conv2d | nn.Linear)]
        units = {source: odd(arriving(source)) for source in weights}
        fixed = {odd(count(source)) for source in network.sources(name) if source not in weights}
        if len({*units.values(), *fixed}) > 1:
            base = max(fixed, default=1)
            for source, unit in units.items():
                found[source] = unit / base / 2.0 ** math.ceil(math.log2(unit / base))
    return found


def quantized_layer(name: str, layer: nn.Module, bits: int, step: float) -> nn.Module:
    """Return a convolution or linear layer with weights of ``bits`` bits in steps of ``step``, by Brevitas."""
    with extra("train"):
        from brevitas.nn import QuantConv2d, QuantLinear

    # Brevitas divides the constant by 2^(bits-1) to get the step.
    common: dict[str, Any] = {
        "bias": layer.bias is not None,
        "weight_quant": _loihi_weight(),
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


def weight_layers(folded: SpikingNetwork) -> list[str]:
    """Return the names of the layers of a folded network that have weights."""
    return [name for name, layer in folded.named_layers() if isinstance(layer, nn.Conv2d | nn.Linear)]


def quantized_network(network: SpikingNetwork, bits: Bits, steps: dict[str, float] | None = None) -> SpikingNetwork:
    """Return the fake-quantized copy of a float network, ready to be fine-tuned or lowered.

    Neurons that fire at their threshold, too, fire above it only, as the chip's do.

    Args:
        network: convolutions, batch norms, linear layers, neurons, pools, flatten, joins; see :mod:`.network.fold`.
        bits: bits a weight: of all layers, or by layer.
        steps: weight step a layer; chosen from the weights by :func:`weight_step` when absent.

    Raises:
        UnsupportedError: a layer that cannot be deployed, by name and with the reason.
        InputError: bits of a layer that there is not.
    """
    coder = network.coder
    layers: OrderedDict[str, nn.Module] = OrderedDict() if coder.binary else OrderedDict({INPUT: InputGrid(coder)})
    folded = exact(fold(network))
    widths = bits_by_layer(bits, weight_layers(folded))
    steps = steps_of(folded, bits) if steps is None else steps
    for name, layer in folded.named_layers():
        if name == INPUT:
            raise UnsupportedError(f"layer {name!r}: this name is taken by the layer that rounds the input; rename it")
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layers[name] = quantized_layer(name, layer, widths[name], steps[name])
        elif isinstance(layer, Layer) and layer.undeployable is not None:
            raise UnsupportedError(f"layer {name!r}: {layer.undeployable}")
        elif isinstance(layer, Layer):
            layers[name] = layer.quantized()
        elif isinstance(layer, nn.MaxPool2d | nn.AvgPool2d | nn.Flatten):
            layers[name] = layer
        else:
            raise UnsupportedError(
                f"layer {name!r}: {type(layer).__name__} has no exact form in Loihi's integers; deployable layers are "
                "Conv2d, Linear, batch norm after them, neurons, Delay, MaxPool2d of spikes, AvgPool2d, Flatten and "
                "joins of spikes"
            )
    return SpikingNetwork(layers, network.coder, network.gain, folded.wiring, every_step=network.every_step).eval()


def weight_steps(network: SpikingNetwork) -> dict[str, float]:
    """Return the weight step of every quantized layer, by name."""
    return {
        name: float(cast(Any, layer).quant_weight().scale)
        for name, layer in network.named_layers()
        if hasattr(layer, "quant_weight")
    }


def on_grid(weight: Tensor, bits: int, step: float) -> Tensor:
    """Return weights on the grid of ``bits`` bits: step q, q = round(w / step) in [-2^(bits-1), 2^(bits-1) - 1]."""
    top = 2 ** (bits - 1)
    return step * (weight.detach() / step).round().clamp(-top, top - 1)


def steps_of(folded: SpikingNetwork, bits: Bits) -> dict[str, float]:
    """Return the weight step that each layer of a folded network gets, by name."""
    layers, parts = dict(folded.named_layers()), _parts(folded)
    widths = bits_by_layer(bits, weight_layers(folded))
    return {
        name: weight_step(cast(Tensor, layers[name].weight), width, parts.get(name, 1.0))
        for name, width in widths.items()
    }


def weight_bits(network: SpikingNetwork) -> dict[str, int]:
    """Return the bits of every quantized layer's weights, by name."""
    return {
        name: int(cast(Any, layer).quant_weight().bit_width)
        for name, layer in network.named_layers()
        if hasattr(layer, "quant_weight")
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
    folded = fold(network)
    wanted = weight_layers(folded)
    if not isinstance(steps, dict) or sorted(steps) != sorted(wanted):
        raise FileError(f"{path}: no weight steps for {', '.join(wanted)}; write it again with 'quantize'")
    parts = _parts(folded)
    for name, step in steps.items():
        part = parts.get(name, 1.0)
        if not isinstance(step, float) or not 2.0**-40 <= step <= 2.0**40 or not _whole(math.log2(step / part)):
            raise FileError(
                f"{path}: step {step!r} of {name!r} is not a power of two, times {part:g}, from 2^-40 to 2^40; "
                "quantize again"
            )
    try:
        quantized = quantized_network(network, recipe.quantize.bits, steps)
    except InputError as error:
        raise FileError(f"{path}: {error}") from error
    load_weights(quantized, to_tensors(arrays), path)
    return quantized, recipe
