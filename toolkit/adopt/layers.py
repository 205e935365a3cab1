"""Functions of torch that are layers, linear maps, convolutions and pools without a module; and concatenation."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UnsupportedError
from .cat import joined
from .functions import argument, rule
from .tape import Tape


@rule("linear")
def _linear(tape: Tape, args: tuple[Any, ...], given: dict[str, Any], out: Tensor) -> None:
    weight = argument(args, given, 1, "weight")
    bias = argument(args, given, 2, "bias")

    def make() -> nn.Module:
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias is not None)
        return _with(layer, weight, bias)

    tape.apply(args[0], out, ("linear", tape.same(weight), tape.same(bias)), "linear", make)


def _with(layer: Any, weight: Tensor, bias: Tensor | None) -> nn.Module:
    with torch.no_grad():
        layer.weight.copy_(weight)
        if bias is not None:
            layer.bias.copy_(bias)
    made: nn.Module = layer
    return made


@rule("conv1d", "conv2d")
def _conv(tape: Tape, args: tuple[Any, ...], given: dict[str, Any], out: Tensor) -> None:
    names = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
    known = {
        "bias": None,
        "stride": 1,
        "padding": 0,
        "dilation": 1,
        "groups": 1,
        **dict(zip(names, args, strict=False)),
        **given,
    }
    weight, bias = known["weight"], known["bias"]
    kind = nn.Conv1d if tape.now == "conv1d" else nn.Conv2d
    how = {name: known[name] for name in ("stride", "padding", "dilation", "groups")}

    def make() -> nn.Module:
        into, kernel = weight.shape[1] * known["groups"], tuple(weight.shape[2:])
        return _with(kind(into, weight.shape[0], kernel, bias=bias is not None, **how), weight, bias)

    tape.apply(args[0], out, (tape.now, tape.same(weight), tape.same(bias), str(how)), "conv", make)


@rule("max_pool2d", "boolean_dispatch", "avg_pool2d", "max_pool1d", "avg_pool1d")
def _pool(tape: Tape, args: tuple[Any, ...], given: dict[str, Any], out: Tensor) -> None:
    kinds = {
        "max_pool2d": nn.MaxPool2d,
        "avg_pool2d": nn.AvgPool2d,
        "max_pool1d": nn.MaxPool1d,
        "avg_pool1d": nn.AvgPool1d,
    }
    name = tape.now if tape.now in kinds else ("max_pool2d" if args[0].dim() > 3 else "max_pool1d")
    places = ("input", "kernel_size", "stride", "padding")
    more = ("dilation", "ceil_mode", "return_indices") if "max" in name else ("ceil_mode", "count_include_pad")
    places = (*places, *more, *(("divisor_override",) if name == "avg_pool2d" else ()))
    known = dict(zip(places, args, strict=False)) | given
    known.pop("return_indices", None)
    how = {key: value for key, value in known.items() if key != "input" and value is not None}
    tape.apply(args[0], out, (name, str(how)), "pool", lambda: kinds[name](**how))


@rule("adaptive_avg_pool2d", "adaptive_max_pool2d")
def _adaptive(tape: Tape, args: tuple[Any, ...], given: dict[str, Any], out: Tensor) -> None:
    tape.apply(
        args[0],
        out,
        (tape.now, tuple(out.shape[-2:])),
        "pool",
        lambda: adaptive(tuple(args[0].shape[-2:]), tuple(out.shape[-2:]), "max" in tape.now),
    )


def adaptive(before: tuple[int, ...], after: tuple[int, ...], largest: bool) -> nn.Module:
    """Return the pool of fixed windows that an adaptive one is for images of one size.

    Raises:
        UnsupportedError: its windows are not all alike.
    """
    if any(size % target for size, target in zip(before, after, strict=True)):
        raise UnsupportedError(f"adaptive pooling from {before} to {after}: its windows are not all alike")
    kernel: Any = tuple(size // target for size, target in zip(before, after, strict=True))
    return nn.MaxPool2d(kernel) if largest else nn.AvgPool2d(kernel)


@rule("cat", "concat", "concatenate")
def _cat(tape: Tape, args: tuple[Any, ...], given: dict[str, Any], out: Tensor) -> None:
    parts = list(argument(args, given, 0, "tensors"))
    axis = argument(args, given, 1, "dim", given.get("axis", 0))
    axis %= out.dim()
    values = [tape.value(part) for part in parts]
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        raise UnsupportedError("torch.cat of a signal and a constant; constants are biases of layers")
    first = next((value for value in known if value.when != "each"), known[0])
    if any(value.when == "sum" or value.factor != 1 for value in known):
        raise UnsupportedError("torch.cat of signals that were multiplied, or added up over time")
    if len({(value.when, value.step, value.axis) for value in known if value.when != "each"}) > 1:
        raise UnsupportedError("torch.cat of signals of different time steps")
    if axis < first.leading:
        what = "time" if first.leading == 2 and axis == first.axis else "samples"
        raise UnsupportedError(f"torch.cat along {what}; known are channels and features (for time: torch.stack)")
    if axis > first.leading:
        raise UnsupportedError(f"torch.cat along axis {axis}; known are channels and features, axis {first.leading}")
    shapes = [tuple(part.shape[first.leading :]) for part in parts]
    tape.set(out, replace(first, node=joined(tape.nodes, known, shapes)))
