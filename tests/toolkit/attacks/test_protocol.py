"""Protocols are objects: the built-in ones are what records say, and one of your own is checked."""

import json
from collections.abc import Callable

import numpy as np
import pytest
from torch import nn

from spikeproof.toolkit.attacks.base import TRANSFER, WHITE
from spikeproof.toolkit.attacks.blind import HopSkipJump, Noise, Square
from spikeproof.toolkit.attacks.gradient import FGSM, PGD
from spikeproof.toolkit.attacks.protocol import BUILT_IN, QUERIES, Protocol, built_in, check_name, make_protocol
from spikeproof.toolkit.attacks.spikes import SpikeFlip, SpikeNoise
from spikeproof.toolkit.attacks.strong import APGD
from spikeproof.toolkit.attacks.suite import Transfer
from spikeproof.toolkit.errors import InputError
from spikeproof.toolkit.network.network import SpikingNetwork

Digits = tuple[np.ndarray, np.ndarray]
Make = Callable[..., SpikingNetwork]
ARCTAN = "+assg-arctan-0.85"
STRONG = [
    f"sa-pgd-50{ARCTAN} 3",
    "sa-pgd-50+assg-arctan-0.95 4",
    f"sa-pgd-50{ARCTAN}+ties-pool-x2 5",
    f"sa-pgd-50{ARCTAN}+neuron-pool 9",
    "apgd-ce-50 0",
    "apgd-dlr-50 1",
    f"apgd-ce-50{ARCTAN}+ties-pool 2",
    f"apgd-soft-50{ARCTAN}+ties-pool 10",
    f"apgd-soft-4rivals-25{ARCTAN}+ties-pool 11",
]
MOVED = ["transfer-float-pgd-50 0", "transfer-float-apgd-ce-50 0"]
PIXEL = {
    "quick": ["pgd-10 0", "transfer-float-pgd-10 0", "noise-uniform-x3 1"],
    "standard": ["fgsm 0", "pgd-50 1", "apgd-ce-50 2", *MOVED, "square-500 3", "noise-uniform-x3 4"],
    "strong": [
        *STRONG,
        *MOVED,
        f"transfer-float-sa-pgd-50{ARCTAN} 0",
        *("square-1000 6", "noise-sign-x3 7", "noise-uniform-x3 8", "hopskipjump-5 0"),
    ],
}
"""Label and seed of every attack on the Program; what was there before has the seeds that older records tell."""
EDITED = {
    "quick": ["spike-gradient-flip", "spike-noise-flip"],
    "standard": [
        *(f"spike-gradient-{edit}" for edit in ("flip", "insert", "delete", "shift")),
        *("spike-search-200-flip", "spike-noise-flip"),
    ],
    "strong": [
        *("spike-gradient-flip", f"spike-gradient-20-flip{ARCTAN}", f"spike-gradient-20-flip{ARCTAN}+ties-pool"),
        "spike-gradient-20-margin-flip",
        *(f"spike-gradient-{edit}{ARCTAN}+ties-pool" for edit in ("insert", "delete", "shift")),
        *("spike-search-1000-flip", "spike-search-1000-insert", "spike-noise-flip"),
    ],
}


@pytest.mark.parametrize("name", BUILT_IN)
def test_labels_order_and_seeds_are_those_of_older_records(name: str, random_network: Make) -> None:
    network = random_network(pool="max")
    pixel = built_in(name).on(network, deployed=True, source=network)
    assert [f"{attack.label.split('@')[0]} {attack.seed}" for attack in pixel] == PIXEL[name]
    float_form = [entry for entry in PIXEL[name] if not entry.startswith(("transfer", "hopskipjump"))]
    assert [f"{attack.label.split('@')[0]} {attack.seed}" for attack in built_in(name).on(network)] == float_form
    spikes = built_in(name, "encoded-binary", 20).on(network, deployed=True, source=network)
    assert [attack.label.removesuffix("@20-spikes") for attack in spikes] == EDITED[name]
    assert [attack.seed for attack in spikes] == list(range(len(spikes)))
    coded = {attack.label.split("@")[0]: attack for attack in built_in(name, "encoded").on(network)}
    first = [coded["fgsm"], coded["pgd-7x0.01"], coded["pgd-7x0.01+batch-statistics"]]
    assert [attack.seed for attack in first] == ([2, 0, 1] if name == "standard" else [0, 1, 2])
    assert built_in(name).cascade == (name == "strong")
    search = built_in(name).search
    assert (search and search.label) == {"quick": None}.get(name, f"corner-search-{QUERIES.get(name)}@0.1")


