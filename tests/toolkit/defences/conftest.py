from collections import OrderedDict

import pytest
import torch
from torch import nn

from spikeproof.toolkit.defences.base import Batch
from spikeproof.toolkit.network.network import SpikingNetwork
from spikeproof.toolkit.network.neurons import LIF


def small(*, steps: int = 4, last: bool = True, norm: bool = False, conv: bool = True) -> SpikingNetwork:
    """Convolution (where asked for) and a linear layer, with LIF neurons, on images of 1x4x4 and 3 classes."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        if conv:
            layers["conv"] = nn.Conv2d(1, 2, 3, padding=1)
            if norm:
                layers["norm"] = nn.BatchNorm2d(2)
            layers["lif"] = LIF(0.5, 0.3, 2.0)
        layers["flatten"] = nn.Flatten()
        layers["linear"] = nn.Linear(32 if conv else 16, 3)
        if last:
            layers["last"] = LIF(0.5, 0.3, 2.0)
        return SpikingNetwork(layers, steps, 1.0)


def batch_of(network: SpikingNetwork, samples: int = 6, seed: int = 0, **facts: float) -> Batch:
    """A batch of random images with its logits."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(samples, 1, 4, 4, generator=generator).requires_grad_()
    labels = torch.randint(0, 3, (samples,), generator=generator)
    values = {"epoch": 0, "number": 0, "progress": 0.0} | facts
    made = Batch(network, network, images, labels, **values)
    made.logits = network(images)
    return made


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(7, 1, 4, 4, generator=torch.Generator().manual_seed(3))
