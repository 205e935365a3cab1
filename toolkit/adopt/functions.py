"""What torch's functions do to the tensors of a model that is watched: rules by the function's name."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UnsupportedError
from ..network.joins import Join
from .graph import Node, Value
from .tape import Tape

Rule = Callable[[Tape, tuple[Any, ...], dict[str, Any], Any], None]
RULES: dict[str, Rule] = {}
SAME = frozenset(
    {
        "clone",
        "contiguous",
        "detach",
        "detach_",
        "float",
        "double",
        "to",
        "type_as",
        "requires_grad_",
        "dropout",
        "dropout2d",
        "alpha_dropout",
        "feature_dropout",
        "cpu",
        "data",
        "real",
        "type",
    }
)
"""Functions whose result stands for what they were given."""
LOOKS = frozenset(
    {
        "size",
        "dim",
        "stride",
        "numel",
        "is_floating_point",
        "is_complex",
        "data_ptr",
        "__len__",
        "element_size",
        "zeros_like",
        "ones_like",
        "empty_like",
        "rand_like",
        "randn_like",
        "full_like",
        "new_zeros",
        "new_ones",
        "new_full",
        "new_empty",
        "__hash__",
        "ndimension",
        "is_contiguous",
        "get_device",
        "nelement",
        "is_same_size",
        "is_pinned",
        "is_shared",
        "is_inference",
        "storage_offset",
        "register_hook",
        "retain_grad",
    }
)
"""Functions that look at a tensor's form, not at its values."""
DECIDES = frozenset(
    {
        "__bool__",
        "__repr__",
        "__format__",
        "__contains__",
        "item",
        "tolist",
        "__float__",
        "__int__",
        "__index__",
        "numpy",
        "__array__",
        "any",
        "all",
        "nonzero",
        "equal",
        "allclose",
    }
)
"""Functions that bring a value out of the tensors, where a program can decide by it."""


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register a rule for functions by name."""

    def register(made: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, made))
        return made

    return register


def argument(args: tuple[Any, ...], given: dict[str, Any], place: int, name: str, default: Any = None) -> Any:
    """Return an argument by its place or its name."""
    return args[place] if len(args) > place else given.get(name, default)


def _shape(tensor: Tensor, value: Value) -> tuple[int, ...]:
    return tuple(tensor.shape[value.leading :])


def _alike(args: tuple[Any, ...]) -> None:
    if args[0].shape != args[1].shape:
        shapes = " and ".join(str(tuple(part.shape)) for part in args[:2])
        raise UnsupportedError(f"signals of shapes {shapes} are joined; one is repeated, which the chip does not do")


@rule("add", "__add__", "__radd__", "add_", "__iadd__")
def _add(tape: Tape, args: tuple[Any, ...], given: dict[str, Any], out: Any) -> None:
    if given.get("alpha", 1) != 1:
        raise UnsupportedError("torch.add with alpha; multiply the weights instead")
    values = [tape.value(part) for part in args[:2]]
    if values[0] is not None and values[1] is not None:
        _alike(args)
        tape.set(out, tape.nodes.add_up([values[0], values[1]]))
        return
    other = args[1] if values[0] is not None else args[0]
    if (isinstance(other, Tensor) and bool((other == 0).all())) or (not isinstance(other, Tensor) and other == 0):
        found = values[0] or values[1]
        assert found is not None
        tape.set(out, found)
        return
    raise UnsupportedError("a constant is added to a signal; make it the bias of a layer")


@rule("mul", "__mul__", "__rmul__", "mul_", "multiply", "div", "__truediv__", "div_", "true_divide")
def _times(tape: Tape, args: tuple[Any, ...], given: dict[str, Any], out: Any) -> None:
    values = [tape.value(part) for part in args[:2]]
    if values[0] is not None and values[1] is not None:
        _alike(args)
        _gate(tape, [values[0], values[1]], out)
        return
    value = values[0] or values[1]
    other = args[1] if values[0] is not None else args[0]
    assert value is not None
    number = float(other) if not isinstance(other, Tensor) or other.numel() == 1 else None
    if number is None or given.get("rounding_mode") is not None or not math.isfinite(number) or number <= 0:
        raise UnsupportedError("a signal is multiplied by an array, or by 0 or less; make it a layer")
    divides = "div" in tape.now
    if divides and values[0] is None:
        raise UnsupportedError("a number is divided by a signal; spiking layers have no form for it")
    tape.set(out, replace(value, factor=value.factor / number if divides else value.factor * number))


def _gate(tape: Tape, values: list[Value], out: Any) -> None:
    """AND of two layers' spikes; IAND where one is 1 - s."""
    rows = tape.nodes.rows
    if values[0].when != values[1].when or values[0].step != values[1].step or any(v.factor != 1 for v in values):
        raise UnsupportedError("signals of different time steps are multiplied")
    values.sort(key=lambda value: rows[value.node].kind != "not")
    inner, shortcut = values
    turned = rows[inner.node].kind == "not"
    sources = (rows[inner.node].sources[0] if turned else inner.node, shortcut.node)
    kind: Any = "iand" if turned else "and"
    node = tape.nodes.add((kind, *sources), kind, lambda name: Node(name, "layer", sources, Join(kind)))
    tape.set(out, replace(shortcut, node=node))


