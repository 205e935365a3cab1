"""Reading a NIR file back and executing it: what was written is compared with what was meant, spike for spike."""

from dataclasses import dataclass
from pathlib import Path

import nir
import torch
from torch import Tensor

from ...toolkit.data import Images
from ...toolkit.errors import DisagreementError, UnsupportedError
from ...toolkit.network.network import SpikingNetwork
from ...toolkit.train import seeded
from .execute import run_graph
from .graph import flatten
from .nodes import SPIKING
from .write import SideCar, read_nir


def run_nir(graph: nir.NIRGraph, sidecar: SideCar, images: Images, source: str = "graph") -> dict[str, Tensor]:
    """Encode images as the side-car says, execute a graph in float32, and return spikes by name.

    Args:
        graph: as read from a file.
        sidecar: time step, number of steps, input grid, reset.
        images: what the side-car's coder takes.
        source: the file's name, for messages.

    Returns:
        Spikes (time, batch, ...) of the spiking nodes.

    Raises:
        UnsupportedError: the graph cannot be executed; the node is named.
    """
    flat = flatten(graph, source)
    coder = sidecar.coder
    encoded = torch.from_numpy(coder.integers(images).astype("float32")) / coder.levels
    settings = sidecar.settings
    try:
        found = run_graph(flat, encoded, settings)
    except UnsupportedError as error:
        raise UnsupportedError(f"{source}: {error}") from error
    return {name: raster for name, raster in found.items() if isinstance(flat.nodes[name], SPIKING)}


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
    # A stochastic coder draws the same twice.
    with seeded(0):
        found = run_nir(graph, sidecar, images, str(path))
    expected: dict[str, Tensor] = {}
    with seeded(0):
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
