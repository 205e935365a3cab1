"""A few steps of training, and what came out of them: run twice, with the compiled loops and by PyTorch alone."""

import json
from collections import OrderedDict

import torch
from torch import nn

from ...toolkit.files import digest
from ...toolkit.kernels import native, norm
from ...toolkit.kernels.norm import Norm
from ...toolkit.network.network import SpikingNetwork
from ...toolkit.network.neurons import LIF

STEPS = 3


def trained() -> dict[str, str]:
    """Return SHA-256 of spikes, of gradients and of what every parameter is after three steps of training, by name."""
    torch.manual_seed(3407)
    layers: dict[str, nn.Module] = {
        "conv": nn.Conv2d(1, 16, 3, padding=1),
        "norm": Norm(16),
        "lif1": LIF(0.5, 1.0, 2.0),
        "pool": nn.MaxPool2d(2),
        "inner": nn.Conv2d(16, 16, 3, padding=1),
        "lif2": LIF(0.9, 1.0, 2.0),
        "mean": nn.AvgPool2d(2),
        "flatten": nn.Flatten(),
        "linear": nn.Linear(16 * 16, 10),
        "last": LIF(0.5, 1.0, 2.0),
    }
    network = SpikingNetwork(OrderedDict(layers), 4, 10.0).train()
    descent = torch.optim.SGD(network.parameters(), 0.1)
    found = {}
    for step in range(STEPS):
        images = torch.rand(16, 1, 16, 16, requires_grad=True)
        logits = network(images)
        loss = nn.functional.cross_entropy(logits, torch.arange(16) % 10)
        descent.zero_grad()
        loss.backward()
        descent.step()
        assert images.grad is not None
        found[f"logits, step {step}"] = _digest(logits)
        found[f"gradient of the images, step {step}"] = _digest(images.grad)
    return found | {name: _digest(value) for name, value in network.state_dict().items()}


def _digest(values: torch.Tensor) -> str:
    return digest(values.detach().contiguous().numpy().tobytes())


def main() -> None:
    """Print it as JSON, with what was compiled."""
    torch.set_num_threads(1)
    loops = [status().library is not None for status in (native.status, norm.status)]
    print(json.dumps({"compiled": all(loops), "found": trained()}))


if __name__ == "__main__":
    main()
