"""Sparsity of the gradients in the attack's backward pass, as the seed paper's code defines it."""

from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray

from ...toolkit.attacks.victim import device_of
from ...toolkit.data import Images
from ...toolkit.network.network import SpikingNetwork
from ...toolkit.task import CLASSES, Task
from .gradients import IMAGE, watch
from .metrics import Metric


@dataclass(frozen=True)
class LayerZeros:
    """Share of exact zeros in the gradient with respect to a layer's input and output."""

    input: float
    output: float


class ZeroGradientShare(Metric):
    """Exact zeros among the entries of dL/dx, for the input and the output of every layer.

    share = #{entries == 0} / #entries, no tolerance, in the first backward pass of a white-box attack: evaluation
    mode, cross-entropy summed over samples (arXiv 2509.23762, released code), or what a task's attacks raise. A neuron
    is one layer over all steps.
    """

    name = "zero-gradient share"
    unit = "share of entries"
    higher_is_better = None

    def __init__(self, network: SpikingNetwork, task: Task = CLASSES) -> None:
        self.network, self.task = network, task
        self.zeros: dict[tuple[str, str], int] = {}
        self.entries: dict[tuple[str, str], int] = {}

    def update(self, images: Images, labels: NDArray[Any]) -> None:
        """Run one backward pass and count.

        Args:
            images: (batch, channels, height, width).
            labels: (batch,), or the task's targets.
        """
        network = self.network.eval()
        device = device_of(network)
        inputs = torch.from_numpy(images).to(device)
        if not network.coder.sequences:
            # A product, so that the first layer's input is a tensor of its own for every step.
            inputs = network.coder.encode(inputs) * 1
        with watch(network) as seen:
            self.task.total(network(inputs.requires_grad_()), torch.from_numpy(labels).to(device)).backward()
        for (name, side), gradients in seen.found.items():
            if name != IMAGE:
                key = (name, side)
                self.zeros[key] = self.zeros.get(key, 0) + gradients.zeros
                self.entries[key] = self.entries.get(key, 0) + gradients.entries

    def compute(self) -> dict[str, LayerZeros]:
        """Return the shares of every layer, in the order of computation."""
        self._need(len(self.entries))
        share = {key: self.zeros[key] / entries for key, entries in self.entries.items()}
        names = [name for name, _ in self.network.named_layers() if (name, "output") in share]
        return {name: LayerZeros(share[name, "input"], share[name, "output"]) for name in names}

    def hidden(self) -> float | None:
        """Return the share at the outputs of all hidden neuron layers together, entries weighted alike.

        None if there is no such layer: the only one is read out.

        Raises:
            InputError: nothing was measured.
        """
        self._need(len(self.entries))
        layers = self.network.hidden()
        if not layers:
            return None
        zeros = sum(self.zeros[name, "output"] for name in layers)
        return zeros / sum(self.entries[name, "output"] for name in layers)
