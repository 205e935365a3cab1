"""Intervals enclose what the network does at every point of a ball, and are exact where they can be."""

from collections import OrderedDict
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from spikeproof.toolkit.coding import Direct, make_coder
from spikeproof.toolkit.config import Recipe, parse_recipe
from spikeproof.toolkit.errors import InputError, UnsupportedError
from spikeproof.toolkit.models import build_network
from spikeproof.toolkit.network.intervals import _neurons, intervals, worst_logits
from spikeproof.toolkit.network.network import SpikingNetwork
from spikeproof.toolkit.network.neurons import CUBA, LIF, Integrator
from spikeproof.toolkit.quantize import quantized_network

SHAPE = (1, 8, 8)
POINTS = 10_000
MODELS: dict[str, dict[str, Any]] = {
    "max pools": {"channels": [4, 6]},
    "average pools": {"channels": [4], "pool": "avg"},
    "membrane": {"channels": [4], "readout": "membrane"},
    "cuba": {"channels": [4], "neuron": "cuba", "readout": "membrane"},
    "plif": {"channels": [4], "neuron": "plif"},
    "delays": {"kind": "delayed", "channels": [4]},
    "add": {"kind": "sew", "channels": [4], "blocks": [1]},
    "and": {"kind": "sew", "channels": [4], "blocks": [1], "residual": "and"},
    "iand": {"kind": "sew", "channels": [4], "blocks": [1], "residual": "iand"},
    "mix": {"kind": "wrn", "channels": [4], "blocks": [1]},
}


