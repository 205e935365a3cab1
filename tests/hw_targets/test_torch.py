from collections import OrderedDict
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from spikeproof.hw_targets.torch import TorchTarget
from spikeproof.toolkit.errors import InputError, UnsupportedError
from spikeproof.toolkit.network.network import SpikingNetwork


@pytest.fixture(scope="module", params=["max", "avg"])
def network(request: pytest.FixtureRequest, random_network: Callable[..., SpikingNetwork]) -> SpikingNetwork:
    return random_network(request.param)


@pytest.mark.parametrize("batch", [5, 100])
def test_the_trace_is_what_the_network_did(network: SpikingNetwork, images: np.ndarray, batch: int) -> None:
    expected: dict[str, np.ndarray] = {}
    with torch.no_grad():
        network.spikes(torch.from_numpy(images), lambda name, s: expected.update({name: s.numpy().astype(bool)}))
    trace = TorchTarget(batch=batch).compile(network).run(images, rasters=True)
    assert list(trace.rasters) == network.populations()
    for name, raster in trace.rasters.items():
        np.testing.assert_array_equal(raster.spikes, expected[name])
        np.testing.assert_array_equal(trace.spike_counts[name], expected[name].sum(0))
    np.testing.assert_array_equal(trace.output, expected[network.populations()[-1]].sum(0))
    assert trace.overflow is None


def test_classes_are_those_of_the_logits(network: SpikingNetwork, images: np.ndarray) -> None:
    with torch.no_grad():
        logits = network(torch.from_numpy(images))
    np.testing.assert_array_equal(TorchTarget().compile(network).run(images).classes, logits.argmax(1).numpy())


def test_images_are_checked(network: SpikingNetwork, images: np.ndarray) -> None:
    with pytest.raises(InputError, match="images to run: NaN"):
        TorchTarget().compile(network).run(np.where(images > 0.5, np.nan, images))


def test_a_network_whose_last_layer_does_not_spike_is_refused() -> None:
    network = SpikingNetwork(OrderedDict(flatten=nn.Flatten(), fc=nn.Linear(4, 2)), 2, 1.0)
    with pytest.raises(UnsupportedError, match="target 'torch': the last layer must be LIF"):
        TorchTarget().compile(network)
    with pytest.raises(UnsupportedError, match="the last layer must be LIF"):
        TorchTarget().compile(SpikingNetwork(OrderedDict(), 2, 1.0))
