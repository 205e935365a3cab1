"""Executing a NIR graph by itself, with the time step, integration and reset that its origin meant."""

import nir
import torch
from torch import Tensor

from ...toolkit.errors import UnsupportedError
from ...toolkit.network.network import SpikingNetwork
from .dynamics import Settings
from .graph import Graph
from .network import GAIN, image_shape, translated
from .nodes import SPIKING


@torch.no_grad()
def run_graph(
    graph: Graph, inputs: Tensor, settings: Settings, dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    """Execute a graph and return what its spiking nodes and its output send, (time, batch, ...) each, by name.

    What runs is its network, :func:`.network.from_nir`. Membranes start at v_leak or v_reset (``settings.start``),
    currents and delayed signals at 0. An edge of ``graph.feedback`` delivers what was sent one step earlier; before
    the first step nothing fired, so that a bias on the way back is there from the first step on.

    Args:
        graph: from :func:`.graph.flatten`.
        inputs: (time, batch, ...).
        settings: time step, integration and reset.
        dtype: floating point type to compute in.

    Raises:
        UnsupportedError: the input has another shape, or a node's numbers make no sense at this time step.
    """
    shape = next(iter(graph.shapes.values()))
    if inputs.ndim < 2 or tuple(inputs.shape[2:]) != shape or 0 in inputs.shape:
        raise UnsupportedError(f"input of shape {tuple(inputs.shape)}, expected (time, batch, {str(shape)[1:]}")
    made, steps = translated(graph, settings, dtype), len(inputs)
    network = SpikingNetwork(made.layers, steps, GAIN, made.wiring).eval()
    wanted = [name for name, node in graph.nodes.items() if isinstance(node, (*SPIKING, nir.Output))]
    layers = {made.names[name] for name in wanted}
    sent: dict[str, Tensor] = {}

    def watch(layer: str, signal: Tensor) -> None:
        if layer in layers:
            sent[layer] = signal

    network.respond(inputs.to(dtype).reshape(*inputs.shape[:2], *image_shape(graph)), watch)
    return {name: sent[made.names[name]].reshape(*inputs.shape[:2], *graph.shapes[name]) for name in wanted}
