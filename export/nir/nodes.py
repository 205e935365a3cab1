"""The fields of NIR nodes as numbers: weights, per-neuron parameters, geometry, and the shapes that follow from them.

Files hold integers, arrays, words or nothing in the same field; whatever does not make sense is refused by node name.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import nir
import numpy as np
from numpy.typing import NDArray

from ...toolkit.errors import UnsupportedError

Shape = tuple[int, ...]

SIZE_LIMIT = 2**26
"""Largest signal of a node, so that a small file cannot ask for unbounded memory."""

SPIKING = (nir.IF, nir.LIF, nir.CubaLIF, nir.Threshold)
PARAMETERS: dict[type[nir.NIRNode], tuple[str, ...]] = {
    nir.IF: ("r", "v_threshold", "v_reset"),
    nir.LIF: ("tau", "r", "v_leak", "v_threshold", "v_reset"),
    nir.CubaLIF: ("tau_syn", "tau_mem", "r", "v_leak", "v_threshold", "v_reset", "w_in"),
    nir.I: ("r",),
    nir.LI: ("tau", "r", "v_leak"),
    nir.CubaLI: ("tau_syn", "tau_mem", "r", "v_leak", "w_in"),
    nir.Threshold: ("threshold",),
    nir.Scale: ("scale",),
    nir.Delay: ("delay",),
}
"""What a node holds one number a neuron of (or one for all)."""


class Slice(nir.NIRNode):  # type: ignore[misc]  # the package has no types
    """One of several inputs, which arrive as one: its elements, flattened, from ``start`` on. No file holds it.

    Args:
        start: of the first element in the joint input.
        shape: of this input.
    """

    def __init__(self, start: int, shape: Shape) -> None:
        self.start, self.shape = start, shape

    def of(self, x: Any) -> Any:
        """Return its elements of a joint input (batch, ...), with their shape."""
        return x.reshape(len(x), -1)[:, self.start : self.start + prod(self.shape)].reshape(len(x), *self.shape)


@dataclass(frozen=True)
class Geometry:
    """How a kernel moves, one entry a spatial dimension; ``padding`` is (before, after)."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    groups: int

    def output(self, size: Shape) -> Shape:
        """Return floor((n + before + after - dilation (kernel - 1) - 1) / stride) + 1 of each dimension."""
        spans = zip(size, self.kernel, self.stride, self.padding, self.dilation, strict=True)
        return tuple((n + sum(p) - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in spans)


def _numbers(name: str, what: str, value: Any) -> NDArray[Any]:
    array = np.asarray(value)
    if array.dtype.kind not in "fiub" or not array.size:
        raise UnsupportedError(f"node {name!r}: {what} must be numbers, is {array.dtype} of shape {array.shape}")
    return array


def _short(array: NDArray[Any]) -> str:
    """Return an array as text, its beginning if it is long; a file may hold anything."""
    return str(array.tolist()) if array.size < 9 else f"{str(array.reshape(-1)[:8].tolist())[:-1]}, ...]"


def _sizes(name: str, what: str, value: Any, dimensions: int, low: int) -> tuple[int, ...]:
    array = _numbers(name, what, value)
    if array.ndim > 1 or array.size not in (1, dimensions) or (array != np.floor(array)).any():
        raise UnsupportedError(f"node {name!r}: {what} must be 1 or {dimensions} whole numbers, is {_short(array)}")
    if array.min() < low or array.max() > SIZE_LIMIT:
        raise UnsupportedError(f"node {name!r}: {what} must be at least {low}, is {_short(array)}")
    return tuple(int(size) for size in np.broadcast_to(array.reshape(-1), (dimensions,)))


def geometry(name: str, node: nir.NIRNode) -> Geometry:
    """Return how the kernel of a convolution or pool moves; "same" and "valid" become numbers as in PyTorch.

    Raises:
        UnsupportedError: a field is missing, no whole number, or impossible.
    """
    pool = isinstance(node, nir.SumPool2d | nir.AvgPool2d)
    dimensions = 1 if isinstance(node, nir.Conv1d) else 2
    kernel = _sizes(name, "kernel_size", node.kernel_size, dimensions, 1) if pool else weight_of(name, node).shape[2:]
    stride = _sizes(name, "stride", node.stride, dimensions, 1)
    dilation = (1,) * dimensions if pool else _sizes(name, "dilation", node.dilation, dimensions, 1)
    groups = 1 if pool else _sizes(name, "groups", node.groups, 1, 1)[0]
    padding: tuple[tuple[int, int], ...]
    if isinstance(node.padding, str | bytes):
        word = node.padding.decode("utf8", "replace") if isinstance(node.padding, bytes) else node.padding
        if pool or word not in ("same", "valid"):
            raise UnsupportedError(f"node {name!r}: padding {word!r}, expected whole numbers, 'same' or 'valid'")
        if word == "same" and max(stride) > 1:
            raise UnsupportedError(f"node {name!r}: padding 'same' is defined for stride 1 only, is {stride}")
        total = [d * (k - 1) if word == "same" else 0 for k, d in zip(kernel, dilation, strict=True)]
        padding = tuple((t // 2, t - t // 2) for t in total)
    else:
        padding = tuple((p, p) for p in _sizes(name, "padding", node.padding, dimensions, 0))
    return Geometry(kernel, stride, padding, dilation, groups)


def weight_of(name: str, node: nir.NIRNode) -> NDArray[Any]:
    """Return the weights of a linear node or convolution; raises UnsupportedError if they have other dimensions."""
    weight = _numbers(name, "weight", node.weight)
    expected = {nir.Conv1d: 3, nir.Conv2d: 4}.get(type(node), 2)
    if weight.ndim != expected:
        raise UnsupportedError(f"node {name!r}: weight of shape {weight.shape}, expected {expected} dimensions")
    return weight


def bias_of(name: str, node: nir.NIRNode) -> NDArray[Any] | None:
    """Return the bias (outputs,) of a linear node or convolution, or None without one."""
    bias = getattr(node, "bias", None)
    if bias is None:
        return None
    bias, outputs = _numbers(name, "bias", bias), weight_of(name, node).shape[0]
    if bias.shape != (outputs,):
        raise UnsupportedError(f"node {name!r}: bias of shape {bias.shape}, expected {(outputs,)}")
    return bias


def batch_axes(array: Shape, shape: Shape) -> int:
    """Return how many leading axes of 1 an array has more than a signal of ``shape``: a file may count the batch."""
    more = len(array) - len(shape)
    return more if more > 0 and array[:more] == (1,) * more else 0


def parameter(name: str, node: nir.NIRNode, what: str, shape: Shape) -> NDArray[np.float64]:
    """Return a per-neuron parameter as float64 of ``shape``; one number stands for the whole population.

    Raises:
        UnsupportedError: it has another shape, or is not finite.
    """
    value = getattr(node, what, None)
    if value is None and what == "v_reset":
        value = 0.0
    array = _numbers(name, what, value).astype(np.float64)
    array = array.reshape(tuple(array.shape[batch_axes(array.shape, shape) :]))
    if array.size != 1 and (
        array.ndim != len(shape) or any(a not in (1, s) for a, s in zip(array.shape, shape, strict=True))
    ):
        raise UnsupportedError(f"node {name!r}: {what} of shape {array.shape}, but its input has {shape}")
    if not np.isfinite(array).all():
        raise UnsupportedError(f"node {name!r}: {what} holds NaN or infinity; export a trained network again")
    return np.broadcast_to(array.reshape(()) if array.size == 1 else array, shape)


def declared_shape(name: str, node: nir.NIRNode) -> Shape:
    """Return the shape that an Input or Output node declares; raises UnsupportedError if it is impossible."""
    types = node.input_type if isinstance(node, nir.Input) else node.output_type
    values = list((types or {}).values())
    if len(values) != 1 or values[0] is None:
        raise UnsupportedError(f"node {name!r}: declares no shape; export with the shape of one sample")
    array = _numbers(name, "shape", values[0])
    if array.ndim != 1 or array.size > 8 or (array != np.floor(array)).any() or array.min() < 1:
        raise UnsupportedError(f"node {name!r}: shape {_short(array)}, expected whole numbers of at least 1")
    if np.prod(array, dtype=np.float64) > SIZE_LIMIT:
        raise UnsupportedError(f"node {name!r}: shape {_short(array)} is impossibly large")
    return tuple(int(size) for size in array)


def _check_finite(name: str, node: nir.NIRNode) -> None:
    for what, values in (("weight", weight_of(name, node)), ("bias", bias_of(name, node))):
        if values is not None and not np.isfinite(values).all():
            raise UnsupportedError(f"node {name!r}: {what} holds NaN or infinity; export a trained network again")


def _linear(name: str, node: nir.NIRNode, shape: Shape) -> Shape:
    outputs, inputs = weight_of(name, node).shape
    rows = len(shape) == 2 and shape[0] > 1
    if shape != (inputs,) and not (rows and shape[1] == inputs):
        hint = ""
        if len(shape) > 1 and prod(shape) == inputs:
            hint = "; a Flatten is missing before it"
        elif prod(shape) == outputs != inputs:
            hint = "; its weights look transposed: NIR's are (outputs, inputs)"
        elif len(shape) > 1 and shape[-1] == inputs:
            hint = "; it takes (inputs,), or (time, inputs) row by row"
        raise UnsupportedError(f"node {name!r}: weight {(outputs, inputs)} on an input of shape {shape}{hint}")
    _check_finite(name, node)
    return (*shape[:-1], outputs)


def _convolution(name: str, node: nir.NIRNode, shape: Shape) -> Shape:
    moves, (outputs, inputs, *kernel) = geometry(name, node), weight_of(name, node).shape
    if len(shape) != len(kernel) + 1 or shape[0] != inputs * moves.groups or outputs % moves.groups:
        turned = len(shape) == len(kernel) + 1 and shape[0] == outputs != inputs and moves.groups == 1
        hint = "; its weights look transposed: NIR's are (outputs, inputs, ...)" if turned else ""
        raise UnsupportedError(
            f"node {name!r}: weight {(outputs, inputs, *kernel)} in {moves.groups} groups on an input of shape "
            f"{shape}{hint}"
        )
    _check_finite(name, node)
    return (outputs, *moves.output(shape[1:]))


def _pool(name: str, node: nir.NIRNode, shape: Shape) -> Shape:
    moves = geometry(name, node)
    line = len(shape) == 2 and (moves.kernel[0], moves.stride[0], moves.padding[0]) == (1, 1, (0, 0))
    if len(shape) != 3 and not line:
        raise UnsupportedError(
            f"node {name!r}: {type(node).__name__} on {shape}, expected (channels, height, width), or "
            "(channels, length) and a kernel of height 1"
        )
    if any(2 * p > k for (p, _), k in zip(moves.padding, moves.kernel, strict=True)):
        raise UnsupportedError(f"node {name!r}: padding {moves.padding} exceeds half the kernel {moves.kernel}")
    size = moves.output((1, shape[1]) if line else shape[1:])
    return (shape[0], size[1]) if line else (shape[0], *size)


def _flatten(name: str, node: nir.Flatten, shape: Shape) -> Shape:
    places = []
    for what in ("start_dim", "end_dim"):
        array = _numbers(name, what, getattr(node, what))
        if array.size != 1 or array.item() not in range(-len(shape), len(shape)):
            place = _short(array)
            raise UnsupportedError(f"node {name!r}: {what} {place} on an input of shape {shape} (batch is not counted)")
        places.append(int(array.item()) % len(shape))
    start, end = places
    if start > end:
        raise UnsupportedError(f"node {name!r}: start_dim {start} comes after end_dim {end}")
    return (*shape[:start], prod(shape[start : end + 1]), *shape[end + 1 :])


def _per_neuron(name: str, node: nir.NIRNode, shape: Shape) -> Shape:
    for what in PARAMETERS[type(node)]:
        parameter(name, node, what, shape)
    return shape


_RULES: dict[type[nir.NIRNode], Callable[[str, Any, Shape], Shape]] = {
    Slice: lambda name, node, shape: node.shape,
    nir.Output: lambda name, node, shape: shape,
    nir.Affine: _linear,
    nir.Linear: _linear,
    nir.Conv1d: _convolution,
    nir.Conv2d: _convolution,
    nir.SumPool2d: _pool,
    nir.AvgPool2d: _pool,
    nir.Flatten: _flatten,
    **dict.fromkeys(PARAMETERS, _per_neuron),
}

KINDS = frozenset({nir.Input, *_RULES} - {Slice})
"""Every kind of node that a file may hold and that is understood; a NIRGraph is opened before."""


def output_shape(name: str, node: nir.NIRNode, shape: Shape) -> Shape:
    """Return the shape of what a node sends when ``shape`` arrives, both without time and batch.

    Raises:
        UnsupportedError: the node's fields do not fit one another, or not ``shape``.
    """
    found = _RULES[type(node)](name, node, shape)
    if min(found) < 1 or prod(found) > SIZE_LIMIT:
        raise UnsupportedError(f"node {name!r}: would give an impossible shape {found} from {shape}")
    return found
