"""OpenLIF and what is made of it: TGO's noise, S-LIF, stochastic firing; self-connections; SCA."""

import copy
import math
from collections import OrderedDict

import pytest
import torch
from torch import nn

from spikeproof.toolkit.defences.base import Defence
from spikeproof.toolkit.defences.neuron import OpenLIF, opened
from spikeproof.toolkit.defences.sca import SCA, SelfConsistent
from spikeproof.toolkit.defences.self_connection import Diagonal, SelfConnection
from spikeproof.toolkit.defences.slif import SLIF, SelfPrediction
from spikeproof.toolkit.defences.stochastic import Stochastic
from spikeproof.toolkit.defences.tgo import TGO
from spikeproof.toolkit.errors import InputError
from spikeproof.toolkit.network.neurons import LIF
from spikeproof.toolkit.network.surrogates import Spike

from .conftest import small

NOTHING = [
    TGO(sigma=0.0),
    SLIF(gain=0.0),
    Stochastic(probability=1.0),
    SelfConnection(matrix="full"),
    SelfConnection(matrix="diagonal"),
]


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.detach().numpy().tobytes()


@pytest.mark.parametrize("method", NOTHING, ids=lambda method: repr(method)[:40])
@pytest.mark.parametrize("training", [False, True])
def test_without_effect_every_neuron_is_lif_bit_for_bit(method: Defence, training: bool, images: torch.Tensor) -> None:
    plain, network = small(steps=6).train(training), small(steps=6).train(training)
    method.prepare(network)
    images = images.requires_grad_()
    assert bits(network.spikes(images)) == bits(plain.spikes(images))
    one, other = (torch.autograd.grad(net(images).square().sum(), images)[0] for net in (network, plain))
    assert torch.allclose(one, other, rtol=1e-5, atol=1e-7)


def test_noise_is_off_at_inference_unless_asked_for(images: torch.Tensor) -> None:
    plain, off, on = small(), small(), small()
    TGO(sigma=0.5).prepare(off)
    TGO(sigma=0.5, inference=True).prepare(on)
    assert bits(off.eval()(images)) == bits(plain(images))
    assert not torch.equal(on.eval()(images), on(images))
    assert not torch.equal(off.train()(images), off(images))


def test_noise_makes_firing_a_normal_distribution_function_of_the_membrane() -> None:
    layer = OpenLIF(LIF(0.5, 1.0, 2.0)).train()
    layer.sigma = 0.3
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for current in (0.7, 1.0, 1.2):
            rate = layer(torch.full((1, 100_000), current)).mean()
            expected = 0.5 * (1 + math.erf((current - 1.0) / (0.3 * math.sqrt(2))))
            assert float(rate) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("gain", [0.0, 0.5])
def test_slif_has_a_continuous_gradient_path_past_spikes(gain: float) -> None:
    """All steps fire, so the membrane's own path is cut by resets; surrogates are forced to 0."""
    layer = OpenLIF(LIF(0.9, 1.0, 2.0))
    layer.neuron.spike_grad = Spike(torch.zeros_like)
    layer.current = SelfPrediction(1.0, gain, 0.4, True)
    layer.told = []
    current = torch.full((4, 1), 2.0, requires_grad=True)
    assert bool(layer(current).all())
    (gradient,) = torch.autograd.grad(layer.told[0][-1].sum(), current)
    assert (float(gradient[0]) != 0) is (gain > 0)
    # dv(4)/dI(1) = g a (1 - a)^2 by hand.
    assert float(gradient[0]) == pytest.approx(gain * 0.4 * 0.6**2)


def test_slif_is_its_recurrence_step_by_step() -> None:
    beta, threshold, g, a = 0.5, 1.0, 0.7, 0.3
    layer = OpenLIF(LIF(beta, threshold, 2.0))
    layer.current = SelfPrediction(threshold, g, a, True)
    current = torch.rand(12, 5) * 1.5
    v, predicted = torch.zeros(5), torch.zeros(5)
    for now, spikes in zip(current, layer(current), strict=True):
        v = beta * v + now + g * predicted
        fired = (v > threshold).float()
        assert torch.equal(spikes, fired)
        predicted = (1 - a) * predicted + a * (now - threshold * fired)
        v = v * (1 - fired)


def test_slif_learns_its_gain_and_rate() -> None:
    network = small()
    SLIF().prepare(network)
    network(torch.rand(4, 1, 4, 4)).sum().backward()
    learned = {name for name, weight in network.named_parameters() if weight.grad is not None}
    assert {"layers.lif.current.g", "layers.lif.current.w"} <= learned
    fixed = small()
    SLIF(learn=False).prepare(fixed)
    assert not any(weight.requires_grad for name, weight in fixed.named_parameters() if ".current." in name)


@pytest.mark.parametrize("p", [0.3, 0.7, 0.9])
def test_stochastic_rate_scales_by_p(p: float) -> None:
    layer, lif = OpenLIF(LIF(0.5, 1.0, 2.0)).train(), LIF(0.5, 1.0, 2.0)
    layer.chance = p
    with torch.random.fork_rng():
        torch.manual_seed(0)
        current = torch.rand(20, 5000)
        rate = float(layer(current).mean() / lif(current).mean())
    assert rate == pytest.approx(p, rel=0.03)
    assert torch.allclose(layer.eval()(current), p * lif(current))