@rule("rsub", "__rsub__", "sub", "__sub__")
def _minus(tape: Tape, args: tuple[Any, ...], given: dict[str, Any], out: Any) -> None:
    left, right = args[0], args[1]
    if tape.now in ("rsub", "__rsub__"):
        left, right = right, left
    value = tape.value(right)
    if value is not None and isinstance(left, int | float) and left == 1:
        node = tape.nodes.add(("not", value.node), "not", lambda name: Node(name, "not", (value.node,)))
        tape.set(out, replace(value, node=node))
        return
    raise UnsupportedError("signals are subtracted; put the minus into the weights")


@rule("stack")
def _stack(tape: Tape, args: tuple[Any, ...], given: dict[str, Any], out: Any) -> None:
    axis = argument(args, given, 1, "dim", 0)
    values = [tape.value(part) for part in args[0]]
    axis = axis if axis >= 0 else axis + out.dim()
    if axis not in (0, 1) or any(value is None for value in values):
        raise UnsupportedError("torch.stack of something other than one layer's time steps, along axis 0 or 1")
    known = [value for value in values if value is not None]
    first = known[0]
    same = all(value.node == first.node and value.factor == first.factor for value in known)
    if same and all(value.when == "each" for value in known):
        tape.set(out, replace(first, when="run", axis=axis), len(known))
    elif same and all(value.when == "at" and value.step == step for step, value in enumerate(known)):
        tape.set(out, replace(first, when="run", axis=axis, step=0), len(known))
    else:
        raise UnsupportedError("torch.stack of something other than one layer's time steps, in their order")


@rule("sum", "mean")
def _reduce(tape: Tape, args: tuple[Any, ...], given: dict[str, Any], out: Any) -> None:
    tensor = args[0]
    value = tape.value(tensor)
    assert value is not None
    axes = argument(args, given, 1, "dim", given.get("axis"))
    axes = [axes] if isinstance(axes, int) else axes
    axes = None if axes is None else sorted(axis % tensor.dim() for axis in axes)
    if value.when == "run" and axes == [value.axis]:
        steps = tensor.shape[value.axis]
        factor = value.factor / (steps if tape.now == "mean" else 1)
        tape.set(out, replace(value, when="sum", steps=frozenset(range(steps)), axis=0, factor=factor))
        return
    last = [tensor.dim() - 2, tensor.dim() - 1]
    if tape.now == "mean" and axes == last and len(_shape(tensor, value)) == 3 and out.dim() < tensor.dim():
        size = tuple(tensor.shape[-2:])
        pooled = tape.layer(value, ("mean", size), "mean", lambda: nn.AvgPool2d(size))
        tape.set(out, tape.layer(pooled, ("flatten",), "flatten", nn.Flatten))
        return
    raise UnsupportedError(f"torch.{tape.now} over axes {axes}; known are time, and the mean over an image")


@rule("__getitem__", "select")
def _index(tape: Tape, args: tuple[Any, ...], given: dict[str, Any], out: Any) -> None:
    tensor = args[0]
    value = tape.value(tensor)
    assert value is not None
    if tape.now == "select":
        key: Any = (*[slice(None)] * (args[1] % tensor.dim()), args[2])
    else:
        key = args[1] if isinstance(args[1], tuple) else (args[1],)
    whole = [part for part in key if (isinstance(part, slice) and part == slice(None)) or part is Ellipsis]
    picked = [(place, part) for place, part in enumerate(key) if type(part) is int or isinstance(part, Tensor)]
    if len(whole) == len(key):
        tape.set(out, value)
    elif value.when in ("run", "lone") and len(picked) == 1 and len(whole) == len(key) - 1:
        place, step = picked[0]
        if place != value.axis or (isinstance(step, Tensor) and tape.value(step) is not None):
            raise UnsupportedError(f"axis {place} is indexed; time is axis {value.axis} here")
        step = int(step) % tensor.shape[place]
        tape.set(out, tape.at(value, step))
    else:
        raise UnsupportedError(f"a signal is indexed by {key}; known is one time step")


