from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from art.attacks.evasion import MomentumIterativeMethod
from art.estimators.classification import PyTorchClassifier
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from spikeproof.toolkit.attacks.base import Attack, predict
from spikeproof.toolkit.attacks.gradient import FGSM, PGD
from spikeproof.toolkit.attacks.iterative import MIFGSM, RFGSM, AnyPGD, GradientAttack, random_point
from spikeproof.toolkit.attacks.strong import APGD, SAPGD
from spikeproof.toolkit.errors import InputError
from spikeproof.toolkit.network.backward import Backward
from spikeproof.toolkit.network.network import SpikingNetwork
from spikeproof.toolkit.network.surrogates import AdaptiveSharpness
from spikeproof.toolkit.train import seeded

Digits = tuple[np.ndarray, np.ndarray]
ASSG = Backward(surrogate=AdaptiveSharpness())
MAKERS: list[tuple[type[GradientAttack], dict[str, Any]]] = [
    (RFGSM, {}),
    (MIFGSM, {"steps": 4}),
    (AnyPGD, {"steps": 4}),
    (APGD, {"steps": 9}),
    (APGD, {"steps": 9, "loss": "dlr"}),
    (SAPGD, {"steps": 9, "backward": ASSG}),
    (SAPGD, {"steps": 5, "loss": "margin", "draws": 2}),
]
EVERY = pytest.mark.parametrize(("kind", "how"), MAKERS, ids=str)


class Linear(nn.Module):
    """Logits (w x, 0, 0): all that there is to know about the best point is known."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = (x * self.weight).flatten(1).sum(1)
        return torch.stack([first, 0 * first, 0 * first - 1000], 1)


@EVERY
@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("early_stop", [True, False])
def test_examples_stay_in_the_ball(
    random_network: Callable[..., SpikingNetwork],
    images: np.ndarray,
    labels: np.ndarray,
    kind: type[GradientAttack],
    how: dict[str, Any],
    norm: str,
    early_stop: bool,
) -> None:
    attack = kind(epsilon=0.3, norm=norm, early_stop=early_stop, **how)
    with seeded(0):
        raw = attack.run(random_network().eval(), images, labels)
    change = np.abs(raw.astype(np.float64) - images).reshape(12, -1)
    size = change.max(1) if norm == "linf" else np.sqrt((change**2).sum(1))
    assert size.max() <= 0.3 + 1e-6
    assert early_stop or size.max() > 0.1
    assert raw.min() >= 0
    assert raw.max() <= 1


@EVERY
def test_victims_keep_their_weights_modes_and_gradient_flags(
    spiking: SpikingNetwork, digits: Digits, kind: type[GradientAttack], how: dict[str, Any]
) -> None:
    images, labels = digits
    before = {name: tensor.clone() for name, tensor in spiking.state_dict().items()}
    gradients = [parameter.grad.clone() for parameter in spiking.parameters()]
    one, two = (kind(epsilon=0.1, seed=3, **how)(spiking, images[:20], labels[:20]) for _ in range(2))
    np.testing.assert_array_equal(one.images, two.images)
    assert all(torch.equal(tensor, before[name]) for name, tensor in spiking.state_dict().items())
    for parameter, gradient in zip(spiking.parameters(), gradients, strict=True):
        assert parameter.requires_grad
        assert torch.equal(parameter.grad, gradient)


class Backwards(TorchDispatchMode):
    """Notes which gradients of convolutions and linear layers are computed: (input, weight, ...), or "mm"."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.convolution_backward.default:
            self.seen.append(args[-1])
        elif func is torch.ops.aten.mm.default:
            self.seen.append("mm")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("kind", "how"), [*MAKERS, (FGSM, {}), (PGD, {"steps": 3})], ids=str)