def drawn(model: dict[str, Any], seed: int = 0) -> SpikingNetwork:
    """Return a network that fires, with weights, statistics and biases at random."""
    recipe: Recipe = parse_recipe({"model": model, "coding": {"steps": 3}}, "test")
    network = build_network(recipe, SHAPE, 3, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, layer in network.named_layers():
            if isinstance(layer, nn.BatchNorm2d):
                for tensor, low, high in (
                    (layer.running_mean, -0.2, 0.2),
                    (layer.running_var, 0.05, 0.2),
                    (layer.weight, -1.0, 3.0),
                    (layer.bias, 0.3, 1.3),
                ):
                    assert tensor is not None
                    tensor.uniform_(low, high, generator=generator)
    return network.eval()


def ball(epsilon: float, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    centre = torch.rand(1, *SHAPE, generator=torch.Generator().manual_seed(seed))
    return centre, (centre - epsilon).clamp(0, 1), (centre + epsilon).clamp(0, 1)


def points(low: torch.Tensor, high: torch.Tensor, count: int) -> torch.Tensor:
    """Return random points of a ball: half of them corners, as an adversary would choose them."""
    generator = torch.Generator().manual_seed(9)
    share = torch.rand(count, *low.shape[1:], generator=generator)
    share[::2] = share[::2].round()
    return low + share * (high - low)


@pytest.mark.parametrize("quantized", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_random_points_stay_inside(name: str, quantized: bool) -> None:
    """NumPy compares: no point leaves the ends of any layer by more than floats are rounded; spikes never do."""
    network = drawn(MODELS[name])
    if quantized:
        network = quantized_network(network, 8)
    undecided = 0
    for epsilon, count in ((0.004, POINTS // 50), (0.05, POINTS // 50)):
        centre, low, high = ball(epsilon)
        x = points(low, high, count)
        with torch.no_grad():
            found = {one: tuple(end.numpy() for end in ends) for one, ends in intervals(network, low, high).items()}
            seen: dict[str, NDArray[np.float32]] = {}
            network.spikes(x, lambda one, out, seen=seen: seen.update({one: out.numpy()}))  # type: ignore[misc]
            label = int(network(centre).argmax(1))
            worst = worst_logits(network, intervals(network, low, high), torch.tensor([label])).numpy()
            logits = network(x).numpy()
        for one, out in seen.items():
            slack = 0 if set(np.unique(out)) <= {0.0, 1.0} else 1e-4
            assert (out >= found[one][0] - slack).all(), one
            assert (out <= found[one][1] + slack).all(), one
        lead, bound = logits - logits[:, [label]], worst - worst[:, [label]]
        assert (lead <= bound + 1e-4).all()
        for one in network.hidden():
            fewest, most = found[one]
            assert set(np.unique([fewest, most])) <= {0.0, 1.0}
            assert seen[one].any()
            undecided += int((most > fewest).sum())
    # Bounds of which none is open would make this test empty.
    assert undecided > 0


def test_ten_thousand_points_of_the_default_network_stay_inside() -> None:
    network = drawn({})
    _, low, high = ball(0.02)
    with torch.no_grad():
        found = intervals(network, low, high)
        for part in points(low, high, POINTS).split(1000):
            seen: dict[str, torch.Tensor] = {}
            network.spikes(part, seen.__setitem__)
            for one in (*network.hidden(), "lif3"):
                assert bool(((found[one][0] <= seen[one]) & (seen[one] <= found[one][1])).all()), one
            del seen


@pytest.mark.parametrize("name", MODELS)
def test_a_ball_of_radius_0_gives_what_the_network_sends(name: str) -> None:
    network, images = drawn(MODELS[name]), torch.rand(5, *SHAPE, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        found, seen = intervals(network, images, images), {}
        logits = network(images)
        network.spikes(images, lambda one, out: seen.update({one: out}))
        labels = logits.argmax(1)
        worst = worst_logits(network, found, labels)
    for one in network.hidden():
        assert torch.equal(found[one][0], found[one][1])
        assert torch.equal(found[one][0], seen[one])
    lead = logits - logits.gather(1, labels[:, None])
    assert torch.allclose(worst - worst.gather(1, labels[:, None]), lead, atol=1e-4)


@pytest.mark.parametrize("seed", range(10))
def test_neurons_enclose_every_choice_of_currents_and_are_as_tight_where_one_step_decides(seed: int) -> None:
    """Every current of a fine grid, step by step, by a recurrence in NumPy."""
    rng = np.random.default_rng(seed)
    low = rng.uniform(-0.5, 1.2, 3)
    high = low + rng.uniform(0, 0.6, 3)
    network = SpikingNetwork(OrderedDict(lif=LIF(0.5, 1.0, 2.0)), Direct(3), 1.0)
    layer = dict(network.named_layers())["lif"]
    with torch.no_grad():
        fewest, most = _neurons(layer, *(torch.tensor(end)[:, None, None] for end in (low, high)))
    trains = set()
    for currents in product(*(np.linspace(a, b, 15) for a, b in zip(low, high, strict=True))):
        v, train = 0.0, []
        for now in currents:
            v = 0.5 * v + now
            train.append(v > 1.0)
            v = 0.0 if train[-1] else v
        trains.add(tuple(train))
    seen = np.array(sorted(trains))
    assert (seen >= fewest.numpy().ravel()).all()
    assert (seen <= most.numpy().ravel()).all()
    # The first step has one voltage: there the ends are reached (a corner of the grid is an end).
    assert seen[:, 0].min() == fewest.numpy().ravel()[0]
    assert seen[:, 0].max() == most.numpy().ravel()[0]


def test_a_certain_spike_ends_the_voltage_before_it() -> None:
    """0.3 to 0.34 a step fires at step 3 or 4, and then not at 5; one interval a step would let it fire there, too."""
    network = SpikingNetwork(OrderedDict(flatten=nn.Flatten(), lif=LIF(1.0, 1.0, 2.0)), Direct(5), 1.0)
    x = torch.full((1, 1, 1, 1), 0.32)
    fewest, most = intervals(network, x - 0.02, x + 0.02)["lif"]
    assert fewest.ravel().tolist() == [0, 0, 0, 0, 0]
    assert most.ravel().tolist() == [0, 0, 1, 1, 0]


def test_membranes_are_compared_class_by_class() -> None:
    """Two classes with equal weights never change places, though each of them moves: weights are subtracted first."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten(), linear=nn.Linear(4, 2), last=Integrator())
    network = SpikingNetwork(layers, 2, 1.0)
    linear = dict(network.named_layers())["linear"]
    with torch.no_grad():
        linear.weight.fill_(1.0)
        linear.bias.copy_(torch.tensor([0.5, 0.0]))
        image = torch.full((1, 1, 2, 2), 0.5)
        sent = intervals(network, image - 0.3, image + 0.3)
        worst = worst_logits(network, sent, torch.tensor([0]))
    assert worst.tolist() == [[0.0, pytest.approx(-0.5)]]
    assert float(sent["last"][1][-1, 0, 1]) > float(sent["last"][0][-1, 0, 0])


def test_bounds_have_gradients_in_every_weight() -> None:
    network = drawn({"channels": [4]}).train()
    _, low, high = ball(0.02)
    worst_logits(network, intervals(network, low, high), torch.tensor([1]))[0, 0].backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None, name
        assert bool(torch.isfinite(weight.grad).all()), name
        assert bool(weight.grad.any()), name


def test_what_has_no_interval_is_refused_by_name() -> None:
    image = torch.rand(1, *SHAPE)
    loops = build_network(parse_recipe({"model": {"kind": "recurrent", "channels": [2]}}, "test"), SHAPE, 3)
    with pytest.raises(InputError, match="without loops"):
        intervals(loops, image, image)
    rate = SpikingNetwork(
        OrderedDict(lif=LIF(0.5, 1.0, 2.0)), make_coder(parse_recipe({"coding": {"name": "rate"}}, "t").coding), 1.0
    )
    with pytest.raises(InputError, match="coder 'direct'"):
        intervals(rate, image, image)
    odd = SpikingNetwork(OrderedDict(relu=nn.ReLU(), cell=CUBA(0.5, 0.5, 1.0, 2.0)), 2, 1.0)
    with pytest.raises(UnsupportedError, match="layer 'relu': no interval is known for ReLU"):
        intervals(odd, image, image)
