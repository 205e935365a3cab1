"""Small layers between weights and neurons, and what loops deliver before the first step; expected values by NumPy."""

from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from spikeproof.toolkit.errors import InputError, UnsupportedError
from spikeproof.toolkit.network.fold import fold
from spikeproof.toolkit.network.network import SpikingNetwork
from spikeproof.toolkit.network.neurons import LIF
from spikeproof.toolkit.network.signals import DELAY_LIMIT, Delays, Read, Reshape, Scale, Threshold, Wire
from spikeproof.toolkit.quantize import quantized_network

RNG = np.random.default_rng(0)


def test_scale_threshold_and_reshape() -> None:
    x, factor = RNG.normal(size=(3, 2, 4, 5)), RNG.normal(size=(2, 1, 1))
    given, values = torch.from_numpy(x), torch.from_numpy(factor)
    np.testing.assert_array_equal(Scale(values)(given), x * factor)
    np.testing.assert_array_equal(Threshold(values)(given), (x > factor).astype(float))
    np.testing.assert_array_equal(Reshape((8, 5))(given), x.reshape(3, 8, 5))


def test_a_threshold_does_not_fire_at_itself_and_has_a_surrogate() -> None:
    x = torch.tensor([[0.5, 0.6]], requires_grad=True)
    spikes = Threshold(0.5, "rectangular", 1.0)(x)
    assert spikes.tolist() == [[0, 1]]
    spikes.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[0.5, 0.5]]


def test_delays_neuron_by_neuron() -> None:
    x, lags = RNG.normal(size=(6, 2, 4)), np.array([0, 1, 3, 9])
    expected = np.zeros_like(x)
    for neuron, lag in enumerate(lags):
        for step in range(lag, 6):
            expected[step, :, neuron] = x[step - lag, :, neuron]
    np.testing.assert_array_equal(Delays(torch.from_numpy(lags))(torch.from_numpy(x)), expected)


@pytest.mark.parametrize("steps", [-1.0, 0.5, DELAY_LIMIT + 1.0, float("nan")])
def test_impossible_delays_are_refused(steps: float) -> None:
    with pytest.raises(InputError, match=f"whole steps from 0 to {DELAY_LIMIT}"):
        Delays(torch.tensor([1.0, steps]))


def test_folding_removes_a_wire_but_not_the_read_out() -> None:
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        flat=nn.Flatten(), a=nn.Linear(4, 3), wire=Wire(), cell=LIF(0.5, 1.0, 2.0), back=nn.Linear(3, 3), read=Read()
    )
    wiring = {"cell": ("wire", "back"), "read": ("cell",)}
    network = SpikingNetwork(layers, 5, 10.0, wiring).eval()
    folded = fold(network)
    assert [name for name, _ in folded.named_layers()] == ["flat", "a", "cell", "back", "read"]
    assert network.readout == folded.readout == "cell"
    x = torch.rand(6, 1, 2, 2)
    assert torch.equal(folded(x), network(x))


@pytest.mark.parametrize("padding", [(0, 1, 0, 1), (2, 0, 1, 3), (1, 1, 2, 2)])
@pytest.mark.parametrize("options", [{}, {"stride": 2, "padding": (1, 0)}, {"groups": 2, "bias": False}])
def test_padding_becomes_part_of_the_convolutions_behind_it(padding: tuple[int, ...], options: dict[str, Any]) -> None:
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        pad=nn.ZeroPad2d(padding), conv=nn.Conv2d(2, 4, (2, 3), **options), cell=LIF(0.5, 0.3, 2.0)
    )
    network = SpikingNetwork(layers, 3, 10.0).double().eval()
    folded = fold(network)
    assert [name for name, _ in folded.named_layers()] == ["conv", "cell"]
    x = torch.rand(4, 2, 7, 6, dtype=torch.float64)
    with torch.no_grad():
        assert torch.equal(folded.spikes(x), network.spikes(x))
        assert 0 < network.spikes(x).mean() < 1


@pytest.mark.parametrize(
    "conv", [nn.Conv2d(1, 1, 2, dilation=2), nn.Conv2d(1, 1, 2, padding=1, padding_mode="reflect")]
)
def test_padding_that_no_kernel_can_hold_is_refused(conv: nn.Conv2d) -> None:
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        pad=nn.ZeroPad2d((0, 1, 0, 1)), conv=conv, cell=LIF(0.5, 1.0, 2.0)
    )
    with pytest.raises(UnsupportedError, match="layer 'pad': ZeroPad2d has no exact form"):
        quantized_network(SpikingNetwork(layers, 3, 10.0), 8)


@pytest.mark.parametrize("spiking", [False, True])
def test_before_the_first_step_biases_pass_what_does_not_fire(spiking: bool) -> None:
    # cell -> out -> scale -> cell: at the first step the way back brings scale times the bias of out.
    between: nn.Module = Threshold(0.0) if spiking else Scale(3.0)
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        flat=nn.Flatten(), enter=Scale(1.0), first=LIF(0.0, 1e9, 2.0), out=nn.Linear(2, 2), between=between
    )
    with torch.no_grad():
        layers["out"].weight.zero_()  # type: ignore[union-attr, operator]
        layers["out"].bias.copy_(torch.tensor([0.5, 0.25]))  # type: ignore[union-attr, operator]
    network = SpikingNetwork(layers, 2, 1.0, {"enter": ("flat", "between")})
    found: dict[str, torch.Tensor] = {}
    network.respond(torch.zeros(2, 1, 2, 1, 1), lambda name, signal: found.update({name: signal}))
    later = [1.0, 1.0] if spiking else [1.5, 0.75]
    assert found["enter"][:, 0].tolist() == [[0.0, 0.0] if spiking else later, later]


def test_stateless_layers_see_what_loops_bring_before_the_first_step() -> None:
    # The bias of out reaches seen over two loops, sum and back between them.
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        flat=nn.Flatten(),
        sum=Scale(1.0),
        seen=Scale(1.0),
        cell=LIF(0.0, 1e9, 2.0),
        back=Scale(2.0),
        out=nn.Linear(1, 1),
    )
    with torch.no_grad():
        layers["out"].weight.zero_()  # type: ignore[union-attr, operator]
        layers["out"].bias.fill_(0.5)  # type: ignore[union-attr, operator]
    wiring = {"sum": ("flat", "out"), "seen": ("flat", "back"), "back": ("sum",), "out": ("cell",)}
    network = SpikingNetwork(layers, 2, 1.0, wiring)
    found: dict[str, torch.Tensor] = {}
    network.respond(torch.zeros(2, 1, 1, 1, 1), lambda name, signal: found.update({name: signal.detach().flatten()}))
    assert found["sum"].tolist() == [0.5, 0.5]
    assert found["seen"].tolist() == [1.0, 1.0]
