"""What reaches each population of a graph: over which stateless nodes, how late, and with what bias."""

from dataclasses import dataclass, replace

import nir
import numpy as np
from numpy.typing import NDArray

from ...toolkit.errors import UnsupportedError
from ..nir.graph import Graph
from ..nir.nodes import Slice, bias_of, geometry, parameter

Floats = NDArray[np.float64]
WEIGHTS = (nir.Conv2d, nir.Affine, nir.Linear)
POOLS = (nir.SumPool2d, nir.AvgPool2d)
FLAT = (nir.Flatten, nir.Scale, nir.Delay)
NEURONS = (nir.IF, nir.LIF, nir.CubaLIF, nir.Threshold, nir.LI, nir.CubaLI, nir.I)
"""Nodes that become populations; those after Threshold do not spike and can only be read."""


def folds(graph: Graph, name: str) -> bool:
    """Return whether a pool can be part of the synapses behind it: weights times ones, and nothing lost at an edge."""
    node = graph.nodes[name]
    moves = geometry(name, node)
    padded = any(map(any, moves.padding))
    tiles = moves.stride == moves.kernel and not padded
    size = graph.shapes[graph.before(name)[0]][1:]
    left, users = [name], list[str]()
    while left:
        for after in graph.after(left.pop()):
            (left if isinstance(graph.nodes[after], FLAT) else users).append(after)
    for user in users:
        weights = graph.nodes[user]
        if isinstance(weights, nir.Conv2d):
            whole = all(n % k == 0 for n, k in zip(size, moves.kernel, strict=True))
            if not (tiles and whole and geometry(user, weights).dilation == (1, 1)):
                return False
        elif isinstance(weights, WEIGHTS) and padded:
            return False
    return True


@dataclass(frozen=True)
class Path:
    """One way from a source to a population.

    Attributes:
        source: the population or input where it starts.
        lag: steps that it takes, apart from the step that every synapse costs on the chip.
        weights: the convolution or linear node on it, by name.
        pool: the pooling node before the weights, by name.
        scale: what a Scale node multiplies, one number or an array of the shape there.
        before: the same, before the weights.
    """

    source: str
    lag: int = 0
    weights: tuple[str, nir.NIRNode] | None = None
    pool: tuple[str, nir.NIRNode] | None = None
    scale: Floats | None = None
    before: Floats | None = None


@dataclass(frozen=True)
class Signal:
    """A sum of paths, and a constant."""

    paths: tuple[Path, ...]
    bias: Floats | None = None


