import numpy as np
import pytest
import torch
from art.attacks.evasion import AutoProjectedGradientDescent
from art.estimators.classification import PyTorchClassifier
from torch import Tensor, nn

from spikeproof.toolkit.attacks.base import predict
from spikeproof.toolkit.attacks.gradient import PGD
from spikeproof.toolkit.attacks.iterative import AnyPGD
from spikeproof.toolkit.attacks.losses import dlr, margin, per_sample
from spikeproof.toolkit.attacks.strong import APGD, SAPGD, checkpoints, halvings
from spikeproof.toolkit.network.backward import Backward, attack_gradient
from spikeproof.toolkit.network.network import SpikingNetwork
from spikeproof.toolkit.network.neurons import LIF
from spikeproof.toolkit.network.surrogates import AdaptiveSharpness, Spike, Surrogate

Digits = tuple[np.ndarray, np.ndarray]
ASSG = Backward(surrogate=AdaptiveSharpness())


def test_checkpoints_are_the_published_ones() -> None:
    assert checkpoints(100) == [0, 22, 41, 57, 70, 80, 87, 93, 99]
    assert checkpoints(50) == [0, 11, 21, 29, 35, 40, 44, 47, 50]


def test_sa_pgd_halves_after_shrinking_gaps() -> None:
    gaps = np.diff([0, *sorted(halvings(100))])
    assert gaps.tolist() == [22, 19, 16, 13, 10, 7, 6, 6]


def test_losses_are_their_equations() -> None:
    logits = torch.tensor([[3.0, 1.0, 2.0, 0.0], [0.0, 5.0, 4.0, 1.0], [2.0, 2.0, 2.0, 0.0]])
    labels = torch.tensor([0, 2, 1])
    assert margin(logits, labels).tolist() == [-1, 1, 0]
    assert dlr(logits, labels).tolist() == [-1 / 2, 1 / 4, 0]
    expected = -torch.log_softmax(logits, 1)[torch.arange(3), labels]
    torch.testing.assert_close(per_sample("cross-entropy", logits, labels), expected)


def test_the_ratio_of_differences_does_not_depend_on_scale_or_shift() -> None:
    logits, labels = torch.randn(50, 6, generator=torch.Generator().manual_seed(0)), torch.arange(50) % 6
    torch.testing.assert_close(dlr(7 * logits + 3, labels), dlr(logits, labels), rtol=1e-3, atol=1e-4)


def test_tied_spike_counts_give_finite_gradients() -> None:
    logits = torch.tensor([[5.0, 5.0, 5.0, 0.0], [0.0, 0.0, 0.0, 0.0]], requires_grad=True)
    (gradient,) = torch.autograd.grad(dlr(logits, torch.tensor([0, 1])).sum(), logits)
    assert bool(torch.isfinite(gradient).all())


@pytest.mark.parametrize("loss", ["cross-entropy", "dlr"])
@pytest.mark.parametrize(("norm", "order", "epsilon"), [("linf", np.inf, 0.05), ("l2", 2, 0.4)])
def test_apgd_agrees_with_the_librarys_on_a_plain_network(
    plain: nn.Module, digits: Digits, loss: str, norm: str, order: float, epsilon: float
) -> None:
    images, labels = digits
    box = PyTorchClassifier(plain, nn.CrossEntropyLoss(), (1, 8, 8), 10, clip_values=(0.0, 1.0))
    library = AutoProjectedGradientDescent(
        box,
        norm=order,
        eps=epsilon,
        eps_step=2 * epsilon,
        max_iter=30,
        nb_random_init=1,
        batch_size=200,
        loss_type={"cross-entropy": "cross_entropy", "dlr": "difference_logits_ratio"}[loss],
        verbose=False,
    )
    made = library.generate(images, labels)
    expected = (predict(plain, made) == labels).mean()
    found = APGD(epsilon=epsilon, norm=norm, steps=30, loss=loss)(plain, images, labels).robust.mean()
    assert 0.1 < expected < 0.95
    assert abs(found - expected) <= 0.01


def test_on_a_plain_network_all_strong_attacks_find_the_same(plain: nn.Module, digits: Digits) -> None:
    robust = [
        attack(plain, *digits).robust.mean()
        for attack in (PGD(epsilon=0.05, steps=50), APGD(epsilon=0.05, steps=50), SAPGD(epsilon=0.05, steps=50))
    ]
    assert max(robust) - min(robust) <= 0.01


