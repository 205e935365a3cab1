"""Trained networks of ReLU in spikes: what SpikingJelly's converter makes, and what is refused."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

pytest.importorskip("spikingjelly")
from spikingjelly.activation_based import functional
from spikingjelly.activation_based.ann2snn import Converter
from spikingjelly.activation_based.ann2snn.recipes import RateCodingRecipe

from spikeproof.toolkit.adapt import adapt
from spikeproof.toolkit.convert import convert
from spikeproof.toolkit.errors import InputError, UnsupportedError
from spikeproof.toolkit.network.population import Population
from spikeproof.toolkit.quantize import quantized_network

STEPS = 12


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(7)


def images(count: int = 40, channels: int = 1, size: int = 8) -> Tensor:
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(1))


def settled(ann: nn.Module) -> nn.Module:
    """Give norms statistics, and leave training."""
    for layer in ann.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            layer.running_mean.uniform_(-0.3, 0.3)
            layer.running_var.uniform_(0.5, 2)
            layer.weight.data.uniform_(0.5, 1.5)
    return ann.eval()


class Residual(nn.Module):
    """Functional calls, one ReLU used again, and a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(1, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.second, self.third = nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.relu, self.drop = nn.ReLU(), nn.Dropout(0.3)
        self.hidden, self.norm1 = nn.Linear(96, 20), nn.BatchNorm1d(20)
        self.last = nn.Linear(20, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm(self.first(x)))
        x = F.relu(self.second(x) + x)
        y = torch.relu(self.third(x))
        x = F.avg_pool2d(x + y, 2)
        x = x.view(x.size(0), -1)
        x = self.relu(self.norm1(self.hidden(x)))
        return self.last(self.drop(x))


def plain() -> nn.Module:
    parts = [nn.Conv2d(1, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(5, 6, 2), nn.MaxPool2d(2)]
    return nn.Sequential(*parts, nn.ReLU(), nn.Flatten(), nn.Dropout(), nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 4))


def pooled() -> nn.Module:
    parts = [nn.Conv2d(1, 5, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(5, 6, 3), nn.ReLU()]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4))


def mlp() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 30), nn.ReLU(), nn.Linear(30, 20), nn.ReLU(), nn.Linear(20, 4))


@pytest.mark.parametrize("make", [Residual, plain, pooled, mlp])
def test_converted_networks_give_spikingjellys_logits(make: Any) -> None:
    ann, x = settled(make()), images()
    network, share = convert(ann, x, steps=STEPS)
    assert share >= 0.95
    with torch.no_grad():
        wanted = ann(x)
    assert sum(isinstance(layer, Population) for _, layer in network.named_layers()) == (
        4 if make is Residual else 2 + (make is plain)
    )
    # The mean of the logits comes nearer to the network's own with time, but for what is above the percentile.
    errors = []
    for steps in (STEPS, 16 * STEPS):
        with torch.no_grad():
            found = convert(ann, x, steps=steps, percentile=100)[0](x)
        errors.append(float((found - wanted).abs().mean()))
    # The largest current of a step, of spikes, is not the largest mean.
    assert make is plain or errors[1] < errors[0] / 3


def test_a_chain_is_what_the_converter_alone_makes_of_it() -> None:
    """Where SpikingJelly takes the network as it stands, step by step."""
    ann, x = settled(pooled()), images()
    network, _ = convert(ann, x, steps=STEPS)
    copied = nn.Sequential(*ann[:5], nn.AvgPool2d(2), *ann[6:])  # 2 x 2 is what is left
    theirs = Converter(RateCodingRecipe([x], mode="99.9%")).convert(copy.deepcopy(copied)).double()
    functional.reset_net(theirs)
    with torch.no_grad():
        steps = torch.stack([theirs(x.double()) for _ in range(STEPS)])
        ours = network.double().spikes(x.double()).diff(dim=0, prepend=torch.zeros(1, len(x), 4, dtype=torch.float64))
    assert bool(steps.any())
    assert torch.isclose(ours, steps, rtol=1e-5, atol=1e-7).all(-1).double().mean() > 0.98