def test_no_gradient_of_a_weight_is_computed(
    spiking: SpikingNetwork, digits: Digits, kind: type[Attack], how: dict[str, Any]
) -> None:
    with Backwards() as notes:
        kind(epsilon=0.1, **how).run(spiking, digits[0][:20], digits[1][:20])  # type: ignore[call-arg]
    masks = [seen for seen in notes.seen if seen != "mm"]
    assert masks
    assert all(mask == [True, False, False] for mask in masks)
    # The linear layer's only product of the backward pass is that for its input.
    assert len(notes.seen) == 2 * len(masks)


@pytest.mark.parametrize(
    ("kind", "how"), [maker for maker in MAKERS if maker[0] is not RFGSM and "draws" not in maker[1]], ids=str
)
def test_samples_that_are_done_leave_the_batch(
    spiking: SpikingNetwork, digits: Digits, kind: type[GradientAttack], how: dict[str, Any]
) -> None:
    sizes: list[int] = []
    handle = spiking.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    try:
        with seeded(0):
            made = kind(epsilon=0.1, **how).run(spiking, *digits)
    finally:
        handle.remove()
    assert sizes[0] == len(digits[0])
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < sizes[0]
    right = predict(spiking, made) == digits[1]
    assert right.sum() <= sizes[-1]


@EVERY
def test_the_loss_of_what_is_returned_never_falls_with_more_steps(
    spiking: SpikingNetwork, digits: Digits, kind: type[GradientAttack], how: dict[str, Any]
) -> None:
    """The same path cut short: what was the best point stays so, or is replaced by a better one."""
    images, labels = digits[0][:30], digits[1][:30]
    seen: list[np.ndarray] = []

    class Watched(kind):  # type: ignore[misc, valid-type]
        def advance(self, search: Any, step: int, loss: Any, gradient: Any) -> Any:
            seen.append(search.best_loss.numpy().copy())
            at_best = torch.nn.functional.cross_entropy(spiking(search.best_x), search.labels, reduction="none")
            if self.loss == "cross-entropy":
                torch.testing.assert_close(at_best.detach(), search.best_loss)
            return super().advance(search, step, loss, gradient)

    attack = Watched(epsilon=0.1, early_stop=False, **how)
    with seeded(0):
        attack.run(spiking, images, labels)
    assert len(seen) == attack.steps
    assert (np.diff(np.array(seen), axis=0) >= 0).all()


@EVERY
def test_constant_logits_return_a_point_of_the_ball_and_no_nan(
    digits: Digits, kind: type[GradientAttack], how: dict[str, Any]
) -> None:
    model = Linear(torch.zeros(1, 8, 8))
    made = kind(epsilon=0.1, **how)(model, digits[0][:5], np.zeros(5, int))
    assert made.robust.all()
    with seeded(0):
        start = kind(epsilon=0.1, **how).start(torch.from_numpy(digits[0][:5]))
    np.testing.assert_allclose(made.images, start.clamp(0, 1).numpy(), atol=1e-6)


@EVERY
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_on_a_linear_victim_the_best_point_is_the_corner(
    kind: type[GradientAttack], how: dict[str, Any], norm: str
) -> None:
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(1, 4, 4))
    images = rng.uniform(0.4, 0.6, (3, 1, 4, 4)).astype(np.float32)
    model = Linear(torch.from_numpy(weight.astype(np.float32)))
    rise = 0.1 * (np.abs(weight).sum() if norm == "linf" else np.sqrt((weight**2).sum()))
    logits = (images * weight).sum((1, 2, 3))
    steps = {} if kind is RFGSM else {"steps": 40}
    attack = kind(epsilon=0.1, norm=norm, early_stop=False, **{**how, **steps, "backward": None})
    with seeded(0):
        raw = attack.run(model, images, np.zeros(3, int))
    reached = (logits - (raw * weight).sum((1, 2, 3))) / rise
    assert reached.max() <= 1 + 1e-5
    assert reached.min() > (0.4 if kind is RFGSM else 0.97)


