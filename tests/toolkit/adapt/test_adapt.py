"""Changes that make a network one that Loihi has: exact ones are exact, others do what they say."""

from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from spikeproof.export.lowering.lower import lower
from spikeproof.export.nir.write import read_nir, write_nir
from spikeproof.toolkit.adapt import adapt, alone
from spikeproof.toolkit.network.network import SpikingNetwork
from spikeproof.toolkit.network.neurons import CUBA, Integrator
from spikeproof.toolkit.network.population import LeakyIntegrator, Population
from spikeproof.toolkit.quantize import quantized_network

STEPS = 6


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(3)


def network(*layers: nn.Module, steps: int = STEPS, wiring: Any = None) -> SpikingNetwork:
    named = OrderedDict((f"l{number}", layer) for number, layer in enumerate(layers))
    return SpikingNetwork(named, steps, 1.0, wiring).double().eval()


def convolution(channels: int, **options: Any) -> nn.Conv2d:
    made = nn.Conv2d(1, channels, 3, **options)
    made.weight.data.abs_()
    return made


def images(*shape: int) -> Tensor:
    return torch.rand(7, *shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)


def sent(model: SpikingNetwork, x: Tensor) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    with torch.no_grad():
        model.spikes(x, lambda name, signal: found.update({name: signal}))
    return found


