"""A threshold for every channel: the same function of ReLU, equally loud channels, and fewer steps in spikes."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import spikeproof as sp
from spikeproof.toolkit.convert import convert
from spikeproof.toolkit.convert.channels import equalized
from spikeproof.toolkit.convert.flat import flat
from spikeproof.toolkit.errors import InputError, UnsupportedError

pytest.importorskip("spikingjelly")
X = torch.rand(200, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def uneven() -> nn.Module:
    """Convolutions with groups and batch norm, pools of both kinds, linear layers; channels of very different sizes."""
    torch.manual_seed(5)
    ann = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3, padding=1, groups=2), nn.ReLU(), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(24, 9), nn.ReLU(), nn.Linear(9, 4),
    )  # fmt: skip
    norm: Any = ann[1]
    norm.running_mean.uniform_(-0.3, 0.3)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([0.1, 1.0, 5.0, 0.5]))
        norm.bias.fill_(0.2)
        ann[8].weight *= torch.rand(9, 1) * 4
    return ann.eval()


def activations(graph: nn.Module, x: Tensor) -> dict[str, np.ndarray]:
    """What each ReLU gives, (channels, ...), by its name, seen by torch's own hooks."""
    found: dict[str, np.ndarray] = {}
    for name, part in graph.named_modules():
        if isinstance(part, nn.ReLU):
            part.register_forward_hook(
                lambda _, given, out, name=name: found.update({name: out.transpose(0, 1).flatten(1).numpy()})
            )
    with torch.no_grad():
        graph(x)
    return found


def test_the_function_is_the_same_and_every_channel_is_as_loud() -> None:
    ann = uneven()
    graph = flat(ann, X[:2])
    made, done = equalized(graph, X, 99)
    with torch.no_grad():
        torch.testing.assert_close(made(X), ann(X), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(graph(X), ann(X), rtol=1e-4, atol=1e-5)
    assert len(done) == 3
    before, after = activations(graph, X), activations(made, X)
    assert list(before) == list(after)
    for name, values in after.items():
        assert name in done
        loud = np.quantile(values, 0.99, axis=1, method="inverted_cdf")
        heard = np.quantile(before[name], 0.99, axis=1, method="inverted_cdf") > 0
        assert heard.sum() > 1
        np.testing.assert_allclose(loud[heard], 1, rtol=0.02)


def test_a_silent_channel_stays_silent() -> None:
    torch.manual_seed(0)
    ann = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(108, 4)).eval()
    conv: Any = ann[0]
    with torch.no_grad():
        conv.weight[1], conv.bias[1] = 0, -1
    network, equal = convert(ann, X, steps=8, per="channel")
    assert equal >= 0.95
    assert all(bool(torch.isfinite(part).all()) for part in network.state_dict().values())


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.last = (
            nn.Conv2d(1, 4, 3, padding=1),
            nn.Conv2d(4, 4, 3, padding=1),
            nn.Linear(256, 4),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x))
        return self.last(torch.relu(self.second(x) + x).flatten(1))


def test_where_a_sum_needs_one_scale_the_layer_keeps_one_threshold() -> None:
    with pytest.raises(UnsupportedError, match="no ReLU stands between weights alone"):
        convert(Residual().eval(), X, steps=4, per="channel")
    with pytest.raises(InputError, match="per='neuron', expected 'layer' or 'channel'"):
        convert(Residual().eval(), X, steps=4, per="neuron")  # type: ignore[arg-type]


def test_on_digits_a_threshold_a_channel_needs_fewer_steps() -> None:
    data = sp.load_data("digits", test_samples=300)
    images, labels = torch.from_numpy(data.train_images), torch.from_numpy(data.train_labels)
    torch.manual_seed(0)
    first = [nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.AvgPool2d(2)]
    ann = nn.Sequential(*first, nn.Flatten(), nn.Linear(128, 32), nn.ReLU(), nn.Linear(32, 10))
    optimizer = torch.optim.Adam(ann.parameters(), lr=5e-3)
    for _ in range(8):
        for part in torch.randperm(len(images)).split(128):
            optimizer.zero_grad()
            nn.functional.cross_entropy(ann(images[part]), labels[part]).backward()
            optimizer.step()
    layer, channel = (sp.convert(ann, data, steps=32, per=per).record for per in ("layer", "channel"))  # type: ignore[arg-type]
    assert (layer.per, channel.per) == ("layer", "channel")
    assert layer.ann == channel.ann, "the network of ReLU is the caller's own"
    same = {one.steps: (one.same, other.same) for one, other in zip(layer.by_steps, channel.by_steps, strict=True)}
    assert same[4][1] > same[4][0] + 0.03
    assert min(same[32]) > 0.95
    assert "each channel's activations" in channel.sentences[0]
    assert "per='channel'" in str(channel.command)


def test_places_of_a_flattened_image_are_no_channels() -> None:
    torch.manual_seed(0)
    behind = (nn.Linear(108, 8), nn.ReLU(), nn.Linear(8, 4))
    layers = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Flatten(), nn.ReLU(), *behind).eval()
    network, equal = convert(layers, X[:20], steps=8, per="channel")
    assert equal > 0
    assert network.steps == 8
