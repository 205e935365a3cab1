"""Statistics of gradients, against NumPy and against torch's own derivatives."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given
from torch import nn

from spikeproof.eval.measure.gradients import (
    IMAGE,
    GradientStatistics,
    attack_gradients,
    clean_gradients,
    leaves,
    watch,
)
from spikeproof.eval.measure.zeros import ZeroGradientShare
from spikeproof.toolkit.attacks.ball import BallAttack
from spikeproof.toolkit.attacks.base import Attack, predict
from spikeproof.toolkit.attacks.blind import Square
from spikeproof.toolkit.attacks.gradient import FGSM, PGD
from spikeproof.toolkit.attacks.iterative import MIFGSM, RFGSM, AnyPGD
from spikeproof.toolkit.attacks.strong import APGD, SAPGD
from spikeproof.toolkit.config import ModelSettings
from spikeproof.toolkit.errors import InputError
from spikeproof.toolkit.models import delayed_network, recurrent_network, sew_network
from spikeproof.toolkit.network.backward import Backward
from spikeproof.toolkit.network.network import SpikingNetwork
from spikeproof.toolkit.network.surrogates import AdaptiveSharpness, Surrogate
from spikeproof.toolkit.quantize import quantized_network

Make = Callable[..., SpikingNetwork]


def hooks_of(module: nn.Module) -> int:
    names = ("_forward_pre_hooks", "_forward_hooks", "_backward_hooks", "_backward_pre_hooks")
    return sum(len(getattr(part, name)) for part in module.modules() for name in names)


def statistics(*batches: np.ndarray) -> Any:
    metric = GradientStatistics()
    for batch in batches:
        metric.update(torch.from_numpy(np.asarray(batch)))
    return metric.compute()


VALUES = st.sampled_from([0.0, 0.0, 1e-30, 1e-4, 0.5, -1.0, 3.0]) | st.floats(-10, 10, width=32)


@given(hnp.arrays(np.float32, st.tuples(st.integers(1, 5), st.integers(2, 9)), elements=VALUES))
def test_statistics_are_those_of_numpy_a_sample_at_a_time(gradients: np.ndarray) -> None:
    found = statistics(gradients)
    rows = gradients.astype(np.float64)
    loud = [row for row in rows if row.any()]
    n = rows.shape[1]
    near = sum(np.sum((np.abs(row) < 1e-3 * np.abs(row).max()) | (row == 0)) for row in rows)
    ratios = [np.abs(row).sum() / np.linalg.norm(row / np.abs(row).max()) / np.abs(row).max() for row in loud]
    assert found.zeros == np.mean(rows == 0)
    assert found.near_zeros == near / rows.size
    assert found.l1 == pytest.approx(np.linalg.norm(rows, 1, axis=1).mean())
    assert found.l2 == pytest.approx(np.linalg.norm(rows, axis=1).mean())
    assert (found.samples, found.silent) == (len(rows), len(rows) - len(loud))
    if not loud:
        assert found.hoyer is found.spread is None
        return
    assert found.spread == pytest.approx(np.mean([3 * ratio**2 for ratio in ratios]))
    assert found.hoyer == pytest.approx(np.mean([(n**0.5 - ratio) / (n**0.5 - 1) for ratio in ratios]), abs=1e-9)
    assert 3 - 1e-9 <= found.spread <= 3 * n + 1e-9
    assert -1e-9 <= found.hoyer <= 1 + 1e-9


def test_the_ends_of_the_scales() -> None:
    alike, single = statistics(np.ones((2, 9))), statistics(np.eye(9)[:2])
    assert (alike.hoyer, alike.spread) == pytest.approx((0, 27))
    assert (single.hoyer, single.spread) == pytest.approx((1, 3))
    assert statistics(np.ones((2, 1))).hoyer is None


def test_batches_add_up() -> None:
    gradients = np.random.default_rng(0).normal(size=(7, 3, 2))
    assert vars(statistics(gradients[:2], gradients[2:])) == pytest.approx(vars(statistics(gradients)))


def test_the_spread_is_the_ratio_of_the_worst_to_the_random_change_of_a_linear_function() -> None:
    rng = np.random.default_rng(1)
    weights = rng.normal(size=12)
    noise = rng.uniform(-1, 1, (200_000, 12))
    assert statistics(weights[None]).spread == pytest.approx(
        np.abs(weights).sum() ** 2 / np.mean((noise @ weights) ** 2), rel=0.02
    )


@pytest.mark.parametrize("wrong", [np.array([[1.0, np.nan]]), np.array([[np.inf]]), np.zeros((2, 0))])
def test_what_is_no_gradient_is_refused(wrong: np.ndarray) -> None:
    with pytest.raises(InputError, match="metric 'gradient statistics': "):
        statistics(wrong)


def test_without_data_the_metrics_raise(random_network: Make) -> None:
    with pytest.raises(InputError, match="nothing was measured"):
        GradientStatistics().compute()
    with watch(random_network()) as seen:
        pass
    with pytest.raises(InputError, match="nothing was measured"):
        seen.compute()


@pytest.mark.parametrize("pool", ["max", "avg"])
def test_fgsm_has_the_zeros_of_the_clean_gradient(
    random_network: Make, images: np.ndarray, labels: np.ndarray, pool: str
) -> None:
    network = random_network(pool, (4, 3))
    expected = ZeroGradientShare(network)
    expected.update(images, labels)
    found = attack_gradients(FGSM(epsilon=0.1), network, images, labels)
    assert (found["attack"], found["samples"], found["passes"]) == ("fgsm@0.1", len(images), 1)
    layers = found["layers"]
    assert list(layers) == [IMAGE, *(name for name, _ in network.named_layers())]
    for name, zeros in expected.compute().items():
        assert (layers[name]["input"]["zeros"], layers[name]["output"]["zeros"]) == (zeros.input, zeros.output), name


MODEL = ModelSettings(channels=[3, 4], threshold=0.3)
NETWORKS = [
    pytest.param(lambda: sew_network(MODEL, 3, (1, 8, 8), 4), id="sew"),
    pytest.param(lambda: recurrent_network(MODEL, 3, (1, 8, 8), 4), id="recurrent"),
    pytest.param(lambda: delayed_network(MODEL, 3, (1, 8, 8), 4), id="delayed"),
]


def inputs(samples: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    return rng.random((samples, 1, 8, 8), dtype=np.float32), rng.integers(0, 4, samples)


@pytest.mark.parametrize("make", NETWORKS)
def test_joins_and_loops_are_measured_as_torch_derives_them(make: Callable[[], SpikingNetwork]) -> None:
    torch.manual_seed(0)
    network, (images, labels) = make().eval(), inputs()
    outputs: dict[str, torch.Tensor] = {}
    x = torch.from_numpy(images).requires_grad_()

    logits = network.gain * network.spikes(x, lambda name, output: outputs.update({name: output})).mean(0)
    loss = nn.functional.cross_entropy(logits, torch.from_numpy(labels), reduction="sum")
    if network.recurrent:  # outputs were stacked for us, after they had been used
        (expected,) = torch.autograd.grad(loss, x)
        names: list[str] = []
    else:
        names = list(outputs)
        expected, *others = torch.autograd.grad(loss, [x, *outputs.values()])
    with watch(network) as seen:
        again = torch.from_numpy(images).requires_grad_()
        nn.functional.cross_entropy(network(again), torch.from_numpy(labels), reduction="sum").backward()
    torch.testing.assert_close(again.grad, expected, rtol=0, atol=0)
    found = seen.compute()
    assert found[IMAGE]["input"] == statistics(expected.numpy())
    assert set(found) == {IMAGE, *(name for name, _ in network.named_layers())}
    for name, gradient in zip(names, others if names else [], strict=True):
        expected_statistics = statistics(gradient.transpose(0, 1).numpy())
        assert vars(found[name]["output"]) == pytest.approx(vars(expected_statistics), rel=1e-6), name


def test_a_loop_is_counted_over_all_of_its_steps() -> None:
    network, (images, labels) = recurrent_network(MODEL, 3, (1, 8, 8), 4), inputs()
    layers = attack_gradients(FGSM(epsilon=0.1), network, images, labels)["layers"]
    # Three steps of one sample are one gradient; what the loop sends last arrives after the end.
    assert layers["cell"]["input"]["samples"] == len(images)


@pytest.mark.parametrize(
    "backward",
    [
        None,
        Backward(surrogate=Surrogate("rectangular", 2.0)),
        Backward(pool="ties"),
        Backward(pool="average", time="rate"),
        Backward(time="temporal"),
    ],
    ids=str,
)
def test_watching_changes_neither_the_examples_nor_the_network(
    random_network: Make, images: np.ndarray, labels: np.ndarray, backward: Backward | None
) -> None:
    network = random_network("max")
    attack = PGD(epsilon=0.1, steps=3, seed=5, backward=backward)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    alone = attack(network, images, labels).images
    with watch(network) as seen:
        np.testing.assert_array_equal(attack(network, images, labels).images, alone)
    assert seen.passes == 3
    assert seen.compute()[IMAGE]["input"].samples == 3 * len(images)
    assert hooks_of(network) == 0
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize(
    "attack",
    [
        RFGSM(epsilon=0.1),
        AnyPGD(epsilon=0.1, steps=2),
        MIFGSM(epsilon=0.1, steps=2),
        APGD(epsilon=0.1, steps=3),
        SAPGD(epsilon=0.1, steps=3, backward=Backward(surrogate=AdaptiveSharpness("arctan"))),
    ],
    ids=lambda attack: attack.label,
)
def test_every_gradient_attack_can_be_watched_and_makes_the_same_examples(
    random_network: Make, images: np.ndarray, attack: Attack
) -> None:
    network = random_network("max")
    answers = predict(network, images)  # so that no sample is left out from the start
    # Hooked layers run at every step, and sums over time round in another order; so hooks that do nothing are set here.
    hooks = [layer.register_forward_hook(lambda *_: None) for _, layer in network.named_layers()]
    alone = attack(network, images, answers).images
    for hook in hooks:
        hook.remove()
    with watch(network) as seen:
        np.testing.assert_array_equal(attack(network, images, answers).images, alone)
    assert seen.passes >= 1
    assert seen.compute()["lif1"]["output"].zeros >= 0.75


def test_the_pool_rule_of_the_attack_is_what_is_measured(
    random_network: Make, images: np.ndarray, labels: np.ndarray
) -> None:
    network = random_network("max")
    zeros = {
        pool: attack_gradients(FGSM(epsilon=0.1, backward=Backward(pool=pool)), network, images, labels)
        for pool in ("first", "ties", "average")
    }
    share = {pool: found["layers"]["lif1"]["output"]["zeros"] for pool, found in zeros.items()}
    assert share["first"] >= 0.75
    assert share["average"] == 0.0
    assert share["average"] <= share["ties"] < share["first"]


def test_encoded_input_is_measured_a_sample_at_a_time(
    random_network: Make, images: np.ndarray, labels: np.ndarray
) -> None:
    network = random_network("avg")
    encoded = np.repeat(images[None], network.steps, 0)
    found = attack_gradients(PGD(epsilon=0.1, steps=2, space="encoded"), network, encoded, labels)
    assert found["layers"][IMAGE]["input"]["samples"] == 2 * len(images)
    assert found["samples"] == len(images)


def test_any_module_can_be_watched(images: np.ndarray, labels: np.ndarray) -> None:
    parts = OrderedDict(
        flat=nn.Flatten(), body=nn.Sequential(nn.Linear(images[0].size, 6), nn.ReLU()), end=nn.Linear(6, 10)
    )

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = nn.Sequential(parts)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.parts(x)

    network = Net()
    assert list(leaves(network)) == ["parts.flat", "parts.body.0", "parts.body.1", "parts.end"]
    found = attack_gradients(FGSM(epsilon=0.1), network, images, labels)["layers"]
    x = torch.from_numpy(images).flatten(1)
    silent = (network.parts.body[0](x) <= 0).float().mean().item()
    assert found["parts.body.1"]["input"]["zeros"] == pytest.approx(silent)
    assert found["parts.end"]["output"]["zeros"] == 0.0


@pytest.mark.parametrize("quantized", [False, True])
def test_clean_norms_do_not_depend_on_the_batch(
    random_network: Make, images: np.ndarray, labels: np.ndarray, quantized: bool
) -> None:
    network: nn.Module = random_network("max").train()
    if quantized:
        network = quantized_network(random_network("max"), 8).train()
    one, two = (clean_gradients(network, images, labels, batch=batch) for batch in (len(images), 5))
    assert (one["attack"], one["passes"], two["passes"]) == (None, 1, -(-len(images) // 5))
    x = torch.from_numpy(images).requires_grad_()
    loss = nn.functional.cross_entropy(network.eval()(x), torch.from_numpy(labels), reduction="sum")
    (expected,) = torch.autograd.grad(loss, x)
    assert one["layers"][IMAGE]["input"] == pytest.approx(vars(statistics(expected.numpy())), rel=1e-6)
    for name, sides in one["layers"].items():
        for side, found in sides.items():
            assert found == pytest.approx(two["layers"][name][side], rel=1e-4, abs=1e-6), name
    assert hooks_of(network) == 0


class Breaks(BallAttack):
    """An attack that stops in the middle."""

    def run(self, model: Any, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        raise RuntimeError("power failure")


def test_hooks_are_removed_also_when_the_attack_fails(
    random_network: Make, images: np.ndarray, labels: np.ndarray
) -> None:
    network = random_network()
    with pytest.raises(RuntimeError, match="power failure"):
        attack_gradients(Breaks(epsilon=0.1), network, images, labels)
    assert hooks_of(network) == 0


def test_an_attack_without_gradients_is_refused(random_network: Make, images: np.ndarray, labels: np.ndarray) -> None:
    with pytest.raises(InputError, match="'gradients of layers': nothing was measured"):
        attack_gradients(Square(epsilon=0.1, queries=2), random_network(), images, labels)
