"""A Program to read in full, and the means to spoil its file."""

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from spikeproof.export.program import Convolution, Dense, Input, Population, Program, Readout
from spikeproof.toolkit.files import write_arrays
from spikeproof.toolkit.network.network import SpikingNetwork
from spikeproof.toolkit.network.neurons import LIF
from spikeproof.toolkit.quantize import quantized_network


@pytest.fixture(scope="session")
def small() -> Program:
    """Input (2, 3, 3) -> convolution -> a (2, 2, 2) -> dense -> b (3,)."""
    rng = np.random.default_rng(0)
    return Program(
        input=Input(shape=(2, 3, 3), message_bits=8, scale=1 / 255),
        populations=(
            Population(name="a", shape=(2, 2, 2), du=4095, dv=2048, vth=9, bias=rng.integers(-9, 9, (2, 2, 2))),
            Population(name="b", shape=(3,), du=7, dv=0, vth=3, bias_exponent=2, bias=np.arange(3)),
        ),
        synapses=(
            Convolution(source="input", target="a", weight=2 * rng.integers(-9, 9, (2, 2, 2, 2)), exponent=-1),
            Dense(source="a", target="b", sign="excitatory", bits=7, weight=2 * rng.integers(0, 9, (3, 8))),
        ),
        readout=Readout(population="b"),
        steps=4,
    )


@pytest.fixture(scope="session")
def rewrite(small: Program) -> Callable[..., None]:
    """Write the small Program with its header and arrays changed, past every check."""

    def write(path: Path, change: Callable[[Any, dict[str, Any]], Any]) -> None:
        header, arrays = small.header(), {name: array.copy() for name, array in small.arrays().items()}
        change(header["program"], arrays)
        write_arrays(path, "program", arrays, header)

    return write


@pytest.fixture(scope="session")
def exact() -> Callable[..., SpikingNetwork]:
    """Make a quantized network whose weights, biases and states are small dyadic numbers: exact in any arithmetic."""

    def make(pool: str = "max", seed: int = 0, bits: int = 4) -> SpikingNetwork:
        generator = torch.Generator().manual_seed(seed)
        layers: OrderedDict[str, nn.Module] = OrderedDict(
            conv1=nn.Conv2d(1, 3, 1),
            lif1=LIF(0.5, 0.75, 2.0),
            pool1=nn.MaxPool2d(2) if pool == "max" else nn.AvgPool2d(2),
            conv2=nn.Conv2d(3, 4, 3, stride=2, padding=1),
            lif2=LIF(0.75, 1.0, 2.0),
            flatten=nn.Flatten(),
            linear=nn.Linear(16, 5),
            lif3=LIF(0.0, 1.0, 2.0),
        )
        top = 2 ** (bits - 1) - 1
        for name, layer in layers.items():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                layer.weight.data = torch.randint(-top, top + 1, layer.weight.shape, generator=generator) / 4
                layer.weight.data.view(-1)[0] = top / 4
                share = 0 if name == "conv1" else torch.randint(-3, 4, layer.bias.shape, generator=generator) / 4
                layer.bias.data = torch.zeros_like(layer.bias) + share
        return quantized_network(SpikingNetwork(layers, 4, 10.0), bits)

    return make


@pytest.fixture(scope="session")
def binary_images() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 2, (20, 1, 8, 8)).astype(np.float32)
