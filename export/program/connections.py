"""A synapse as the connections that exist: a sparse matrix of its weights that are not 0."""

import numpy as np
from scipy.sparse import csr_array

from .parts import Convolution, Dense
from .program import Program, Synapse
from .shifting import Shifted


def connections(program: Program, synapse: Synapse) -> csr_array:
    """Return the weights that are not 0, (target neurons, source neurons), both flattened as (C, H, W); int32."""
    source, target = program.shape_of(synapse.source), program.shape_of(synapse.target)
    if isinstance(synapse, Dense | Shifted):
        return csr_array(synapse.weight)
    if isinstance(synapse, Convolution):
        rows, columns, weight = unrolled(synapse, source, target)
    else:
        rows, columns, weight = synapse.rows, synapse.columns, synapse.weight
    matrix = csr_array((weight, (rows, columns)), shape=(int(np.prod(target)), int(np.prod(source))))
    matrix.eliminate_zeros()
    matrix.sort_indices()
    return matrix


def unrolled(
    conv: Convolution, source: tuple[int, ...], target: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return target neuron, source neuron and weight of every connection of a convolution; pads have none."""
    out, per_group, *kernel = conv.weight.shape
    o, i = (grid.ravel() for grid in np.indices((out, per_group)))
    channel = o // (out // conv.groups) * per_group + i
    rows, columns, weights = [], [], []
    for ky, kx in np.ndindex(*kernel):
        y = np.arange(target[1]) * conv.stride[0] + ky * conv.dilation[0] - conv.padding[0]
        x = np.arange(target[2]) * conv.stride[1] + kx * conv.dilation[1] - conv.padding[1]
        to_y, to_x = np.flatnonzero((y >= 0) & (y < source[1])), np.flatnonzero((x >= 0) & (x < source[2]))
        to = (to_y[:, None] * target[2] + to_x).ravel()
        start = (y[to_y][:, None] * source[2] + x[to_x]).ravel()
        rows.append((o[:, None] * target[1] * target[2] + to).ravel())
        columns.append((channel[:, None] * source[1] * source[2] + start).ravel())
        weights.append(np.repeat(conv.weight[:, :, ky, kx].ravel(), len(to)))
    return np.concatenate(rows), np.concatenate(columns), np.concatenate(weights)
