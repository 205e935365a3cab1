"""Biases of synaptic currents, which the chip has at the voltage only: a cause of its own, with its size."""

from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from spikeproof.eval.explain.explainer import explain
from spikeproof.eval.explain.verdict import verdict
from spikeproof.eval.measure.forms import Forms
from spikeproof.eval.records.explanation import Contribution, Findings
from spikeproof.toolkit.network.fold import moved_biases
from spikeproof.toolkit.network.network import SpikingNetwork
from spikeproof.toolkit.network.neurons import CUBA, LIF
from spikeproof.toolkit.quantize import quantized_network

from .conftest import lowered

Pictures = tuple[np.ndarray, np.ndarray]
GAMMA, BETA, STEPS = 0.75, 0.5, 6


def made() -> SpikingNetwork:
    torch.manual_seed(8)
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        flat=nn.Flatten(), linear=nn.Linear(64, 10), lif1=CUBA(GAMMA, BETA, 1.0, 2.0)
    )
    layers["linear"].bias.data = torch.randn(10) * 0.3
    layers["linear"].weight.data = torch.randn(10, 64) * 0.05
    return SpikingNetwork(layers, STEPS, 10.0).eval()


def fired(network: SpikingNetwork, images: np.ndarray, at_voltage: bool) -> np.ndarray:
    """NumPy's spikes (time, batch, neurons), with the bias in the current or, settled, in the voltage."""
    linear = dict(network.named_layers())["linear"]
    weight, bias = (part.detach().double().numpy() for part in (linear.weight, linear.bias))
    a = images.reshape(len(images), -1).astype(np.float64) @ weight.T
    u = v = np.zeros_like(a)
    found = []
    for _ in range(STEPS):
        u = GAMMA * u + a + (0 if at_voltage else bias)
        v = BETA * v + u + (bias / (1 - GAMMA) if at_voltage else 0)
        found.append(v > 1)
        v = np.where(found[-1], 0, v)
    return np.stack(found)


def cause(found: Findings, code: str) -> Contribution | None:
    return next((one for one in found.causes if one.code == code), None)


@pytest.fixture(scope="module")
def network() -> SpikingNetwork:
    return made()


def test_its_size_is_that_of_moving_the_bias_alone(network: SpikingNetwork, pictures: Pictures) -> None:
    quantized = quantized_network(network, 8)
    found, _ = explain(Forms(network, quantized, lowered(quantized)), *pictures)
    pair = next(pair for pair in found.pairs if pair.after == "biases moved")
    expected = int((fired(network, pictures[0], False) != fired(network, pictures[0], True)).sum())
    one = cause(found, "moved_bias")
    assert expected > 0
    assert pair.effect.different == expected
    assert [reason.code for reason in pair.reasons] == ["moved_bias"]
    assert one is not None
    assert one.alone.different == expected
    assert (found.base_differs, found.program_differs) == (0, 0)
    assert one.kind == "fault"
    assert one.left < found.total
    assert "10 of 10 biases enter a current that keeps 0.75" in " ".join(one.evidence)
    text = " ".join(found.verdict)
    assert one.remedy in text
    assert "what differs is rounding" not in text


def test_what_is_moved_is_the_settled_bias(network: SpikingNetwork) -> None:
    linear = dict(network.named_layers())["linear"]
    ((name, moved),) = moved_biases(network).items()
    assert name == "lif1"
    torch.testing.assert_close(moved, linear.bias.detach() / (1 - GAMMA))


def test_a_current_without_memory_moves_nothing(healthy: Any, pictures: Pictures) -> None:
    assert moved_biases(healthy.forms.network) == {}
    found, _ = explain(healthy.forms, *pictures)
    assert cause(found, "moved_bias") is None
    assert "moved_bias" in found.exact


def test_behind_fine_tuning_it_is_a_stage_and_no_cause_of_what_is_left(pictures: Pictures) -> None:
    network = made()
    quantized = quantized_network(network, 8)
    layers: Any = dict(quantized.named_layers())
    layers["linear"].weight.data *= 0.9
    layers["lif1"].bias.data *= 0.8
    found, _ = explain(Forms(network, quantized, lowered(quantized)), *pictures)
    names = [stage.name for stage in found.stages][:5]
    assert names == ["float", "folded", "biases moved", "fine-tuned", "quantized"]
    assert cause(found, "moved_bias") is None
    assert "moved_bias" not in found.exact
    # The Program's biases are those that fine-tuning left.
    assert cause(found, "wrong_bias") is None
    assert (found.base, found.base_differs, found.program_differs) == ("fine-tuned", 0, 0)
    pair = next(pair for pair in found.pairs if pair.after == "biases moved")
    assert [reason.code for reason in pair.reasons] == ["moved_bias"]
    assert any("before fine-tuning trained with them" in sentence for sentence in found.verdict)


def test_limits_that_change_no_spike_are_named(pictures: Pictures) -> None:
    """A neuron without a leak that is driven far below its threshold saturates, and would not have fired anyway."""
    torch.manual_seed(3)
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        flat=nn.Flatten(), linear=nn.Linear(64, 4), lif1=LIF(1.0, 1.0, 2.0)
    )
    layers["linear"].bias.data = torch.tensor([0.0, 0.1, 0.2, -6.0])
    layers["linear"].weight.data = torch.rand(4, 64) * 0.2
    network = SpikingNetwork(layers, 120, 10.0).eval()
    quantized = quantized_network(network, 8)
    found, _ = explain(Forms(network, quantized, lowered(quantized)), *pictures)
    events = sum(one["saturations"] for one in found.overflow.values())
    assert events > 40 * 60
    clip = cause(found, "voltage_clip")
    assert clip is not None
    assert not clip.acts
    text = " ".join(found.verdict)
    assert f"a voltage saturates {events:,} times in 'lif1'" in text
    assert "no limit of the chip is met" not in text
    calm = found.model_copy(update={"overflow": {}})
    assert "no limit of the chip is met" in " ".join(verdict(calm))


@pytest.mark.parametrize("bits", [4, 8])
def test_more_bits_are_not_the_advice_where_there_are_none(bits: int, healthy: Any, pictures: Pictures) -> None:
    quantized = quantized_network(healthy.forms.network, bits)
    found, _ = explain(Forms(healthy.forms.network, quantized, lowered(quantized)), *pictures)
    one = cause(found, "weight_rounding")
    assert one is not None
    assert ("more bits" in one.remedy) == (bits == 4)
    assert all("of more bits" not in other.remedy for other in found.causes if bits == 8)
