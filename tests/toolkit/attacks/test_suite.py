import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

from spikeproof.toolkit.attacks.base import Attack, predict
from spikeproof.toolkit.attacks.blind import HopSkipJump, Noise, Square
from spikeproof.toolkit.attacks.gradient import FGSM, PGD
from spikeproof.toolkit.attacks.spikes import SpikeNoise
from spikeproof.toolkit.attacks.strong import APGD, SAPGD
from spikeproof.toolkit.attacks.suite import Composition, auto_attack
from spikeproof.toolkit.errors import FileError, InputError
from spikeproof.toolkit.network.backward import Backward
from spikeproof.toolkit.network.network import SpikingNetwork
from spikeproof.toolkit.network.surrogates import AdaptiveSharpness

Digits = tuple[np.ndarray, np.ndarray]
ASSG = Backward(surrogate=AdaptiveSharpness())


def test_a_composition_is_the_worst_case_of_its_parts(spiking: SpikingNetwork, digits: Digits) -> None:
    parts: list[Attack] = [Noise(epsilon=0.08), FGSM(epsilon=0.08), APGD(epsilon=0.08, steps=8)]
    whole = Composition(attacks=parts)(spiking, *digits)
    alone = [part(spiking, *digits).robust for part in parts[:2]]
    assert not (whole.robust & ~alone[1]).any()
    assert whole.robust.sum() <= np.logical_and(*alone).sum()
    np.testing.assert_array_equal(whole.robust, predict(spiking, whole.images) == digits[1])


def test_auto_attack_is_at_least_as_strong_as_its_first_part(plain: nn.Module, digits: Digits) -> None:
    whole = auto_attack(epsilon=0.05, steps=10, queries=50)
    first = APGD(epsilon=0.05, steps=10)(plain, *digits).robust.mean()
    assert whole(plain, *digits).robust.mean() <= first
    assert whole.label == "auto-attack@0.05"
    assert [part["name"] for part in whole.settings["attacks"]] == ["apgd", "apgd", "square"]
    assert len(auto_attack(epsilon=0.5, norm="l2").attacks) == 2


def test_a_composition_needs_one_budget() -> None:
    for parts in ([], [Noise(epsilon=0.1), Noise(epsilon=0.2)]):
        with pytest.raises(InputError, match="one budget"):
            Composition(attacks=parts)


class Interrupted(Exception):
    pass


def stops_after(count: int) -> Any:
    def track(items: Iterable[Any], what: str, total: int) -> Iterable[Any]:
        for number, item in enumerate(items):
            if number == count:
                raise Interrupted
            yield item

    return track


RESUMED: list[Attack] = [
    PGD(epsilon=0.1, steps=3, batch=16, seed=1),
    SAPGD(epsilon=0.1, steps=5, batch=16, backward=ASSG, restarts=2),
    Square(epsilon=0.1, queries=20, batch=16),
    Noise(epsilon=0.1, kind="sign", batch=16),
    HopSkipJump(epsilon=0.1, steps=1, queries=10, batch=16),
    Composition(attacks=[APGD(epsilon=0.1, steps=3, batch=16), Noise(epsilon=0.1, batch=16)]),
    APGD(epsilon=0.1, steps=3, batch=16, space="encoded"),
    SpikeNoise(budget=5, batch=16),
]


@pytest.mark.parametrize("attack", RESUMED, ids=lambda attack: attack.label)
def test_an_interrupted_attack_goes_on_and_ends_with_the_same_examples(
    attack: Attack, spiking: SpikingNetwork, digits: Digits, tmp_path: Path
) -> None:
    images, labels = digits[0][:50], digits[1][:50]
    if attack.space == "encoded":
        images = np.stack([images > 0.3 + 0.1 * t for t in range(4)]).astype(np.float32)
    expected = attack(spiking, images, labels)
    path = tmp_path / "attack.safetensors"
    for done in (2, 1):
        with pytest.raises(Interrupted):
            attack(spiking, images, labels, state=path, track=stops_after(done))
        assert path.exists()
    found = attack(spiking, images, labels, state=path)
    np.testing.assert_array_equal(found.images, expected.images)
    np.testing.assert_array_equal(found.robust, expected.robust)
    assert not path.exists()


def test_a_state_of_another_attack_victim_input_or_code_is_refused(
    spiking: SpikingNetwork, plain: nn.Module, digits: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, labels = digits[0][:20], digits[1][:20]
    path = tmp_path / "attack.safetensors"
    attack = Noise(epsilon=0.1, batch=8)
    with pytest.raises(Interrupted):
        attack(spiking, images, labels, state=path, track=stops_after(1))
    for other, victim, shown in (
        (Noise(epsilon=0.11, batch=8), spiking, images),
        (attack, plain, images),
        (attack, spiking, images / 2),
    ):
        with pytest.raises(FileError, match="another attack, victim or input"):
            other(victim, shown, labels, state=path)
    with monkeypatch.context() as patch:
        patch.setattr("spikeproof.toolkit.attacks.state.code_hash", lambda: "another")
        with pytest.raises(FileError, match="begun by other code"):
            attack(spiking, images, labels, state=path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(FileError, match=r"attack\.safetensors"):
        attack(spiking, images, labels, state=path)


@pytest.mark.parametrize(
    "attack", [APGD(epsilon=1.0, norm="l2", steps=6), PGD(epsilon=1.0, norm="l2", steps=6)], ids=repr
)
def test_l2_examples_stay_in_the_ball(spiking: SpikingNetwork, digits: Digits, attack: Attack) -> None:
    made = attack(spiking, *digits)
    size = np.sqrt(((made.images.astype(np.float64) - digits[0]) ** 2).sum((1, 2, 3)))
    assert size.max() == pytest.approx(made.distance)
    assert 0.5 < made.distance <= 1.0 + 1e-6
    assert "L2" in attack.threat_model
    assert attack.label.endswith("@1-l2")


def test_encoded_space_lets_every_time_step_differ(spiking: SpikingNetwork, digits: Digits) -> None:
    images, labels = digits[0][:60], digits[1][:60]
    shown = np.broadcast_to(images, (4, *images.shape))
    made = APGD(epsilon=0.05, steps=10, space="encoded")(spiking, shown, labels)
    pixel = APGD(epsilon=0.05, steps=10)(spiking, images, labels)
    assert made.images.shape == shown.shape
    assert np.abs(made.images - shown).max() == pytest.approx(made.distance) == pytest.approx(0.05, abs=1e-6)
    assert (made.images[0] != made.images[1]).any()
    assert made.robust.sum() <= pixel.robust.sum() + 2
    assert (
        APGD(epsilon=0.05, steps=1, space="encoded").threat_model == "encoded space, continuous, L-infinity, white box"
    )
    for wrong in (shown * 2, shown[0, 0, 0], np.full(shown.shape, np.nan)):
        with pytest.raises(InputError, match="encoded input"):
            APGD(epsilon=0.05, steps=1, space="encoded")(spiking, wrong, labels)


def test_labels_say_what_differs() -> None:
    backward = Backward(surrogate=AdaptiveSharpness("gaussian", 0.9), pool="ties", time="rate", batch_statistics=True)
    attack = SAPGD(epsilon=0.1, steps=50, backward=backward, restarts=2)
    assert attack.label == "sa-pgd-50+assg-gaussian-0.9+ties-pool+rate-time+batch-statistics-x2@0.1"
    assert APGD(epsilon=0.1, steps=5, loss="dlr").label == "apgd-dlr-5@0.1"
    assert json.loads(json.dumps(attack.settings))["backward"]["surrogate"]["vanishing"] == 0.9
