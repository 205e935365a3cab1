from collections import OrderedDict
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from spikeproof.toolkit.errors import InputError, UnsupportedError
from spikeproof.toolkit.network.backward import Backward, attack_gradient
from spikeproof.toolkit.network.network import SpikingNetwork
from spikeproof.toolkit.network.neurons import LIF
from spikeproof.toolkit.network.surrogates import KINDS, AdaptiveSharpness, Surrogate


def gradient(model: nn.Module, images: np.ndarray, backward: Backward | None = None) -> torch.Tensor:
    with attack_gradient(model, backward):
        x = torch.from_numpy(images).requires_grad_()
        weights = torch.arange(10, dtype=torch.float32)
        return torch.autograd.grad((model(x) * weights).sum(), x)[0]


def leftovers(model: nn.Module) -> list[object]:
    """Everything that a context could leave behind: attributes, modes, hooks, buffers."""
    found: list[object] = [[part.training for part in model.modules()]]
    for part in model.modules():
        own = {name: value for name, value in vars(part).items() if not name.startswith("_") and name != "mem"}
        found.append(sorted((name, id(value)) for name, value in own.items() if callable(value)))
        found.append(len(part._forward_pre_hooks) + len(part._forward_hooks) + len(part._backward_hooks))
    return [*found, [(name, tensor.tolist()) for name, tensor in model.state_dict().items()]]


CHOICES = [
    Backward(),
    *(Backward(surrogate=Surrogate(kind, 1.5)) for kind in KINDS),
    Backward(surrogate=AdaptiveSharpness()),
    Backward(pool="ties"),
    Backward(pool="average"),
    Backward(pool="neuron"),
    Backward(surrogate=AdaptiveSharpness(), pool="neuron"),
    *(Backward(time=time) for time in ("rate", "step", "temporal")),
    Backward(surrogate=AdaptiveSharpness("gaussian"), pool="ties", time="rate", batch_statistics=True),
]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("backward", CHOICES, ids=repr)
def test_nothing_is_left_behind(
    random_network: Callable[..., SpikingNetwork], images: np.ndarray, backward: Backward, training: bool
) -> None:
    network = random_network().train(training)
    before = leftovers(network)
    gradient(network, images, backward)
    assert leftovers(network) == before
    with pytest.raises(ZeroDivisionError), attack_gradient(network, backward):
        raise ZeroDivisionError
    assert leftovers(network) == before


@pytest.mark.parametrize("backward", CHOICES[:-1], ids=repr)
def test_the_forward_pass_is_the_networks_own(
    random_network: Callable[..., SpikingNetwork], images: np.ndarray, backward: Backward
) -> None:
    network = random_network()
    x = torch.from_numpy(images)
    with torch.no_grad():
        expected = network(x)
        with attack_gradient(network, backward):
            found = network(x)
    assert torch.equal(found, expected)
    assert float(expected.abs().sum()) > 0


def test_the_surrogate_trained_with_changes_nothing(
    random_network: Callable[..., SpikingNetwork], images: np.ndarray
) -> None:
    network = random_network()
    expected = gradient(network, images)
    torch.testing.assert_close(gradient(network, images, Backward(surrogate=Surrogate("arctan", 2.0))), expected)
    other = gradient(network, images, Backward(surrogate=Surrogate("arctan", 1.0)))
    assert not torch.allclose(other, expected)


@pytest.mark.parametrize(
    "layer", [nn.MaxPool2d(2), nn.MaxPool2d(3, 2, 1), nn.MaxPool2d(2, 1), nn.MaxPool2d(2, 2, 0, 2)]
)
@pytest.mark.parametrize("pool", ["ties", "average", "neuron"])
def test_pools_share_their_gradient(layer: nn.MaxPool2d, pool: str) -> None:
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.integers(0, 2, (2, 3, 7, 6)).astype(np.float64)).requires_grad_()
    with attack_gradient(layer, Backward(pool=pool)):
        out = layer(x)
        back = torch.from_numpy(rng.normal(size=out.shape))
        (found,) = torch.autograd.grad(out, x, back)
    kernel, stride, padding, dilation = layer.kernel_size, layer.stride, layer.padding, layer.dilation
    values, expected = x.detach().numpy(), np.zeros(x.shape)
    for sample, channel, row, column in np.ndindex(*out.shape):
        window = [
            (row * stride - padding + i * dilation, column * stride - padding + j * dilation)
            for i in range(kernel)
            for j in range(kernel)
        ]
        window = [(i, j) for i, j in window if 0 <= i < 7 and 0 <= j < 6]
        if pool == "neuron":
            fired = sum(values[sample, channel, i, j] for i, j in window)
            slope = 2 / (1 + (np.pi * (2 * fired - 1)) ** 2)  # arctan of sharpness 2, of an OR with weights 2
            for i, j in window:
                expected[sample, channel, i, j] += slope * float(back[sample, channel, row, column])
            continue
        largest = max(values[sample, channel, i, j] for i, j in window)
        sharing = [at for at in window if pool == "average" or values[sample, channel, at[0], at[1]] == largest]
        for i, j in sharing:
            expected[sample, channel, i, j] += float(back[sample, channel, row, column]) / len(sharing)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)