def per_neuron(low: float, high: float, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return low + (high - low) * torch.rand(*shape, generator=generator)


@pytest.mark.parametrize("reset", ["zero", "subtract", "subtract_later"])
def test_thresholds_and_gains_of_each_neuron_go_into_the_weights(reset: Any) -> None:
    values = {"keep": 0.8, "threshold": per_neuron(0.1, 0.6, 9), "gain": per_neuron(0.5, 2, 9), "rest": 0.01}
    values |= {"reset_to": -0.1, "start": -0.1}
    inner = nn.Linear(16, 9), nn.BatchNorm1d(9)
    inner[1].running_mean.uniform_(-0.2, 0.2)
    inner[1].running_var.uniform_(0.5, 2)
    model = network(nn.Flatten(), *inner, Population(values, reset=reset), nn.Linear(9, 3), Integrator())
    _, found, _ = adapt(model)
    (change,) = (one for one in found if one.kind == "threshold")
    assert change.exact
    changed = alone(model, change)
    layer = changed.layers.l3
    assert layer.threshold == layer.gain == 1
    assert layer.threshold.dim() == 0
    x = images(1, 4, 4)
    before, after = sent(model, x)["l3"], sent(changed, x)["l3"]
    assert 0.05 < float(before.mean()) < 0.95
    assert torch.equal(before, after)


def test_thresholds_of_each_channel_go_through_an_average_pool() -> None:
    values = {"keep": 0.7, "threshold": per_neuron(0.6, 2, 4, 1, 1)}
    model = network(convolution(4), nn.AvgPool2d(2), Population(values), nn.Flatten(), nn.Linear(36, 3), Integrator())
    adapted, found, left = adapt(model)
    assert [one.kind for one in found] == ["threshold"]
    assert not left
    x = images(1, 8, 8)
    before = sent(model, x)
    assert 0.05 < float(before["l2"].mean()) < 0.95
    assert torch.equal(before["l2"], sent(adapted, x)["l2"])


def test_a_threshold_of_each_place_stays_where_a_convolution_cannot_take_it() -> None:
    values: Any = {"keep": 0.7, "threshold": per_neuron(0.05, 0.4, 4, 6, 6)}
    model = network(nn.Conv2d(1, 4, 3), Population(values), nn.Flatten(), nn.Linear(144, 3), Integrator())
    adapted, found, _ = adapt(model)
    assert [one.kind for one in found] == ["constants"]
    assert not found[0].exact
    assert float(adapted.layers.l1.threshold) == pytest.approx(float(values["threshold"].mean()))
    adapted, found, _ = adapt(model, populations=144)
    assert not found


def test_learned_leaks_of_each_neuron_are_kept_up_to_64_sets() -> None:
    for neurons, kept in ((64, True), (65, False)):
        beta = torch.linspace(0.5, 0.9, neurons)
        cell = Population({"keep": beta}, learned=frozenset({"keep"}))
        model = network(nn.Flatten(), nn.Linear(16, neurons), cell, nn.Linear(neurons, 3), Integrator())
        adapted, (change,), _ = adapt(model)
        layer = adapted.layers.l2
        assert change.exact == kept
        assert layer.learned() == []
        assert torch.allclose(layer.keep, beta.double() if kept else torch.tensor(0.7).double())


def looped(current: Tensor, keep: float, threshold: float, subtract: bool) -> Tensor:
    v, spikes = np.zeros(current.shape[1:]), []
    for now in current.numpy():
        v = keep * v + now
        fired = v > threshold
        spikes.append(fired.astype(float))
        v = v - fired * threshold if subtract else np.where(fired, 0, v)
    return torch.tensor(np.stack(spikes))


@pytest.mark.parametrize("was", ["subtract", "subtract_later", "zero_later", "none"])
def test_resets_become_hard_ones(was: Any) -> None:
    cell = Population({"keep": 0.9, "threshold": 0.4}, reset=was)
    model = network(nn.Flatten(), nn.Linear(16, 9), cell, nn.Linear(9, 3), Integrator())
    adapted, (change,), left = adapt(model)
    assert (change.kind, change.layer, change.exact, left) == ("reset", "l2", False, [])
    x = images(1, 4, 4)
    found = sent(adapted, x)
    assert torch.equal(found["l2"], looped(found["l1"], 0.9, 0.4, subtract=False))
    if was == "subtract":
        assert torch.equal(sent(model, x)["l2"], looped(found["l1"], 0.9, 0.4, subtract=True))
    assert not torch.equal(found["l2"], sent(model, x)["l2"])


def test_a_reset_in_a_single_step_changes_nothing() -> None:
    cell = Population({"threshold": 0.1}, reset="subtract")
    model = network(nn.Flatten(), nn.Linear(16, 9), cell, nn.Linear(9, 3), Integrator(), steps=1)
    adapted, (change,), _ = adapt(model)
    x = images(1, 4, 4)
    assert change.exact
    assert torch.equal(sent(model, x)["l2"], sent(adapted, x)["l2"])


def test_one_spike_a_step_and_a_start_at_the_reset() -> None:
    cell = Population({"keep": 0.9, "threshold": 0.1, "start": 0.05}, several=True)
    model = network(nn.Flatten(), nn.Linear(16, 9), cell, nn.Linear(9, 3), Integrator())
    adapted, found, left = adapt(model)
    assert [one.kind for one in found] == ["spikes", "start"]
    assert not left
    now = sent(adapted, images(1, 4, 4))
    assert float(sent(model, images(1, 4, 4))["l2"].max()) > 1
    assert torch.equal(now["l2"], looped(now["l1"], 0.9, 0.1, subtract=False))


def test_a_neuron_that_fires_at_its_threshold_still_does() -> None:
    cell = Population({"threshold": 1.0}, at_threshold=True)
    layer = nn.Linear(2, 1, bias=False)
    model = network(nn.Flatten(), layer, cell, nn.Linear(1, 2), Integrator())
    with torch.no_grad():
        model.layers.l1.weight.fill_(0.5)
    adapted, (change,), _ = adapt(model)
    x = torch.tensor([[0.5, 0.5], [0.5, 0.25], [1.0, 1.0]], dtype=torch.float64).view(3, 1, 1, 2)
    fired = sent(adapted, x)["l2"]
    assert not change.exact  # in float it is, as follows; the Program's threshold is rounded
    assert fired.sum(0).flatten().tolist() == [3, 2, 6]
    assert torch.equal(fired, sent(model, x)["l2"])


def test_max_pools_of_currents_go_behind_the_neurons() -> None:
    for keep, steps, exact in ((0.0, STEPS, True), (0.8, 1, True), (0.8, STEPS, False)):
        cell = Population({"keep": keep, "threshold": 1.0})
        layers = convolution(3, padding=1), nn.MaxPool2d(2), cell, nn.Flatten(), nn.Linear(48, 3), Integrator()
        model = network(*layers, steps=steps)
        adapted, (change,), left = adapt(model)
        assert list(dict(adapted.named_layers())) == ["l0", "l2", "l1", "l3", "l4", "l5"]
        assert (change.layer, change.exact, left) == ("l1", exact, [])
        x = images(1, 8, 8)
        before, after = sent(model, x)["l2"], sent(adapted, x)["l1"]
        assert 0.05 < float(before.mean()) < 0.95
        assert torch.equal(before, after) == exact
        # Up to the first spike of a window the neuron of the largest constant current is the first one.
        first = [torch.cat([signal, torch.ones_like(signal[:1])]).argmax(0) for signal in (before, after)]
        assert torch.equal(*first)


def test_a_norm_goes_before_the_pool_and_the_pool_behind_the_neurons() -> None:
    norm = nn.BatchNorm2d(3)
    norm.running_mean.uniform_(-0.2, 0.2)
    cell = Population({"keep": 0.0, "threshold": 0.2})
    layers = convolution(3, padding=1), nn.MaxPool2d(2), norm, cell, nn.Flatten(), nn.Linear(48, 3), Integrator()
    model = network(*layers)
    adapted, found, left = adapt(model)
    assert [(one.kind, one.layer, one.exact) for one in found] == [("norm", "l2", True), ("max pool", "l1", True)]
    assert list(dict(adapted.named_layers()))[:4] == ["l0", "l2", "l3", "l1"]
    assert not left
    x = images(1, 8, 8)
    assert torch.equal(sent(model, x)["l3"], sent(adapted, x)["l1"])
    # Alone, the move of the pool leaves the norm where it is.
    assert list(dict(alone(model, found[1]).named_layers()))[:4] == ["l0", "l2", "l3", "l1"]
    with torch.no_grad():
        model.layers.l2.weight[1] = -1
    assert not adapt(model)[1][0].exact


def test_max_pools_become_averages_where_asked_or_where_no_neurons_follow() -> None:
    layers = nn.Conv2d(1, 3, 3, padding=1), nn.MaxPool2d(2), Population({"keep": 0.8}), nn.Flatten()
    model = network(*layers, nn.Linear(48, 3), Integrator())
    adapted, (change,), _ = adapt(model, pools="average")
    assert isinstance(adapted.layers.l1, nn.AvgPool2d)
    assert not change.exact
    adapted, (change,), _ = adapt(network(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 3), Integrator()))
    assert isinstance(adapted.layers.l0, nn.AvgPool2d)
    assert change.becomes == "average pooling"


