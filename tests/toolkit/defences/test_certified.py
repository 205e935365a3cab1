"""Certified training: its loss, its ramps, and that the bound it trains on gets tighter."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from spikeproof.toolkit.config import TrainSettings, parse_recipe
from spikeproof.toolkit.defences.adversarial import AT
from spikeproof.toolkit.defences.base import Batch
from spikeproof.toolkit.defences.certified import Certified
from spikeproof.toolkit.errors import RecipeError, UnsupportedError
from spikeproof.toolkit.models import build_network
from spikeproof.toolkit.network.intervals import intervals, worst_logits
from spikeproof.toolkit.network.network import SpikingNetwork
from spikeproof.toolkit.quantize import quantized_network
from spikeproof.toolkit.train import train_network

from .conftest import batch_of, small


def data() -> tuple[np.ndarray, np.ndarray]:
    """Return three classes of images with a bright corner each, and noise."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 48)
    images = rng.uniform(0, 0.3, (48, 1, 4, 4)).astype(np.float32)
    for image, label in zip(images, labels, strict=True):
        image[0, (0, 0, 2)[label] :, (0, 2, 0)[label] :][:2, :2] += 0.6
    return images, labels


def worst(network: SpikingNetwork, epsilon: float) -> tuple[float, float]:
    """Return the cross-entropy of the worst logits of all images, and the share that the bound certifies."""
    images, labels = (torch.from_numpy(part) for part in data())
    with torch.no_grad():
        sent = intervals(network, (images - epsilon).clamp(0, 1), (images + epsilon).clamp(0, 1))
        z = worst_logits(network, sent, labels)
    return float(cross_entropy(z, labels)), float((z.argmax(1) == labels).float().mean())


@pytest.mark.parametrize("quantized", [False, True])
def test_training_makes_the_worst_case_better_than_plain_training_does(quantized: bool) -> None:
    found = {}
    for name, defences in (("plain", []), ("certified", [Certified(epsilon=0.1, worst=0.5, ramp=0.5)])):
        network = small(norm=True)
        if quantized:
            network = quantized_network(network, 8)
        before = worst(network, 0.1)
        settings = TrainSettings(seed=3, batch=16)
        train_network(network, *data(), settings, epochs=12, rate=0.02, defences=defences)
        found[name] = worst(network, 0.1)
    assert found["certified"][0] < before[0]
    assert found["certified"][0] < found["plain"][0]
    assert found["certified"][1] > found["plain"][1]


def test_the_loss_is_the_mixture_of_two_cross_entropies() -> None:
    network = small(norm=True).eval()
    batch = batch_of(network, progress=0.3)
    method = Certified(epsilon=0.2, worst=0.4, ramp=0.6)
    total = cross_entropy(batch.logits, batch.labels) + method.loss(batch)
    # Half of the ramp is done: half of epsilon, half of k.
    images = batch.images.detach()
    z = worst_logits(network, intervals(network, (images - 0.1).clamp(0, 1), (images + 0.1).clamp(0, 1)), batch.labels)
    expected = 0.8 * cross_entropy(batch.logits, batch.labels) + 0.2 * cross_entropy(z, batch.labels)
    assert float(total.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)


@pytest.mark.parametrize(("ramp", "shares"), [(0.5, [0, 0.5, 1, 1]), (1.0, [0, 0.25, 0.5, 0.99]), (0.0, [1, 1, 1, 1])])
def test_epsilon_and_k_grow_over_the_ramp(ramp: float, shares: list[float]) -> None:
    method = Certified(ramp=ramp)
    assert [method.grown(progress) for progress in (0, 0.25, 0.5, 0.99)] == pytest.approx(shares)


def test_at_the_start_and_without_weight_nothing_is_added() -> None:
    batch = batch_of(small(), progress=0.0)
    assert not Certified().loss(batch).any()
    batch.progress = 0.9
    assert not Certified(worst=0.0).loss(batch).any()
    assert Certified(epsilon=0.2).loss(batch).any()


def test_the_ball_is_around_the_clean_image_also_behind_adversarial_training() -> None:
    network = small()
    batch = batch_of(network, progress=1.0)
    alone = Certified(worst=1.0).loss(batch) + cross_entropy(batch.logits, batch.labels)
    batch.images = AT(epsilon=0.3).inputs(batch)
    batch.logits = network(batch.images)
    behind = Certified(worst=1.0).loss(batch) + cross_entropy(batch.logits, batch.labels)
    assert not torch.equal(batch.images, batch.clean)
    assert torch.allclose(alone, behind, rtol=1e-6)


def test_statistics_of_batch_norm_are_left_alone() -> None:
    network = small(norm=True).train()
    batch = batch_of(network, progress=1.0)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    Certified().loss(batch).backward()
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(weight.grad is not None for weight in network.parameters())


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"epsilon": 0.0}, "epsilon: Input should be greater than 0"),
        ({"epsilon": 1.5}, "epsilon: Input should be less than or equal to 1"),
        ({"worst": 1.1}, "worst: Input should be less than or equal to 1"),
        ({"ramp": -0.1}, "ramp: Input should be greater than or equal to 0"),
        ({"stability": 1.0}, "stability: unknown key; valid keys of 'certified': name, epsilon, worst, ramp"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], wanted: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_recipe({"defences": [{"name": "certified", **settings}]}, "test")
    assert wanted in str(caught.value)


def test_neurons_that_it_cannot_bound_are_refused_by_name() -> None:
    recipe = parse_recipe({"model": {"channels": [2]}, "defences": ["slif", "certified"]}, "test")
    network = build_network(recipe, (1, 4, 4), 3)
    images, labels = torch.rand(2, 1, 4, 4), torch.tensor([0, 1])
    batch = Batch(network, network, images, labels, 0, 0, 0.5)
    batch.logits = network(images)
    with pytest.raises(UnsupportedError, match="layer 'lif1': its prediction current"):
        Certified().loss(batch)
