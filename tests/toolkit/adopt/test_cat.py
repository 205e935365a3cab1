"""``torch.cat`` of populations: the layer behind it is split by source, in the network and in the Program."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import spikeproof as sp
from spikeproof.hw_targets.target import get_target
from spikeproof.toolkit.adopt import adopt_module
from spikeproof.toolkit.coding import Direct
from spikeproof.toolkit.errors import UnsupportedError

snntorch = pytest.importorskip("snntorch")
IMAGES = torch.rand(12, 1, 8, 8, generator=torch.Generator().manual_seed(1))
STEPS = 4
Body = Callable[["Two", Tensor, Tensor, Tensor], Tensor]


class Two(nn.Module):
    """Two populations side by side, what ``body`` makes of their spikes and the image, and ten neurons behind."""

    def __init__(self, body: Body, **layers: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.left, self.right = nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(1, 5, 5, padding=2)
        self.cells = nn.ModuleList(
            snntorch.Leaky(beta=0.8, threshold=0.2, reset_mechanism="zero", init_hidden=True) for _ in range(3)
        )
        self.more = nn.ModuleDict(layers)
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        told = []
        for _ in range(STEPS):
            left, right = self.cells[0](self.left(x)), self.cells[1](self.right(x))
            told.append(self.cells[2](self.body(self, x, left, right)))
        return torch.stack(told)


def channels(net: Two, x: Tensor, left: Tensor, right: Tensor) -> Tensor:
    joined = functional.max_pool2d(torch.cat((left, right), 1), 2)
    return net.more["conv"](joined).flatten(1)


def features(net: Two, x: Tensor, left: Tensor, right: Tensor) -> Tensor:
    return net.more["last"](torch.cat([left.flatten(1), x.flatten(1), right.flatten(1)], dim=-1))


def nested(net: Two, x: Tensor, left: Tensor, right: Tensor) -> Tensor:
    inner = torch.concat([right, left], dim=1)
    return net.more["last"](torch.flatten(torch.cat([left, inner], dim=-3), 1))


def twice(net: Two, x: Tensor, left: Tensor, right: Tensor) -> Tensor:
    joined = torch.cat([left, right], 1)
    return net.more["last"](joined.flatten(1)) + net.more["other"](joined.flatten(1))


GOOD: dict[str, Callable[[], nn.Module]] = {
    "channels, pooled, convolved": lambda: Two(channels, conv=nn.Conv2d(8, 10, 4)),
    "features, with the image": lambda: Two(features, last=nn.Linear(9 * 64, 10)),
    "one inside another, a part twice": lambda: Two(nested, last=nn.Linear(11 * 64, 10)),
    "into two layers": lambda: Two(twice, last=nn.Linear(512, 10), other=nn.Linear(512, 10, bias=False)),
}


@pytest.mark.parametrize("name", GOOD)
def test_every_spike_is_the_models_own(name: str) -> None:
    found = adopt_module(GOOD[name]().eval(), IMAGES)
    assert len(found.proof.spikes) == 3
    assert found.proof.differing == 0
    assert not found.proof.silent
    assert not found.reasons


def test_weights_are_those_of_the_model_cut_by_source() -> None:
    model: Any = GOOD["features, with the image"]().eval()
    layers = dict(adopt_module(model, IMAGES).network.named_layers())
    parts: list[Any] = [layer for layer in layers.values() if isinstance(layer, nn.Linear)]
    assert [part.in_features for part in parts] == [3 * 64, 64, 5 * 64]
    assert torch.equal(torch.cat([part.weight for part in parts], 1), model.more["last"].weight)
    assert [part.bias is not None for part in parts] == [True, False, False]


def cells(sums: np.ndarray, population: Any) -> np.ndarray:
    """Spikes (time, batch, neurons) of sums, from the equations in docs/program.md; states are NumPy's own integers."""
    v = np.zeros(sums.shape[1:], dtype=np.int64)
    fired = []
    for a in sums:
        v = np.sign(v) * (np.abs(v) * (4096 - population.dv) >> 12)
        v = v + 64 * a + (population.bias.astype(np.int64) << population.bias_exponent)
        fired.append(v > 64 * population.vth)
        v = np.where(fired[-1], 0, v)
    return np.stack(fired)


