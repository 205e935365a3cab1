"""How sparse the gradients of the weights are, and what bounds it."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...toolkit.attacks.victim import device_of
from ...toolkit.data import Images
from ...toolkit.errors import InputError
from ...toolkit.network.backward import attack_gradient
from ...toolkit.task import CLASSES, Task
from .gradients import leaves
from .metrics import Metric


@dataclass(frozen=True)
class Density:
    """Non-zero entries of a layer's weight gradient, and what bounds them.

    Attributes:
        weights: #{dL/dW != 0} / #W.
        bound: share of the entries that can differ from zero, from the two below; never less than ``weights``.
        errors: share of output channels that get an error signal at some time step and place.
        inputs: share of input channels that send anything at some time step and place.
    """

    weights: float
    bound: float
    errors: float
    inputs: float


class WeightGradientDensity(Metric):
    """Density of dL/dW of every linear or convolutional layer, and its bound by errors and presynaptic spikes.

    dL/dW = sum over t and samples of delta(t) s(t)^T has zero rows where no delta(t) is non-zero, and zero columns
    where no s(t) is: density(dL/dW) <= density(union of delta(t)) density(union of s(t)). Rows and columns are channels
    for a convolution; with groups, pairs of the same group count. (arXiv 2509.23762 claims such a link; this much of it
    can be proved.)

    Evaluation mode, cross-entropy summed over the batch; unions are over its samples, too, so batches of one sample
    give the tightest bound. Each update counts alike.

    Args:
        task: whose harm is the loss.
        network: has torch's own Linear or Conv2d layers with weights in float; a fake-quantized layer has others.

    Raises:
        InputError: there is no such layer.
    """

    name = "weight-gradient density"
    unit = "share of weights"
    higher_is_better = None

    def __init__(self, network: nn.Module, task: Task = CLASSES) -> None:
        self.network, self.task = network, task
        self.layers = {name: part for name, part in leaves(network).items() if type(part) in (nn.Linear, nn.Conv2d)}
        if not self.layers:
            raise InputError(f"metric {self.name!r}: the network has no linear or convolutional layer of torch's own")
        self.sums = {name: [0.0] * 4 for name in self.layers}
        self.updates = 0

    def update(self, images: Images, labels: NDArray[Any]) -> None:
        """Run one backward pass and count.

        Args:
            images: (batch, channels, height, width), or encoded (time, batch, channels, height, width).
            labels: (batch,), or the task's targets.
        """
        calls: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in self.layers}

        def hook_of(name: str) -> Callable[..., None]:
            return lambda layer, given, made: calls[name].append((given[0].detach(), made))

        device = device_of(self.network)
        with ExitStack() as stack:
            stack.enter_context(attack_gradient(self.network))
            for name, layer in self.layers.items():
                stack.callback(layer.register_forward_hook(hook_of(name)).remove)
            logits = self.network(torch.from_numpy(images).to(device))
        loss = self.task.total(logits, torch.from_numpy(labels).to(device))
        weights = [layer.get_parameter("weight") for layer in self.layers.values()]
        made = [output for outputs in calls.values() for _, output in outputs]
        gradients = torch.autograd.grad(loss, [*weights, *made], allow_unused=True, materialize_grads=True)
        errors = iter(gradients[len(weights) :])
        for (name, layer), gradient in zip(self.layers.items(), gradients, strict=False):
            rows, columns = [], []
            for given, _ in calls[name]:
                rows.append(_channels(next(errors), layer))
                columns.append(_channels(given, layer))
            row, column = torch.stack(rows).any(0), torch.stack(columns).any(0)
            groups = getattr(layer, "groups", 1)
            pairs = row.reshape(groups, -1, 1) & column.reshape(groups, 1, -1)
            found = ((gradient != 0), pairs, row, column)
            self.sums[name] = [
                so_far + float(part.double().mean()) for so_far, part in zip(self.sums[name], found, strict=True)
            ]
        self.updates += 1

    def compute(self) -> dict[str, Density]:
        """Return the density and its bound for every layer, means over the updates."""
        self._need(self.updates)
        return {name: Density(*(part / self.updates for part in sums)) for name, sums in self.sums.items()}


def _channels(signal: Tensor, layer: nn.Module) -> Tensor:
    """Return which channels (features of a linear layer) hold anything but zeros."""
    flat = signal.movedim(-1 if isinstance(layer, nn.Linear) else -3, 0).flatten(1)
    return (flat != 0).any(1)