@rule("unbind", "__iter__")
def _unbind(tape: Tape, args: tuple[Any, ...], given: dict[str, Any], out: Any) -> None:
    value = tape.value(args[0])
    assert value is not None
    axis = argument(args, given, 1, "dim", 0) if tape.now == "unbind" else 0
    if value.when not in ("run", "lone") or axis != value.axis:
        raise UnsupportedError("a signal is taken apart along an axis that is not time")
    for step, part in enumerate(out):
        tape.set(part, tape.at(value, step))


@rule("unsqueeze")
def _unsqueeze(tape: Tape, args: tuple[Any, ...], given: dict[str, Any], out: Tensor) -> None:
    value = tape.value(args[0])
    assert value is not None
    axis = argument(args, given, 1, "dim") % out.dim()
    if value.when == "each" and axis in (0, 1) and not (axis == 1 and tape.takes_channel(value, out)):
        tape.set(out, replace(value, when="lone", axis=axis))
    else:
        _reshape(tape, args, given, out)


@rule("repeat", "expand", "tile", "repeat_interleave", "expand_as")
def _repeat(tape: Tape, args: tuple[Any, ...], given: dict[str, Any], out: Tensor) -> None:
    tensor = args[0]
    value = tape.value(tensor)
    assert value is not None
    if value.when == "each" and out.dim() == tensor.dim() + 1 and out.shape[1:] == tensor.shape:
        tape.set(out, replace(value, when="run", axis=0), out.shape[0])
        return
    changed = [
        place for place in range(out.dim()) if out.dim() == tensor.dim() and out.shape[place] != tensor.shape[place]
    ]
    if value.when == "lone" and changed == [value.axis]:
        tape.set(out, replace(value, when="run"), out.shape[value.axis])
    elif not changed and out.dim() == tensor.dim():
        tape.set(out, value)
    else:
        raise UnsupportedError("a signal is repeated along an axis that is not time")


@rule("transpose", "permute", "swapaxes", "movedim", "swapdims", "moveaxis")
def _transpose(tape: Tape, args: tuple[Any, ...], given: dict[str, Any], out: Tensor) -> None:
    tensor = args[0]
    value = tape.value(tensor)
    assert value is not None
    marks = torch.arange(tensor.dim())
    if tape.now == "permute":
        order = args[1] if len(args) == 2 and isinstance(args[1], Sequence) else args[1:] or given["dims"]
        order = [axis % tensor.dim() for axis in order]
    else:
        names = [part % tensor.dim() for part in (*args[1:], *given.values())]
        order = marks.tolist()
        if tape.now.startswith("move"):
            order.insert(names[1], order.pop(names[0]))
        else:
            order[names[0]], order[names[1]] = order[names[1]], order[names[0]]
    if order == marks.tolist():
        tape.set(out, value)
    elif value.when in ("run", "lone") and order == [1, 0, *range(2, tensor.dim())]:
        tape.set(out, replace(value, axis=1 - value.axis))
    else:
        raise UnsupportedError(f"axes are put into the order {order}; known is to swap time and samples")


@rule("flatten", "reshape", "view", "squeeze", "unflatten", "view_as", "reshape_as", "ravel")
def _reshape(tape: Tape, args: tuple[Any, ...], given: dict[str, Any], out: Tensor) -> None:
    tensor = args[0]
    value = tape.value(tensor)
    assert value is not None
    before = _shape(tensor, value)
    if out.shape == tensor.shape:
        tape.set(out, value)
        return
    if value.when == "lone" and out.shape == tensor.shape[: value.axis] + tensor.shape[value.axis + 1 :]:
        tape.set(out, replace(value, when="each", axis=0))
        return
    flat = tuple(out.shape[value.leading :]) == (math.prod(before),)
    if tape.rows(value).kind == "input" and not flat and tape.reshaped(value, out):
        return
    if value.when == "run" and out.shape[0] == tensor.shape[0] * tensor.shape[1]:
        value = replace(value, when="fold")
        after = tuple(out.shape[1:])
    elif value.when == "fold" and (time := tape.steps) and out.dim() > 1 and out.shape[value.axis] == time:
        value = replace(value, when="run")
        after = tuple(out.shape[2:])
    else:
        after = tuple(out.shape[value.leading :])
        if out.shape[: value.leading] != tensor.shape[: value.leading]:
            raise UnsupportedError(f"samples or time steps of shape {tuple(tensor.shape)} become {tuple(out.shape)}")
    if after == before:
        tape.set(out, value)
    elif after == (math.prod(before),):
        tape.set(out, tape.layer(value, ("flatten",), "flatten", nn.Flatten))
    else:
        raise UnsupportedError(f"a signal of shape {before} becomes {after}; known is to flatten it")