@pytest.mark.parametrize(
    ("name", "order"), [("features, with the image", "lir"), ("one inside another, a part twice", "lrl")]
)
def test_the_program_has_the_models_matrix_on_the_joined_spikes(name: str, order: str) -> None:
    model: Any = GOOD[name]().eval()
    network = sp.adopt(model, IMAGES).network
    images = np.rint(255 * IMAGES.numpy()).astype(np.float32) / 255
    quantized = sp.quantize(network, (images, np.zeros(len(images), dtype=np.int64)), bits=8, epochs=0)
    program = sp.lower(quantized, (1, 8, 8), check=images)
    messages = Direct(STEPS).integers(images)
    trace = get_target("loihi").compile(program).run(messages, rasters=True)
    last = program.populations[-1]
    parts: list[Any] = list(program.incoming(last.name))
    assert len(parts) == 3
    # In the order of the concatenation, by its widths: 3, 1 and 5 channels of 64 pixels.
    known = {"l": "cells_0", "r": "cells_1", "i": program.input.name}
    ordered = []
    for letter in order:
        place = next(place for place, part in enumerate(parts) if part.source == known[letter])
        ordered.append(parts.pop(place))
    joint = np.concatenate([part.weight.astype(np.int64) * 2.0**part.exponent for part in ordered], 1)
    sent = {name: raster.spikes for name, raster in trace.rasters.items()} | {program.input.name: messages}
    spikes = np.concatenate([sent[known[letter]].reshape(STEPS, len(images), -1) for letter in order], 2)
    # An integer is the model's weight over one unit for all parts, but for half a step of the part's grid. The image is
    # counted in 255 levels, spikes are whole.
    widths = [part.weight.shape[1] for part in ordered]
    scale = np.repeat([1 / 255 if part.source == program.input.name else 1 for part in ordered], widths)
    wanted = model.more["last"].weight.detach().numpy() * scale
    unit = float((wanted * joint).sum() / (joint * joint).sum())
    half = np.repeat([2.0**part.exponent for part in ordered], widths)
    assert (np.abs(wanted / unit - joint) <= 1.05 * half).all(), "weights are even: half a step is one"
    each = zip(ordered, np.split(spikes, np.cumsum(widths)[:-1], 2), strict=True)
    sums = sum(np.floor(one @ (part.weight.T * 2.0**part.exponent)).astype(np.int64) for part, one in each)
    ours = cells(np.asarray(sums), last)
    assert ours.any()
    assert np.array_equal(ours, trace.rasters[last.name].spikes.reshape(ours.shape) != 0)


@pytest.mark.parametrize("name", ["channels, pooled, convolved", "into two layers"])
def test_no_fault_lies_between_the_network_and_its_program(name: str) -> None:
    network = sp.adopt(GOOD[name]().eval(), IMAGES).network
    images = np.rint(255 * IMAGES.numpy()).astype(np.float32) / 255
    data = images, np.zeros(len(images), dtype=np.int64)
    quantized = sp.quantize(network, data, bits=8, epochs=0)
    program = sp.lower(quantized, (1, 8, 8), check=images)
    record = sp.explain(sp.Forms(network, quantized, program), data, lava=False, layers=False).record
    assert record.program_differs == 0
    assert {one.kind for one in record.causes} <= {"rounding", "limit"}
    assert len(list(program.incoming(program.populations[-1].name))) == (2 if "pooled" in name else 4)


