"""Layers quantized one by one, against NumPy; what each needs, against its definition."""

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import spikeproof as sp
from spikeproof.eval.explain.sensitivity import find_sensitivity
from spikeproof.eval.measure.forms import Forms
from spikeproof.eval.records.base import share_of
from spikeproof.eval.records.sensitivity import Sensitivities, read
from spikeproof.toolkit.errors import InputError
from spikeproof.toolkit.network.fold import fold
from spikeproof.toolkit.network.network import SpikingNetwork
from spikeproof.toolkit.network.neurons import CUBA, LIF
from spikeproof.toolkit.quantize import quantized_network

from .conftest import lowered

BETA, STEPS, SAMPLES = 0.5, 5, 150
Weights = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def network() -> SpikingNetwork:
    torch.manual_seed(6)
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        flat=nn.Flatten(),
        first=nn.Linear(64, 20, bias=False),
        lif1=LIF(BETA, 1.0, 2.0),
        second=nn.Linear(20, 10, bias=False),
        lif2=LIF(BETA, 1.0, 2.0),
    )
    for name in ("first", "second"):
        weight: Any = layers[name].weight
        weight.data = torch.randn(weight.shape) * 0.3
    return SpikingNetwork(layers, STEPS, 10.0).eval()


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(1).random((SAMPLES, 1, 8, 8)).astype(np.float32)


def weights_of(network: SpikingNetwork) -> Weights:
    layers: Any = dict(network.named_layers())
    return {name: layers[name].weight.detach().double().numpy() for name in ("first", "second")}


def classes(weights: Weights, images: np.ndarray) -> np.ndarray:
    """NumPy's classes of the network."""
    x = images.reshape(len(images), -1).astype(np.float64)
    v1, v2, counts = np.zeros((len(x), 20)), np.zeros((len(x), 10)), np.zeros((len(x), 10))
    for _ in range(STEPS):
        v1 = BETA * v1 + x @ weights["first"].T
        s1 = (v1 > 1).astype(float)
        v1 = v1 * (1 - s1)
        v2 = BETA * v2 + s1 @ weights["second"].T
        s2 = (v2 > 1).astype(float)
        v2 = v2 * (1 - s2)
        counts += s2
    return counts.argmax(1)


def rounded(weight: np.ndarray, bits: int) -> np.ndarray:
    step = 2.0 ** np.ceil(np.log2(np.abs(weight).max() / (2 ** (bits - 1) - 1)))
    return np.asarray(np.rint(weight / step) * step)


def found(network: SpikingNetwork, images: np.ndarray, labels: np.ndarray, **options: Any) -> Sensitivities:
    return find_sensitivity(network, quantized_network(network, 4), images, labels, batch=64, **options)


def test_one_layer_at_a_time_is_what_numpy_computes(network: SpikingNetwork, images: np.ndarray) -> None:
    weights = weights_of(network)
    labels = classes(weights, images)
    labels[::7] = (labels[::7] + 1) % 10  # Wrong ones, too.
    answer = found(network, images, labels, loss=3.0)
    before = classes(weights, images)
    assert (answer.base, answer.samples) == ("folded", SAMPLES)
    assert answer.accuracy == share_of(int((before == labels).sum()), SAMPLES)
    assert [layer.layer for layer in answer.layers] == ["first", "second"]
    for layer in answer.layers:
        assert (layer.own, layer.weights) == (4, weights[layer.layer].size)
        assert [one.bits for one in layer.tried] == [2, 3, 4, 5, 6, 7, 8]
        losses = {}
        for one in layer.tried:
            after = classes({**weights, layer.layer: rounded(weights[layer.layer], one.bits)}, images)
            right = after == labels
            assert one.accuracy == share_of(int(right.sum()), SAMPLES), (layer.layer, one.bits)
            assert one.paired.classes_changed == int((after != before).sum())
            assert one.paired.lost == int(((before == labels) & ~right).sum())
            losses[one.bits] = 100 * (int((before == labels).sum()) - int(right.sum())) / SAMPLES
        enough = [bits for bits in losses if all(losses[more] <= 3.0 for more in losses if more >= bits)]
        assert layer.needs == min(enough, default=None)
    # Not all alike, or this test shows nothing.
    assert len({one.accuracy.correct for layer in answer.layers for one in layer.tried}) > 3
    together = answer.together
    assert together is not None
    needed = {layer.layer: layer.needs for layer in answer.layers}
    assert together.bits == needed
    every = classes({name: rounded(weights[name], together.bits[name]) for name in weights}, images)
    assert together.accuracy == share_of(int((every == labels).sum()), SAMPLES)
    assert together.memory == (
        sum(weights[name].size * bits for name, bits in together.bits.items()),
        8 * (64 * 20 + 20 * 10),
    )


