from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spikeproof.toolkit.attacks.ball import BallAttack
from spikeproof.toolkit.attacks.base import predict
from spikeproof.toolkit.errors import InputError
from spikeproof.toolkit.network.network import SpikingNetwork


@pytest.fixture(scope="module")
def network(random_network: Callable[..., SpikingNetwork]) -> SpikingNetwork:
    return random_network()


@dataclass(frozen=True, kw_only=True)
class Constant(BallAttack):
    """Returns the same value for every pixel, wherever the ball is."""

    value: float
    batch: int = 5

    def run(self, network: SpikingNetwork, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        assert not network.training
        assert len(images) == len(labels) <= self.batch
        return np.full_like(images, self.value)


class Noise(BallAttack):
    """Draws from every global generator."""

    def run(self, network: SpikingNetwork, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        drawn = np.random.rand(*images.shape) + torch.rand(images.shape).numpy()  # noqa: NPY002
        return images + drawn.astype(np.float32) - 1


@given(st.floats(-1e30, 1e30), st.floats(1e-4, 1))
def test_an_attack_that_leaves_the_ball_is_projected_into_it_and_into_the_unit_interval(
    network: SpikingNetwork, images: np.ndarray, labels: np.ndarray, value: float, epsilon: float
) -> None:
    made = Constant(value=value, epsilon=epsilon)(network, images[:2], labels[:2])
    radius = np.float32(epsilon)
    assert made.images.dtype == np.float32
    assert (made.images >= np.maximum(images[:2] - radius, 0)).all()
    assert (made.images <= np.minimum(images[:2] + radius, 1)).all()
    assert made.distance == np.abs(made.images - images[:2]).max() <= radius * (1 + 2**-20) + 2**-24


def test_an_attack_inside_the_ball_is_left_alone(
    network: SpikingNetwork, images: np.ndarray, labels: np.ndarray
) -> None:
    made = Constant(value=0.25, epsilon=1.0)(network, images, labels)
    np.testing.assert_array_equal(made.images, np.full_like(images, 0.25), strict=True)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_attack_that_returns_no_numbers_is_refused_by_name(
    network: SpikingNetwork, images: np.ndarray, labels: np.ndarray, value: float
) -> None:
    with pytest.raises(InputError, match=r"^Constant\(.*\): returned NaN or infinity"):
        Constant(value=value, epsilon=0.1)(network, images, labels)


@pytest.mark.parametrize("epsilon", [0, -0.1, 1.001, float("nan"), float("inf")])
def test_an_epsilon_out_of_range_is_refused(epsilon: float) -> None:
    with pytest.raises(InputError, match=r"^epsilon: "):
        Constant(value=0, epsilon=epsilon)


def test_the_outcome_is_judged_by_an_own_forward_pass(
    network: SpikingNetwork, images: np.ndarray, labels: np.ndarray
) -> None:
    made = Noise(epsilon=0.5, batch=5)(network, images, labels)
    with torch.no_grad():
        answers = network.eval()(torch.from_numpy(made.images)).argmax(1).numpy()
    np.testing.assert_array_equal(made.robust, answers == labels)


def test_labels_that_are_all_answers_make_every_sample_robust(network: SpikingNetwork, images: np.ndarray) -> None:
    made = Constant(value=0.5, epsilon=0.2)(network, images, predict(network, images))
    answers = predict(network, made.images)
    np.testing.assert_array_equal(made.robust, answers == predict(network, images))


def test_the_same_seed_makes_the_same_images_and_leaves_the_generators_alone(
    network: SpikingNetwork, images: np.ndarray, labels: np.ndarray
) -> None:
    before = torch.random.get_rng_state()
    one, two, three = (Noise(epsilon=0.5, seed=seed)(network, images, labels).images for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    np.testing.assert_array_equal(one, two)
    assert (one != three).any()


@pytest.mark.parametrize(
    ("x", "y", "why"),
    [
        (np.full((2, 1, 8, 8), np.nan, np.float32), np.zeros(2, int), "images to attack: NaN"),
        (np.full((2, 1, 8, 8), 2, np.float32), np.zeros(2, int), "images to attack: values"),
        (np.zeros((2, 1, 8, 8), np.float32), np.zeros(3, int), "labels of the images to attack: .*expected 2"),
        (np.zeros((2, 1, 8, 8), np.float32), np.zeros(2), "labels of the images to attack: float64"),
        (np.zeros((2, 1, 8, 8), np.float32), np.array([0, -1]), "labels of the images to attack: label -1"),
    ],
)
def test_bad_images_and_labels_are_refused_before_the_attack_runs(
    network: SpikingNetwork, x: np.ndarray, y: np.ndarray, why: str
) -> None:
    with pytest.raises(InputError, match=why):
        Constant(value=0, epsilon=0.1)(network, x, y)


@pytest.mark.parametrize("batch", [1, 5, 12, 99])
def test_predictions_do_not_depend_on_the_batch(network: SpikingNetwork, images: np.ndarray, batch: int) -> None:
    with torch.no_grad():
        expected = network(torch.from_numpy(images)).argmax(1).numpy()
    np.testing.assert_array_equal(predict(network, images, batch), expected)
