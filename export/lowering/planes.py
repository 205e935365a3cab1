"""A graph whose signals are flat or (channels, height, width), as the chip's synapses take them: lines are 1 high."""

from copy import copy
from dataclasses import replace
from typing import Any

import nir
import numpy as np

from ..nir.graph import Graph
from ..nir.nodes import PARAMETERS, Shape, bias_of, geometry, parameter, weight_of


def plane(shape: Shape) -> Shape:
    """Return (channels, 1, length) of (channels, length), and three axes of more where the others are 1."""
    if len(shape) == 2:
        return (shape[0], 1, shape[1])
    while len(shape) > 3 and shape[0] == 1:
        shape = shape[1:]
    return shape if len(shape) <= 3 else (int(np.prod(shape)),)


def _convolution(name: str, node: nir.Conv1d) -> nir.Conv2d:
    """Return the convolution of a line as that of a plane 1 high."""
    moves, bias = geometry(name, node), bias_of(name, node)
    weight = weight_of(name, node)[:, :, None, :]
    (before, after), (stride,), (dilation,) = moves.padding[0], moves.stride, moves.dilation
    padding: Any = "same" if before != after else np.array([0, before])
    bias = np.zeros(len(weight)) if bias is None else bias
    return nir.Conv2d(None, weight, np.array([1, stride]), padding, np.array([1, dilation]), moves.groups, bias)


def as_planes(graph: Graph) -> Graph:
    """Return the same graph with every signal in at most three axes and every convolution in two dimensions.

    (channels, length) becomes (channels, 1, length); the order of the values stays.
    """
    shapes = {name: plane(shape) for name, shape in graph.shapes.items()}
    nodes: dict[str, nir.NIRNode] = {}
    for name, node in graph.nodes.items():
        made = _convolution(name, node) if isinstance(node, nir.Conv1d) else node
        fields = PARAMETERS.get(type(node), ())
        if fields and shapes[name] != graph.shapes[name]:
            made = copy(node)
            for what in fields:
                setattr(made, what, parameter(name, node, what, graph.shapes[name]).reshape(shapes[name]))
        nodes[name] = made
    return replace(graph, nodes=nodes, shapes=shapes)
