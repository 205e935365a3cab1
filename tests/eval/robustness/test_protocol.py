"""What the protocols run on which form, and how outcomes become a worst case."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from spikeproof.eval.records.base import share
from spikeproof.eval.records.robustness import FormResult, letters
from spikeproof.eval.robustness.form import Attackers, Side, assess
from spikeproof.eval.robustness.protocol import measure, one_thread
from spikeproof.eval.robustness.runner import Runner
from spikeproof.eval.robustness.summary import summary
from spikeproof.eval.robustness.threat import levels
from spikeproof.toolkit.attacks.base import WHITE, Attack, predict
from spikeproof.toolkit.attacks.blind import HopSkipJump, Noise
from spikeproof.toolkit.attacks.protocol import BUILT_IN, built_in
from spikeproof.toolkit.attacks.victim import fitted
from spikeproof.toolkit.errors import DisagreementError, InputError
from spikeproof.toolkit.network.backward import Backward
from spikeproof.toolkit.network.network import SpikingNetwork
from spikeproof.toolkit.network.surrogates import AdaptiveSharpness

COMMON: dict[str, Any] = {"epsilon": 0.1, "batch": 10, "seed": 0}


class Linear(nn.Module):
    """Two classes by the sign of w (x - 1/2), in float64: what breaks a sample is known in closed form."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.linspace(-1, 1, 16, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        score = (x.flatten(1).double() - 0.5) @ self.get_buffer("weight")
        return torch.stack([score, -score], 1).float()


@pytest.fixture
def cases() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.uniform(0.2, 0.8, (60, 1, 4, 4)).astype(np.float32)
    y = np.argmax(Linear()(torch.from_numpy(x)).numpy(), 1)
    y[:6] = 1 - y[:6]  # wrong from the start
    return x, y


@pytest.mark.parametrize(("epsilon", "expected"), [(0.1, 25), (8 / 255, 8), (1 / 255, 1), (1.0, 255), (0.0999, 25)])
def test_the_radius_is_whole_levels_of_the_chip(epsilon: float, expected: int) -> None:
    assert levels(epsilon) == expected


@pytest.mark.parametrize("epsilon", [0.0, -0.1, 0.0039, 1.1, float("nan"), float("inf")])
def test_other_radii_are_refused(epsilon: float) -> None:
    with pytest.raises(InputError, match="epsilon"):
        levels(epsilon)


@pytest.mark.parametrize("name", BUILT_IN)
def test_no_attack_is_run_twice_alike(name: str, random_network: Callable[..., SpikingNetwork]) -> None:
    for module in (random_network(), random_network(pool="avg"), nn.Sequential(nn.Flatten(), nn.Linear(64, 10))):
        attacks = built_in(name).on(module)
        assert any(attack.access == WHITE for attack in attacks)
        assert len({repr(attack) for attack in attacks}) == len(attacks)


def test_choices_that_a_network_has_no_use_for_are_dropped(random_network: Callable[..., SpikingNetwork]) -> None:
    way = Backward(surrogate=AdaptiveSharpness("arctan"), pool="ties")
    assert fitted(way, random_network(pool="max")) == way
    assert fitted(way, random_network(pool="avg")) == Backward(surrogate=AdaptiveSharpness("arctan"))
    assert fitted(way, nn.Linear(2, 2)) is None
    assert fitted(None, nn.Linear(2, 2)) is None


