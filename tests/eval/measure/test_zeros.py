from collections import OrderedDict
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from spikeproof.eval.measure.zeros import ZeroGradientShare
from spikeproof.toolkit.coding import Direct
from spikeproof.toolkit.errors import InputError
from spikeproof.toolkit.network.network import SpikingNetwork
from spikeproof.toolkit.network.neurons import LIF
from spikeproof.toolkit.quantize import quantized_network

Make = Callable[..., SpikingNetwork]


def share(network: SpikingNetwork, images: np.ndarray, labels: np.ndarray) -> ZeroGradientShare:
    metric = ZeroGradientShare(network)
    metric.update(images, labels)
    return metric


def hooked(network: SpikingNetwork, images: np.ndarray, labels: np.ndarray) -> dict[str, tuple[float, float]]:
    """Count exact zeros with torch's own backward hooks, in an ordinary forward and backward pass."""
    found: dict[str, tuple[float, float]] = {}

    def hook_for(name: str) -> Callable[..., None]:
        def hook(module: object, before: tuple[torch.Tensor], after: tuple[torch.Tensor]) -> None:
            found[name] = (float((before[0] == 0).float().mean()), float((after[0] == 0).float().mean()))

        return hook

    handles = [layer.register_full_backward_hook(hook_for(name)) for name, layer in network.named_layers()]
    x = torch.from_numpy(images).requires_grad_()
    torch.nn.functional.cross_entropy(network(x), torch.from_numpy(labels), reduction="sum").backward()
    for handle in handles:
        handle.remove()
    return found


@pytest.mark.parametrize("pool", ["max", "avg"])
@pytest.mark.parametrize("channels", [(4,), (4, 3)])
def test_the_shares_are_those_that_torchs_hooks_count(
    random_network: Make, images: np.ndarray, labels: np.ndarray, pool: str, channels: tuple[int, ...]
) -> None:
    network = random_network(pool, channels)
    expected = hooked(network, images, labels)
    found = share(network, images, labels).compute()
    assert list(found) == [name for name, _ in network.named_layers()]
    for name, zeros in found.items():
        assert (zeros.input, zeros.output) == pytest.approx(expected[name], abs=1e-6), name


def test_max_pooling_silences_three_of_four_gradients(
    random_network: Make, images: np.ndarray, labels: np.ndarray
) -> None:
    metric = share(random_network("max"), images, labels)
    assert metric.compute()["lif1"].output >= 0.75
    assert metric.hidden() == metric.compute()["lif1"].output


def test_average_pooling_silences_none(random_network: Make, images: np.ndarray, labels: np.ndarray) -> None:
    metric = share(random_network("avg"), images, labels)
    assert metric.compute()["lif1"].output == 0.0
    assert metric.hidden() == 0.0


@pytest.mark.parametrize("pool", ["max", "avg"])
def test_a_quantized_network_is_measured_too(
    random_network: Make, images: np.ndarray, labels: np.ndarray, pool: str
) -> None:
    hidden = share(quantized_network(random_network(pool), 8), images, labels).hidden()
    assert hidden >= 0.75 if pool == "max" else hidden == 0.0


def test_hidden_weighs_layers_by_their_entries(random_network: Make, images: np.ndarray, labels: np.ndarray) -> None:
    metric = share(random_network("max", (4, 3)), images, labels)
    layers = metric.compute()
    sizes = {"lif1": 4 * 8 * 8, "lif2": 3 * 4 * 4}
    expected = sum(size * layers[name].output for name, size in sizes.items()) / sum(sizes.values())
    assert metric.hidden() == pytest.approx(expected)


def test_batches_add_up(random_network: Make, images: np.ndarray, labels: np.ndarray) -> None:
    network = random_network("max")
    parts = ZeroGradientShare(network)
    for part in (slice(0, 5), slice(5, 12)):
        parts.update(images[part], labels[part])
    assert parts.compute() == share(network, images, labels).compute()


def test_measuring_changes_nothing_in_the_network(random_network: Make, images: np.ndarray, labels: np.ndarray) -> None:
    network = random_network("max")
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    share(network.train(), images, labels)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_without_a_hidden_layer_there_is_no_share(images: np.ndarray, labels: np.ndarray) -> None:
    layers = OrderedDict[str, nn.Module](flat=nn.Flatten(), linear=nn.Linear(64, 10), lif=LIF(0.9, 1.0, 2.0))
    network = SpikingNetwork(layers, Direct(3), 1.0)
    assert share(network, images, labels).hidden() is None


def test_without_data_the_metric_raises(random_network: Make) -> None:
    for ask in (ZeroGradientShare(random_network()).compute, ZeroGradientShare(random_network()).hidden):
        with pytest.raises(InputError, match="metric 'zero-gradient share': nothing was measured"):
            ask()
