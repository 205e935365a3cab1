"""What a file's edges imply where shapes do not fit: a Flatten, or a batch axis of 1 that it counts."""

from math import prod

import nir
import numpy as np

from ...toolkit.errors import UnsupportedError
from .nodes import Shape, output_shape

WEIGHTED = (nir.Linear, nir.Affine)


def assumption(
    name: str, node: nir.NIRNode, shape: Shape, before: list[nir.NIRNode]
) -> tuple[tuple[nir.Flatten, Shape, str], Shape] | None:
    """Return the Flatten that would make what arrives fit a node, its output shape and the words for it.

    And the output shape of the node behind it; None if nothing would.

    Args:
        name: of the node.
        node: that refuses ``shape``.
        shape: that arrives.
        before: the nodes it comes from.
    """
    # All leading axes of 1 that can go without leaving nothing.
    ones = next((axis for axis, size in enumerate(shape) if size > 1), len(shape) - 1)
    for axes in range(1, ones + 1):
        found = _fits(name, node, shape[axes:])
        if found is not None:
            text = (
                f"{shape} arrives where {shape[axes:]} fits: its first axis is taken as a batch of one that is counted"
            )
            return (nir.Flatten({"input": np.array(shape)}, 0, axes), shape[axes:], text), found
    flat = (prod(shape),)
    found = _fits(name, node, flat) if isinstance(node, WEIGHTED) and len(shape) > 1 else None
    if found is None:
        return None
    inner = [one for one in before if isinstance(one, nir.Flatten)]
    text = f"{shape} arrives where {flat} fits: a Flatten is taken to be between, in the order (channel, height, width)"
    if inner:
        text = (
            f"{shape} arrives where {flat} fits: the Flatten before it starts at axis {inner[0].start_dim}, as if a "
            "batch axis were counted; it is taken to flatten all"
        )
    return (nir.Flatten({"input": np.array(shape)}, 0, -1), flat, text), found


def _fits(name: str, node: nir.NIRNode, shape: Shape) -> Shape | None:
    try:
        return output_shape(name, node, shape)
    except UnsupportedError:
        return None
