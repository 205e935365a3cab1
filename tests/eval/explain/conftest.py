"""Small networks with their Programs, right and with faults planted in them."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from spikeproof.eval.measure.forms import Forms
from spikeproof.export.lowering.lower import Deployment, lower_graph
from spikeproof.export.nir.dynamics import ORIGINS
from spikeproof.export.nir.graph import flatten
from spikeproof.export.nir.write import to_nir
from spikeproof.export.program import Program
from spikeproof.toolkit.network.network import SpikingNetwork
from spikeproof.toolkit.network.neurons import LIF
from spikeproof.toolkit.quantize import quantized_network

SHAPE, STEPS = (1, 8, 8), 4


def lowered(quantized: SpikingNetwork) -> Program:
    """Return the Program that 'export' would write."""
    graph, grids = to_nir(quantized, SHAPE)
    return lower_graph(flatten(graph, "test"), Deployment(quantized.steps, 8, ORIGINS["spikeproof"], grids))


@dataclass(frozen=True)
class Sick:
    """Forms, and ways to plant faults in their Program."""

    forms: Forms

    def population(self, name: str, **update: Any) -> "Sick":
        """Return the same with some fields of a population replaced."""
        program = self.forms.program
        populations = tuple(one.model_copy(update=update) if one.name == name else one for one in program.populations)
        return self.program(populations=populations)

    def synapse(self, target: str, **update: Any) -> "Sick":
        """Return the same with some fields of the synapses into a population replaced."""
        program = self.forms.program
        synapses = tuple(one.model_copy(update=update) if one.target == target else one for one in program.synapses)
        return self.program(synapses=synapses)

    def program(self, **update: Any) -> "Sick":
        """Return the same with parts of the Program replaced, and checked again."""
        return Sick(replace(self.forms, program=Program(**{**dict(self.forms.program), **update})))


@pytest.fixture(scope="session")
def healthy(random_network: Callable[..., SpikingNetwork]) -> Sick:
    """A convolutional network with batch norm, max pooling and biases; 8-bit weights, nothing fine-tuned."""
    network = random_network(channels=(4, 6), steps=STEPS, seed=5)
    quantized = quantized_network(network, 8)
    return Sick(Forms(network, quantized, lowered(quantized)))


@pytest.fixture(scope="session")
def skipping() -> Sick:
    """A network in which a read-out sees a layer directly and through another one."""
    generator = torch.Generator().manual_seed(2)
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv1=nn.Conv2d(1, 3, 3, padding=1, bias=False),
        lif1=LIF(0.5, 0.5, 2.0),
        conv2=nn.Conv2d(3, 3, 3, padding=1, bias=False),
        lif2=LIF(0.5, 0.5, 2.0),
        flat=nn.Flatten(),
        linear=nn.Linear(192, 10, bias=False),
        lif3=LIF(0.5, 0.5, 2.0),
    )
    for name in ("conv1", "conv2", "linear"):
        weight = layers[name].weight
        assert isinstance(weight, torch.Tensor)
        weight.data = torch.randn(weight.shape, generator=generator) * (0.2 if name == "linear" else 0.5)
    network = SpikingNetwork(layers, STEPS, 10.0, {"flat": ("lif1", "lif2")}).eval()
    quantized = quantized_network(network, 8)
    return Sick(Forms(network, quantized, lowered(quantized)))


@pytest.fixture(scope="session")
def pictures() -> tuple[np.ndarray, np.ndarray]:
    """Forty random images that are not on the 8-bit grid, each with its own dark areas, and labels."""
    rng = np.random.default_rng(3)
    areas = np.kron(rng.integers(0, 2, (40, 1, 4, 4)), np.ones((2, 2)))
    return (rng.random((40, *SHAPE)) * areas).astype(np.float32), rng.integers(0, 10, 40)