def test_a_leaky_read_out_gives_the_same_logits_for_a_constant_current() -> None:
    keep, gain = per_neuron(0.5, 0.95, 3), per_neuron(0.5, 2, 3)
    last = LeakyIntegrator({"keep": keep, "gain": gain, "rest": 0.1, "start": 0.3})
    model = network(nn.Flatten(), nn.Linear(16, 3), last)
    adapted, (change,), _ = adapt(model)
    x = images(1, 4, 4)
    assert isinstance(adapted.layers.l2, Integrator)
    assert not change.exact
    with torch.no_grad():
        current = model.layers.l1(x.flatten(1))
        series = (1 - keep**STEPS) / (1 - keep)
        expected = (gain * series * current + 0.1 * series + 0.3 * keep**STEPS) / STEPS
        torch.testing.assert_close(model(x), expected.double(), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(adapted(x), expected.double(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("keep", [0.0, 0.8])
def test_a_membrane_that_is_added_up_over_time_is_one_integrator(keep: float) -> None:
    last = LeakyIntegrator({"keep": keep, "gain": per_neuron(0.5, 2, 3)}), Integrator()
    cell = Population({"keep": 0.9, "threshold": 0.3})
    model = network(nn.Flatten(), nn.Linear(16, 9), cell, nn.Linear(9, 3), *last)
    adapted, (change,), left = adapt(model)
    assert (change.layer, change.exact, left) == ("l4", keep == 0, [])
    assert list(dict(adapted.named_layers())) == ["l0", "l1", "l2", "l3", "l4"]
    x = images(1, 4, 4)
    with torch.no_grad():
        assert torch.allclose(model(x), adapted(x), rtol=1e-6, atol=1e-6) == (keep == 0)
    # Constant currents: sum over t of gain I (1 - keep^t) / (1 - keep).
    direct = network(nn.Flatten(), nn.Linear(16, 3), *last)
    with torch.no_grad():
        torch.testing.assert_close(direct(x), adapt(direct)[0](x), rtol=1e-5, atol=1e-6)
        series = sum((1 - keep**t) / (1 - keep) for t in range(1, STEPS + 1)) / STEPS
        by_hand = last[0].gain * series * direct.layers.l1(x.flatten(1))
        torch.testing.assert_close(direct(x), by_hand.double(), rtol=1e-5, atol=1e-6)


def test_a_read_out_that_only_scales_is_exact_for_every_input() -> None:
    last = LeakyIntegrator({"gain": per_neuron(0.5, 2, 3), "rest": 0.1, "start": 0.3})
    cell = Population({"keep": 0.9, "threshold": 0.3})
    model = network(nn.Flatten(), nn.Linear(16, 9), cell, nn.Linear(9, 3, bias=False), last)
    adapted, (change,), _ = adapt(model)
    x = images(1, 4, 4)
    assert change.exact
    with torch.no_grad():
        torch.testing.assert_close(model(x), adapted(x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("own", [True, False])
def test_a_bias_of_a_current_becomes_one_of_the_voltage(own: bool) -> None:
    cell = CUBA(0.6, 0.9, 50.0, 2.0) if own else Population({"current": 0.6, "keep": 0.9, "threshold": 50.0})
    norm = nn.BatchNorm2d(3)
    norm.running_mean.uniform_(-0.2, 0.2)
    last = nn.Flatten(), nn.Linear(3 * 36, 3), Integrator()
    model = network(nn.Conv2d(1, 3, 3), norm, cell, *last, steps=40)
    adapted, found, _ = adapt(model)
    (change,) = (one for one in found if one.kind == "bias")
    assert not change.exact
    assert adapted.layers.l0.bias is None
    dark = torch.zeros(1, 1, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        constant = model.layers.l1(model.layers.l0(dark))
        assert float(adapted.layers.l1(adapted.layers.l0(dark)).abs().max()) < 1e-7
    settled = constant[0, :, 0, 0] / (1 - 0.6)
    dynamics = adapted.layers.l2.dynamics()
    torch.testing.assert_close(dynamics.bias.double(), settled, rtol=1e-5, atol=1e-6)


def test_a_rest_without_a_leak_is_a_bias() -> None:
    cell = Population({"rest": 0.05, "threshold": 0.4, "gain": 0.5})
    model = network(nn.Flatten(), nn.Linear(16, 9, bias=False), cell, nn.Linear(9, 3), Integrator())
    adapted, (change,), _ = adapt(model)
    x = images(1, 4, 4)
    assert (change.kind, change.exact) == ("rest", True)
    assert torch.allclose(adapted.layers.l1.bias, torch.tensor(0.1).double())
    assert torch.equal(sent(model, x)["l2"], sent(adapted, x)["l2"])


def test_dropout_is_taken_out_and_what_is_left_is_said() -> None:
    between = LeakyIntegrator({"keep": 0.5})
    last = nn.Linear(9, 3), Integrator()
    model = network(nn.Flatten(), nn.Dropout(0.5), nn.Linear(16, 9), between, *last)
    adapted, (change,), left = adapt(model)
    assert change.kind == "dropout"
    assert "l1" not in dict(adapted.named_layers())
    assert len(left) == 1
    assert "'l3'" in left[0]


def test_constants_outside_of_what_a_step_can_keep_are_clamped() -> None:
    cell = Population({"keep": torch.tensor([1.2, 0.5, -0.1])})
    adapted, (change,), _ = adapt(network(nn.Flatten(), nn.Linear(16, 3), cell, nn.Linear(3, 3), Integrator()))
    assert change.kind == "leak"
    assert adapted.layers.l2.keep.tolist() == [1.0, 0.5, 0.0]


def test_an_adapted_network_deploys(tmp_path: Any) -> None:
    neurons = Population({"keep": 0.9, "threshold": per_neuron(0.5, 1, 8, 1, 1)}, reset="subtract_later")
    hidden = Population({"current": 0.5, "keep": 0.8, "threshold": 0.7, "start": 0.2}, reset="zero_later", several=True)
    layers = [nn.Conv2d(1, 8, 3, padding=1), nn.MaxPool2d(2), nn.BatchNorm2d(8), neurons, nn.Dropout(0.2), nn.Flatten()]
    layers += [nn.Linear(128, 16), nn.BatchNorm1d(16), hidden, nn.Linear(16, 3), LeakyIntegrator({"keep": 0.9})]
    model = network(*layers).float()
    adapted, found, left = adapt(model)
    assert not left
    kinds = [one.kind for one in found]
    assert kinds == [
        "dropout", "norm", "max pool", "reset", "reset", "spikes", "start", "threshold", "bias", "read-out"
    ]  # fmt: skip
    path = tmp_path / "network.nir"
    write_nir(path, quantized_network(adapted, 8), (1, 8, 8))
    program = lower(*read_nir(path), "network")
    assert len(program.populations) >= 3


def test_the_network_is_left_as_it_was() -> None:
    cell = Population({"keep": 0.9, "threshold": per_neuron(0.5, 1, 9)}, reset="subtract")
    model = network(nn.Flatten(), nn.Linear(16, 9), cell, nn.Linear(9, 3), LeakyIntegrator({"keep": 0.9}))
    state = {name: value.clone() for name, value in model.state_dict().items()}
    _, found, _ = adapt(model)
    for change in found:
        alone(model, change)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert model.layers.l2.reset == "subtract"
    assert isinstance(model.layers.l4, LeakyIntegrator)


def test_a_sum_pool_does_not_carry_a_rest() -> None:
    rest = {"keep": 1.0, "rest": 0.2, "threshold": 1.0}
    pool = nn.AvgPool2d(2, divisor_override=1)
    model = network(convolution(2), pool, Population(rest), nn.Flatten(), nn.Linear(8, 3), Integrator())
    x = images(1, 6, 6)
    adapted, found, _ = adapt(model)
    changes = [one for one in found if one.layer == "l2"]
    assert all(not one.exact for one in changes) or torch.equal(sent(adapted, x)["l2"], sent(model, x)["l2"])


def test_equal_numbers_for_every_place_go_along_with_the_pool() -> None:
    values = {"keep": torch.full((2, 4, 4), 0.5), "threshold": 0.3}
    model = network(convolution(2), nn.MaxPool2d(2), Population(values), nn.Flatten(), nn.Linear(8, 3), Integrator())
    adapted, found, _ = adapt(model)
    assert found[0].kind == "max pool"
    assert sent(adapted, images(1, 6, 6))["l2"].shape[-3:] == (2, 4, 4)
