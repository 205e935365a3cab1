"""Networks of other frameworks under a protocol: taken over, or said so; never a weaker attack without a word."""

from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from spikeproof.eval.records.robustness import FormResult
from spikeproof.eval.robustness.protocol import measure
from spikeproof.toolkit.config import DataSettings
from spikeproof.toolkit.data import Dataset, load_data

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
SAMPLES, STEPS = 30, 3


def load(name: str) -> Any:
    pytest.importorskip("spikingjelly", reason="spikingjelly is not installed; run 'make setup'")
    return import_module(f"spikingjelly.activation_based.{name}")


class Jelly(nn.Module):
    """A multi-step network, as its framework's tutorials write it; nothing in it resets its state."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        layer, neuron, surrogate = load("layer"), load("neuron"), load("surrogate")

        def fire() -> nn.Module:
            made: nn.Module = neuron.IFNode(surrogate_function=surrogate.Sigmoid(alpha=slope), step_mode="m")
            return made

        self.layers = nn.Sequential(
            layer.Conv2d(1, 8, 3, padding=1, step_mode="m"),
            fire(),
            layer.MaxPool2d(2, step_mode="m"),
            layer.Flatten(step_mode="m"),
            layer.Linear(128, 10, step_mode="m"),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x.expand(STEPS, *x.shape)).mean(0)
        return out


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_data(DataSettings())


@pytest.fixture(scope="module")
def weights(digits: Dataset) -> dict[str, Tensor]:
    """Return weights trained with a surrogate of slope 4."""
    torch.manual_seed(0)
    network = Jelly(4.0)
    optimizer = torch.optim.Adam(network.parameters(), 5e-3)
    x, y = torch.from_numpy(digits.train_images), torch.from_numpy(digits.train_labels)
    for _ in range(3):
        for part in torch.randperm(len(x)).split(64):
            load("functional").reset_net(network)
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(x[part]), y[part]).backward()
            optimizer.step()
    return network.state_dict()


def run(slope: float, weights: dict[str, Tensor], digits: Dataset, protocol: str) -> FormResult:
    network = Jelly(slope)
    network.load_state_dict(weights)
    x, y = digits.test_images[:SAMPLES], digits.test_labels[:SAMPLES]
    return measure(network, x, y, protocol=protocol, epsilon=0.1).forms[0]


def test_a_slope_that_blinds_gradients_is_found_out_by_quick_and_broken_by_strong(
    weights: dict[str, Tensor], digits: Dataset
) -> None:
    sharp, strong = run(100.0, weights, digits, "quick"), run(100.0, weights, digits, "strong")
    assert sharp.clean.value == strong.clean.value > 0.8
    assert strong.worst.value < sharp.worst.value - 0.2
    assert "surrogates" in {alarm.code for alarm in sharp.alarms}
    assert not sharp.reliable
    assert strong.probes is not None
    assert strong.probes.sweep
    assert strong.foreign == []


class _Step(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return grads[0] / (1 + 200 * x.abs()) ** 2


class OwnNeuron(nn.Module):
    def forward(self, current: Tensor) -> Tensor:
        spikes: Tensor = _Step.apply(current - 0.5)  # type: ignore[no-untyped-call]
        return spikes


@pytest.mark.parametrize("protocol", ["quick", "strong"])
def test_neurons_that_nobody_can_take_over_raise_an_alarm(protocol: str, digits: Dataset) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), OwnNeuron(), nn.Linear(64, 10)).eval()
    x = digits.test_images[:20]
    with torch.no_grad():
        y = network(torch.from_numpy(x)).argmax(1).numpy()
    (result,) = measure(network, x, y, protocol=protocol, epsilon=0.05).forms
    (alarm,) = [alarm for alarm in result.alarms if alarm.code == "foreign"]
    assert alarm.severity == "alarm"
    assert not result.reliable
    assert "OwnNeuron (2): it calls" in alarm.message
    assert "spike_grad" in alarm.message
    assert FormResult.model_validate_json(result.model_dump_json()) == result
    before = {name: value for name, value in result.model_dump().items() if name != "foreign"}
    assert FormResult.model_validate(before).foreign == []  # as records were written before


def test_the_remedy_is_one(digits: Dataset) -> None:
    class Told(OwnNeuron):
        def __init__(self) -> None:
            super().__init__()
            self.spike_grad = _Step.apply

        def forward(self, current: Tensor) -> Tensor:
            spikes: Tensor = self.spike_grad(current - 0.5)
            return spikes

    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), Told(), nn.Linear(64, 10)).eval()
    x = digits.test_images[:20]
    (result,) = measure(network, x, np.zeros(20, dtype=np.int64), protocol="quick", epsilon=0.05).forms
    assert result.foreign == []
