"""Attacks on coded input: the released PGD's step, averaged draws, and random search for spikes."""

import numpy as np
import pytest
import torch
from torch import nn

from spikeproof.toolkit.attacks.gradient import FGSM, PGD
from spikeproof.toolkit.attacks.protocol import built_in
from spikeproof.toolkit.attacks.spikes import SpikeSearch
from spikeproof.toolkit.attacks.victim import Encoded, encoded, predict
from spikeproof.toolkit.errors import InputError


class Weighted(nn.Module):
    """Two classes: class 1 by a weighted sum of all coded entries, (time, batch, ...)."""

    def __init__(self, weight, bias):
        super().__init__()
        self.weight = nn.Parameter(torch.from_numpy(weight))
        self.bias = bias

    def forward(self, inputs):
        total = (inputs.transpose(0, 1).flatten(1) * self.weight).sum(1) - self.bias
        return torch.stack([torch.zeros_like(total), total], 1)


@pytest.mark.parametrize(("steps", "step"), [(7, 0.01), (2, 0.01), (1, 0.005)])
def test_pgd_walks_as_far_as_its_steps_say_within_the_ball(steps, step):
    """On a linear loss it ends at max(x0 - steps step, -epsilon), x0 uniform in the ball."""
    epsilon = 6 / 255
    clean = np.full((3, 20, 1, 2, 2), 0.5, np.float32)
    attack = PGD(epsilon=epsilon, steps=steps, step=step, space="encoded")
    made = attack(Weighted(np.ones(12, np.float32), 0.0), clean, np.ones(20, np.int64))
    assert attack.label == f"pgd-{steps}x{step:g}@{epsilon:g}"
    farthest = max(epsilon - steps * step, -epsilon)
    change = made.images - clean
    assert change.shape == clean.shape
    # Of 240 uniform starts one lies within 2 % of the far side.
    assert farthest - 0.02 * 2 * epsilon <= change.max() <= farthest + 1e-6
    assert -epsilon - 1e-6 <= change.min() <= -epsilon + 1e-6 + 0.02 * 2 * epsilon


def test_the_attacks_of_the_released_code_open_every_protocol_in_encoded_space():
    for name in ("quick", "standard", "strong"):
        attacks = built_in(name, "encoded", 6 / 255).attacks
        labels = [attack.label for attack in attacks]
        assert {f"fgsm@{6 / 255:g}", f"pgd-7x0.01@{6 / 255:g}", f"pgd-7x0.01+batch-statistics@{6 / 255:g}"} <= set(
            labels
        )
        assert len(set(labels)) == len(labels)
        assert {attack.space for attack in attacks} == {"encoded"}
        assert all(attack.threat_model.startswith("encoded space, continuous, L-infinity") for attack in attacks)
        spikes = [attack.label for attack in built_in(name, "encoded-binary", 5).attacks]
        assert len(set(spikes)) == len(spikes)
    with pytest.raises(InputError, match="protocol"):
        built_in("weak", "encoded-binary", 5)


class Shaking(nn.Module):
    """A classifier whose sign is drawn: right in the mean, and wrong in one of five draws."""

    def forward(self, x):
        sign = 1.0 if float(torch.rand(())) < 0.8 else -1.0
        total = sign * (x - 0.5).flatten(1).sum(1)
        return torch.stack([-total, total], 1)


@pytest.mark.parametrize(
    "make",
    [
        lambda draws: FGSM(epsilon=0.1, draws=draws, batch=1),
        lambda draws: PGD(epsilon=0.1, steps=3, draws=draws, batch=1),
    ],
)
def test_averaging_draws_finds_the_direction_that_a_single_draw_misses(make):
    images, labels = np.full((40, 1, 2, 2), 0.6, np.float32), np.ones(40, np.int64)

    def towards(draws):
        made = make(draws)(Shaking(), images, labels).images
        return (np.abs(made - 0.5) < 1e-6).all(axis=(1, 2, 3)).mean()  # As far down as the ball goes.

    assert towards(1) < 0.95
    assert towards(101) == 1
    assert make(7).settings["draws"] == 7
    with pytest.raises(InputError, match="draws"):
        make(0)


@pytest.mark.parametrize("edit", ["flip", "insert", "delete"])
@pytest.mark.parametrize("module", [True, False])
def test_random_search_finds_what_exists_and_stays_in_its_budget(edit, module):
    """Only the first four entries of 60 matter: all must be off (delete), or on (insert), for an error."""
    weight = np.zeros(60, np.float32)
    weight[:4] = 1.0 if edit == "delete" else -1.0
    rng = np.random.default_rng(0)
    spikes = (rng.random((5, 8, 3, 2, 2)) < 0.5).astype(np.float32)
    spikes[0, :, 0] = float(edit == "delete")  # Entries 0 to 3 of every sample, time first.
    model = Weighted(weight, 0.5 if edit == "delete" else -3.5)
    labels = np.ones(8, np.int64)
    victim = model if module else lambda x: model(torch.from_numpy(np.ascontiguousarray(x))).detach().numpy()
    assert (predict(encoded(victim), spikes.swapaxes(0, 1)) == labels).all()
    found = SpikeSearch(budget=10, edit=edit, queries=600)(victim, spikes, labels)
    changed = found.images != spikes
    assert changed.sum(axis=(0, 2, 3, 4)).max() <= 10
    assert set(np.unique(found.images)) <= {0.0, 1.0}
    if edit == "insert":
        assert not (changed & (spikes == 1)).any()
    if edit == "delete":
        assert not (changed & (spikes == 0)).any()
    # By chance ten of 60 places hold the needed four with probability 4e-4.
    assert found.robust.mean() < 0.5
    few = SpikeSearch(budget=3, edit=edit, queries=100)(victim, spikes, labels)
    if edit != "flip":
        assert few.robust.all()  # Three edits cannot change four entries.


def test_random_search_refuses_shifts_and_wraps_a_victim_once():
    with pytest.raises(InputError, match="flip, insert or delete"):
        SpikeSearch(budget=3, edit="shift", queries=5)
    with pytest.raises(InputError, match="queries"):
        SpikeSearch(budget=3, queries=0)
    once = encoded(nn.Identity())
    assert isinstance(once, Encoded)
    assert encoded(once) is once
    function = encoded(lambda x: x)
    assert encoded(function) is function