def test_the_sentence_names_the_layer_that_costs_most(network: SpikingNetwork, images: np.ndarray) -> None:
    answer = found(network, images, classes(weights_of(network), images), loss=0.5)
    costs = {layer.layer: layer.at(4) for layer in answer.layers}
    worst = min(costs, key=lambda name: (costs[name].accuracy.correct, -costs[name].paired.classes_changed))  # type: ignore[union-attr]
    assert f"{worst!r} costs most when it alone is quantized at the run's bits (4)" in answer.verdict[0]


def test_bits_that_do_not_suffice_are_said(network: SpikingNetwork, images: np.ndarray) -> None:
    answer = found(network, images, classes(weights_of(network), images), bits=(2,), loss=0.0)
    assert [layer.needs for layer in answer.layers] == [None, None]
    assert answer.together is None
    assert "'first' more than 4" in " ".join(answer.verdict)


def test_the_network_is_left_alone_and_fine_tuned_weights_are_the_base(
    network: SpikingNetwork, images: np.ndarray
) -> None:
    before = {name: weight.copy() for name, weight in weights_of(network).items()}
    quantized = quantized_network(network, 4)
    layers: Any = dict(quantized.named_layers())
    layers["first"].weight.data *= 1.3  # Beyond the step that was chosen before: the largest are clipped.
    labels = classes(before, images)
    answer = find_sensitivity(network, quantized, images, labels)
    for name, weight in weights_of(network).items():
        np.testing.assert_array_equal(weight, before[name])
    assert answer.base == "fine-tuned"
    tuned = {**before, "first": layers["first"].weight.detach().double().numpy()}
    assert answer.accuracy.correct == int((classes(tuned, images) == labels).sum())
    deployed = layers["first"].quant_weight().value.detach().double().numpy()
    own = answer.layers[0].at(4)
    assert own is not None
    assert own.accuracy.correct == int((classes({**tuned, "first": deployed}, images) == labels).sum())


@pytest.mark.parametrize(
    ("options", "said"), [({"bits": (9,)}, "2 to 8"), ({"bits": ()}, "2 to 8"), ({"loss": -1.0}, "0 to 100")]
)
def test_what_is_refused(network: SpikingNetwork, images: np.ndarray, options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        found(network, images, np.zeros(SAMPLES, dtype=np.int64), **options)


def test_the_verb_shows_and_keeps_its_record(network: SpikingNetwork, images: np.ndarray, tmp_path: Path) -> None:
    data = images, classes(weights_of(network), images)
    quantized = quantized_network(network, 4)
    shown = sp.sensitivity(Forms(network, quantized, lowered(quantized)), data, samples=60, bits=(3, 8))
    assert [row["layer"] for row in shown.rows] == ["first", "second"]
    assert shown.record.command == "spikeproof.sensitivity(forms, data, bits=(3, 8), samples=60)"
    assert "Layer by layer" in shown.page()
    shown.save(tmp_path / "s.json")
    assert read(tmp_path / "s.json") == shown.record
    alone = sp.sensitivity(network, data, samples=60, bits=(3,))
    assert [layer.own for layer in alone.record.layers] == [None, None]
    assert alone.record.program is None
    assert [layer.at(3) for layer in alone.record.layers] == [layer.at(3) for layer in shown.record.layers]


def test_explain_has_it(network: SpikingNetwork, images: np.ndarray) -> None:
    data = images[:40], classes(weights_of(network), images)[:40]
    quantized = quantized_network(network, 4)
    forms = Forms(network, quantized, lowered(quantized))
    shown = sp.explain(forms, data, lava=False, loss=2.0)
    assert shown.record.layers == find_sensitivity(network, quantized, *data, loss=2.0)
    assert "Layer by layer" in shown.page()
    assert sp.explain(forms, data, lava=False, layers=False).record.layers is None


def test_biases_of_currents_stay_where_the_network_has_them(images: np.ndarray) -> None:
    """Else every layer would be judged beside a network that has lost its accuracy already."""
    torch.manual_seed(8)
    linear = nn.Linear(64, 10)
    linear.bias.data = torch.randn(10) * 0.3
    network = SpikingNetwork(OrderedDict(flat=nn.Flatten(), linear=linear, lif1=CUBA(0.8, BETA, 1.0, 2.0)), STEPS, 10.0)
    with torch.no_grad():
        labels = network.eval()(torch.from_numpy(images)).argmax(1).numpy()
        moved = fold(network)(torch.from_numpy(images)).argmax(1).numpy()
    assert (moved != labels).mean() > 0.1
    answer = find_sensitivity(network, quantized_network(network, 8), images, labels)
    assert (answer.base, answer.accuracy.correct) == ("folded", SAMPLES)