@pytest.mark.parametrize("name", BUILT_IN)
def test_protocols_have_a_control_distinct_labels_and_settings_that_can_be_recorded(name: str) -> None:
    attacks = built_in(name, radius=0.07).later(5).attacks
    assert len({attack.label for attack in attacks}) == len(attacks)
    assert sorted(attack.seed for attack in attacks) == list(range(5, 5 + len(attacks)))
    assert {attack.radius for attack in attacks} == {0.07}
    assert any(isinstance(attack, Noise) for attack in attacks)
    assert all(attack.threat_model.startswith("pixel space, L-infinity, ") for attack in attacks)
    assert json.loads(json.dumps([attack.settings for attack in attacks]))[0]["epsilon"] == 0.07
    with pytest.raises(InputError, match="expected one of quick, standard, strong"):
        built_in(name + "er")
    assert check_name(name) == name


def test_the_strong_protocol_is_stronger_than_the_standard_one(spiking: SpikingNetwork, digits: Digits) -> None:
    left = {}
    for name in BUILT_IN:
        robust = np.ones(len(digits[1]), bool)
        for attack in built_in(name, radius=0.06).attacks:
            if not isinstance(attack, Square):
                robust &= attack(spiking, *digits).robust
        left[name] = robust.mean()
    assert left["strong"] < left["standard"] < left["quick"]


OWN = Protocol(
    name="mine",
    attacks=[Noise(epsilon=0.1, seed=3), PGD(epsilon=0.1, steps=4), FGSM(epsilon=0.1)],
    transfers=[PGD(epsilon=0.1, steps=7)],
    deployed=[HopSkipJump(epsilon=0.1, steps=1, queries=5)],
    cascade=True,
)


def test_a_form_gets_white_box_then_transfers_then_the_rest() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    white, noise = ["pgd-4@0.1", "fgsm@0.1"], ["noise-uniform@0.1"]
    assert [attack.label for attack in OWN.on(module)] == white + noise
    deployed = OWN.on(module, deployed=True, source=module)
    assert [attack.label for attack in deployed] == [
        *white,
        "transfer-float-pgd-7@0.1",
        *noise,
        "hopskipjump-1@0.1",
    ]
    assert [attack.access for attack in OWN.on(None, deployed=True)] == ["no access", "black box, classes"]
    averaged = {attack.label: attack for attack in OWN.on(module, deployed=True, source=module, draws=5)}
    assert averaged["pgd-4@0.1"].settings["draws"] == 5
    assert averaged["transfer-float-pgd-7@0.1"].settings["attack"]["draws"] == 5
    own_source = Transfer(attack=PGD(epsilon=0.1, steps=2), source=module, source_name="rival")
    rival = Protocol(name="rival", attacks=[Noise(epsilon=0.1), own_source, FGSM(epsilon=0.1)])
    assert [attack.access for attack in rival.on(module)] == [WHITE, TRANSFER, "no access"]


def test_radius_and_seeds_are_changed_for_all_attacks_and_nothing_else_is() -> None:
    other = OWN.within(0.2).later(10)
    assert {attack.radius for attack in other.every} == {0.2}
    assert [attack.seed for attack in other.every] == [13, 10, 10, 10, 10]
    assert other.within(0.1).later(-10) == OWN
    assert make_protocol(OWN, "pixel", 0.1) == OWN
    assert make_protocol("quick", "pixel", 0.2) == built_in("quick", "pixel", 0.2)
    assert make_protocol(built_in("strong").later(3), "pixel", 0.1).later(-3) == built_in("strong")


def test_wrong_protocols_are_refused_with_the_reason() -> None:
    module = nn.Identity()
    noise = Noise(epsilon=0.1)
    for attacks, why in (
        ([], "no attacks"),
        ([noise, Noise(epsilon=0.2)], "pixel 0.1 and pixel 0.2"),
        ([noise, Noise(epsilon=0.1, space="encoded")], "encoded 0.1 and pixel 0.1"),
        ([SpikeFlip(budget=3), SpikeNoise(budget=4)], "encoded-binary 3 and encoded-binary 4"),
        ([PGD(epsilon=0.5, norm="l2", steps=2)], "not L-infinity"),
        ([Transfer(attack=PGD(epsilon=0.5, norm="l2", steps=2), source=module, source_name="x")], "not L-infinity"),
    ):
        with pytest.raises(InputError, match=why):
            Protocol(name="mine", attacks=attacks)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="stops at the source's first error"):
        Protocol(name="mine", attacks=[noise], transfers=[APGD(epsilon=0.1, steps=3)])
    with pytest.raises(InputError, match="name of a built-in one"):
        make_protocol(Protocol(name="standard", attacks=[noise]), "pixel", 0.1)
    with pytest.raises(InputError, match="threat model 'pixel', not 'encoded'"):
        make_protocol(OWN, "encoded", 0.1)
