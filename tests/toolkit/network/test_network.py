import math
from collections import OrderedDict
from collections.abc import Callable

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given
from torch import nn

from spikeproof.toolkit.errors import InputError
from spikeproof.toolkit.kernels import native
from spikeproof.toolkit.network.network import SpikingNetwork
from spikeproof.toolkit.network.neurons import LIF

STEPS = 5


def scalar_lif(current: np.ndarray, beta: float, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Return spikes and the membrane before its reset, one scalar at a time."""
    beta, threshold = np.float32(beta), np.float32(threshold)  # type: ignore[assignment]
    spikes, membranes = np.zeros_like(current), np.zeros_like(current)
    for neuron in np.ndindex(current.shape[1:]):
        v = np.float32(0)
        for t in range(len(current)):
            v = beta * v + current[(t, *neuron)]
            membranes[(t, *neuron)] = v
            if v > threshold:
                spikes[(t, *neuron)], v = 1, np.float32(0)
    return spikes, membranes


currents = hnp.arrays(np.float32, (STEPS, 2, 3), elements=st.floats(-2, 2, width=32, allow_subnormal=False))


@given(currents, st.floats(0, 1, width=32, allow_subnormal=False), st.floats(0.125, 2, width=32))
def test_lif_fires_as_a_scalar_simulation_does(current: np.ndarray, beta: float, threshold: float) -> None:
    spikes = LIF(beta, threshold, 2.0)(torch.from_numpy(current)).numpy()
    np.testing.assert_array_equal(spikes, scalar_lif(current, beta, threshold)[0], strict=True)


@pytest.mark.parametrize("threshold", [0.25, 1.0, 1.7])
def test_a_membrane_exactly_at_the_threshold_does_not_fire(threshold: float) -> None:
    at = np.float32(threshold)
    current = np.array([[at, np.nextafter(at, np.float32(9)), np.nextafter(at, np.float32(0))]])
    assert LIF(0.5, float(at), 2.0)(torch.from_numpy(current)).tolist() == [[0, 1, 0]]


def test_every_call_starts_from_state_zero() -> None:
    layer, current = LIF(0.9, 1.0, 2.0), torch.full((3, 1), 0.6)
    assert torch.equal(layer(current), layer(current))


def slope(v: float, threshold: float, alpha: float) -> float:
    return (alpha / 2) / (1 + (math.pi / 2 * alpha * (v - threshold)) ** 2)


@given(st.floats(-3, 3, width=32), st.floats(0.125, 2, width=32), st.floats(0.5, 8, width=32))
def test_the_surrogate_gradient_is_the_arctan_formula(v: float, threshold: float, alpha: float) -> None:
    current = torch.tensor([[v]], requires_grad=True)
    LIF(0.5, threshold, alpha)(current).sum().backward()
    assert current.grad is not None
    assert current.grad.item() == pytest.approx(slope(v, threshold, alpha), rel=1e-4)


@given(currents, st.floats(0, 1, width=32, allow_subnormal=False))
def test_the_gradient_goes_back_in_time_through_the_leak_and_stops_at_a_reset(current: np.ndarray, beta: float) -> None:
    tensor = torch.from_numpy(current).requires_grad_()
    LIF(beta, 1.0, 2.0)(tensor).sum().backward()
    spikes, membranes = scalar_lif(current, beta, 1.0)
    expected = np.zeros(current.shape)
    for neuron in np.ndindex(current.shape[1:]):
        after = 0.0
        for t in reversed(range(STEPS)):
            here = (t, *neuron)
            after = slope(membranes[here], 1.0, 2.0) + beta * (1 - spikes[here]) * after
            expected[here] = after
    assert tensor.grad is not None
    np.testing.assert_allclose(tensor.grad.numpy(), expected, rtol=1e-4)


def exact_network() -> SpikingNetwork:
    """Weights and states are small dyadic numbers, so sums are exact in any order."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv=nn.Conv2d(1, 3, 3, padding=1),
        lif1=LIF(0.5, 1.0, 2.0),
        pool=nn.MaxPool2d(2),
        flatten=nn.Flatten(),
        linear=nn.Linear(12, 4),
        lif2=LIF(0.5, 0.5, 2.0),
    )
    network = SpikingNetwork(layers, STEPS, 10.0).eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        if parameter.dim():
            parameter.data = torch.randint(-16, 17, parameter.shape, generator=generator) / 16
    return network


@pytest.fixture
def encoded() -> torch.Tensor:
    return torch.randint(0, 17, (STEPS, 3, 1, 4, 4), generator=torch.Generator().manual_seed(1)) / 16


def test_folding_time_into_the_batch_equals_evaluating_step_by_step(encoded: torch.Tensor) -> None:
    network = exact_network()
    signal = encoded
    for layer in network.layers:
        signal = layer(signal) if isinstance(layer, LIF) else torch.stack([layer(step) for step in signal])
    found = network.spikes(encoded)
    assert torch.equal(found, signal)
    assert 0 < found.mean() < 1


def test_logits_count_the_spikes_of_the_last_layer(encoded: torch.Tensor) -> None:
    network = exact_network()
    expected = 10 * network.spikes(encoded).sum(0) / STEPS
    torch.testing.assert_close(network(encoded), expected)