def test_stochastic_leaves_the_read_out_alone() -> None:
    network = small()
    Stochastic(probability=0.5).prepare(network)
    assert {name: layer.chance for name, layer in opened(network)} == {"lif": 0.5, "last": 1.0}


def test_neurons_of_another_kind_are_refused() -> None:
    class Other(LIF):
        """Not LIF any more."""

    network = small()
    network.layers.lif = Other(0.5, 1.0, 2.0)
    with pytest.raises(InputError, match="layer 'lif': Other"):
        TGO().prepare(network)


@pytest.mark.parametrize("matrix", ["full", "diagonal"])
def test_self_connection_is_its_recurrence(matrix: str) -> None:
    network = small(conv=False, last=False, steps=5)
    layers = OrderedDict(network.layers._modules) | {"lif": LIF(0.5, 0.3, 2.0), "out": nn.Linear(3, 2)}
    network.rebuild(layers, None)  # type: ignore[arg-type]
    SelfConnection(matrix=matrix).prepare(network)
    back = dict(network.named_layers())["lif_self"]
    assert isinstance(back, nn.Linear)
    with torch.no_grad():
        back.weight.copy_(torch.randn(3, 3) if matrix == "full" else torch.diag(torch.randn(3)))
    seen: dict[str, torch.Tensor] = {}
    network.spikes(torch.rand(4, 1, 4, 4), lambda name, out: seen.__setitem__(name, out))
    v, fired = torch.zeros(4, 3), torch.zeros(4, 3)
    for now, spikes in zip(seen["linear"], seen["lif"], strict=True):
        v = 0.5 * v * (1 - fired) + (now + fired @ back.weight.T)
        fired = (v > 0.3).float()
        assert torch.equal(spikes, fired)


def test_a_diagonal_stays_diagonal_in_training() -> None:
    layer = Diagonal(4, 4, bias=False)
    nn.init.zeros_(layer.weight)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        (layer(torch.rand(5, 4)) - 1).square().sum().backward()
        optimizer.step()
    assert torch.equal(layer.weight, torch.diag(layer.weight.diagonal()))
    assert bool((layer.weight.diagonal() != 0).all())


def consistent(**options: object) -> SelfConsistent:
    values = {"features": 10, "units": 8, "classes": 3, "iterations": 32, "rate": 0.14, "lateral": "relu"}
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return SelfConsistent(**{**values, "feedback": False, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize("feedback", [False, True])
@pytest.mark.parametrize("lateral", ["relu", "identity"])
def test_sca_gradient_is_that_of_its_energy(lateral: str, feedback: bool) -> None:
    layer = consistent(lateral=lateral, feedback=feedback).double()
    a, x = torch.rand(4, 8).double().requires_grad_(), torch.rand(4, 10).double()
    (numeric,) = torch.autograd.grad(layer.energy(a, x).sum(), a)
    assert torch.allclose(layer.gradient(a, x), numeric)
    h = 1e-6
    change = torch.zeros_like(a)
    change[1, 2] = h
    by_difference = (layer.energy(a + change, x) - layer.energy(a - change, x))[1] / (2 * h)
    assert float(numeric[1, 2]) == pytest.approx(float(by_difference.detach()), rel=1e-4)


def test_sca_energy_falls_monotonically_by_90_percent() -> None:
    layer = consistent()
    x = torch.rand(50, 10)
    energies = torch.stack([layer.energy(z.relu(), x) for z in layer.states(x)]).detach()
    assert bool((energies[1:] <= energies[:-1] + 1e-6).all())
    assert float(energies[-1].sum()) <= 0.1 * float(energies[0].sum())


def test_sca_without_iterations_is_a_linear_layer() -> None:
    layer, x = consistent(iterations=0), torch.rand(6, 10)
    expected = nn.functional.linear(x, layer.enter.weight[:3], layer.enter.bias[:3])
    assert torch.allclose(layer(x), expected)


def test_sca_lateral_weights_have_no_diagonal() -> None:
    assert not bool(consistent().weights().diagonal().any())


def test_sca_replaces_the_read_out_and_refuses_too_few_units() -> None:
    network = small()
    SCA(iterations=2).prepare(network)
    assert [name for name, _ in network.named_layers()] == ["conv", "lif", "flatten", "linear"]
    assert network(torch.rand(2, 1, 4, 4)).shape == (2, 3)
    with pytest.raises(InputError, match="sca: 2 units for 3 classes"):
        SCA(units=2).prepare(small())


def test_neurons_of_several_defences_share_one_layer(images: torch.Tensor) -> None:
    network = small()
    for method in (TGO(sigma=0.2), SLIF(), Stochastic()):
        method.prepare(network)
    layer = network.layers.lif
    assert isinstance(layer, OpenLIF)
    assert (layer.sigma, layer.chance) == (0.2, 0.9)
    assert isinstance(layer.current, SelfPrediction)
    assert bits(copy.deepcopy(network).eval()(images)) == bits(network.eval()(images))
