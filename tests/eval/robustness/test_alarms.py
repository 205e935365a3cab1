"""Planted broken defences raise alarms, an honest network raises none; and each rule, on figures made up for it."""

from collections.abc import Callable

import numpy as np
import pytest
import snntorch.surrogate
import torch
from torch import Tensor, nn

from spikeproof.eval.records.base import share, share_of
from spikeproof.eval.records.robustness import FormResult, Outcome, Probes, Saturation, letters
from spikeproof.eval.robustness.alarms import alarms, clearly
from spikeproof.eval.robustness.form import Attackers, Side, assess
from spikeproof.eval.robustness.protocol import measure
from spikeproof.eval.robustness.runner import Runner
from spikeproof.toolkit.attacks.base import Attack
from spikeproof.toolkit.attacks.gradient import PGD
from spikeproof.toolkit.attacks.protocol import Protocol, built_in
from spikeproof.toolkit.attacks.spikes import SpikeFlip, SpikeNoise
from spikeproof.toolkit.attacks.victim import Encoded
from spikeproof.toolkit.config import CodingSettings, DataSettings, ModelSettings, Recipe, TrainSettings
from spikeproof.toolkit.data import Dataset, load_data
from spikeproof.toolkit.models import build_network
from spikeproof.toolkit.network.network import SpikingNetwork
from spikeproof.toolkit.network.neurons import LIF
from spikeproof.toolkit.train import train_network

EPSILON = 0.1
SAMPLES = 120


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_data(DataSettings())


def trained(
    digits: Dataset, *, adversarial: bool, wrap: Callable[[nn.Module], nn.Module] = lambda net: net
) -> nn.Module:
    """Return a small perceptron, trained on digits with or without PGD examples written out here."""
    torch.manual_seed(0)
    network = wrap(nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10)))
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    x, y = torch.from_numpy(digits.train_images), torch.from_numpy(digits.train_labels)
    for _ in range(40 if adversarial else 25):
        for part in torch.randperm(len(x)).split(64):
            seen = x[part]
            for _ in range(7 if adversarial else 0):
                moved = seen.clone().requires_grad_()
                (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(network(moved), y[part]), moved)
                seen = (seen + 0.03 * gradient.sign()).clamp(x[part] - EPSILON, x[part] + EPSILON).clamp(0, 1)
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(seen), y[part]).backward()
            optimizer.step()
    return network.eval()


@pytest.fixture(scope="module")
def plain(digits: Dataset) -> nn.Module:
    return trained(digits, adversarial=False)


@pytest.fixture(scope="module")
def hardened(digits: Dataset) -> nn.Module:
    return trained(digits, adversarial=True)


@pytest.fixture(scope="module")
def spiking(digits: Dataset) -> SpikingNetwork:
    network = build_network(
        Recipe(model=ModelSettings(channels=[8], pool="avg"), coding=CodingSettings(steps=4)),
        digits.shape,
        digits.classes,
        seed=0,
    )
    settings = TrainSettings(epochs=4, rate=1e-2)
    train_network(
        network, digits.train_images, digits.train_labels, settings, epochs=settings.epochs, rate=settings.rate
    )
    return network


class Shattered(nn.Module):
    """Right answers, no gradients: the planted defence that stops every gradient attack."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.inner(x)
        return logits if self.training else logits.detach() + 0 * x.flatten(1).sum(1, keepdim=True)


class Noisy(nn.Module):
    """Random noise on the input, also in evaluation mode."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.inner(x + 0.15 * torch.randn_like(x))
        return logits