def test_images_equal_the_same_images_at_every_step(encoded: torch.Tensor) -> None:
    network, image = exact_network(), encoded[0]
    assert torch.equal(network(image), network(image.expand(STEPS, *image.shape)))


def test_samples_of_a_batch_do_not_touch_each_other(encoded: torch.Tensor) -> None:
    network = exact_network()
    alone = torch.cat([network(encoded[:, sample : sample + 1]) for sample in range(3)])
    assert torch.equal(network(encoded), alone)


@pytest.mark.parametrize("shape", [(4,), (4, 4), (1, 4, 4), (1, 1, 1, 1, 4, 4)])
def test_input_of_another_rank_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"network input: shape"):
        exact_network()(torch.zeros(shape))


def test_every_layer_is_watched_in_order_with_time_first(encoded: torch.Tensor) -> None:
    network, seen = exact_network(), []
    network.spikes(encoded, lambda name, signal: seen.append((name, tuple(signal.shape))))
    assert [name for name, _ in seen] == [name for name, _ in network.named_layers()]
    assert all(shape[:2] == (STEPS, 3) for _, shape in seen)
    assert network.populations() == ["lif1", "pool", "lif2"]


def test_average_pools_are_no_populations(random_network: Callable[..., SpikingNetwork]) -> None:
    assert random_network("avg").populations() == ["lif1", "lif2"]


def repeated(network: SpikingNetwork, images: torch.Tensor, way: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return spikes and the images' gradient; ``way`` "copies" hides that all steps are the same."""
    x = images.clone().requires_grad_()
    signal = x.expand(STEPS, *x.shape)
    spikes = network.spikes(signal if way == "views" else signal * 1)
    weights = torch.linspace(-1, 1, spikes.numel()).view_as(spikes)
    return spikes.detach(), torch.autograd.grad((spikes * weights).sum(), x)[0]


@pytest.mark.parametrize("training", [False, True])
def test_what_is_the_same_at_every_step_is_computed_once(
    random_network: Callable[..., SpikingNetwork], images: np.ndarray, training: bool
) -> None:
    network, x = random_network().train(training), torch.from_numpy(images)
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    expected = repeated(network, x, "copies")
    network.load_state_dict(state)
    network.once = True
    found = repeated(network, x, "views")
    assert torch.equal(found[0], expected[0])
    assert 0 < float(found[0].mean()) < 1
    torch.testing.assert_close(found[1], expected[1], rtol=1e-4, atol=1e-6)


def test_without_being_asked_training_runs_every_step(
    random_network: Callable[..., SpikingNetwork], images: np.ndarray
) -> None:
    network, seen = random_network(), []
    forward = network.layers[0].forward
    network.layers[0].forward = lambda x: seen.append(len(x)) or forward(x)  # type: ignore[func-returns-value]
    for way in (network.train, network.eval):
        way()(torch.from_numpy(images))
    network.layers[0].register_forward_hook(lambda *_: None)
    network(torch.from_numpy(images))
    assert seen == [network.steps * len(images), len(images), network.steps * len(images)]


def trained_once(network: SpikingNetwork, images: np.ndarray) -> list[torch.Tensor]:
    """Return spikes, and the gradients of all weights and of the images."""
    x = torch.from_numpy(images).requires_grad_()
    spikes = network.spikes(x)
    weights = torch.linspace(-1, 1, spikes.numel()).view_as(spikes)
    return [spikes.detach(), *torch.autograd.grad((spikes * weights).sum(), [x, *network.parameters()])]


@pytest.mark.parametrize("once", [False, True])
def test_neurons_and_their_pool_run_in_one_pass_unless_somebody_looks(
    random_network: Callable[..., SpikingNetwork],
    images: np.ndarray,
    once: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network, seen = random_network().train(), []
    network.once = once
    forward = LIF.forward
    monkeypatch.setattr(LIF, "forward", lambda layer, x: seen.append(layer) or forward(layer, x))  # type: ignore[func-returns-value]
    neurons = [layer for _, layer in network.named_layers() if isinstance(layer, LIF)]
    found = trained_once(network, images)
    assert seen == (neurons if native.library() is None else neurons[-1:])
    pool = next(layer for _, layer in network.named_layers() if isinstance(layer, nn.MaxPool2d))
    handles = [neurons[0].register_forward_hook(lambda *_: None), pool.register_full_backward_hook(lambda *_: None)]
    for handle in handles:
        expected = trained_once(network, images)
        assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))
        handle.remove()
    monkeypatch.setattr(native, "library", lambda: None)
    expected = trained_once(network, images)
    assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))


def test_neurons_that_others_listen_to_are_not_pooled_away(encoded: torch.Tensor) -> None:
    network, more = exact_network(), exact_network()
    layers = OrderedDict(more.named_layers())
    layers["also"] = nn.MaxPool2d(2)
    layers = OrderedDict((name, layers[name]) for name in ("conv", "lif1", "pool", "also", "flatten", "linear", "lif2"))
    more.rebuild(layers, {"also": ["lif1"], "flatten": ["pool", "also"]})
    # Twice the same pool: twice the input.
    with torch.no_grad():
        network.layers.linear.weight *= 2
    assert torch.equal(more(encoded), network(encoded))
    seen: list[torch.Tensor] = []
    network.spikes(encoded, lambda name, signal: seen.append(signal) if name == "lif1" else None)
    assert seen[0].shape[-2:] == (4, 4)
