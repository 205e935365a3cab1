"""What the parts of the ONNX form share: a list of nodes and constants that grows, and tensors that know their type."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...toolkit.extras import extra

with extra("onnx"):
    import onnx
    from onnx import TensorProto, helper

BOOL, FLOAT, DOUBLE = int(TensorProto.BOOL), int(TensorProto.FLOAT), int(TensorProto.DOUBLE)
UINT8, INT32, INT64 = int(TensorProto.UINT8), int(TensorProto.INT32), int(TensorProto.INT64)
EXACT = 2**24
"""Integers below this are exact in float32, in which the standard's convolution is computed."""
NUMPY: dict[int, type[np.generic]] = {FLOAT: np.float32, DOUBLE: np.float64, INT64: np.int64}


class Tensor(NamedTuple):
    """A tensor of the graph.

    Attributes:
        name: in the graph.
        kind: its type, a number of ``TensorProto``.
        bound: no value is larger in magnitude, where that matters.
    """

    name: str
    kind: int
    bound: int = 0


def value(name: str, kind: int, shape: Sequence[int | str]) -> onnx.ValueInfoProto:
    """Return an input or output of a graph."""
    return helper.make_tensor_value_info(name, kind, list(shape))


class Graph:
    """Collects nodes and constants.

    Args:
        prefix: of the names that this graph makes: those of an inner graph must differ from all outside.
        constants: those of the graph around this one, which holds them for both.
    """

    def __init__(self, prefix: str = "", constants: dict[str, NDArray[np.generic]] | None = None) -> None:
        self.prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, NDArray[np.generic]] = {} if constants is None else constants
        self._casts: dict[tuple[str, int], str] = {}

    def inner(self, prefix: str) -> "Graph":
        """Return the start of a graph inside this one."""
        return Graph(prefix, self.constants)

    def fresh(self) -> str:
        """Return what the name of the next node starts with."""
        return f"{self.prefix}{len(self.nodes)}"

    def add(self, operator: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """Append a node and return the name of its output."""
        out = name or f"_{self.fresh()}_{operator}"
        self.nodes.append(helper.make_node(operator, list(inputs), [out], **attributes))
        return out

    def constant(self, value: object, kind: int = INT64) -> str:
        """Return the name of a constant; equal constants have equal names."""
        array = np.asarray(value, dtype=NUMPY[kind])
        name = f"_{array.dtype}_{array.tolist()}"
        self.constants[name] = array
        return name

    def cast(self, x: Tensor, kind: int) -> str:
        """Return the name of ``x`` in another type."""
        if x.kind == kind:
            return x.name
        if (x.name, kind) not in self._casts:
            self._casts[x.name, kind] = self.add("Cast", x.name, to=kind)
        return self._casts[x.name, kind]

    def total(self, one: Tensor | None, other: Tensor) -> Tensor:
        """Return the sum: in float32 where that holds it, else in int64."""
        if one is None:
            return other
        bound = one.bound + other.bound
        kind = FLOAT if one.kind == other.kind == FLOAT and bound < EXACT else INT64
        return Tensor(self.add("Add", self.cast(one, kind), self.cast(other, kind)), kind, bound)

    def wrap(self, x: str, bits: int) -> str:
        """Two's complement of ``bits`` bits of int64: 32 by the standard's cast to int32, fewer in its upper bits."""
        lift = 2 ** (32 - bits)
        x = x if lift == 1 else self.add("Mul", x, self.constant(lift))
        x = self.add("Cast", self.add("Cast", x, to=INT32), to=INT64)
        return x if lift == 1 else self.add("Div", x, self.constant(lift))

    def floor_shift(self, x: str, bits: int) -> str:
        """Shift int64 below 2^53 to the right: a floor, in float64, where it is many times faster than Mod and Div."""
        small = self.add("Mul", self.add("Cast", x, to=DOUBLE), self.constant(2.0**-bits, DOUBLE))
        return self.add("Cast", self.add("Floor", small), to=INT64)

    def reshape(self, x: str, shape: Sequence[int]) -> str:
        """Return ``x`` in another shape; one size may be -1."""
        return self.add("Reshape", x, self.constant(list(shape)))
