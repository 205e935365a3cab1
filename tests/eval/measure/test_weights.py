"""The density of weight gradients, against torch's own gradients, and its bound over random networks."""

from collections import OrderedDict
from collections.abc import Callable

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch import nn

from spikeproof.eval.measure.weights import WeightGradientDensity
from spikeproof.toolkit.coding.direct import Direct
from spikeproof.toolkit.config import ModelSettings
from spikeproof.toolkit.errors import InputError
from spikeproof.toolkit.models import delayed_network, recurrent_network, sew_network, vgg_network
from spikeproof.toolkit.network.backward import Backward, attack_gradient
from spikeproof.toolkit.network.network import SpikingNetwork
from spikeproof.toolkit.network.neurons import LIF
from spikeproof.toolkit.network.surrogates import Surrogate
from spikeproof.toolkit.quantize import quantized_network

Make = Callable[..., SpikingNetwork]


def data(samples: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.random((samples, 1, 8, 8), dtype=np.float32), rng.integers(0, 4, samples)


@settings(max_examples=40)
@given(
    make=st.sampled_from([sew_network, vgg_network, recurrent_network, delayed_network]),
    pool=st.sampled_from(["max", "avg"]),
    channels=st.sampled_from([[2], [3, 2]]),
    threshold=st.sampled_from([0.1, 1.0, 4.0]),
    samples=st.integers(1, 3),
    seed=st.integers(0, 99),
    surrogate=st.sampled_from([None, Surrogate("rectangular", 1.0)]),
)
def test_the_bound_holds_for_random_networks(
    make: Callable[..., SpikingNetwork],
    pool: str,
    channels: list[int],
    threshold: float,
    samples: int,
    seed: int,
    surrogate: Surrogate | None,
) -> None:
    torch.manual_seed(seed)
    network = make(ModelSettings(pool=pool, channels=channels, threshold=threshold), 3, (1, 8, 8), 4)
    metric = WeightGradientDensity(network)
    # A compact surrogate silences whole rows; the arctan never does.
    with attack_gradient(network, Backward(surrogate=surrogate)):
        for part in range(2):
            metric.update(*data(samples, seed + part))
    densities = metric.compute()
    assert set(densities) == {name for name, part in network.named_layers() if isinstance(part, nn.Linear | nn.Conv2d)}
    for name, found in densities.items():
        assert 0 <= found.weights <= found.bound + 1e-12, name
        assert found.bound <= min(found.errors, found.inputs) + 1e-12, name


def test_densities_are_those_of_torchs_gradients_and_the_bound_is_a_product() -> None:
    torch.manual_seed(0)
    network = vgg_network(ModelSettings(channels=[3], threshold=0.3), 3, (1, 8, 8), 4).eval()
    images, labels = data(1)
    nn.functional.cross_entropy(network(torch.from_numpy(images)), torch.from_numpy(labels)).backward()
    expected = {name: (part.weight.grad != 0).float().mean().item() for name, part in network.named_layers()
                if isinstance(part, nn.Linear | nn.Conv2d)}  # fmt: skip
    network.zero_grad(set_to_none=True)
    metric = WeightGradientDensity(network)
    metric.update(images, labels)
    found = metric.compute()
    assert {name: one.weights for name, one in found.items()} == pytest.approx(expected)
    assert {name: one.bound for name, one in found.items()} == pytest.approx(
        {name: one.errors * one.inputs for name, one in found.items()}
    )
    assert any(0 < one.bound < 1 for one in found.values())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not any(part._forward_hooks for part in network.modules())


def test_the_bound_is_reached_where_one_column_is_alive() -> None:
    """A dense layer of 3 inputs and 2 neurons that only ever sees its second input."""
    linear = nn.Linear(3, 2, bias=False)
    nn.init.constant_(linear.weight, 0.5)
    layers = OrderedDict(flatten=nn.Flatten(), linear=linear, lif=LIF(beta=0.0, threshold=1.0, alpha=2.0))
    metric = WeightGradientDensity(SpikingNetwork(layers, Direct(2), gain=1.0))
    metric.update(np.array([0, 1, 0], np.float32).reshape(1, 1, 1, 3), np.array([0]))
    found = metric.compute()["linear"]
    assert (found.inputs, found.errors) == (pytest.approx(1 / 3), 1.0)
    assert found.weights == found.bound == pytest.approx(1 / 3)


def test_groups_count_pairs_of_their_own_only() -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(2, 4, 3, groups=2, padding=1, bias=False)
    layers = OrderedDict(
        conv=conv, lif1=LIF(0.5, 0.1, 2.0), flatten=nn.Flatten(), linear=nn.Linear(64, 3), lif2=LIF(0.5, 0.1, 2.0)
    )
    metric = WeightGradientDensity(SpikingNetwork(layers, Direct(2), gain=1.0))
    images = np.zeros((1, 2, 4, 4), np.float32)
    images[:, 1] = 1
    metric.update(images, np.array([1]))
    found = metric.compute()["conv"]
    assert (found.inputs, found.errors) == (0.5, 1.0)
    assert found.weights == found.bound == 0.5


def test_a_quantized_network_is_refused(random_network: Make) -> None:
    with pytest.raises(InputError, match="metric 'weight-gradient density': the network has no"):
        WeightGradientDensity(quantized_network(random_network(), 8))


def test_without_data_the_metric_raises(random_network: Make) -> None:
    with pytest.raises(InputError, match="nothing was measured"):
        WeightGradientDensity(random_network()).compute()
