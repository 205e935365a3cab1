"""Corner search: inside the ball, on the grid, and finds what there is, by comparison with every corner."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from spikeproof.toolkit.attacks.base import predict
from spikeproof.toolkit.attacks.blind import Square
from spikeproof.toolkit.attacks.corner import CornerSearch, moved
from spikeproof.toolkit.attacks.losses import margin, per_sample, rival_of
from spikeproof.toolkit.attacks.strong import APGD
from spikeproof.toolkit.attacks.victim import encoded, finely
from spikeproof.toolkit.coding import on_grid
from spikeproof.toolkit.errors import InputError
from spikeproof.toolkit.network.network import SpikingNetwork

Digits = tuple[np.ndarray, np.ndarray]
LEVEL = 1 / 255


class Secret(nn.Module):
    """Wrong at a few secret corners only, and flat nearly everywhere: its gradient is zero."""

    def __init__(self, secret: np.ndarray) -> None:
        super().__init__()
        self.register_buffer("secret", torch.from_numpy(secret))

    def forward(self, x: Tensor) -> Tensor:
        high = (x.flatten(1) > 0.5).float()
        # How many pixels are as in the nearest secret corner: counts, as of spikes.
        same = (high[:, None] == self.get_buffer("secret")).sum(2).amax(1).float()
        return torch.stack([torch.full_like(same, high.shape[1] - 0.5), same], 1)


@given(st.integers(0, 2**32 - 1), st.integers(0, 4))
@settings(deadline=None, max_examples=20)
def test_it_finds_an_error_exactly_where_a_corner_is_one(seed: int, secrets: int) -> None:
    rng = np.random.default_rng(seed)
    model = Secret(rng.integers(0, 2, (max(secrets, 1), 6)).astype(np.float32) + (0 if secrets else 2))
    clean = np.full((1, 1, 2, 3), 0.5, np.float32)
    corners = 0.5 + 0.1 * np.array(list(itertools.product([-1, 1], repeat=6)), np.float32).reshape(-1, 1, 2, 3)
    labels = np.zeros(1, np.int64)
    exists = bool((predict(model, corners) != 0).any())
    found = CornerSearch(epsilon=0.1, queries=4000, seed=seed % 100)(model, clean, labels)
    assert (not found.robust[0]) == exists


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 5, 7), (4, 1, 6, 6), (12,)], ids=str)
def test_candidates_stay_in_the_ball_and_differ_from_where_the_walk_is(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    clean = on_grid(rng.random((5, *shape), dtype=np.float32))
    low, high = np.clip(clean - 0.1, 0, 1), np.clip(clean + 0.1, 0, 1)
    start = np.where(rng.random(clean.shape) < 0.5, low, high)
    tried = moved(start, low, high, 64, rng)
    assert tried.shape == (5, 64, *shape)
    assert (tried >= low[:, None]).all()
    assert (tried <= high[:, None]).all()
    changed = (tried != start[:, None]).reshape(5 * 64, -1)
    assert changed.any(1).mean() > 0.95
    assert (changed.sum(1) == 1).mean() > 0.1
    assert changed.sum(1).max() > 3


def test_examples_are_on_the_grid_where_the_images_are(spiking: SpikingNetwork, digits: Digits) -> None:
    images, labels = on_grid(digits[0][:40]), digits[1][:40]
    made = CornerSearch(epsilon=25 / 255, queries=200)(spiking, images, labels)
    assert np.array_equal(on_grid(made.images), made.images)
    assert made.distance <= 25 / 255 + 1e-6
    assert np.rint(np.abs(made.images - images) * 255).max() == 25
    off = np.clip(images + np.float32(0.3 * LEVEL), 0, 1)
    assert CornerSearch(epsilon=0.1, queries=64)(spiking, off, labels).distance <= 0.1 + 1e-6


def test_it_breaks_more_than_gradients_and_blind_search(spiking: SpikingNetwork, digits: Digits) -> None:
    images, labels = on_grid(digits[0][:100]), digits[1][:100]
    epsilon = 12 / 255
    search = CornerSearch(epsilon=epsilon, queries=2000)(spiking, images, labels)
    for other in (APGD(epsilon=epsilon, steps=50), Square(epsilon=epsilon, queries=2000)):
        left = int(other(spiking, images, labels).robust.sum())
        assert search.robust.sum() < left
    again = CornerSearch(epsilon=epsilon, queries=2000)(spiking, images, labels)
    assert np.array_equal(again.images, search.images)


def test_what_moves_between_spikes_is_what_the_read_out_receives(spiking: SpikingNetwork, digits: Digits) -> None:
    images = torch.from_numpy(on_grid(digits[0][:8]))
    logits, fine = finely(spiking, images)
    assert torch.equal(logits, spiking(images))
    # A read-out that never fires shows the whole current: by hand, from the weights of the last linear layer.
    sent: dict[str, Tensor] = {}
    spiking.spikes(images, lambda name, signal: sent.__setitem__(name, signal))
    names = [name for name, _ in spiking.named_layers()]
    layer = dict(spiking.named_layers())[names[-2]]
    assert isinstance(layer, nn.Linear)
    before = sent[names[-3]].flatten(2)
    expected = (before.double() @ layer.weight.double().T).sum(0)
    if layer.bias is not None:
        expected = expected + len(before) * layer.bias.double()
    assert fine is not None
    np.testing.assert_allclose(fine.detach().numpy(), expected.detach().numpy(), atol=1e-4)
    also = finely(encoded(spiking), spiking.coder.encode(images).transpose(0, 1))  # type: ignore[arg-type]
    assert torch.equal(also[0], logits)
    assert also[1] is not None
    torch.testing.assert_close(also[1], fine)


def test_losses_towards_a_rival_and_through_the_read_out() -> None:
    z = torch.tensor([[4.0, 1.0, 3.0, 2.0]])
    y = torch.tensor([0])
    c = torch.tensor([[0.0, 8.0, 0.0, 0.0]])
    assert [int(rival_of(z, y, rank)) for rank in range(4)] == [2, 3, 1, 1]
    assert float(per_sample("margin", z, y)) == float(margin(z, y)) == -1
    assert float(per_sample("margin", z, y, rival=torch.tensor([1]))) == -3
    assert float(per_sample("soft", z, y)) == -1
    assert float(per_sample("soft", z, y, c)) == -1
    assert float(per_sample("soft", z, y, 2 * c)) == 1
    assert float(per_sample("soft", z, y, c, torch.tensor([3]))) == -2


def test_rivals_are_tried_one_after_the_other(spiking: SpikingNetwork, digits: Digits) -> None:
    images, labels = on_grid(digits[0][:60]), digits[1][:60]
    one = APGD(epsilon=0.05, steps=10, loss="soft", rivals=1)(spiking, images, labels).robust
    nine = APGD(epsilon=0.05, steps=10, loss="soft", rivals=9)(spiking, images, labels).robust
    assert nine.sum() < one.sum()
    with pytest.raises(InputError, match="rival needs the loss"):
        APGD(epsilon=0.05, steps=10, rivals=2)
    assert APGD(epsilon=0.05, steps=10, loss="soft", rivals=2).label != APGD(epsilon=0.05, steps=10, loss="soft").label


def test_it_needs_a_module_and_settings_in_range(digits: Digits) -> None:
    with pytest.raises(InputError, match="needs a module"):
        CornerSearch(epsilon=0.1, queries=10)(lambda x: np.zeros((len(x), 10)), digits[0][:2], digits[1][:2])
    for wrong in ({"queries": 0}, {"queries": 5, "width": 0}, {"queries": 5, "norm": "l2"}):
        with pytest.raises(InputError):
            CornerSearch(epsilon=0.1, **wrong)  # type: ignore[arg-type]