def test_r_fgsm_is_its_equation(digits: Digits, plain: nn.Module) -> None:
    images, labels = digits[0][:20], digits[1][:20]
    with seeded(0):
        sign = np.sign(torch.randn(images.shape).numpy())
        found = RFGSM(epsilon=0.2, early_stop=False)
    start = np.clip(images + 0.1 * sign, 0, 1).astype(np.float32)
    x = torch.from_numpy(start).requires_grad_()
    loss = nn.functional.cross_entropy(plain(x), torch.from_numpy(labels), reduction="sum")
    (gradient,) = torch.autograd.grad(loss, x)
    with seeded(0):
        made = found.run(plain, images, labels)
    end = np.clip(np.clip(start + 0.1 * np.sign(gradient.numpy()), images - 0.2, images + 0.2), 0, 1)
    losses = [
        nn.functional.cross_entropy(
            plain(torch.from_numpy(at.astype(np.float32))), torch.from_numpy(labels), reduction="none"
        )
        for at in (start, end)
    ]
    expected = np.where((losses[1] > losses[0]).numpy()[:, None, None, None], end, start)
    np.testing.assert_allclose(made, expected, atol=1e-6)


def test_momentum_agrees_with_the_librarys_within_a_point(plain: nn.Module, digits: Digits) -> None:
    images, labels = digits
    box = PyTorchClassifier(plain, nn.CrossEntropyLoss(), (1, 8, 8), 10, clip_values=(0.0, 1.0))
    library = MomentumIterativeMethod(box, eps=0.05, eps_step=0.005, max_iter=10, batch_size=200, verbose=False)
    expected = (box.predict(library.generate(images, labels)).argmax(1) == labels).mean()
    found = MIFGSM(epsilon=0.05, steps=10)(plain, images, labels).robust.mean()
    assert 0.3 < expected < 0.9
    assert abs(found - expected) <= 0.01


def test_uniform_points_of_the_l2_ball_have_its_radii() -> None:
    with seeded(0):
        points = random_point(torch.full((4000, 3), 0.5), 0.1, "l2") - 0.5
    share = ((points.norm(dim=1) / 0.1) ** 3).numpy()
    np.testing.assert_allclose(np.quantile(share, [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.03)


def test_a_victim_without_gradients_is_refused(digits: Digits) -> None:
    class Blind(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.detach().flatten(1)[:, :10]

    with pytest.raises(InputError, match="no gradient"):
        AnyPGD(epsilon=0.1, steps=2)(Blind(), digits[0][:30], predict(Blind(), digits[0][:30]))
    with pytest.raises(InputError, match="is a function"):
        AnyPGD(epsilon=0.1, steps=2)(lambda x: x.reshape(len(x), -1), digits[0][:3], digits[1][:3])


def test_draws_average_the_gradient_of_a_stochastic_victim(plain: nn.Module, digits: Digits) -> None:
    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.calls = 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            logits: torch.Tensor = plain(x + 0.1 * torch.randn_like(x))
            return logits

    counts = []
    for draws in (1, 3):
        victim = Noisy()
        with seeded(0):
            AnyPGD(epsilon=0.1, steps=5, draws=draws, early_stop=False).run(victim, digits[0][:9], digits[1][:9])
        counts.append(victim.calls)
    assert counts == [5 + 1, 3 * 5 + 1]


@pytest.mark.parametrize(
    "make",
    [
        lambda: AnyPGD(epsilon=0.1, steps=0),
        lambda: AnyPGD(epsilon=0.1, steps=1, draws=0),
        lambda: AnyPGD(epsilon=0.1, steps=1, loss="hinge"),
        lambda: AnyPGD(epsilon=0.1, steps=1, norm="l1"),
        lambda: AnyPGD(epsilon=0.1, steps=1, restarts=0),
        lambda: RFGSM(epsilon=0.1, steps=2),
        lambda: MIFGSM(epsilon=0.1, steps=2, decay=-1),
    ],
)
def test_impossible_settings_are_refused(make: Callable[[], object]) -> None:
    with pytest.raises(InputError, match=r"expected|has 1"):
        make()
