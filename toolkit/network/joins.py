"""Layers that two others end in: the joins of residual blocks."""

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from ..errors import InputError
from .layers import Layer

Kind = Literal["add", "and", "iand"]


class Join(Layer):
    """What a SEW block does with its own spikes a and its shortcut's s (Fang et al., arXiv 2102.04159, table 1).

    ADD: a + s.  AND: a s.  IAND: (1 - a) s.

    Args:
        kind: which of them.

    Raises:
        InputError: another kind.
    """

    joins: ClassVar[bool] = True

    def __init__(self, kind: Kind) -> None:
        super().__init__()
        if kind not in ("add", "and", "iand"):
            raise InputError(f"join {kind!r}: expected add, and, iand")
        self.kind = kind
        self.sends_spikes = kind != "add"

    def folded(self) -> nn.Module | None:
        """Return a wire for ADD: signals that end in one place are added."""
        return None if self.kind == "add" else self

    def forward(self, inner: Tensor, shortcut: Tensor) -> Tensor:
        """Return the join (batch, ...) of two signals of one shape."""
        if self.kind == "add":
            return inner + shortcut
        return inner * shortcut if self.kind == "and" else (1 - inner) * shortcut


class Mix(Layer):
    """A learned convex mixture of a block and its shortcut: share a + (1 - share) s, share = sigmoid(w), at first 1/2.

    It mixes membranes' input, not spikes: to be deployed it must be followed by a batch norm, through which it is
    folded into the weights before it.
    """

    joins: ClassVar[bool] = True
    undeployable = "Mix has no exact form in Loihi's integers, but where a batch norm follows it is folded away"

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    @property
    def share(self) -> Tensor:
        """Share of the block itself."""
        return torch.sigmoid(self.weight)

    def forward(self, inner: Tensor, shortcut: Tensor) -> Tensor:
        """Return the mixture (batch, ...) of two signals of one shape."""
        return self.share * inner + (1 - self.share) * shortcut
