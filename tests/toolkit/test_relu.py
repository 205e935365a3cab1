"""The ANN that a network is compared with: its layers and no neurons, one pass, 8 bits."""

from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn

from spikeproof.toolkit.coding import Direct
from spikeproof.toolkit.config import load_recipe
from spikeproof.toolkit.errors import UnsupportedError
from spikeproof.toolkit.models import build_network
from spikeproof.toolkit.network.network import SpikingNetwork
from spikeproof.toolkit.network.neurons import LIF, Delay
from spikeproof.toolkit.relu import int8_network, relu_network

SHAPE = (1, 8, 8)


def made() -> SpikingNetwork:
    torch.manual_seed(1)
    return relu_network(build_network(load_recipe("fast"), SHAPE, 10)).eval()


def test_it_computes_what_the_same_layers_with_relu_compute() -> None:
    ann = made()
    layers = dict(ann.named_layers())
    x = torch.rand(5, *SHAPE)
    expected = x
    for number in (1, 2):
        expected = nn.functional.conv2d(expected, layers[f"conv{number}"].weight, padding=1)
        norm = layers[f"norm{number}"]
        expected = nn.functional.batch_norm(expected, norm.running_mean, norm.running_var, norm.weight, norm.bias)
        expected = nn.functional.max_pool2d(expected.relu(), 2)
    expected = nn.functional.linear(expected.flatten(1), layers["linear"].weight, layers["linear"].bias)
    assert torch.allclose(ann(x), expected, atol=1e-5)
    assert ann.steps == 1


def test_in_int8_weights_and_activations_have_256_values() -> None:
    ann = made()
    quantized = int8_network(ann)
    with torch.no_grad():
        quantized.train()(torch.rand(64, *SHAPE))
    sent: dict[str, torch.Tensor] = {}
    x = torch.rand(32, *SHAPE)
    with torch.no_grad():
        quantized.eval().spikes(x, lambda name, value: sent.update({name: value}))
    for name in ("lif1", "lif2"):
        step = float(dict(quantized.named_layers())[name].act_quant.scale())
        codes = np.unique(sent[name].numpy() / step)
        assert np.allclose(codes, codes.round(), atol=1e-3)
        assert codes.min() >= 0
        assert 100 < codes.max() < 256
    weight = dict(quantized.named_layers())["conv1"].quant_weight()
    units = (weight.value / weight.scale).detach()
    assert torch.allclose(units, units.round(), atol=1e-3)
    assert units.abs().max() <= 128
    assert torch.allclose(quantized(x), ann(x), atol=0.2)
    assert not torch.equal(quantized(x), ann(x))


@pytest.mark.parametrize(
    ("layers", "wiring", "message"),
    [
        (OrderedDict(late=Delay(1), last=LIF(0.5, 1.0, 2.0)), None, "layer 'late' is a Delay"),
        (
            OrderedDict(lin=nn.Linear(4, 4), cell=LIF(0.5, 1.0, 2.0)),
            {"lin": ("input", "cell")},
            "loops, which need time",
        ),
    ],
)
def test_what_needs_time_is_refused_by_name(
    layers: "OrderedDict[str, nn.Module]", wiring: dict[str, tuple[str, ...]] | None, message: str
) -> None:
    with pytest.raises(UnsupportedError, match=message):
        relu_network(SpikingNetwork(layers, Direct(2), 1.0, wiring))
