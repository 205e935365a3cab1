"""What a model computes, as it was seen to compute it: nodes, and what each tensor of the model stands for."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from torch import nn

from ..errors import UnsupportedError

When = Literal["each", "lone", "at", "run", "fold", "sum"]


@dataclass(frozen=True)
class Value:
    """What a tensor stands for: the output of a node, at some time steps.

    Attributes:
        node: index of the node.
        when: ``each``: the same at every step; ``lone``: that, with an axis of length 1 where time will be; ``at``: one
            step; ``run``: all steps along an axis; ``fold``: all steps, folded into the batch; ``sum``: added up.
        step: which one, of ``at``.
        axis: of time: 0 or 1; of ``fold``: 0 if steps are the slower index, 1 if samples are.
        steps: those that were added up, of ``sum``.
        factor: what it is multiplied by.
    """

    node: int
    when: When
    step: int = 0
    axis: int = 0
    steps: frozenset[int] = frozenset()
    factor: float = 1.0

    @property
    def leading(self) -> int:
        """Return how many axes stand before those of a sample."""
        return 2 if self.when in ("run", "lone") else 1


@dataclass
class Node:
    """One node.

    Attributes:
        name: unique.
        kind: ``input``; ``layer``: without state; ``neuron``; ``membrane`` of the neuron that is its source; ``add``;
            ``not`` of spikes; ``cat`` of channels or features.
        sources: the nodes whose outputs add up to its input; of ``and`` and ``iand`` joins one by one.
        layer: what computes it in the adopted network.
        loop: a layer through which a neuron's spikes come back to it one step later.
        sizes: shapes of the sources of a ``cat``.
    """

    name: str
    kind: Literal["input", "layer", "neuron", "membrane", "add", "not", "cat"]
    sources: tuple[int, ...] = ()
    layer: nn.Module | None = None
    loop: nn.Module | None = None
    sizes: tuple[tuple[int, ...], ...] = ()


@dataclass
class Nodes:
    """Nodes in the order in which they were first computed; what was computed before is the same node."""

    rows: list[Node] = field(default_factory=list)
    known: dict[object, int] = field(default_factory=dict)
    names: set[str] = field(default_factory=lambda: {"output"})

    def add(self, key: object, name: str, make: Callable[[str], Node]) -> int:
        """Return the node that ``key`` stands for; the first time it is made.

        Args:
            key: what tells it from others: operation and sources.
            name: what it is called if that is free.
            make: gives the node for its name.
        """
        if key not in self.known:
            wanted = "".join(letter if letter.isalnum() or letter in "_-" else "_" for letter in name)[:80] or "layer"
            free = wanted
            number = 2
            while free in self.names:
                free, number = f"{wanted}_{number}", number + 1
            self.names.add(free)
            self.known[key] = len(self.rows)
            self.rows.append(make(free))
        return self.known[key]

    def add_up(self, values: list[Value]) -> Value:
        """Return the sum of two values: a join of one time step, or the sum of several steps of one node.

        Raises:
            UnsupportedError: it is neither.
        """
        first, second = values
        if first.node == second.node and {first.when, second.when} <= {"at", "sum"} and first != second:
            steps = [one.steps if one.when == "sum" else frozenset([one.step]) for one in values]
            if first.factor != second.factor or steps[0] & steps[1]:
                raise UnsupportedError(
                    f"{self.rows[first.node].name!r}: a time step is counted twice, or by other weight"
                )
            return replace(first, when="sum", steps=steps[0] | steps[1], step=0)
        times = {(one.when, one.step, one.axis) for one in values if one.when != "each"}
        names = [self.rows[one.node].name for one in values]
        if len(times) > 1 or "sum" in {one.when for one in values} or any(one.factor != 1 for one in values):
            raise UnsupportedError(f"{names[0]!r} + {names[1]!r}: they are of different time steps")
        if first.node == second.node:
            raise UnsupportedError(f"{names[0]!r} is added to itself; scale the weights instead")
        sources = (first.node, second.node)
        node = self.add(("add", *sources), "add", lambda name: Node(name, "add", sources))
        return replace(next((one for one in values if one.when != "each"), first), node=node)
