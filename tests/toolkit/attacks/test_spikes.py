from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from spikeproof.toolkit.attacks.spikes import EDITS, SpikeAttack, SpikeFlip, SpikeNoise
from spikeproof.toolkit.attacks.victim import Encoded, predict
from spikeproof.toolkit.errors import InputError
from spikeproof.toolkit.network.network import SpikingNetwork

Digits = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def spikes(digits: Digits) -> np.ndarray:
    """Rate-coded digits, (time, samples, 1, 8, 8)."""
    rng = np.random.default_rng(0)
    return (rng.random((4, *digits[0].shape)) < digits[0]).astype(np.float32)


class Count(nn.Module):
    """Logits (sum of w x, 0) of spikes (time, batch, ...): the effect of every edit is known."""

    def __init__(self, weight: np.ndarray) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.from_numpy(weight.astype(np.float32)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = (x * self.weight[:, None]).sum(0).flatten(1).sum(1)
        return torch.stack([first, torch.zeros_like(first)], 1)


def best_change(weight: np.ndarray, x: np.ndarray, edit: str, budget: int) -> float:
    """What the best edits take from sum w x, by brute force; for shifts of one spike only."""
    if edit == "shift":
        found = [0.0]
        for t, i in np.argwhere(x == 1):
            found += [
                weight[t, i] - weight[other, i] for other in (t - 1, t + 1) if 0 <= other < len(x) and x[other, i] == 0
            ]
        return max(found)
    gains = weight * (2 * x - 1)
    gains = gains[{"flip": x >= 0, "insert": x == 0, "delete": x == 1}[edit]]
    return float(np.sort(np.maximum(gains, 0))[::-1][:budget].sum())


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("steps", [1, 3])
def test_on_a_linear_victim_the_best_edits_are_made(edit: str, steps: int) -> None:
    rng = np.random.default_rng(0)
    weight, x = rng.normal(size=(5, 6)) + 1, rng.integers(0, 2, (5, 20, 6)).astype(np.float32)
    budget = 1 if edit == "shift" else 3
    weight[:] += 9  # Far from the threshold: nobody is fooled, nobody leaves early.
    attack = SpikeFlip(budget=budget, edit=edit, steps=steps, loss="margin")
    made = attack(Count(weight), x, np.zeros(20, int))
    for sample in range(20):
        change = (weight * (x - made.images)[:, sample]).sum()
        assert change == pytest.approx(best_change(weight, x[:, sample], edit, budget), abs=1e-4)
    assert made.distance <= budget


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("kind", [SpikeFlip, SpikeNoise])
def test_edits_are_what_they_say_and_stay_in_the_budget(
    kind: type[SpikeAttack], edit: str, spiking: SpikingNetwork, spikes: np.ndarray, digits: Digits
) -> None:
    made = kind(budget=7, edit=edit)(spiking, spikes, digits[1])
    assert set(np.unique(made.images)) == {0, 1}
    assert made.images.shape == spikes.shape
    change = made.images - spikes
    edits = np.abs(change).sum((0, 2, 3, 4)) / (2 if edit == "shift" else 1)
    assert edits.max() == made.distance <= 7
    assert edits.max() > 2
    if edit == "insert":
        assert change.min() == 0
    if edit == "delete":
        assert change.max() == 0
    if edit == "shift":
        assert (change.sum(0) == 0).all()
        # A spike goes one step: between its places, the running sum is off by one, once.
        assert np.abs(np.cumsum(change, 0)).sum((0, 2, 3, 4)).max() <= 7
    with torch.no_grad():
        answers = spiking(torch.from_numpy(made.images)).argmax(1).numpy()
    np.testing.assert_array_equal(made.robust, answers == digits[1])


def test_chosen_flips_hurt_far_more_than_random_ones(
    spiking: SpikingNetwork, spikes: np.ndarray, digits: Digits
) -> None:
    chosen, random = (kind(budget=10)(spiking, spikes, digits[1]).robust.mean() for kind in (SpikeFlip, SpikeNoise))
    more = SpikeFlip(budget=20)(spiking, spikes, digits[1]).robust.mean()
    assert chosen < random - 0.2
    assert more < chosen


def test_the_same_seed_makes_the_same_noise(spiking: SpikingNetwork, spikes: np.ndarray, digits: Digits) -> None:
    one, two, three = (SpikeNoise(budget=3, seed=seed)(spiking, spikes, digits[1]).images for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, two)
    assert (one != three).any()


@pytest.mark.parametrize("edit", EDITS)
def test_what_breaks_the_rules_is_put_back(
    edit: str, spiking: SpikingNetwork, spikes: np.ndarray, digits: Digits
) -> None:
    class Cheat(SpikeNoise):
        def run(self, model: object, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
            raw = images.copy()
            raw[0] = 0.5
            raw[1] = 1 - raw[1]
            if edit in ("insert", "delete", "shift"):
                flat = raw[2].reshape(-1)
                flat[np.flatnonzero(flat == (1 if edit == "insert" else 0))[0]] = 0 if edit == "insert" else 1
            return raw

    right = predict(Encoded(spiking), np.swapaxes(spikes, 0, 1)) == digits[1]
    chosen = np.flatnonzero(right)[:3]
    made = Cheat(budget=5, edit=edit)(spiking, spikes[:, chosen], digits[1][chosen])
    np.testing.assert_array_equal(made.images, spikes[:, chosen])


def test_names_and_threat_models() -> None:
    attack = SpikeFlip(budget=20, edit="shift")
    assert attack.label == "spike-gradient-shift@20-spikes"
    assert attack.threat_model == "encoded space, binary, shift, white box"
    assert attack.settings["unit"] == "spikes"
    again = eval(repr(attack), {"SpikeFlip": SpikeFlip})
    assert vars(again) == vars(attack)


def test_graded_input_and_impossible_settings_are_refused(
    spiking: SpikingNetwork, spikes: np.ndarray, digits: Digits
) -> None:
    with pytest.raises(InputError, match="other than 0 and 1"):
        SpikeFlip(budget=2)(spiking, spikes / 2, digits[1])
    makers: list[Callable[[], object]] = [
        lambda: SpikeFlip(budget=0),
        lambda: SpikeFlip(budget=1, edit="swap"),
        lambda: SpikeFlip(budget=1, steps=0),
        lambda: SpikeFlip(budget=1, loss="hinge"),
    ]
    for make in makers:
        with pytest.raises(InputError, match="expected"):
            make()