def test_a_linear_classifier_is_as_robust_as_its_margins_say(cases: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = cases
    weight = np.linspace(-1, 1, 16)
    margin = (x.reshape(60, -1).astype(np.float64) - 0.5) @ weight * np.where(y == 0, 1, -1)
    # Pixels lie at least 0.2 from the edges, so the ball alone limits: it moves the score by epsilon |w|_1.
    expected = margin > 0.1 * np.abs(weight).sum()
    for protocol in ("quick", "standard"):
        result = measure(Linear(), x, y, protocol=protocol, epsilon=0.1)["network"]
        assert [letter == "o" for letter in result.outcomes] == expected.tolist()
        assert result.outcomes[:6] == "." * 6
        assert result.worst.correct == int(expected.sum())
        assert (result.clean.correct, result.clean.samples) == (54, 60)


def test_a_cascade_tries_what_is_left_and_noise_tries_all(cases: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = cases
    whole, cascade = (
        assess(Side("linear", "torch", Linear()), x, y, Attackers(attacks(), together, 0.1), Runner()).result
        for together in (False, True)
    )
    assert cascade.outcomes == whole.outcomes
    left = 54
    for one in cascade.attacks:
        assert one.tried == (54 if one.access == "no access" else left)
        left = one.after.correct
    assert cascade.attacks[1].tried < 54
    assert all(one.tried == 54 for one in whole.attacks)


def attacks() -> list[Attack]:
    white = [attack for attack in built_in("standard").on(Linear()) if attack.access == WHITE]
    return white + built_in("quick").on(None)


def test_a_module_that_is_not_what_is_deployed_is_found_out(cases: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = cases

    def other(images: np.ndarray) -> np.ndarray:
        # Right on clean images, and blind to any change.
        clean = (images[:, None] == x[None]).all((2, 3, 4)).any(1)
        found = predict(Linear(), images)
        return np.eye(2)[np.where(clean, found, 0)]

    side = Side("deployed", "simulator", Linear(), other)
    with pytest.raises(DisagreementError, match="another verdict from simulator"):
        assess(side, x, y, Attackers(attacks()[:1], False, 0.1), Runner())


def test_a_function_alone_is_attacked_without_gradients(cases: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = cases
    blind = built_in("standard").on(None)
    side = Side("box", "function", None, lambda images: Linear()(torch.from_numpy(images)).numpy())
    result = assess(side, x, y, Attackers(blind, False, 0.1), Runner()).result
    assert result.probes is None
    assert {one.access for one in result.attacks} == {"black box, logits", "no access"}
    with pytest.raises(InputError, match="needs gradients"):
        assess(side, x, y, Attackers(attacks(), False, 0.1), Runner())


def test_a_decision_based_attack_gets_a_few_of_those_that_are_left(cases: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = cases
    jump = HopSkipJump(epsilon=0.1, steps=1, queries=20, batch=10)
    side = Side("box", "function", None, lambda images: predict(Linear(), images))
    first, last = assess(
        side, x, y, Attackers([Noise(kind="sign", **COMMON), jump], True, 0.1), Runner()
    ).result.attacks
    left = np.flatnonzero(np.array(list(first.outcomes)) == "o")
    tried = np.flatnonzero(np.isin(list(last.outcomes), ["x", "o"]))
    assert tried.tolist() == left[: HopSkipJump.most].tolist()
    assert last.accuracy is None


def test_worst_case_examples_break_what_is_broken(cases: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = cases
    found = assess(Side("linear", "torch", Linear()), x, y, Attackers(attacks(), False, 0.1), Runner())
    survives = predict(Linear(), found.worst) == y
    assert survives.tolist() == [letter == "o" for letter in found.result.outcomes]
    assert float(np.abs(found.worst - x).max()) <= 0.1 + 1e-6


def test_kept_attacks_belong_to_attack_victim_and_data(cases: tuple[np.ndarray, np.ndarray], tmp_path: Any) -> None:
    x, y = cases
    runner, files = Runner(tmp_path), set()
    other = Linear()
    other.get_buffer("weight")[0] = 0.5
    for seed, victim, inputs, salt in (
        (0, Linear(), x, ""),
        (1, Linear(), x, ""),
        (0, other, x, ""),
        (0, Linear(), x[::-1].copy(), ""),
        (0, Linear(), x, "another Program"),
    ):
        runner(Noise(epsilon=0.1, seed=seed), victim, inputs, y, salt=salt)
        now = {path.name for path in tmp_path.glob("*.done.safetensors")}
        assert len(now) == len(files) + 1
        files = now
    again = runner(Noise(epsilon=0.1, seed=0), Linear(), x, y)
    fresh = Runner()(Noise(epsilon=0.1, seed=0), Linear(), x, y)
    assert np.array_equal(again.images, fresh.images)
    assert np.array_equal(again.robust, fresh.robust)
    assert {path.name for path in tmp_path.iterdir()} == files


def test_threads_are_what_they_were() -> None:
    before = torch.get_num_threads()
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


def result(name: str, outcomes: str, reliable: bool = True) -> FormResult:
    survived = np.array(list(outcomes)) == "o"
    whole = np.ones(len(outcomes), dtype=bool)
    return FormResult(
        form=name,
        target="",
        clean=share(whole),
        attacks=[],
        worst=share(survived),
        worst_on_grid=share(survived),
        worst_by={},
        outcomes=letters(whole, whole, survived),
        probes=None,
        reliable=reliable,
        seconds=0,
    )


def test_the_sentence_says_what_deployment_did() -> None:
    before, after = result("float", "o" * 60 + "x" * 40), result("program", "o" * 40 + "x" * 60)
    assert "float 60.0 %, Program 40.0 %" in summary([before, after])
    assert "lowered it by 20.0 points: 20 samples robust in float" in summary([before, after])
    other_way = [result("float", after.outcomes), result("program", before.outcomes)]
    assert "raised it by 20.0 points: 0 samples" in summary(other_way)
    same = summary([before, result("program", "x" + "o" * 59 + "x" * 40, reliable=False)])
    assert "did not clearly change it (-1.0 points)" in same
    assert "alarms make program unreliable" in same
    assert "not known" in summary([after])
