"""What a layer says of itself is all that folding, quantization, export and the chip know of it."""

from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from spikeproof.export.lowering.lower import lower_graph
from spikeproof.export.lowering.meaning import Deployment
from spikeproof.export.nir.dynamics import Settings
from spikeproof.export.nir.graph import flatten
from spikeproof.export.nir.write import to_nir
from spikeproof.hw_targets.loihi.simulator import LoihiTarget
from spikeproof.toolkit.coding import direct_integers
from spikeproof.toolkit.errors import UnsupportedError
from spikeproof.toolkit.network.fold import fold
from spikeproof.toolkit.network.layers import Dynamics, Layer, Step
from spikeproof.toolkit.network.network import SpikingNetwork
from spikeproof.toolkit.network.neurons import CUBA, LIF, Neuron
from spikeproof.toolkit.network.surrogates import Spike, Surrogate
from spikeproof.toolkit.quantize import quantized_network


class Quick(Neuron):
    """Fires for its input alone: no memory at all."""

    def __init__(self) -> None:
        super().__init__()
        self.spike_grad = Spike(Surrogate())

    def dynamics(self) -> Dynamics:
        return Dynamics(keep=0.0, threshold=0.25)

    def stepper(self) -> Step:
        return lambda x: self.spike_grad(x - 0.25)


class Wire(Layer):
    """Nothing at inference."""

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.1 * torch.randn_like(x) if self.training else x

    def folded(self) -> nn.Module | None:
        return None


class Halved(Layer):
    """Mean of 2 x 2."""

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, 2)).mean(-1).unflatten(-2, (-1, 2)).mean(-2)

    def folded(self) -> nn.Module | None:
        return nn.AvgPool2d(2)


class Dreamt(Layer):
    undeployable = "was never built"

    def forward(self, x: Tensor) -> Tensor:
        return x


def network(**between: nn.Module) -> SpikingNetwork:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        conv = nn.Conv2d(1, 4, 3, padding=1, bias=False)
        layers: Any = OrderedDict(conv=conv, first=Quick(), **between, flatten=nn.Flatten())
        size = SpikingNetwork(layers, 4, 1.0).spikes(torch.zeros(1, 1, 4, 4)).shape[-1]
        return SpikingNetwork(
            layers | {"linear": nn.Linear(size, 3, bias=False), "last": LIF(0.5, 0.125, 2.0)}, 4, 1.0
        ).eval()


@pytest.mark.parametrize("between", [{}, {"wire": Wire()}, {"halved": Halved()}], ids=["neuron", "wire", "layers"])
def test_layers_of_ones_own_reach_the_chip_with_the_same_spikes(between: dict[str, nn.Module]) -> None:
    quantized = quantized_network(network(**between), 8)
    assert not any(type(layer) in (Wire, Halved) for _, layer in quantized.named_layers())
    graph, grids = to_nir(quantized, (1, 4, 4))
    program = lower_graph(flatten(graph, "network"), Deployment(4, 8, Settings(1e-4), grids))
    x = np.rint(np.random.default_rng(0).random((20, 1, 4, 4)) * 255).astype(np.float32) / np.float32(255)
    trace = LoihiTarget().compile(program).run(direct_integers(x, 4))
    fired: dict[str, Tensor] = {}
    with torch.no_grad():
        quantized.spikes(torch.from_numpy(x), lambda name, sent: fired.update({name: sent}))
    for name in ("first", "last"):
        expected = fired[name].sum(0).numpy()
        assert expected.any()
        np.testing.assert_array_equal(trace.spike_counts[name].reshape(expected.shape), expected)


def test_what_cannot_be_deployed_says_why_in_its_own_words() -> None:
    with pytest.raises(UnsupportedError, match=r"^layer 'dream': was never built$"):
        quantized_network(network(dream=Dreamt()), 8)


def test_neurons_that_compute_something_else_are_refused_by_name() -> None:
    class Other(Quick):
        def dynamics(self) -> Dynamics:
            raise UnsupportedError("they sing")

    made = network()
    made.rebuild(OrderedDict(made.named_layers()) | {"first": Other()}, None)  # type: ignore[arg-type]
    with pytest.raises(UnsupportedError, match=r"^layer 'first': they sing$"):
        to_nir(quantized_network(made, 8), (1, 4, 4))


def test_only_a_current_with_memory_takes_over_the_bias_of_weights() -> None:
    for neurons, left in ((LIF(0.5, 1.0, 2.0), True), (Quick(), True), (CUBA(0.5, 0.5, 1.0, 2.0), False)):
        made = fold(SpikingNetwork(OrderedDict(linear=nn.Linear(2, 2), cell=neurons), 2, 1.0))
        layers = dict(made.named_layers())
        assert (layers["linear"].bias is not None) is left
    assert layers["cell"].dynamics().bias.shape == (2,)  # type: ignore[operator, union-attr]