class OneBit(nn.Module):
    """Black and white: every pixel becomes 0 or 1."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.inner(torch.round(x))
        return logits


def run(module: nn.Module, digits: Dataset, protocol: str | Protocol = "standard") -> FormResult:
    x, y = digits.test_images[:SAMPLES], digits.test_labels[:SAMPLES]
    return measure(module, x, y, protocol=protocol, epsilon=EPSILON)["network"]


class Coded(Encoded):
    """A classifier of images behind spikes (samples, time, ...): it sees their mean over time."""

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.model(inputs.mean(1))
        return logits


def edited(module: nn.Module, digits: Dataset) -> FormResult:
    """Judge a classifier of rate-coded digits under edits of spikes."""
    x = (digits.test_images[:SAMPLES, None] > np.linspace(0.05, 0.95, 6)[:, None, None, None]).astype(np.float32)
    attacks: list[Attack] = [SpikeFlip(budget=12), SpikeNoise(budget=12)]
    against = Attackers(attacks, cascade=False, epsilon=12, space=None)
    return assess(Side("network", "torch", module), x, digits.test_labels[:SAMPLES], against, Runner(None)).result


def test_edits_of_spikes_are_probed_too(plain: nn.Module, digits: Dataset) -> None:
    honest = edited(Coded(plain), digits)
    assert not honest.alarms
    assert honest.probes is not None
    assert honest.probes.accuracy["unbounded"].correct == 0
    assert honest.worst.value < honest.clean.value - 0.2
    broken = edited(Coded(Shattered(plain)).eval(), digits)
    assert {"unbounded", "zero-gradients", "loss"} <= codes(broken)
    (unbounded,) = [alarm for alarm in broken.alarms if alarm.code == "unbounded"]
    assert "the choice of edits by gradients without a bound" in unbounded.message
    assert "stochastic" in codes(edited(Coded(Noisy(plain)).eval(), digits))


def codes(result: FormResult) -> set[str]:
    return {alarm.code for alarm in result.alarms if alarm.severity == "alarm"}


def test_an_adversarially_trained_perceptron_raises_none(hardened: nn.Module, digits: Dataset) -> None:
    result = run(hardened, digits)
    assert [alarm.message for alarm in result.alarms] == []
    assert result.reliable
    assert 0.3 < result.worst.value < result.clean.value


def test_gradients_zeroed_at_inference_are_caught(plain: nn.Module, digits: Dataset) -> None:
    honest, result = run(plain, digits), run(Shattered(plain), digits)
    assert result.attacks[1].broken < honest.attacks[1].broken  # PGD is fooled,
    assert {"zero-gradients", "unbounded"} <= codes(result)  # the reader is not,
    assert not result.reliable
    assert result.worst.correct <= honest.worst.correct + 2  # nor is the search.
    weak = run(Shattered(plain), digits, without_search("weak"))
    assert weak.worst.correct > result.worst.correct + 2
    assert {"zero-gradients", "unbounded", "black-box", "saturation"} <= codes(weak)


def without_search(name: str, *attacks: Attack) -> Protocol:
    standard = built_in("standard", radius=EPSILON)
    return Protocol(name=name, attacks=attacks or standard.attacks)


@pytest.mark.parametrize("steps", [1, 10])
def test_a_weak_protocol_without_a_search_is_caught(steps: int, spiking: SpikingNetwork, digits: Dataset) -> None:
    weak = run(spiking, digits, without_search("weak", PGD(epsilon=EPSILON, steps=steps)))
    assert "saturation" in codes(weak)
    assert not weak.reliable
    assert weak.saturation is None
    searched = run(spiking, digits)
    assert searched.saturation is not None
    assert searched.worst.correct < weak.worst.correct
    assert searched.saturation.rounds[-1] <= 0.01 * SAMPLES
    assert len(searched.saturation.rounds) >= 3
    assert "saturation" not in codes(searched)


def test_a_surrogate_too_sharp_is_caught(spiking: SpikingNetwork, digits: Dataset) -> None:
    honest = run(spiking, digits, "quick")
    before = {id(layer): layer.neuron.spike_grad for layer in spiking.modules() if isinstance(layer, LIF)}
    try:
        for layer in spiking.modules():
            if isinstance(layer, LIF):
                layer.neuron.spike_grad = snntorch.surrogate.atan(alpha=1e4)
        result = run(spiking, digits, "quick")
    finally:
        for layer in spiking.modules():
            if isinstance(layer, LIF):
                layer.neuron.spike_grad = before[id(layer)]
    assert result.attacks[0].broken < honest.attacks[0].broken
    assert "surrogates" in codes(result)
    assert not result.reliable


def test_a_stochastic_layer_is_caught(plain: nn.Module, digits: Dataset) -> None:
    result = run(Noisy(plain), digits)
    assert "stochastic" in codes(result)
    assert not result.reliable


def test_one_bit_rounding_of_the_input_is_caught(digits: Dataset) -> None:
    network = trained(digits, adversarial=False, wrap=OneBit)
    result = run(network, digits)
    assert "zero-gradients" in codes(result)
    assert not result.reliable
    assert "black-box" in codes(run(network, digits, without_search("weak")))


def test_a_model_without_gradients_at_all_is_still_judged(digits: Dataset) -> None:
    """Every image gets class 0: nothing to attack, and no division by the samples that are right."""

    class Constant(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.one_hot(torch.full((len(x),), 10), 11).float() + 0 * x.flatten(1).sum(1, keepdim=True)

    x, y = digits.test_images[:20], digits.test_labels[:20]
    result = measure(Constant(), x, y, protocol="quick", epsilon=EPSILON)["network"]
    assert (result.clean.correct, result.worst.correct, result.probes) == (0, 0, None)


def outcome(label: str, access: str, text: str, on_grid: str | None = None, distance: float = 0.1) -> Outcome:
    right = np.array(list(text)) == "o"
    return Outcome(
        label=label,
        access=access,
        threat_model="",
        settings={"name": label},
        outcomes=text,
        on_grid=on_grid or text,
        accuracy=None,
        after=share(right),
        distance=distance,
        distance_on_grid=distance,
        seconds=0,
    )


GOOD = Probes(
    samples=100,
    accuracy={
        name: share_of(correct, 100)
        for name, correct in {"fgsm": 60, "pgd-5": 52, "pgd-50": 50, "unbounded": 0}.items()
    },
    backwards={"steps": (0, 2), "fgsm": (0, 10), "half": (0, 20), "twice": (0, 30)},
    zero_share=0.0,
    loss={"clean": 0.1, "fgsm": 0.9, "pgd-50": 1.0},
    rose=1.0,
    differ=0.0,
    sweep={"a": share_of(50, 100), "b": share_of(52, 100)},
    sweep_only=0,
)


def form(*attacks: Outcome, **probes: object) -> FormResult:
    text = attacks[0].outcomes if attacks else "o" * 100
    right = np.ones(len(text), dtype=bool)
    return FormResult(
        form="made up",
        target="none",
        clean=share(right),
        attacks=list(attacks),
        worst=share_of(60, 100),
        worst_on_grid=share_of(60, 100),
        worst_by={},
        outcomes=letters(right, right, right),
        probes=GOOD.model_copy(update=probes),
        seconds=0,
    )


def raised(result: FormResult) -> list[tuple[str, str]]:
    return [(alarm.code, alarm.severity) for alarm in alarms(result, 0.1)]


WHITE = outcome("pgd", "white box", "x" * 40 + "o" * 60)


def test_good_figures_raise_nothing() -> None:
    assert raised(form(WHITE, outcome("square", "black box, logits", "x" * 40 + "o" * 60))) == []
    assert raised(form(WHITE, outcome("square", "black box, logits", "x" * 41 + "o" * 59))) == [("black-box", "note")]
    # What the search had found already is nothing new.
    search = outcome("corner-search", "search", "x" * 41 + "o" * 59)
    assert raised(form(WHITE, search, outcome("square", "black box, logits", "x" * 41 + "o" * 59))) == []


def saturated(**changes: object) -> Saturation:
    good = Saturation(label="corner-search", tried=60, rounds=[20, 3, 1], halves=(2, 3, 18), remaining=0.3, until=0.005)
    return good.model_copy(update=changes)


@pytest.mark.parametrize(
    ("changes", "caught"),
    [
        ({}, False),
        ({"rounds": [20, 2]}, True),
        ({"remaining": 2.1}, True),
        ({"rounds": [20, 1], "remaining": 2.0}, False),
    ],
)
def test_a_search_that_ended_too_early_is_caught(changes: dict[str, object], caught: bool) -> None:
    result = form(WHITE).model_copy(update={"saturation": saturated(**changes)})
    assert raised(result) == ([("saturation", "alarm")] if caught else [])
    # What a search goes on from is no matter of gradients any more.
    moved = form(WHITE, outcome("other", "transfer", "x" * 47 + "o" * 53))
    assert raised(moved.model_copy(update={"saturation": saturated()})) == [("transfer", "note")]


@pytest.mark.parametrize(
    ("code", "severity", "probes"),
    [
        ("unbounded", "alarm", {"accuracy": GOOD.accuracy | {"unbounded": share_of(6, 100)}}),
        ("zero-gradients", "alarm", {"zero_share": 0.51}),
        ("loss", "alarm", {"loss": GOOD.loss | {"clean": 1.0}}),
        ("loss", "alarm", {"rose": 0.49}),
        ("steps", "alarm", {"backwards": GOOD.backwards | {"steps": (15, 2)}}),
        ("epsilon", "alarm", {"backwards": GOOD.backwards | {"half": (15, 2)}}),
        ("epsilon", "alarm", {"backwards": GOOD.backwards | {"twice": (15, 2)}}),
        ("fgsm", "alarm", {"backwards": GOOD.backwards | {"fgsm": (15, 2)}}),
        (
            "fgsm",
            "alarm",
            {"accuracy": GOOD.accuracy | {"pgd-50": share_of(60, 100)}, "loss": GOOD.loss | {"fgsm": 1.0}},
        ),
        ("surrogates", "alarm", {"sweep_only": 8}),
        ("surrogates", "note", {"sweep": {"a": share_of(40, 100), "b": share_of(52, 100)}}),
        ("stochastic", "alarm", {"differ": 0.01}),
    ],
)
def test_each_probe_out_of_bounds_raises_its_alarm(code: str, severity: str, probes: dict[str, object]) -> None:
    assert raised(form(WHITE, **probes)) == [(code, severity)]


@pytest.mark.parametrize(
    ("access", "code"), [("transfer", "transfer"), ("black box, logits", "black-box"), ("no access", "black-box")]
)
def test_examples_that_need_no_gradients_and_break_more(access: str, code: str) -> None:
    assert raised(form(WHITE, outcome("other", access, "x" * 47 + "o" * 53))) == [(code, "alarm")]
    # In a cascade, the same is told by what was left.
    assert raised(form(WHITE, outcome("other", access, "-" * 40 + "x" * 7 + "o" * 53))) == [(code, "alarm")]


def test_examples_off_the_grid_and_outside_the_ball() -> None:
    spoilt = outcome("pgd", "white box", "x" * 40 + "o" * 60, on_grid="x" * 20 + "o" * 80)
    assert raised(form(spoilt)) == [("grid", "note")]  # The number is the lower one of the two,
    worse = outcome("pgd", "white box", "x" * 40 + "o" * 60, on_grid="x" * 60 + "o" * 40)
    assert raised(form(worse)) == [("grid", "alarm")]  # here the higher one.
    both = outcome("pgd", "white box", "x" * 40 + "o" * 60, on_grid="x" * 41 + "o" * 59)
    assert raised(form(both)) == []
    far = outcome("pgd", "white box", "x" * 40 + "o" * 60, distance=0.1001)
    assert raised(form(far)) == [("ball", "alarm")]


def test_equal_accuracies_of_fgsm_and_pgd_are_no_alarm_where_pgd_reaches_more_loss() -> None:
    assert raised(form(WHITE, accuracy=GOOD.accuracy | {"pgd-50": share_of(60, 100)})) == []


def test_clearly_is_a_sign_test_with_a_margin() -> None:
    # P(>= 8 of 8 heads) = 1/256 < 0.01 <= 1/64 = P(6 of 6).
    assert clearly(8, 0, 100)
    assert not clearly(6, 0, 100)
    assert not clearly(8, 0, 400)  # 2 points are no more than the tolerance
    assert not clearly(60, 50, 200)