class Walk:
    """Follows a graph backwards from its populations.

    Args:
        graph: flat.
        dt: seconds a time step, for Delay nodes.

    Attributes:
        pools: the pools that cannot be part of a synapse and become populations of their own.
        sums: what else becomes a population, and of which paths: sums of such a pool and of spikes, whose units differ,
            before weights that both share.
    """

    def __init__(self, graph: Graph, dt: float) -> None:
        self.graph = graph
        self.dt = dt
        pools = [name for name, node in graph.nodes.items() if isinstance(node, POOLS)]
        self.pools = {name for name in pools if not folds(graph, name)}
        self.sums: dict[str, tuple[Path, ...]] = {}
        self.found: dict[str, Signal] = {}

    def arriving(self, name: str) -> Signal:
        """Return what arrives at the node called ``name``.

        Raises:
            UnsupportedError: nodes follow one another in a way that no single synapse computes.
        """
        paths: list[Path] = []
        bias: Floats | None = None
        for start in self.graph.before(name):
            signal = self._sent(start)
            late = (start, name) in self.graph.feedback
            paths += [replace(path, lag=path.lag + late) for path in signal.paths]
            if signal.bias is not None:
                bias = signal.bias if bias is None else bias + signal.bias
        if bias is None and isinstance(self.graph.nodes[name], (*WEIGHTS, *POOLS, nir.Flatten)):
            paths = self._summed(name, paths)
        return Signal(tuple(paths), bias)

    def _summed(self, name: str, paths: list[Path]) -> list[Path]:
        """Return one path from a sum instead of several whose units differ, if they are plain."""
        plain = all(path.weights is None and path.pool is None and path.scale is None for path in paths)
        if not plain or len(paths) < 2 or not any(path.source in self.pools for path in paths):
            return paths
        for known, summed in self.sums.items():
            if set(summed) == set(paths):
                return [Path(known)]
        self.sums[f"{name}.sum"] = tuple(paths)
        return [Path(f"{name}.sum")]

    def pooled(self, name: str) -> Signal:
        """Return what arrives at a pool.

        Raises:
            UnsupportedError: it is not what spiking nodes (or the input) send.
        """
        signal = self.arriving(name)
        if signal.bias is not None or any(path.weights or path.pool for path in signal.paths):
            raise UnsupportedError(f"node {name!r}: pooling must follow a spiking node")
        if name in self.pools and any(path.scale is not None for path in signal.paths):
            raise UnsupportedError(f"node {name!r}: a Scale before a pool that no synapse can hold; put it behind")
        return Signal(tuple(self._scaled_pool(name, path) for path in signal.paths))

    def _scaled_pool(self, name: str, path: Path) -> Path:
        """Return the path with a Scale before a pool as the one behind it that does the same."""
        if path.scale is None or not path.scale.ndim:
            return path
        if (path.scale != path.scale[:, :1, :1]).any():
            raise UnsupportedError(
                f"node {name!r}: pools what is scaled neuron by neuron; scale behind it, or a channel"
            )
        return replace(path, scale=np.broadcast_to(path.scale[:, :1, :1], self.graph.shapes[name]))

    def _sent(self, name: str) -> Signal:
        if name not in self.found:
            node = self.graph.nodes[name]
            if isinstance(node, (nir.Input, Slice, *NEURONS)) or name in self.pools:
                self.found[name] = Signal((Path(name),))
            else:
                self.found[name] = self._through(name, node, self.arriving(name))
        return self.found[name]

    def _through(self, name: str, node: nir.NIRNode, signal: Signal) -> Signal:
        """Return what a stateless node (or a delay) makes of a signal."""
        shape = self.graph.shapes[name]
        paths, bias = signal.paths, signal.bias
        if isinstance(node, nir.Flatten):
            return Signal(
                tuple(
                    path
                    if path.scale is None or path.scale.ndim == 0
                    else replace(path, scale=path.scale.reshape(shape))
                    for path in paths
                ),
                None if bias is None else bias.reshape(shape),
            )
        if isinstance(node, nir.Delay):
            steps = np.unique(np.rint(parameter(name, node, "delay", shape) / self.dt))
            if steps.size != 1 or bias is not None:
                what = "a bias before it" if bias is not None else "several delays"
                raise UnsupportedError(f"node {name!r}: {what}; a population's delay is one number, of spikes")
            return Signal(tuple(replace(path, lag=path.lag + int(steps[0])) for path in paths))
        if isinstance(node, nir.Scale):
            scale = parameter(name, node, "scale", shape)
            scale = scale.reshape(-1)[0] if np.unique(scale).size == 1 else scale
            return Signal(
                tuple(
                    replace(path, scale=np.asarray(scale if path.scale is None else path.scale * scale))
                    for path in paths
                ),
                None if bias is None else bias * scale,
            )
        if isinstance(node, POOLS):
            return Signal(tuple(replace(path, pool=(name, node)) for path in self.pooled(name).paths))
        if isinstance(node, WEIGHTS):
            if bias is not None or any(path.weights for path in paths):
                raise UnsupportedError(f"node {name!r}: two weight nodes without a spiking node between them")
            constant = bias_of(name, node)
            if constant is not None and constant.any():
                # Of a linear node the last axis is its outputs, of a convolution the first.
                rest = len(shape) - 1 if isinstance(node, nir.Conv2d) else 0
                bias = np.broadcast_to(constant.astype(np.float64).reshape(-1, *[1] * rest), shape)
            return Signal(
                tuple(replace(path, weights=(name, node), before=path.scale, scale=None) for path in paths), bias
            )
        raise UnsupportedError(f"node {name!r}: {type(node).__name__} has no exact form in Loihi's integers")
