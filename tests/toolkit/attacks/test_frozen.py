"""Laws of every attack: settings in the constructor and nothing else, told by ``repr``, equality and the class."""

import copy
from dataclasses import FrozenInstanceError, dataclass, fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from spikeproof.toolkit.attacks import ATTACKS
from spikeproof.toolkit.attacks.ball import BallAttack
from spikeproof.toolkit.attacks.base import SEARCH, WHITE, Attack
from spikeproof.toolkit.attacks.blind import Noise
from spikeproof.toolkit.attacks.gradient import PGD
from spikeproof.toolkit.attacks.spikes import SpikeFlip
from spikeproof.toolkit.attacks.strong import APGD
from spikeproof.toolkit.attacks.suite import Composition, Transfer, auto_attack
from spikeproof.toolkit.attacks.victim import Encoded
from spikeproof.toolkit.errors import InputError
from spikeproof.toolkit.network.backward import Backward
from spikeproof.toolkit.network.network import SpikingNetwork
from spikeproof.toolkit.network.surrogates import AdaptiveSharpness, Surrogate

NEEDED: dict[str, Any] = {"epsilon": 0.05, "budget": 4, "steps": 3, "queries": 5}
WAY = Backward(surrogate=AdaptiveSharpness("arctan"), pool="ties")
KNOWN = {kind.__name__: kind for kind in (Backward, AdaptiveSharpness, Surrogate, Composition, Transfer)}


def made(name: str, **others: Any) -> Attack:
    """Return an attack with what its constructor needs."""
    kind = ATTACKS.get(name)
    needed = {one.name: NEEDED[one.name] for one in fields(kind) if one.name in NEEDED}
    return kind(**{**needed, **({"steps": 1} if name == "r-fgsm" else {}), **others})


ALL = ATTACKS.names()


@pytest.mark.parametrize("name", ALL)
def test_settings_do_not_change_after_construction(name: str) -> None:
    attack = made(name)
    for one in fields(attack):
        with pytest.raises(FrozenInstanceError):
            setattr(attack, one.name, getattr(attack, one.name))
        with pytest.raises(FrozenInstanceError):
            delattr(attack, one.name)
    with pytest.raises(FrozenInstanceError):
        attack.note = 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ALL)
def test_repr_makes_the_same_attack_again_and_equal_settings_are_equal(name: str) -> None:
    kind = ATTACKS.get(name)
    for attack in (made(name), made(name, seed=7, batch=3, backward=WAY)):
        again = eval(repr(attack), {**KNOWN, kind.__name__: kind})
        assert again == attack == copy.deepcopy(attack)
        assert hash(again) == hash(attack)
        assert attack != attack.with_seed(attack.seed + 1)
        assert attack.settings["name"] == attack.name == name
    assert made(name) != made(name, batch=17)


@pytest.mark.parametrize("name", ALL)
def test_arguments_are_named_and_unknown_ones_refused(name: str) -> None:
    kind = ATTACKS.get(name)
    with pytest.raises(TypeError):
        kind(0.1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="stepz"):
        made(name, stepz=3)


@pytest.mark.parametrize("name", ALL)
def test_the_class_says_what_the_attack_needs(name: str) -> None:
    """A function without gradients is enough exactly where the class does not say "white box"."""
    attack = made(name)
    rng = np.random.default_rng(0)
    images = rng.random((2, 1, 4, 4), np.float32)
    if attack.space == "encoded":
        images = (rng.random((3, 2, 1, 4, 4)) < 0.5).astype(np.float32)
    weight = rng.normal(size=(images.size // 2, 3))

    def victim(inputs: np.ndarray) -> np.ndarray:
        samples = np.moveaxis(inputs, 0, 1) if attack.space == "encoded" else inputs
        logits = samples.reshape(2, -1) @ weight if len(samples) == 2 else samples.reshape(len(samples), -1) @ weight
        return logits if attack.access != "black box, classes" else logits.argmax(1)

    labels = np.zeros(2, np.int64)
    if attack.access in (WHITE, SEARCH):
        with pytest.raises(InputError, match=r"needs gradients|needs a module"):
            attack(victim, images, labels)
    else:
        assert attack(victim, images, labels).images.shape == images.shape
    assert attack.averages == ("draws" in {one.name for one in fields(attack)})
    assert attack.effort > 0


def test_calls_leave_no_trace_on_the_attack(spiking: SpikingNetwork, digits: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = digits[0][:12], digits[1][:12]
    attack = APGD(epsilon=0.1, steps=4, batch=5, backward=WAY, restarts=2)
    before = repr(attack), dict(vars(attack))
    first = attack(spiking, images, labels)
    assert (repr(attack), dict(vars(attack))) == before
    np.testing.assert_array_equal(attack(spiking, images, labels).images, first.images)


def test_what_is_made_of_attacks_takes_ball_batch_and_seed_from_them() -> None:
    inner = PGD(epsilon=0.1, steps=2, batch=9, seed=4)
    moved = Transfer(attack=inner, source=nn.Identity(), source_name="mlp")
    worst = Composition(attacks=[inner, Noise(epsilon=0.1)])
    for one in (moved, worst):
        assert (one.batch, one.seed, one.radius, one.space) == (9, 4, 0.1, "pixel")
        other = one.with_seed(5).within(0.2).averaging(3)
        assert (other.seed, other.radius) == (5, 0.2)
        assert one.seed == 4
    assert moved.within(0.2).attack == replace(inner, epsilon=0.2)
    assert worst.averaging(3).attacks == (replace(inner, draws=3), Noise(epsilon=0.1))
    found = auto_attack(epsilon=0.1, steps=2, queries=3)
    kinds = {kind.__name__: kind for kind in map(type, found.attacks)}
    assert eval(repr(found), {**KNOWN, **kinds}) == found
    assert moved == Transfer(attack=inner, source=moved.source, source_name="mlp")
    assert moved != Transfer(attack=inner, source=nn.Identity(), source_name="mlp")


def test_edits_of_spikes_transfer_too() -> None:
    spikes = (np.random.default_rng(0).random((3, 6, 1, 2, 2)) < 0.5).astype(np.float32)
    source = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    nn.init.constant_(source[1].bias, 0.0)
    source[1].weight.data = torch.linspace(-1, 1, 24).reshape(2, 12)
    shown = Encoded(lambda inputs: source(inputs.transpose(0, 1)))  # type: ignore[arg-type]
    attack = Transfer(attack=SpikeFlip(budget=3), source=shown.eval(), source_name="other")
    assert attack.label == "transfer-other-spike-gradient-flip@3-spikes"
    found = attack(lambda inputs: np.tile([0.0, 1.0], (inputs.shape[1], 1)), spikes, np.ones(6, np.int64))
    assert set(np.unique(found.images)) <= {0.0, 1.0}
    assert 0 < found.distance <= 3


def test_one_step_from_the_clean_image_is_not_run_twice() -> None:
    with pytest.raises(InputError, match="restarts: FGSM is one step"):
        made("fgsm", restarts=2)


def test_an_attack_of_ones_own_is_a_frozen_dataclass() -> None:
    with pytest.raises(TypeError, match="non-frozen"):

        @dataclass
        class Loose(BallAttack):  # type: ignore[misc]
            def run(self, model: Any, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
                return images