def jelly() -> nn.Module:
    """A block of a DenseNet over all steps, time folded into the batch by SpikingJelly's layers."""
    jelly = pytest.importorskip("spikingjelly.activation_based")
    layer, neuron = pytest.importorskip("spikingjelly.activation_based.layer"), jelly.neuron

    class Dense(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(3)
            self.stem, self.norm = layer.Conv2d(1, 4, 3, padding=1, step_mode="m"), layer.BatchNorm2d(4, step_mode="m")
            self.grow = layer.Conv2d(4, 6, 3, padding=1, step_mode="m")
            self.first, self.second, self.third = (neuron.LIFNode(v_threshold=0.1, step_mode="m") for _ in range(3))
            self.pool, self.flat = layer.AvgPool2d(2, step_mode="m"), layer.Flatten(step_mode="m")
            self.last = layer.Linear(160, 10, step_mode="m")

        def forward(self, x: Tensor) -> Tensor:
            s = self.first(self.norm(self.stem(x)))
            s = torch.cat([s, self.second(self.grow(s))], dim=2)
            return self.third(self.last(self.flat(self.pool(s)))).mean(0)

    return Dense().eval()


def test_over_all_steps_at_once_the_axis_of_channels_is_one_further() -> None:
    found = adopt_module(jelly(), IMAGES, steps=STEPS)
    assert len(found.proof.spikes) == 3
    assert found.proof.differing == 0
    assert not found.proof.silent


BAD: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "samples": (
        lambda: Two(lambda net, x, a, b: net.more["last"](torch.cat([a, a]).flatten(1))[:12], last=nn.Linear(192, 10)),
        "torch.cat along samples; known are channels and features",
    ),
    "width": (
        lambda: Two(lambda net, x, a, b: net.more["last"](torch.cat([a, a], 3).flatten(1)), last=nn.Linear(384, 10)),
        "torch.cat along axis 3; known are channels and features, axis 1",
    ),
    "a constant": (
        lambda: Two(
            lambda net, x, a, b: net.more["last"](torch.cat([a, torch.ones(12, 1, 8, 8, dtype=a.dtype)], 1).flatten(1)),
            last=nn.Linear(256, 10),
        ),
        "torch.cat of a signal and a constant",
    ),
    "neurons": (
        lambda: Two(lambda net, x, a, b: torch.cat([net.more["p"](a.flatten(1)), net.more["q"](b.flatten(1))], 1),
                    p=nn.Linear(192, 4), q=nn.Linear(320, 6)),
        "gets what torch.cat joined; a concatenation has a form where it goes into linear layers and convolutions",
    ),
    "batch norm": (
        lambda: Two(
            lambda net, x, a, b: net.more["last"](net.more["norm"](torch.cat([a, b], 1)).flatten(1)),
            norm=nn.BatchNorm2d(8), last=nn.Linear(512, 10),
        ),
        "layer 'more.norm' (BatchNorm2d): a concatenation has a form where",
    ),
    "groups": (
        lambda: Two(
            lambda net, x, a, b: net.more["last"](net.more["conv"](torch.cat([a, b], 1)).flatten(1)),
            conv=nn.Conv2d(8, 8, 3, groups=2), last=nn.Linear(288, 10),
        ),
        "layer 'more.conv': its 2 groups go over a concatenation",
    ),
    "rows": (
        lambda: Two(
            lambda net, x, a, b: net.more["last"](net.more["rows"](torch.cat([a, b], 1)).flatten(1)),
            rows=nn.Linear(8, 8), last=nn.Linear(512, 10),
        ),
        "takes rows of a concatenation along channels; flatten it before",
    ),
    "multiplied": (
        lambda: Two(lambda net, x, a, b: net.more["last"](torch.cat([2 * a, b], 1).flatten(1)), last=nn.Linear(512, 9)),
        "torch.cat of signals that were multiplied",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_other_uses_are_refused_by_name(name: str) -> None:
    make, why = BAD[name]
    with pytest.raises(UnsupportedError) as caught:
        adopt_module(make().eval(), IMAGES)
    assert why in str(caught.value)


def test_time_is_not_concatenated_and_what_is_read_is_not_either() -> None:
    class Over(nn.Module):
        def __init__(self, axis: int) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.fc, self.axis = nn.Linear(64, 10), axis
            self.lif = snntorch.Leaky(beta=0.9, threshold=0.2, reset_mechanism="zero", init_hidden=True)

        def forward(self, x: Tensor) -> Tensor:
            told = [self.lif(self.fc(x.flatten(1))) for _ in range(STEPS)]
            return torch.cat([torch.stack(told), torch.stack(told)], self.axis)

    with pytest.raises(UnsupportedError, match=r"torch\.cat along time; known are channels and features"):
        adopt_module(Over(0).eval(), IMAGES)
    with pytest.raises(UnsupportedError, match=r"the model gives what torch\.cat joined"):
        adopt_module(Over(2).eval(), IMAGES)
