from collections.abc import Callable

import numpy as np
import pytest
import torch
from art.attacks.evasion import SquareAttack
from art.estimators.classification import PyTorchClassifier
from torch import nn

from spikeproof.toolkit.attacks.base import predict
from spikeproof.toolkit.attacks.blind import HopSkipJump, Noise, Square
from spikeproof.toolkit.attacks.gradient import PGD
from spikeproof.toolkit.attacks.iterative import AnyPGD
from spikeproof.toolkit.attacks.suite import Transfer
from spikeproof.toolkit.attacks.victim import fingerprint, logits_of
from spikeproof.toolkit.errors import InputError
from spikeproof.toolkit.network.network import SpikingNetwork
from spikeproof.toolkit.train import seeded

Digits = tuple[np.ndarray, np.ndarray]


def logits(model: nn.Module) -> Callable[[np.ndarray], np.ndarray]:
    return lambda images: logits_of(model, images)


def classes(model: nn.Module) -> Callable[[np.ndarray], np.ndarray]:
    return lambda images: predict(model, images)


@pytest.mark.parametrize("kind", ["uniform", "sign"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_noise_has_the_size_of_its_budget_and_no_direction(kind: str, norm: str, plain: nn.Module) -> None:
    images = np.full((200, 1, 6, 6), 0.5, np.float32)
    with seeded(0):
        change = Noise(epsilon=0.1, kind=kind, norm=norm).run(plain, images, np.zeros(200, int)) - images
    size = np.abs(change).max((1, 2, 3)) if norm == "linf" else np.sqrt((change**2).sum((1, 2, 3)))
    assert size.max() <= 0.1 + 1e-6
    assert size.min() > (0.07 if (kind, norm) == ("uniform", "linf") else 0.1 - 1e-6)
    assert abs(change.mean()) < 4 * np.abs(change).max() / np.sqrt(change.size)


@pytest.mark.parametrize("kind", ["uniform", "sign"])
def test_noise_is_weaker_than_every_other_attack(kind: str, spiking: SpikingNetwork, digits: Digits) -> None:
    noise = Noise(epsilon=0.1, kind=kind, restarts=3)(spiking, *digits).robust.mean()
    others = [
        attack(spiking, *digits).robust.mean()
        for attack in (PGD(epsilon=0.1, steps=10), Square(epsilon=0.1, queries=200))
    ]
    assert noise > max(others) + 0.1
    assert Noise(epsilon=0.1, restarts=1)(spiking, *digits).robust.mean() >= noise


def test_square_agrees_with_the_librarys_on_a_plain_network_or_is_stronger(plain: nn.Module, digits: Digits) -> None:
    images, labels = digits
    box = PyTorchClassifier(plain, nn.CrossEntropyLoss(), (1, 8, 8), 10, clip_values=(0.0, 1.0))
    library = SquareAttack(box, eps=0.05, max_iter=300, nb_restarts=1, batch_size=200, verbose=False)
    np.random.seed(0)  # noqa: NPY002
    made = library.generate(images, labels)
    expected = (predict(plain, made) == labels).mean()
    found = Square(epsilon=0.05, queries=300)(plain, images, labels).robust.mean()
    assert 0.2 < expected < 0.95
    assert expected - 0.08 <= found <= expected + 0.01


def test_squares_shrink_as_published_and_reach_every_pixel(plain: nn.Module) -> None:
    attack = Square(epsilon=0.1, queries=10_000)
    sides = [attack.side(query, 32, 32) for query in (1, 11, 51, 201, 501, 1001, 2001, 4001, 6001, 8001)]
    assert sides == [max(round(np.sqrt(0.8 / 2**n * 32 * 32)), 1) for n in range(10)]

    class Never(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.stack([0 * x.flatten(1).sum(1) + 1, 0 * x.flatten(1).sum(1)], 1)

    clean = np.full((3, 2, 8, 8), 0.5, np.float32)
    made = Square(epsilon=0.1, queries=400)(Never(), clean, np.zeros(3, int)).images
    np.testing.assert_allclose(np.abs(made - clean), 0.1, atol=1e-6)
    assert (np.diff(made, axis=2) != 0).any(axis=(0, 1, 3)).all()


def test_square_asks_as_often_as_it_says_and_leaves_fooled_samples(spiking: SpikingNetwork, digits: Digits) -> None:
    asked = []

    def victim(images: np.ndarray) -> np.ndarray:
        asked.append(len(images))
        return logits_of(spiking, images)

    with seeded(0):
        raw = Square(epsilon=0.1, queries=60).run(victim, *digits)
    assert len(asked) == 60
    assert asked == sorted(asked, reverse=True)
    assert asked[-1] < asked[0] == len(digits[0])
    assert (predict(spiking, raw) == digits[1]).sum() <= asked[-1]


def test_square_on_a_function_is_square_on_its_module(spiking: SpikingNetwork, digits: Digits) -> None:
    attack = Square(epsilon=0.1, queries=40)
    module, function = (attack(victim, *digits) for victim in (spiking, logits(spiking)))
    np.testing.assert_array_equal(module.images, function.images)
    np.testing.assert_array_equal(module.robust, function.robust)


def test_square_needs_logits(spiking: SpikingNetwork, digits: Digits) -> None:
    with pytest.raises(InputError, match="needs logits"):
        Square(epsilon=0.1, queries=5)(classes(spiking), *digits)


def test_decisions_alone_are_enough_for_hopskipjump(plain: nn.Module, digits: Digits) -> None:
    images, labels = digits[0][:12], digits[1][:12]
    attack = HopSkipJump(epsilon=0.15, steps=6, queries=200)
    made = attack(classes(plain), images, labels)
    noise = Noise(epsilon=0.15)(classes(plain), images, labels)
    assert made.robust.sum() < noise.robust.sum() - 2
    assert made.distance <= 0.15 + 1e-6


@pytest.mark.parametrize(
    "wrong", [lambda x: np.zeros(len(x)), lambda x: np.zeros((1, 3)), lambda x: np.zeros((len(x), 1, 2))]
)
def test_a_victim_that_answers_nonsense_is_refused(wrong: Callable[[np.ndarray], np.ndarray], digits: Digits) -> None:
    with pytest.raises(InputError, match=r"^victim: "):
        Noise(epsilon=0.1)(wrong, digits[0][:4], np.zeros(4, int))


def test_transfer_judges_the_sources_examples_on_the_victim(
    plain: nn.Module, spiking: SpikingNetwork, digits: Digits
) -> None:
    inner = AnyPGD(epsilon=0.1, steps=10, early_stop=False)
    attack = Transfer(attack=inner, source=plain, source_name="mlp")
    made = attack(spiking, *digits)
    np.testing.assert_array_equal(made.robust, predict(spiking, made.images) == digits[1])
    right = predict(spiking, digits[0]) == digits[1]
    assert (predict(plain, made.images[right]) == digits[1][right]).mean() < 0.4
    assert Noise(epsilon=0.1)(spiking, *digits).robust.mean() > made.robust.mean()
    assert attack.label == "transfer-mlp-pgd-any-10@0.1"
    assert attack.threat_model == "pixel space, L-infinity, transfer"
    assert attack.settings["attack"]["steps"] == 10


def test_transfer_needs_an_attack_that_goes_on_after_the_first_error(plain: nn.Module) -> None:
    for early in (AnyPGD(epsilon=0.1, steps=2), Square(epsilon=0.1, queries=2), HopSkipJump(epsilon=0.1)):
        with pytest.raises(InputError, match="early_stop=False"):
            Transfer(attack=early, source=plain, source_name="mlp")
    Transfer(attack=PGD(epsilon=0.1, steps=2), source=plain, source_name="mlp")


def test_fingerprints_tell_victims_apart(plain: nn.Module, spiking: SpikingNetwork, digits: Digits) -> None:
    images = digits[0][:4]
    assert fingerprint(plain, images) == fingerprint(plain, images)
    assert len({fingerprint(victim, images) for victim in (plain, spiking, logits(plain), classes(plain))}) == 4


@pytest.mark.parametrize(
    "make",
    [
        lambda: Noise(epsilon=0.1, kind="pink"),
        lambda: Square(epsilon=0.1, queries=0),
        lambda: Square(epsilon=0.1, queries=5, share=0),
        lambda: Square(epsilon=0.1, queries=5, norm="l2"),
        lambda: HopSkipJump(epsilon=0.1, steps=0),
    ],
)
def test_impossible_settings_are_refused(make: Callable[[], object]) -> None:
    with pytest.raises(InputError, match=r"expected|L-infinity"):
        make()