def lif_gradient(time: str, current: torch.Tensor, back: torch.Tensor) -> torch.Tensor:
    layer = LIF(0.7, 0.5, 2.0)
    with attack_gradient(layer, Backward(time=time)):
        x = current.clone().requires_grad_()
        return torch.autograd.grad(layer(x), x, back)[0]


def test_time_modes_of_a_layer_are_their_closed_forms() -> None:
    rng = np.random.default_rng(0)
    current, back = rng.normal(0.3, 0.5, (6, 4, 3)), rng.normal(size=(6, 4, 3))
    v, membranes, spikes = np.zeros((4, 3)), [], []
    for now in current:
        v = 0.7 * v + now
        membranes.append(v)
        spikes.append((v > 0.5).astype(float))
        v = v * (1 - spikes[-1])
    assert 0 < np.mean(spikes) < 1
    slopes = [1 / (1 + (np.pi * (v - 0.5)) ** 2) for v in membranes]
    total, through = [np.zeros((4, 3))] * 7, []
    for t in range(5, -1, -1):
        through.insert(0, 0.7 * (1 - spikes[t]) * total[t + 1])
        total[t] = back[t] * slopes[t] + through[0]
    expected = {
        "full": np.array(total[:6]),
        "temporal": np.array(through),
        "step": back * np.array(slopes),
        "rate": np.broadcast_to(back.mean(0) * np.mean(slopes, 0), (6, 4, 3)),
    }
    for time, values in expected.items():
        found = lif_gradient(time, torch.from_numpy(current), torch.from_numpy(back))
        np.testing.assert_allclose(found.numpy(), values, atol=1e-6, err_msg=time)


def test_batch_statistics_are_used_only_if_asked(random_network: Callable[..., SpikingNetwork]) -> None:
    norm = nn.BatchNorm2d(3)
    x = torch.randn(5, 3, 4, 4) + 2
    with attack_gradient(norm):
        assert torch.allclose(norm(x), x, atol=1e-4)
    with attack_gradient(norm, Backward(batch_statistics=True)):
        assert float(norm(x).detach().mean().abs()) < 1e-5
    assert int(norm.num_batches_tracked) == 0


def test_adaptive_sharpness_changes_from_pass_to_pass_and_starts_anew(
    random_network: Callable[..., SpikingNetwork], images: np.ndarray
) -> None:
    network = random_network()
    runs = []
    for _ in range(2):
        with attack_gradient(network, Backward(surrogate=AdaptiveSharpness())):
            passes = []
            for _ in range(3):
                x = torch.from_numpy(images).requires_grad_()
                passes.append(torch.autograd.grad(network(x)[:, 0].sum(), x)[0])
            runs.append(torch.stack(passes))
    assert torch.equal(*runs)
    assert not torch.equal(runs[0][0], runs[0][1])


class Counting(nn.Module):
    """A module like the twin: it calls what is in its attribute ``surrogate``."""

    def __init__(self) -> None:
        super().__init__()
        self.surrogate: object = None
        self.surrogate = Surrogate("arctan", 2.0)


def test_a_twins_surrogate_is_swapped_and_restored() -> None:
    twin = Counting()
    before = twin.surrogate
    other = Surrogate("gaussian", 3.0)
    with attack_gradient(twin, Backward(surrogate=other)):
        assert twin.surrogate is other
    assert twin.surrogate is before
    with pytest.raises(UnsupportedError, match="twin"), attack_gradient(twin, Backward(time="rate")):
        pass


def test_loops_in_time_need_the_full_backward_pass() -> None:
    layers = OrderedDict(flat=nn.Flatten(), enter=nn.Linear(4, 3), cell=LIF(0.5, 1.0, 2.0), loop=nn.Linear(3, 3))
    wiring = {"cell": ["enter", "loop"], "loop": ["cell"]}
    layers["out"] = LIF(0.5, 1.0, 2.0)
    network = SpikingNetwork(layers, 2, 1.0, {**wiring, "out": ["cell"]})
    with pytest.raises(UnsupportedError, match="loops"), attack_gradient(network, Backward(time="step")):
        pass


@pytest.mark.parametrize("wrong", [{"pool": "max"}, {"time": "never"}])
def test_unknown_choices_are_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(InputError, match="expected one of"):
        Backward(**wrong)
