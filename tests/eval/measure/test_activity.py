"""The four views against counts done one by one, and against NeuroBench where both mean the same."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import snntorch
import torch
from torch import nn

from spikeproof.eval.measure.activity import MembraneUpdates, dense_operations, input_gradient, membranes, views
from spikeproof.eval.measure.metrics import SynapticOperations
from spikeproof.export.program import Convolution, Dense, Input, Population, Program, Readout
from spikeproof.hw_targets.target import Trace, get_target
from spikeproof.toolkit.coding import Direct, direct_integers
from spikeproof.toolkit.config import ModelSettings
from spikeproof.toolkit.errors import InputError
from spikeproof.toolkit.models import recurrent_network
from spikeproof.toolkit.network.network import SpikingNetwork
from spikeproof.toolkit.network.neurons import LIF
from spikeproof.toolkit.task.regression import Regression

Make = Callable[..., SpikingNetwork]


def convolution(**options: Any) -> Program:
    synapse = Convolution(source="input", target="a", **options)
    shape = synapse.output_shape((2, 5, 6))
    return Program(
        input=Input(shape=(2, 5, 6), message_bits=8, scale=1 / 255),
        populations=(Population(name="a", shape=shape, du=4095, dv=1000, vth=12000, bias=np.zeros(shape, dtype=int)),),
        synapses=(synapse,),
        readout=Readout(population="a"),
        steps=3,
    )


def one_by_one(synapse: Convolution, image: np.ndarray, out: tuple[int, ...]) -> int:
    """Count each product of a weight and a pixel that is not 0: for every output, for every tap inside the image."""
    count, (channels, height, width) = 0, image.shape
    per_group, of_group = channels // synapse.groups, out[0] // synapse.groups
    for o, y, x in np.ndindex(*out):
        for c, i, j in np.ndindex(per_group, *synapse.weight.shape[2:]):
            row = y * synapse.stride[0] - synapse.padding[0] + i * synapse.dilation[0]
            column = x * synapse.stride[1] - synapse.padding[1] + j * synapse.dilation[1]
            inside = 0 <= row < height and 0 <= column < width
            count += inside and image[o // of_group * per_group + c, row, column] != 0
    return int(count)


@pytest.mark.parametrize(
    "options",
    [
        {"weight": np.full((4, 2, 3, 3), 2)},
        {"weight": np.full((4, 2, 3, 3), 2), "padding": (1, 1)},
        {"weight": np.full((4, 2, 2, 3), 2), "padding": (0, 2), "stride": (2, 3)},
        {"weight": np.full((4, 1, 2, 2), 2), "padding": (2, 1), "dilation": (2, 1), "groups": 2},
    ],
    ids=["plain", "padding", "stride that skips", "dilation and groups"],
)
def test_operations_are_those_that_exist(options: dict[str, Any]) -> None:
    program = convolution(**options)
    rng = np.random.default_rng(0)
    images = (rng.integers(0, 256, (3, 2, 5, 6)) * rng.integers(0, 2, (3, 2, 5, 6)) / 255).astype(np.float32)
    (synapse,) = program.synapses
    assert isinstance(synapse, Convolution)
    out = program.populations[0].shape
    found, sent = views(program, program, Direct(3), images, np.zeros(3, dtype=np.int64), batch=2)
    assert {name: counts.sum() for name, counts in sent.items()} == pytest.approx(found.spikes)
    expected = [one_by_one(synapse, image, out) for image in images]
    assert found.operations == {"input -> a": pytest.approx(3 * np.mean(expected))}
    assert dense_operations(program) == {"input -> a": 3 * one_by_one(synapse, np.ones((2, 5, 6)), out)}
    assert found.dense == dense_operations(program)


def test_ten_lines_of_numpy_count_the_same_on_the_program(random_network: Make, images: np.ndarray) -> None:
    program, labels = convolution(weight=np.full((3, 2, 3, 3), 6), padding=(1, 0)), np.zeros(12, dtype=np.int64)
    x = np.broadcast_to(images[:, :, :5, :6], (12, 2, 5, 6)).copy()
    found, _ = views(program, program, Direct(3), x, labels, batch=5)
    raster = get_target("loihi").compile(program).run(direct_integers(x, 3), rasters=True).rasters["a"]
    assert raster.v is not None
    v = np.concatenate([np.zeros_like(raster.v[:1]), raster.v])
    changed = sum(int((v[t + 1] != v[t]).sum()) for t in range(3))
    active = sum(int(((v[t + 1] != v[t]) | raster.spikes[t]).sum()) for t in range(3))
    assert 0 < raster.spikes.sum() < changed < active < raster.spikes.size
    assert found.spikes["a"] == pytest.approx(raster.spikes.sum() / 12)
    assert found.spikes["input"] == pytest.approx(3 * np.count_nonzero(np.rint(255 * x)) / 12)
    assert found.places == {"input": 3 * 60, "a": raster.spikes[:, 0].size}
    one = found.updates["a"]
    assert (12 * one.changed, 12 * one.active, 12 * one.all) == pytest.approx((changed, active, raster.spikes.size))


def test_voltages_of_a_float_network_are_those_of_its_equation(random_network: Make, images: np.ndarray) -> None:
    network = random_network(pool="avg")
    currents: dict[str, torch.Tensor] = {}
    inputs = {"lif1": "norm1", "lif2": "linear"}

    def watch(name: str, signal: torch.Tensor) -> None:
        currents[name] = signal.detach()

    network.spikes(torch.from_numpy(images), watch)
    found = membranes(network, images)
    assert set(found) == set(inputs)
    for name, source in inputs.items():
        layer = dict(network.named_layers())[name]
        v = torch.zeros_like(currents[source][0])
        for t, current in enumerate(currents[source]):
            v = layer.beta * v + current
            fired = v > layer.threshold
            v = v * ~fired
            np.testing.assert_allclose(found[name][0][t], v.numpy(), atol=1e-5)
            np.testing.assert_array_equal(found[name][1][t], fired.numpy())
    assert not any(module._forward_hooks for module in network.modules())


def test_membrane_updates_by_hand() -> None:
    """One neuron, six steps: 0, 3, 3, fires to 0, fires from 0 again, 0: changed at 3 and at the first 0."""
    v = np.array([0, 3, 3, 0, 0, 0]).reshape(6, 1, 1)
    spikes = np.array([0, 0, 0, 1, 1, 0]).reshape(6, 1, 1)
    metric = MembraneUpdates()
    metric.update("a", v, spikes)
    found = metric.compute()["a"]
    assert (found.changed, found.active, found.all) == (2, 3, 6)


def test_the_gradient_is_that_of_the_loss_at_the_image(random_network: Make, images: np.ndarray) -> None:
    network, labels = random_network(pool="avg"), np.arange(12) % 10
    x = torch.from_numpy(images[:2]).requires_grad_()
    torch.nn.functional.cross_entropy(network(x), torch.from_numpy(labels[:2]), reduction="sum").backward()
    assert x.grad is not None
    found = input_gradient(network, images[:2], labels[:2], torch.device("cpu"))
    torch.testing.assert_close(found, x.grad)


def test_the_gradient_of_numbers_is_that_of_their_error(random_network: Make, images: np.ndarray) -> None:
    network, targets = random_network(pool="avg"), np.full((2, 10), 30, dtype=np.float32)
    x = torch.from_numpy(images[:2]).requires_grad_()
    (network(x) - torch.from_numpy(targets)).abs().mean(1).sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    found = input_gradient(network, images[:2], targets, torch.device("cpu"), Regression(10))
    torch.testing.assert_close(found, x.grad)


def test_voltages_of_a_network_with_loops_and_of_another_neuron(images: np.ndarray) -> None:
    """Loops run step by step; a neuron that does not follow LIF's equation has no voltage that we know."""
    settings = ModelSettings(channels=[2], threshold=0.5)
    looped = recurrent_network(settings, Direct(3), (1, 8, 8), 10)
    found = membranes(looped, images)
    spikes: dict[str, torch.Tensor] = {}
    looped.spikes(torch.from_numpy(images), lambda name, sent: spikes.update({name: sent}))
    assert found
    for name, (v, fired) in found.items():
        np.testing.assert_array_equal(fired, spikes[name].detach().numpy())
        assert v.shape == fired.shape
        assert (v[fired != 0] == 0).all()
    for layer in looped.modules():
        if isinstance(layer, LIF):
            layer.neuron.reset_mechanism = "none"
    assert set(membranes(looped, images)) < set(found) | {""}