def test_a_relu_goes_behind_a_max_pool() -> None:
    """As SpikingJelly's own recipe by channels does it; whichever way the network calls them."""
    network, _ = convert(plain().eval(), images(), steps=2)
    kinds = [type(layer).__name__ for _, layer in network.named_layers()]
    assert kinds[:6] == ["Conv2d", "MaxPool2d", "Population", "Conv2d", "MaxPool2d", "Population"]


def test_thresholds_are_percentiles_of_activations_and_stand_in_the_weights_behind() -> None:
    ann, x = mlp().eval(), images(300)
    network, _ = convert(ann, x, steps=STEPS, percentile=99)
    with torch.no_grad():
        first = torch.relu(ann[1](x.flatten(1))).numpy()
        thresholds = [np.quantile(first, 0.99)]
        thresholds.append(np.quantile(torch.relu(ann[3](torch.from_numpy(first))).numpy(), 0.99))
    # Batches of up to 256 samples, mixed as SpikingJelly does: 0.9 of the first and 0.1 of the second.
    cells = [layer for _, layer in network.named_layers() if isinstance(layer, Population)]
    assert [float(cell.threshold) for cell in cells] == pytest.approx(thresholds, rel=0.03)
    assert all(cell.reset == "subtract" and cell.at_threshold for cell in cells)
    layers = [layer for _, layer in network.named_layers() if isinstance(layer, nn.Linear)]
    for layer, old, threshold in zip(layers, (ann[1], ann[3], ann[5]), [1, *(c.threshold for c in cells)], strict=True):
        torch.testing.assert_close(layer.weight, old.weight * threshold)
        assert torch.equal(layer.bias, old.bias)


def test_the_network_is_left_as_it_was() -> None:
    ann = Residual().train()
    state = {name: value.clone() for name, value in ann.state_dict().items()}
    convert(ann, images(), steps=2)
    assert ann.training
    assert ann.norm.training
    assert all(torch.equal(value, state[name]) for name, value in ann.state_dict().items())


@pytest.mark.parametrize("make", [Residual, plain, pooled, mlp])
def test_converted_networks_adapt_and_have_a_grid(make: Any) -> None:
    network, _ = convert(settled(make()), images(), steps=STEPS)
    adapted, changes, left = adapt(network)
    assert not left
    assert {change.kind for change in changes} >= {"reset", "comparison"}
    assert quantized_network(adapted, 8)(images()).shape == (40, 4)


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


class Reading(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


@pytest.mark.parametrize(
    ("layer", "why"),
    [
        (nn.GELU(), "GELU"),
        (nn.ReLU6(), "ReLU6"),
        (nn.LeakyReLU(), "LeakyReLU"),
        (nn.Conv2d(1, 1, 3, padding=1).requires_grad_(False), ""),
        (nn.ConvTranspose2d(1, 1, 3), "ConvTranspose2d"),
        (nn.AdaptiveAvgPool2d(3), "adaptive pooling"),
        (Branching(), "cannot be traced"),
        (Reading(), "reads a parameter"),
    ],
)
def test_what_has_no_counterpart_is_named(layer: nn.Module, why: str) -> None:
    ann = nn.Sequential(layer, nn.Flatten(), nn.LazyLinear(5), nn.ReLU(), nn.Linear(5, 3))
    ann(images())
    if not why:
        assert convert(ann, images(), steps=2)[0].steps == 2
        return
    with pytest.raises(UnsupportedError, match=why):
        convert(ann, images(), steps=2)


@pytest.mark.parametrize(
    ("sample", "options", "why"),
    [
        (torch.zeros(3, 64), {}, "expected images"),
        (torch.zeros(3, 1, 8, 8, dtype=torch.uint8), {}, "expected images"),
        (torch.zeros(3, 1, 8, 8), {"percentile": 0}, "percentile 0"),
        (torch.zeros(3, 1, 8, 8), {"steps": 0}, "0 steps"),
    ],
)
def test_samples_and_numbers_that_make_no_sense_are_refused(sample: Tensor, options: Any, why: str) -> None:
    with pytest.raises(InputError, match=why):
        convert(mlp(), sample, **{"steps": 2} | options)


def test_a_silent_layer_is_refused() -> None:
    ann = mlp()
    nn.init.constant_(ann[1].bias, -100.0)
    with pytest.raises(InputError, match="finite positive"):
        convert(ann, images(), steps=2)
