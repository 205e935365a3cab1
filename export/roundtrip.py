"""Executing a NIR graph by itself, so that what was written can be compared with what was meant, spike for spike."""

from dataclasses import dataclass
from pathlib import Path

import nir
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..toolkit.coding import direct
from ..toolkit.data import Images
from ..toolkit.errors import DisagreementError, UnsupportedError
from ..toolkit.layers import SpikingNetwork
from .nir import SideCar, chain, read_nir


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.asarray(values, dtype=np.float32))


def _pair(values: np.ndarray) -> tuple[int, int]:
    first, second = (int(v) for v in np.broadcast_to(values, (2,)))
    return first, second


def _lif(node: nir.LIF, current: Tensor, time_step: float) -> Tensor:
    """Integrate tau dv/dt = v_leak - v + R I by Euler's rule; (time, batch, ...) in, spikes out."""
    rate = time_step / np.asarray(node.tau, dtype=np.float64)
    keep, gain = _tensor(1 - rate), _tensor(rate * node.r)
    leak, reset, threshold = _tensor(rate * node.v_leak), _tensor(node.v_reset), _tensor(node.v_threshold)
    v = torch.zeros_like(current[0])
    spikes = []
    for step in current:
        v = keep * v + gain * step + leak
        fired = v > threshold
        v = torch.where(fired, reset, v)
        spikes.append(fired.float())
    return torch.stack(spikes)


def _apply(name: str, node: nir.NIRNode, x: Tensor) -> Tensor:
    """Apply a stateless node to (batch, ...)."""
    if isinstance(node, nir.Conv2d):
        bias = None if node.bias is None else _tensor(node.bias)
        return functional.conv2d(
            x,
            _tensor(node.weight),
            bias,
            _pair(node.stride),
            _pair(node.padding),
            _pair(node.dilation),
            int(node.groups),
        )
    if isinstance(node, nir.Affine):
        return functional.linear(x, _tensor(node.weight), _tensor(node.bias))
    if isinstance(node, nir.Linear):
        return functional.linear(x, _tensor(node.weight))
    if isinstance(node, nir.AvgPool2d):
        return functional.avg_pool2d(x, _pair(node.kernel_size), _pair(node.stride), _pair(node.padding))
    if isinstance(node, nir.SumPool2d):
        kernel = _pair(node.kernel_size)
        return functional.avg_pool2d(x, kernel, _pair(node.stride), _pair(node.padding), divisor_override=1)
    if isinstance(node, nir.Threshold):
        return (x > _tensor(node.threshold)).float()
    if isinstance(node, nir.Flatten):
        return x.flatten(1)
    raise UnsupportedError(f"node {name!r}: {type(node).__name__} cannot be executed")


@torch.no_grad()
def run_nir(graph: nir.NIRGraph, sidecar: SideCar, images: Images, source: str = "graph") -> dict[str, Tensor]:
    """Execute a graph in float32 and return the spikes (time, batch, ...) of its LIF and Threshold nodes by name.

    Args:
        graph: a chain of nodes.
        sidecar: time step, number of steps, input grid.
        images: (batch, channels, height, width), in [0, 1].
        source: the file's name, for messages.
    """
    on_grid = torch.round(torch.from_numpy(images) * sidecar.levels) / sidecar.levels
    signal = direct(on_grid, sidecar.steps)
    found = {}
    for name, node in chain(graph, source)[1:-1]:
        if isinstance(node, nir.LIF):
            signal = _lif(node, signal, sidecar.time_step)
        else:
            steps, batch = signal.shape[:2]
            signal = _apply(name, node, signal.flatten(0, 1)).unflatten(0, (steps, batch))
        if isinstance(node, nir.LIF | nir.Threshold):
            found[name] = signal
    return found


@dataclass(frozen=True)
class RoundTrip:
    """How many spikes of how many neurons, steps and samples were compared, and how many differed."""

    samples: int
    compared: int
    spikes: int
    different: int


@torch.no_grad()
def check_round_trip(path: Path, network: SpikingNetwork, images: Images, tolerance: float = 1e-4) -> RoundTrip:
    """Read ``path`` back, execute it, and compare every spike with the network it was written from.

    Both sides add floats, in different orders; a membrane within rounding of its threshold may go either way.
    ``tolerance`` bounds the share of such spikes, far below any real fault (see docs/nir.md).

    Raises:
        DisagreementError: more than ``tolerance`` of the spikes differ; the first population that does is named.
    """
    graph, sidecar = read_nir(path)
    found = run_nir(graph, sidecar, images, str(path))
    expected: dict[str, Tensor] = {}
    network.spikes(torch.from_numpy(images), lambda name, signal: expected.update({name: signal}))
    compared = spikes = different = 0
    worst = ""
    for name in network.populations():
        wrong = int((found[name] != expected[name]).sum())
        if wrong and not worst:
            worst = name
        compared += expected[name].numel()
        spikes += int(expected[name].sum())
        different += wrong
    if different > tolerance * compared:
        raise DisagreementError(
            f"{path}: read back, {different} of {compared} spikes differ from the network, first in {worst!r}"
        )
    return RoundTrip(len(images), compared, spikes, different)
