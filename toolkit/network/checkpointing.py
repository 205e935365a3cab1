"""Activation checkpointing: what lies between two populations is computed again in the backward pass.

Kept are the spikes that a segment receives, as bytes, not the currents of its neurons, normalised or not: a training
step takes less memory, and one more forward pass. Spikes and gradients are the same bits. Batch norm needs all time
steps of a layer before the next layer can begin, so segments are cut between layers, not between steps.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.modules.batchnorm import _NormBase
from torch.utils.checkpoint import checkpoint

from .layers import Scanned

Layers = Sequence[tuple[str, nn.Module]]


class Wires:
    """Who receives from whom.

    Args:
        sources: the names of what each layer receives.
    """

    def __init__(self, sources: dict[str, tuple[str, ...]]) -> None:
        self.sources = sources
        self.readers: dict[str, list[str]] = {}
        for name, read in sources.items():
            for source in read:
                self.readers.setdefault(source, []).append(name)

    def follows(self, name: str, before: str) -> bool:
        """Return whether layer ``name`` reads ``before`` only, and nobody else does."""
        return self.sources[name] == (before,) and self.readers[before] == [name]

    def forget(self, sent: dict[str, Tensor], name: str) -> None:
        """Drop what layer ``name`` was the last to read."""
        for source in self.sources[name]:
            if self.readers[source][-1] == name:
                sent.pop(source, None)


def segments(layers: Iterable[tuple[str, nn.Module]], wires: Wires) -> list[list[tuple[str, nn.Module]]]:
    """Return the layers in pieces of which others read the last layer only: a population, or its pool."""
    found: list[list[tuple[str, nn.Module]]] = []
    for name, layer in layers:
        last, before = found[-1][-1] if found else ("", None)
        whole = bool(found) and any(isinstance(part, Scanned) for _, part in found[-1])
        pools = isinstance(before, Scanned) and isinstance(layer, nn.MaxPool2d | nn.AvgPool2d)
        if wires.follows(name, last) and (pools or not whole):
            found[-1].append((name, layer))
        else:
            found.append([(name, layer)])
    return found


def recomputed(segment: Layers, run: Callable[..., Tensor], given: Sequence[Tensor]) -> Tensor:
    """Return ``run(*given)``; the backward pass computes its tensors again, with the random numbers of the first time.

    Batch norm without a momentum, whose statistics are means over all batches, keeps its tensors.
    """
    norms = [layer for _, top in segment for layer in top.modules() if isinstance(layer, _NormBase)]
    if any(norm.momentum is None for norm in norms):
        return run(*given)

    def contexts() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
        return nullcontext(), _Unmoved(norms)

    with saved_tensors_hooks(_packed, _unpacked):  # of what the segment is given; what it computes is not kept
        # To the end, though the last tensors may not be needed: layers that were left half way would keep their state.
        found: Tensor = checkpoint(run, *given, use_reentrant=False, early_stop=False, context_fn=contexts)
    return found


Packed = tuple[Tensor, torch.dtype, bool] | Tensor


def _packed(given: Tensor) -> Packed:
    """Return whole numbers below 256, as spikes and their sums are, as bytes; anything else as it is."""
    if not given.is_floating_point() or given.stride(0) == 0:  # one step for all
        return given
    small = given.detach().to(torch.uint8)
    return (small, given.dtype, given.requires_grad) if torch.equal(small.to(given.dtype), given) else given


def _unpacked(kept: Packed) -> Tensor:
    return kept if isinstance(kept, Tensor) else kept[0].to(kept[1]).requires_grad_(kept[2])


class _Unmoved:
    """Leaves running statistics as they are: they have seen this batch. Entered anew for another backward pass."""

    def __init__(self, norms: Sequence[_NormBase]) -> None:
        self.norms = norms

    def __enter__(self) -> None:
        self.before = [(norm.momentum, norm.num_batches_tracked) for norm in self.norms]
        for norm, (_, count) in zip(self.norms, self.before, strict=True):
            norm.momentum, norm.num_batches_tracked = 0.0, None if count is None else count.clone()

    def __exit__(self, *_: object) -> None:
        for norm, (momentum, count) in zip(self.norms, self.before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count
