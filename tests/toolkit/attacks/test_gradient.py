from collections.abc import Callable

import numpy as np
import pytest
import torch

from spikeproof.toolkit.attacks.base import Attack, predict
from spikeproof.toolkit.attacks.gradient import FGSM, PGD, make_attack
from spikeproof.toolkit.config import AttackSettings
from spikeproof.toolkit.errors import InputError
from spikeproof.toolkit.layers import SpikingNetwork

ATTACKS = [FGSM(epsilon=0.1), PGD(epsilon=0.1, steps=3)]


@pytest.fixture(params=["max", "avg"])
def network(random_network: Callable[..., SpikingNetwork], request: pytest.FixtureRequest) -> SpikingNetwork:
    return random_network(request.param)


def gradient(network: SpikingNetwork, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    x = torch.from_numpy(images).requires_grad_()
    loss = torch.nn.functional.cross_entropy(network(x), torch.from_numpy(labels), reduction="sum")
    return torch.autograd.grad(loss, x)[0].numpy()


def test_fgsm_steps_once_along_the_sign_of_the_gradient(
    network: SpikingNetwork, images: np.ndarray, labels: np.ndarray
) -> None:
    sign = np.sign(gradient(network, images, labels))
    made = FGSM(epsilon=0.1)(network, images, labels)
    np.testing.assert_allclose(made.images, np.clip(images + 0.1 * sign, 0, 1), atol=1e-6)
    assert (sign != 0).any()


def test_one_step_of_pgd_ends_in_the_corner_of_the_ball_where_its_start_points_to(
    network: SpikingNetwork, images: np.ndarray, labels: np.ndarray
) -> None:
    made = PGD(epsilon=0.1, steps=1)(network, images, labels)
    change = made.images - images
    corner = np.isclose(np.abs(change), 0.1, atol=1e-6) | np.isin(made.images, [0, 1])
    assert corner.mean() > 0.5


@pytest.mark.parametrize("attack", ATTACKS, ids=repr)
@pytest.mark.parametrize("epsilon", [1e-3, 0.1, 1.0])
def test_examples_stay_in_the_ball_and_in_the_unit_interval(
    network: SpikingNetwork, images: np.ndarray, labels: np.ndarray, attack: Attack, epsilon: float
) -> None:
    settings = {name: value for name, value in vars(attack).items() if name != "epsilon"}
    made = type(attack)(epsilon=epsilon, **settings)(network, images, labels)
    assert np.abs(made.images.astype(np.float64) - images).max() <= epsilon + 2**-24
    assert made.images.min() >= 0
    assert made.images.max() <= 1


@pytest.mark.parametrize("attack", ATTACKS, ids=repr)
def test_the_network_is_what_it_was(
    network: SpikingNetwork, images: np.ndarray, labels: np.ndarray, attack: Attack
) -> None:
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    attack(network, images, labels)
    assert not any(module.training for module in network.modules())
    assert all(parameter.requires_grad for parameter in network.parameters())
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name]), name


@pytest.mark.parametrize("attack", ATTACKS, ids=repr)
def test_a_network_left_in_training_mode_is_attacked_in_evaluation_mode(
    network: SpikingNetwork, images: np.ndarray, labels: np.ndarray, attack: Attack
) -> None:
    expected = attack(network, images, labels).images
    network.train()
    np.testing.assert_array_equal(attack(network, images, labels).images, expected)
    assert int(network.state_dict()["layers.norm1.num_batches_tracked"]) == 0


@pytest.mark.parametrize("attack", ATTACKS, ids=repr)
def test_the_same_seed_gives_the_same_examples(
    network: SpikingNetwork, images: np.ndarray, labels: np.ndarray, attack: Attack
) -> None:
    one, two = (attack(network, images, labels) for _ in range(2))
    np.testing.assert_array_equal(one.images, two.images)
    np.testing.assert_array_equal(one.robust, two.robust)
    np.testing.assert_array_equal(one.robust, predict(network, one.images) == labels)


def test_another_seed_starts_pgd_elsewhere(network: SpikingNetwork, images: np.ndarray, labels: np.ndarray) -> None:
    one, two = (PGD(epsilon=0.1, steps=1, seed=seed)(network, images, labels).images for seed in (0, 1))
    assert (one != two).any()


def test_pgd_fools_a_network_that_was_right_about_everything(
    network: SpikingNetwork, images: np.ndarray, labels: np.ndarray
) -> None:
    answers = predict(network, images)
    made = PGD(epsilon=0.3, steps=5)(network, images, answers)
    assert made.robust.sum() < len(images)


@pytest.mark.parametrize("attack", ATTACKS, ids=repr)
def test_repr_reconstructs_the_settings(attack: Attack) -> None:
    again = eval(repr(attack), {"FGSM": FGSM, "PGD": PGD})
    assert (type(again), vars(again)) == (type(attack), vars(attack))


def test_pgd_without_steps_is_refused() -> None:
    with pytest.raises(InputError, match=r"^steps: 0"):
        PGD(epsilon=0.1, steps=0)


@pytest.mark.parametrize("attack", ATTACKS, ids=repr)
def test_a_label_that_the_network_does_not_know_is_refused(
    network: SpikingNetwork, images: np.ndarray, attack: Attack
) -> None:
    with pytest.raises(InputError, match="label 10"):
        attack(network, images[:1], np.array([10]))


def test_a_recipes_entry_becomes_the_attack_that_it_names() -> None:
    fgsm = make_attack(AttackSettings(name="fgsm", epsilon=0.2, seed=4), batch=7)
    pgd = make_attack(AttackSettings(name="pgd", epsilon=0.3, steps=6, seed=5), batch=8)
    assert (type(fgsm), vars(fgsm)) == (FGSM, {"epsilon": 0.2, "batch": 7, "seed": 4})
    assert (type(pgd), vars(pgd)) == (PGD, {"epsilon": 0.3, "batch": 8, "seed": 5, "steps": 6})
