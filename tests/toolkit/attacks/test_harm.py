import numpy as np
import pytest
import torch
from torch import nn

from spikeproof.toolkit.attacks.base import Attack
from spikeproof.toolkit.attacks.blind import Noise, Square
from spikeproof.toolkit.attacks.gradient import FGSM, PGD
from spikeproof.toolkit.attacks.harm import for_harm, harm, worse
from spikeproof.toolkit.attacks.iterative import MIFGSM
from spikeproof.toolkit.attacks.strong import APGD, SAPGD
from spikeproof.toolkit.errors import InputError
from spikeproof.toolkit.task.regression import Regression, Upscaling

RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(0.3, 0.7, (6, 1, 3, 3)).astype(np.float32)
ATTACKS: list[Attack] = [
    FGSM(epsilon=0.05),
    PGD(epsilon=0.05, steps=5),
    PGD(epsilon=0.05, steps=5, restarts=2, batch=4),
    MIFGSM(epsilon=0.05, steps=5),
    APGD(epsilon=0.05, steps=8, loss="dlr"),
    SAPGD(epsilon=0.05, steps=8),
    Noise(epsilon=0.05, restarts=3),
]


class Weighted(nn.Module):
    """One number: a fixed weight for every pixel."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x.flatten(1) * self.weight).sum(1, keepdim=True)


LINE = Weighted(torch.from_numpy(RNG.normal(size=9)).float())


def answers(images: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return LINE(torch.from_numpy(images)).numpy()


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda one: one.label)
def test_examples_stay_in_the_ball_and_are_judged_as_they_are(attack: Attack) -> None:
    targets = answers(IMAGES) - 0.01
    found = harm(attack, LINE, IMAGES, targets, Regression(1))
    assert np.abs(found.images - IMAGES).max() <= 0.05 + 1e-6
    assert found.distance == pytest.approx(np.abs(found.images - IMAGES).max())
    assert found.scores == pytest.approx(np.abs(answers(found.images) - targets).mean(1))
    again = harm(attack, LINE, IMAGES, targets, Regression(1))
    assert np.array_equal(found.images, again.images)


@pytest.mark.parametrize("attack", ATTACKS[:1] + ATTACKS[3:4], ids=lambda one: one.label)
def test_where_the_network_is_linear_signed_steps_find_the_worst_there_is(attack: Attack) -> None:
    targets = answers(IMAGES) - 0.01
    found = harm(attack, LINE, IMAGES, targets, Regression(1))
    worst = 0.01 + 0.05 * float(LINE.weight.detach().abs().sum())
    assert found.scores == pytest.approx(worst, rel=1e-4)


@pytest.mark.parametrize(
    "attack",
    [FGSM(epsilon=0.05, norm="l2"), PGD(epsilon=0.05, steps=9, step=0.03, norm="l2")],
    ids=lambda one: one.label,
)
def test_in_l2_the_worst_there_is_lies_along_the_weights(attack: Attack) -> None:
    targets = answers(IMAGES) - 1  # so far below that every step leads up
    found = harm(attack, LINE, IMAGES, targets, Regression(1))
    worst = 1 + 0.05 * float(LINE.weight.detach().norm())
    assert found.scores == pytest.approx(worst, rel=1e-3)
    assert found.distance == pytest.approx(0.05, rel=1e-4)


def test_the_step_that_was_asked_for_is_the_one_taken() -> None:
    targets = answers(IMAGES) - 1  # so far below that every step leads up
    short, long = (
        harm(PGD(epsilon=0.05, steps=1, step=step), LINE, IMAGES, targets, Regression(1)) for step in (1e-6, 0.1)
    )
    assert (short.scores < long.scores).all()
    worst = 1 + 0.05 * float(LINE.weight.detach().abs().sum())
    assert long.scores == pytest.approx(worst, rel=1e-4)


def test_the_harm_is_no_loss_of_classes() -> None:
    attack = MIFGSM(epsilon=0.05, steps=2, loss="harm")
    with pytest.raises(InputError, match="loss 'harm': of tasks without classes") as refused:
        attack(lambda images: pytest.fail("the victim was asked"), IMAGES, np.zeros(6, int))
    assert "cross-entropy" in str(refused.value)


def test_gradients_hurt_more_than_noise() -> None:
    task = Upscaling((1, 3, 3), 1)
    mixing = nn.Sequential(nn.Flatten(), nn.Linear(9, 9))
    targets = IMAGES.reshape(6, 9)
    with torch.no_grad():
        mixing[1].weight.copy_(torch.eye(9) + 0.3 * torch.randn(9, 9))
        mixing[1].bias.zero_()
    noise, steps = (harm(one, mixing, IMAGES, targets, task).scores for one in (ATTACKS[-1], ATTACKS[1]))
    assert (steps < noise).all()
    assert worse(steps, noise, task).all()
    assert not worse(noise, steps, task).any()


def test_attacks_of_classes_alone_are_refused_by_name() -> None:
    assert for_harm(Square(epsilon=0.1, queries=5)) is None
    with pytest.raises(InputError, match=r"square-5@0\.1: looks for another class, and the task .* is regression"):
        harm(Square(epsilon=0.1, queries=5), LINE, IMAGES, answers(IMAGES), Regression(1))


def test_what_was_asked_for_is_what_is_run() -> None:
    made = for_harm(PGD(epsilon=0.1, steps=7, restarts=3, seed=4, batch=9))
    assert made is not None
    assert (made.label, made.seed, made.batch, made.restarts) == ("pgd-7-x3@0.1", 4, 9, 3)
    assert for_harm(PGD(epsilon=0.1, steps=7, step=0.02)).label == "pgd-7x0.02@0.1"
    assert for_harm(FGSM(epsilon=0.1)).label == "fgsm@0.1"
    assert for_harm(APGD(epsilon=0.1, steps=8, loss="dlr")).label == "apgd-harm-8@0.1"