def test_the_first_step_of_sa_pgd_is_a_sign_step_cut_at_eta() -> None:
    """With m = g / mean|g| and v = g^2 / mean(g^2), m / sqrt(v) is sign(g) rms / mean, at least 1 in size."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    images = np.full((2, 1, 4, 4), 0.5, np.float32)
    start = torch.from_numpy(images + 0.01)

    class Started(SAPGD):
        def start(self, clean: Tensor) -> Tensor:
            return start

    attack = Started(epsilon=0.1, steps=1, early_stop=False)
    labels = predict(model, images)
    x = start.clone().requires_grad_()
    loss = nn.functional.cross_entropy(model(x), torch.from_numpy(labels), reduction="sum")
    (gradient,) = torch.autograd.grad(loss, x)
    expected = np.clip(start.numpy() + 0.1 * gradient.sign().numpy(), 0.4, 0.6)
    np.testing.assert_allclose(attack.run(model, images, labels), expected, atol=1e-6)


def test_starts_of_sa_pgd_touch_the_ball(digits: Digits) -> None:
    clean = torch.from_numpy(digits[0][:9])
    change = SAPGD(epsilon=0.1, steps=1).start(clean) - clean
    torch.testing.assert_close(change.abs().flatten(1).amax(1), torch.full((9,), 0.1))
    change = SAPGD(epsilon=0.7, norm="l2", steps=1).start(clean) - clean
    torch.testing.assert_close(change.flatten(1).norm(dim=1), torch.full((9,), 0.7))


@pytest.fixture
def too_sharp(spiking: SpikingNetwork):
    """The spiking network with a surrogate so narrow that nearly all gradients are exactly zero."""
    layers = [part for part in spiking.modules() if isinstance(part, LIF)]
    before = [layer.neuron.spike_grad for layer in layers]
    for layer in layers:
        layer.neuron.spike_grad = Spike(Surrogate("triangular", 300.0))
    yield spiking
    for layer, grad in zip(layers, before, strict=True):
        layer.neuron.spike_grad = grad


def test_a_surrogate_too_sharp_stops_pgd_but_not_the_adaptive_attack(too_sharp: SpikingNetwork, digits: Digits) -> None:
    clean = (predict(too_sharp, digits[0]) == digits[1]).mean()
    weak = [
        attack(too_sharp, *digits).robust.mean()
        for attack in (PGD(epsilon=0.1, steps=20), AnyPGD(epsilon=0.1, steps=20), SAPGD(epsilon=0.1, steps=20))
    ]
    adaptive = SAPGD(epsilon=0.1, steps=20, backward=ASSG)(too_sharp, *digits).robust.mean()
    assert clean > 0.85
    assert min(weak) > clean - 0.2
    assert adaptive < min(weak) - 0.35


def test_on_a_spiking_network_the_adaptive_attack_is_far_stronger_than_pgd(
    spiking: SpikingNetwork, digits: Digits
) -> None:
    native = PGD(epsilon=0.1, steps=10)(spiking, *digits).robust.mean()
    adaptive = SAPGD(epsilon=0.1, steps=50, backward=ASSG)(spiking, *digits).robust.mean()
    assert adaptive <= native - 0.07


def test_restarts_only_help(spiking: SpikingNetwork, digits: Digits) -> None:
    once, thrice = (SAPGD(epsilon=0.05, steps=8, restarts=n, backward=ASSG)(spiking, *digits) for n in (1, 3))
    assert not (thrice.robust & ~once.robust).any()
    assert thrice.robust.sum() < once.robust.sum()


def test_dropping_samples_does_not_mix_up_the_adaptive_state(spiking: SpikingNetwork, digits: Digits) -> None:
    """A sample's path is the same alone as among others that leave."""
    images, labels = digits[0][:40], digits[1][:40]
    starts = {}

    class Fixed(SAPGD):
        def start(self, clean: torch.Tensor) -> torch.Tensor:
            return clean

    attack = Fixed(epsilon=0.08, steps=12, backward=ASSG)
    together = attack.run(spiking.eval(), images, labels)
    survivors = np.flatnonzero(predict(spiking, together) == labels)[:3]
    assert 0 < len(survivors) < 40
    for index in survivors:
        starts[index] = attack.run(spiking, images[index : index + 1], labels[index : index + 1])
        np.testing.assert_allclose(starts[index][0], together[index], atol=1e-4)


def test_the_context_of_an_attack_is_left_when_it_fails(spiking: SpikingNetwork, digits: Digits) -> None:
    native = [part.neuron.spike_grad for part in spiking.modules() if isinstance(part, LIF)]

    class Broken(SAPGD):
        def advance(self, *_: object) -> torch.Tensor:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Broken(epsilon=0.1, steps=2, backward=ASSG)(spiking, *digits)
    assert [part.neuron.spike_grad for part in spiking.modules() if isinstance(part, LIF)] == native
    with attack_gradient(spiking) as swapped:
        assert swapped.following is None
