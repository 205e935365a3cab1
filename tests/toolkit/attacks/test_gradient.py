from collections.abc import Callable
from typing import Literal

import numpy as np
import pytest
import torch
from art.attacks.evasion import FastGradientMethod, ProjectedGradientDescentPyTorch
from art.estimators.classification import PyTorchClassifier

from spikeproof.toolkit.attacks.ball import BallAttack
from spikeproof.toolkit.attacks.base import THREAT_MODEL, Attack, predict
from spikeproof.toolkit.attacks.gradient import FGSM, PGD
from spikeproof.toolkit.attacks.named import make_attack
from spikeproof.toolkit.config import AttackSettings
from spikeproof.toolkit.errors import InputError
from spikeproof.toolkit.network.backward import Backward
from spikeproof.toolkit.network.network import SpikingNetwork
from spikeproof.toolkit.network.surrogates import AdaptiveSharpness, Surrogate
from spikeproof.toolkit.train import seeded

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
    network: SpikingNetwork, images: np.ndarray, labels: np.ndarray, attack: BallAttack, epsilon: float
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
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    attack(network, images, labels)
    assert all(bool((parameter.grad == 1).all()) for parameter in network.parameters())
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
    assert isinstance(fgsm, FGSM)
    assert (type(fgsm), fgsm.epsilon, fgsm.batch, fgsm.seed) == (FGSM, 0.2, 7, 4)
    assert isinstance(pgd, PGD)
    assert (type(pgd), pgd.epsilon, pgd.batch, pgd.seed, pgd.steps) == (PGD, 0.3, 8, 5, 6)
    both: list[tuple[BallAttack, Literal["fgsm", "pgd"]]] = [(fgsm, "fgsm"), (pgd, "pgd")]
    for made, settings in both:
        assert made.label == AttackSettings(name=settings, epsilon=made.epsilon, steps=6).label
        assert made.threat_model == THREAT_MODEL
        assert (made.norm, made.backward, made.restarts) == ("linf", None, 1)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_examples_are_bit_for_bit_those_of_the_library_alone(
    network: SpikingNetwork, images: np.ndarray, labels: np.ndarray, norm: str
) -> None:
    box = PyTorchClassifier(network, torch.nn.CrossEntropyLoss(), (1, 8, 8), 10, clip_values=(0.0, 1.0))
    order = {"linf": np.inf, "l2": 2}[norm]
    common = {"norm": order, "eps": 0.2, "batch_size": 12}
    library = {
        "fgsm": FastGradientMethod(box, **common),
        "pgd": ProjectedGradientDescentPyTorch(
            box, eps_step=0.1, max_iter=5, num_random_init=1, verbose=False, **common
        ),
    }
    ours = {"fgsm": FGSM(epsilon=0.2, norm=norm), "pgd": PGD(epsilon=0.2, steps=5, norm=norm)}
    for name, attack in ours.items():
        with seeded(0):
            expected = library[name].generate(images, labels)
        found = attack(network, images, labels).images
        np.testing.assert_allclose(found, expected, atol=0 if norm == "linf" else 1e-6)
        assert (expected != images).any()


def test_another_backward_pass_makes_other_examples(
    network: SpikingNetwork, images: np.ndarray, labels: np.ndarray
) -> None:
    plain = PGD(epsilon=0.2, steps=4)(network, images, labels).images
    same, other = (
        PGD(epsilon=0.2, steps=4, backward=Backward(surrogate=surrogate))(network, images, labels).images
        for surrogate in (Surrogate("arctan", 2.0), AdaptiveSharpness("gaussian"))
    )
    np.testing.assert_allclose(same, plain, atol=1e-6)
    assert (other != plain).any()
