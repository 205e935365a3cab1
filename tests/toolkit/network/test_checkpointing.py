import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from spikeproof.toolkit.config import parse_recipe
from spikeproof.toolkit.models import build_network
from spikeproof.toolkit.network.checkpointing import Wires, segments
from spikeproof.toolkit.network.network import SpikingNetwork
from spikeproof.toolkit.train import TrainSettings, train_network

MODELS = {
    "plain": {"channels": [3, 4]},
    "average": {"channels": [3, 4], "pool": "avg"},
    "sew": {"kind": "sew", "channels": [3, 4], "blocks": [1, 1], "readout": "membrane"},
    "iand": {"kind": "sew", "channels": [3, 4], "blocks": [1, 1], "residual": "iand"},
    "plif": {"channels": [3], "neuron": "plif"},
    "cuba": {"channels": [3], "neuron": "cuba", "current": 0.5},
}


def network_of(name: str, steps: int = 4) -> SpikingNetwork:
    recipe = parse_recipe({"model": MODELS[name], "coding": {"steps": steps}}, "test")
    return build_network(recipe, (1, 8, 8), 3, seed=2).train()


def images(samples: int = 6) -> Tensor:
    return torch.rand(samples, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def step(network: SpikingNetwork, *, backward: bool = True) -> list[Tensor]:
    """Return logits, all gradients and everything that the network remembers, after two steps."""
    found = []
    for _ in range(2):
        x = images().requires_grad_()
        logits = network(x)
        weights = torch.linspace(-1, 1, logits.numel()).view_as(logits)
        parts = [x, *network.parameters()]
        found += [logits.detach(), *torch.autograd.grad((logits * weights).sum(), parts)] if backward else [logits]
    return [*found, *(buffer.clone() for buffer in network.buffers())]


def twins(name: str) -> tuple[SpikingNetwork, SpikingNetwork]:
    plain = network_of(name)
    again = copy.deepcopy(plain)
    again.checkpointing = True
    return plain, again


@pytest.mark.parametrize("once", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_logits_gradients_and_statistics_are_the_same_bits(name: str, once: bool) -> None:
    plain, again = twins(name)
    plain.once = again.once = once
    expected = step(plain)
    assert all(torch.equal(*pair) for pair in zip(step(again), expected, strict=True))
    assert any(float(tensor.abs().sum()) > 0 for tensor in expected[1:])


def test_each_layer_runs_a_second_time_in_the_backward_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, forward = [], nn.Conv2d.forward
    monkeypatch.setattr(nn.Conv2d, "forward", lambda layer, x: calls.append(1) or forward(layer, x))  # type: ignore[func-returns-value]
    _, again = twins("plain")
    with torch.no_grad():
        again(images())
    assert len(calls) == 2
    logits = again(images())
    assert len(calls) == 4
    logits.sum().backward()
    assert len(calls) == 6


def kept(network: SpikingNetwork) -> int:
    """Return the bytes that the graph keeps for its backward pass, weights apart."""
    weights, found = {p.data_ptr() for p in network.parameters()}, {}

    def pack(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in weights:
            found[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    x = images()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        alive = network(x)
    assert alive.requires_grad
    return sum(found.values())


def test_less_is_kept() -> None:
    # Of PyTorch's own bookkeeping: what its nodes hold on to, not what we believe they do.
    plain, again = twins("plain")
    assert kept(again) < kept(plain) / 2


def test_whoever_watches_or_hooks_a_layer_sees_it_once() -> None:
    plain, again = twins("plain")
    seen: list[str] = []
    handles = [
        layer.register_forward_hook(lambda *_, name=name: seen.append(name)) for name, layer in again.named_layers()
    ]
    assert all(torch.equal(*pair) for pair in zip(step(again), step(plain), strict=True))
    assert seen == 2 * [name for name, _ in again.named_layers()]
    for handle in handles:
        handle.remove()
    watched: list[str] = []
    again.spikes(images(), lambda name, _: watched.append(name)).sum().backward()
    assert watched == [name for name, _ in again.named_layers()]


def test_batch_norm_without_momentum_counts_a_batch_once() -> None:
    plain, again = twins("plain")
    for network in (plain, again):
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.momentum = None
    assert all(torch.equal(*pair) for pair in zip(step(again), step(plain), strict=True))


@pytest.mark.parametrize("name", ["plain", "sew"])
def test_segments_are_all_layers_in_order_and_only_their_last_is_read(name: str) -> None:
    network = network_of(name)
    found = segments(network.named_layers(), Wires(network.wires()))
    assert [layer for segment in found for layer in segment] == list(network.named_layers())
    for segment in found:
        inner = {layer for layer, _ in segment[:-1]}
        readers = {other for other, _ in network.named_layers() if inner.intersection(network.sources(other))}
        assert readers <= {layer for layer, _ in segment}
    assert len(found) >= 3


def test_a_network_with_a_loop_trains_without() -> None:
    recipe = parse_recipe({"model": MODELS["plain"], "coding": {"steps": 3}}, "test")
    plain = build_network(recipe, (1, 8, 8), 3, seed=2)
    layers = list(plain.named_layers())
    last, before = layers[-1][0], layers[-2][0]
    plain.wiring[last] = (before, last)
    again = copy.deepcopy(plain)
    again.checkpointing = True
    for network in (plain, again):
        network.eval()
    assert all(torch.equal(*pair) for pair in zip(step(again), step(plain), strict=True))


def test_fine_tuning_too() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.random((20, 1, 8, 8), dtype=np.float32), rng.integers(0, 3, 20)
    found = []
    for checkpointing in (False, True):
        network = network_of("sew")
        train_network(network, x, y, TrainSettings(batch=8, checkpointing=checkpointing), epochs=2, rate=0.01)
        found.append([tensor.clone() for tensor in network.state_dict().values()])
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))
