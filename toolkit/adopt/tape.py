"""The tape of a model that runs: its nodes so far, and what each of its tensors stands for."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from ..errors import UnsupportedError
from .cat import apart
from .graph import Node, Nodes, Value


class Tape:
    """Keeps for every tensor of a running model what it stands for.

    Args:
        shape: of a sample, without time and batch.

    Attributes:
        steps: time steps, as soon as something showed them.
        given: shape of a sample as it is given.
        shape: of a sample as the first layer takes it.
        static: whether the input is the same at every step.
        now: name of the function that is called.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = self.given = shape
        self.nodes = Nodes()
        self.source = self.nodes.add(("input",), "input", lambda name: Node(name, "input"))
        self.steps: int | None = None
        self.now = ""
        self.static = True
        self._weights: list[Tensor] = []
        self._taken: tuple[int, ...] | None = None
        self._values: dict[int, tuple[Tensor, Value]] = {}

    def value(self, tensor: Any) -> Value | None:
        """Return what a tensor stands for; None for constants."""
        found = self._values.get(id(tensor)) if isinstance(tensor, Tensor) else None
        return None if found is None else found[1]

    def set(self, tensor: Any, value: Value, steps: int | None = None) -> None:
        """Note what a tensor stands for, and how many steps that shows."""
        if steps is not None:
            self._count(steps)
        # The tensor is kept, so that no other one gets its identity.
        self._values[id(tensor)] = tensor, value

    def _count(self, steps: int) -> None:
        if self.steps not in (None, steps):
            raise UnsupportedError(f"layers of {self.steps} and of {steps} time steps; one number is needed")
        self.steps = steps

    def described(self) -> list[tuple[str, str, tuple[int, ...]]]:
        """Return the name, kind and sources of every node: what two runs of one model have in common."""
        return [(row.name, row.kind, row.sources) for row in self.nodes.rows]

    def same(self, tensor: Tensor | None) -> int | None:
        """Return a number for a tensor of weights, the same for equal ones: a model may compute them at every step."""
        if tensor is None:
            return None
        for number, other in enumerate(self._weights):
            if other is tensor or (other.shape == tensor.shape and bool((other == tensor).all())):
                return number
        self._weights.append(tensor)
        return len(self._weights) - 1

    def rows(self, value: Value) -> Node:
        """Return the node of a value."""
        return self.nodes.rows[value.node]

    def at(self, value: Value, step: int) -> Value:
        """Return one step of a run; of what is the same at each step, that."""
        row = self.rows(value)
        static = value.when == "lone" or (row.kind == "input" and self.static)
        return replace(value, when="each" if static else "at", step=0 if static else step, axis=0)

    def layer(self, value: Value, key: tuple[Any, ...], name: str, make: Callable[[], nn.Module]) -> Value:
        """Return what a layer without state sends for a value."""
        if value.factor != 1:
            raise UnsupportedError(f"layer {name!r} gets a signal times {value.factor:g}; multiply the weights instead")
        if value.when == "sum":
            raise UnsupportedError(f"layer {name!r} gets what was added up over time; read out after the last layer")
        if self.rows(value).kind == "cat":
            return apart(self.nodes, value, key, name, make)
        node = self.nodes.add((*key, value.node), name, lambda name: Node(name, "layer", (value.node,), make()))
        return replace(value, node=node)

    def apply(
        self, tensor: Tensor, out: Tensor, key: tuple[Any, ...], name: str, make: Callable[[], nn.Module]
    ) -> None:
        """Note that ``out`` is what a layer sends for ``tensor``."""
        value = self.value(tensor)
        if value is None:
            raise UnsupportedError(f"{name}: is applied to weights, not to a signal")
        self.set(out, self.layer(value, key, name, make))

    def takes_channel(self, value: Value, out: Tensor) -> bool:
        """Return whether an axis at place 1 of the input is that of channels, not of time."""
        return self.rows(value).kind == "input" and out.dim() == 4 and out.shape[1] == 1

    def reshaped(self, value: Value, out: Tensor) -> bool:
        """Take another shape for the input's, if nothing has used it yet; return whether that was done."""
        after = tuple(out.shape[value.leading :])
        if self._taken == after:
            self.set(out, value)
            return True
        used = any(self.source in row.sources for row in self.nodes.rows)
        if used or out.shape[0] != self._values_of_input(value) or not 1 <= len(after) <= 3:
            return False
        self.shape = self._taken = after
        self.set(out, value)
        return True

    def _values_of_input(self, value: Value) -> int:
        return next(tensor.shape[0] for tensor, found in self._values.values() if found == value)
