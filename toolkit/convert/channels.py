"""A threshold for every channel: a network of ReLU written so that all its channels are equally loud."""

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn

from ..errors import UnsupportedError

WEIGHTS = (nn.Conv2d, nn.Linear)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
PASSING = (nn.MaxPool2d, nn.AvgPool2d, nn.Flatten)
"""What a positive factor of a channel goes through."""


class _Watch(fx.Interpreter):
    """Keeps what ReLUs give while the network runs."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self.given: dict[str, list[Tensor]] = {}

    def call_module(self, target: Any, args: Any, kwargs: Any) -> Any:
        """Run one module."""
        found = super().call_module(target, args, kwargs)
        if isinstance(self.fetch_attr(target), nn.ReLU):
            self.given.setdefault(target, []).append(found)
        return found


def _before(graph: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    """Return the layer whose outputs a ReLU gets, through pools alone; None if others get them, too."""
    modules = dict(graph.named_modules())
    while True:
        (source,) = node.all_input_nodes
        if source.op != "call_module" or len(source.users) > 1:
            return None
        module = modules[str(source.target)]
        if isinstance(module, WEIGHTS) or (isinstance(module, NORMS) and module.affine):
            return module
        if not isinstance(module, PASSING) or isinstance(module, nn.Flatten):  # A place is no channel.
            return None
        node = source


def _behind(graph: fx.GraphModule, node: fx.Node) -> Iterator[nn.Conv2d | nn.Linear]:
    """Yield the weight layers that get what a node gives, through pools and flatten.

    Raises:
        UnsupportedError: something else gets it, as a sum, which needs one scale for all its terms.
    """
    modules = dict(graph.named_modules())
    for user in node.users:
        module = modules.get(str(user.target)) if user.op == "call_module" else None
        if isinstance(module, nn.Conv2d | nn.Linear):
            yield module
        elif isinstance(module, PASSING):
            yield from _behind(graph, user)
        else:
            raise UnsupportedError(f"{user.name!r} gets it")


def _louder(layer: Any, factor: Tensor) -> None:
    """Multiply what each channel gives; batch norm has weights and biases of its own."""
    layer.weight *= factor.reshape(-1, *[1] * (layer.weight.dim() - 1))
    if layer.bias is not None:
        layer.bias *= factor


def _made_up_for(layer: nn.Conv2d | nn.Linear, factor: Tensor) -> None:
    """Multiply what each channel of the input counts for; of flattened channels all their places."""
    if isinstance(layer, nn.Linear):
        layer.weight *= factor.repeat_interleave(layer.in_features // len(factor))
        return
    parts = zip(layer.weight.chunk(layer.groups), factor.chunk(layer.groups), strict=True)
    for rows, of_group in parts:
        rows *= of_group.reshape(1, -1, 1, 1)


@torch.no_grad()
def equalized(graph: fx.GraphModule, sample: Tensor, percentile: float) -> tuple[fx.GraphModule, list[str]]:
    """Return the same function with every channel behind a ReLU divided by its own percentile, and which ReLUs.

    ReLU(a x) = a ReLU(x) for a > 0: what a channel loses in the weights before the ReLU the weights behind it make up
    for. One threshold a layer is then one a channel (channel-wise normalisation, Kim et al. 2020, arXiv:1903.06530).

    Args:
        graph: from :func:`.flat.flat`; not changed.
        sample: (samples, ...).
        percentile: of a channel's activations. One that is silent on ``sample`` counts as the layer's mean channel.

    Raises:
        UnsupportedError: no ReLU allows it: their outputs are added up, or are the network's.
    """
    graph = copy.deepcopy(graph)
    watch = _Watch(graph)
    for part in sample.split(256):
        watch.run(part)
    done = []
    for node in graph.graph.nodes:
        if node.op != "call_module" or str(node.target) not in watch.given:
            continue
        before = _before(graph, node)
        try:
            behind = list(_behind(graph, node))
        except UnsupportedError:
            continue
        if before is None or not behind:
            continue
        seen = torch.cat(watch.given[str(node.target)]).transpose(0, 1).flatten(1)
        # kthvalue has no limit of size, as torch.quantile has.
        rank = max(1, min(seen.shape[1], round(percentile / 100 * seen.shape[1])))
        scale = seen.kthvalue(rank, dim=1).values
        loud = scale > 0
        if not bool(loud.any()):
            continue
        scale[~loud] = scale[loud].mean()
        _louder(before, 1 / scale)
        for layer in behind:
            _made_up_for(layer, scale)
        done.append(str(node.target))
    if not done:
        raise UnsupportedError(
            "convert: per='channel': no ReLU stands between weights alone (sums need one scale); take per='layer'"
        )
    return graph, done