def test_nothing_measured_is_no_figure() -> None:
    with pytest.raises(InputError, match="nothing was measured"):
        MembraneUpdates().compute()


class Steps(nn.Module):
    """The network as NeuroBench wants it: one step a call, snnTorch neurons that keep their state."""

    def __init__(self, rng: torch.Generator) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3, stride=2, padding=1)
        self.one = snntorch.Leaky(beta=0.8, threshold=0.6, reset_mechanism="zero", reset_delay=False, init_hidden=True)
        self.flat = nn.Flatten()
        self.linear = nn.Linear(48, 5)
        self.two = snntorch.Leaky(
            beta=0.8, threshold=0.6, reset_mechanism="zero", reset_delay=False, init_hidden=True, output=True
        )
        for layer in (self.conv, self.linear):
            layer.weight.data = torch.randn(layer.weight.shape, generator=rng) * 0.4

    def forward(self, x: torch.Tensor) -> Any:
        return self.two(self.linear(self.flat(self.one(self.conv(x)))))


def test_neurobench_counts_the_same_where_it_means_the_same() -> None:
    """Effective ACs, activation sparsity, and membrane updates after the first step, which NeuroBench counts whole.

    NeuroBench leaves out weights that are 0, so the weights here are not; see docs/energy.md.
    """
    neurobench = pytest.importorskip(
        "neurobench.metrics.workload", reason="NeuroBench is not installed (docs/energy.md)"
    )
    from neurobench.models import SNNTorchModel

    network = Steps(torch.Generator().manual_seed(0)).eval()
    spikes = (torch.rand(4, 6, 1, 8, 8, generator=torch.Generator().manual_seed(1)) < 0.3).float()
    model = SNNTorchModel(network)
    model.register_hooks()
    with torch.no_grad():
        model(spikes)
    theirs = {
        name: getattr(neurobench, name)()(model, None, (spikes, None))
        for name in ("SynapticOperations", "ActivationSparsity", "MembraneUpdates")
    }
    hooks = {hook.name: hook for hook in model.activation_hooks}
    fired = {name: torch.stack(hook.activation_outputs).numpy() for name, hook in hooks.items()}
    v = {name: torch.stack(hook.post_fire_mem_potential).numpy() for name, hook in hooks.items()}

    shape = (1, 8, 8)
    program = Program(
        input=Input(shape=shape, message_bits=0),
        populations=tuple(
            Population(name=name, shape=part.shape[2:], du=4095, dv=1, vth=1, bias=np.zeros(part.shape[2:], dtype=int))
            for name, part in fired.items()
        ),
        synapses=(
            Convolution(source="input", target="one", weight=np.full((3, 1, 3, 3), 2), stride=(2, 2), padding=(1, 1)),
            Dense(source="one", target="two", weight=np.full((5, 48), 2)),
        ),
        readout=Readout(population="two"),
        steps=6,
    )
    ours, updates = SynapticOperations(program), MembraneUpdates()
    counts = {name: part.sum(0).astype(np.int64) for name, part in fired.items()}
    ours.update(Trace(counts["two"], counts), spikes.numpy().swapaxes(0, 1).astype(np.int32))
    assert sum(ours.compute().values()) == pytest.approx(theirs["SynapticOperations"]["Effective_ACs"])
    assert sum(dense_operations(program).values()) == pytest.approx(theirs["SynapticOperations"]["Dense"])

    places = sum(part.size for part in fired.values())
    assert 1 - sum(part.sum() for part in fired.values()) / places == pytest.approx(theirs["ActivationSparsity"])

    for name in fired:
        updates.update(name, v[name], fired[name])
    first = sum(int((part[0] == 0).sum()) for part in v.values())
    changed = sum(found.changed for found in updates.compute().values())
    assert (changed + first) / len(spikes) == pytest.approx(theirs["MembraneUpdates"])
