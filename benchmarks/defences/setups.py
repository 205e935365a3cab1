"""Networks, data and measurements of the defences' own experiments, as the design notes describe them."""

import copy
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from spikeproof.eval.measure.forms import gradient_sparsity
from spikeproof.toolkit.attacks.gradient import FGSM, PGD
from spikeproof.toolkit.attacks.strong import SAPGD
from spikeproof.toolkit.attacks.victim import predict
from spikeproof.toolkit.coding import Direct, Events
from spikeproof.toolkit.coding.base import Coder
from spikeproof.toolkit.config import TrainSettings, parse_recipe
from spikeproof.toolkit.data import Dataset
from spikeproof.toolkit.defences.base import Defence
from spikeproof.toolkit.defences.neuron import opened
from spikeproof.toolkit.defences.trr import TRR
from spikeproof.toolkit.network.backward import Backward
from spikeproof.toolkit.network.network import SpikingNetwork
from spikeproof.toolkit.network.neurons import LIF
from spikeproof.toolkit.network.surrogates import AdaptiveSharpness, Spike, Surrogate
from spikeproof.toolkit.train import seeded, train_network

Numbers = dict[str, float]


class Rows(Coder):
    """The rows of an image, one after the other: x(t) is row t."""

    name: ClassVar[str] = "rows"

    def encode(self, images: Tensor) -> Tensor:
        """Return (rows, batch, channels, 1, width)."""
        return images.permute(2, 0, 1, 3).unsqueeze(3)


def moving_digits(seed: int, count: int, images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return events of digits that move over 12x12 pixels, 6 steps of two polarities, and labels."""
    rng = np.random.default_rng(seed)
    chosen = rng.integers(0, len(labels), count)
    frames = np.zeros((count, 7, 12, 12), dtype=bool)
    for sample, index in enumerate(chosen):
        place, speed = rng.integers(0, 5, 2), rng.integers(-1, 2, 2)
        speed[rng.integers(2)] = rng.choice([-1, 1])
        for t in range(7):
            frames[sample, t, place[0] : place[0] + 8, place[1] : place[1] + 8] = images[index, 0] > 0.5
            speed = np.where((place + speed < 0) | (place + speed > 4), -speed, speed)
            place = place + speed
    on, off = frames[:, 1:] & ~frames[:, :-1], frames[:, :-1] & ~frames[:, 1:]
    return np.stack([on, off], 2).astype(np.float32), labels[chosen]


def convolutional(coder: Coder, width: int, features: int, surrogate: Surrogate | None = None) -> SpikingNetwork:
    """Return the network of the design notes: two convolutions of 16 channels, 3x3 average pools, a linear read-out."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number in (1, 2):
        layers[f"conv{number}"] = nn.Conv2d(width, 16, 3, padding=1, bias=False)
        layers[f"norm{number}"] = nn.BatchNorm2d(16)
        layers[f"lif{number}"] = LIF(0.5, 1.0, 2.0)
        layers[f"pool{number}"] = nn.AvgPool2d(3, 2, 1)
        width = 16
    layers |= {"flatten": nn.Flatten(), "linear": nn.Linear(features, 10)}
    for layer in layers.values():
        if isinstance(layer, LIF) and surrogate is not None:
            layer.neuron.spike_grad = Spike(surrogate)
    return SpikingNetwork(layers, coder, 1.0)


def rows_network(decay: float) -> SpikingNetwork:
    """Return 64-64 LIF neurons that see one row a step."""
    layers: OrderedDict[str, nn.Module] = OrderedDict({"flatten": nn.Flatten()})
    for number, inputs in ((1, 8), (2, 64)):
        layers[f"linear{number}"] = nn.Linear(inputs, 64)
        layers[f"lif{number}"] = LIF(decay, 1.0, 2.0)
    layers["linear"] = nn.Linear(64, 10)
    return SpikingNetwork(layers, Rows(8), 1.0)


def perceptron(hidden: int) -> SpikingNetwork:
    """Return a network without spikes: linear, or with one hidden layer of ReLU."""
    layers: OrderedDict[str, nn.Module] = OrderedDict({"flatten": nn.Flatten()})
    if hidden:
        layers |= {"hidden": nn.Linear(64, hidden), "relu": nn.ReLU()}
    layers["linear"] = nn.Linear(hidden or 64, 10)
    return SpikingNetwork(layers, Direct(1), 1.0)


def image_gradient(network: SpikingNetwork, images: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean L1 norm of the gradient of the true class's probability with respect to the image."""
    x, y = torch.from_numpy(images).requires_grad_(), torch.from_numpy(labels)
    (gradient,) = torch.autograd.grad(network(x).softmax(1).gather(1, y[:, None]).sum(), x)
    return float(gradient.abs().flatten(1).sum(1).mean())


def loss_of(network: SpikingNetwork, images: np.ndarray, labels: np.ndarray) -> float:
    with torch.no_grad():
        return float(nn.functional.cross_entropy(network(torch.from_numpy(images)), torch.from_numpy(labels)))


def near_threshold(network: SpikingNetwork, images: np.ndarray) -> list[float]:
    """Return for each LIF layer the share of membranes, over neurons and steps, within 0.25 of the threshold."""
    twin = copy.deepcopy(network).eval()
    layers = [layer for _, layer in opened(twin)]
    for layer in layers:
        layer.told = []
    with torch.no_grad():
        twin(torch.from_numpy(images))
    found = []
    for layer in layers:
        assert layer.told
        found.append(float(((torch.stack(layer.told[0]) - layer.threshold).abs() < 0.25).float().mean()))
    return found


@dataclass(frozen=True)
class Setup:
    """A network, its data and what is measured of it."""

    build: Callable[[], SpikingNetwork]
    measure: Callable[[SpikingNetwork, Dataset], Numbers]
    epochs: int = 20
    train: int | None = None
    events: bool = False
    rate: float = 2e-3
    batch: int = 64


def accuracy(network: SpikingNetwork, images: np.ndarray, labels: np.ndarray) -> float:
    return 100 * float((predict(network, images) == labels).mean())


def attacked(network: SpikingNetwork, data: Dataset, strong: bool = False) -> Numbers:
    images, labels = data.test_images, data.test_labels
    found = {
        "clean": accuracy(network, images, labels),
        "fgsm@0.1": 100 * float(FGSM(epsilon=0.1)(network, images, labels).robust.mean()),
        "pgd-10@0.1": 100 * float(PGD(epsilon=0.1, steps=10)(network, images, labels).robust.mean()),
        "gradient L1": image_gradient(network, images, labels),
    }
    if strong:
        attack = SAPGD(epsilon=0.1, steps=50, backward=Backward(surrogate=AdaptiveSharpness()))
        found["sa-pgd-50@0.1, adaptive"] = 100 * float(attack(network, images, labels).robust.mean())
    return found


def guarded(network: SpikingNetwork, data: Dataset) -> Numbers:
    near = near_threshold(network, data.test_images)
    zeros = gradient_sparsity(network, data.test_images, data.test_labels, batch=250)["hidden"]
    return attacked(network, data) | {"near 1": near[0], "near 2": near[1], "zero-gradient share": float(zeros)}


def few(network: SpikingNetwork, data: Dataset) -> Numbers:
    seen = loss_of(network, data.train_images[:300], data.train_labels[:300])
    test = loss_of(network, data.test_images, data.test_labels)
    return attacked(network, data) | {"loss gap": test - seen}


def clean(network: SpikingNetwork, data: Dataset) -> Numbers:
    return {"clean": accuracy(network, data.test_images, data.test_labels)}


def reversal(network: SpikingNetwork, data: Dataset) -> Numbers:
    method, inputs = TRR(reversed="input"), torch.from_numpy(data.test_images)
    with torch.no_grad(), method.backward_in_time(network, len(inputs)):
        backward = network(inputs)
    with torch.no_grad():
        kl = float(method.divergence(network(inputs), backward))
    return clean(network, data) | {"reversal KL": kl}


def far(network: SpikingNetwork, data: Dataset) -> Numbers:
    made = PGD(epsilon=0.15, steps=50)(network, data.test_images, data.test_labels)
    return clean(network, data) | {"pgd-50@0.15": 100 * float(made.robust.mean())}


def _conv(surrogate: Surrogate | None = None) -> Callable[[], SpikingNetwork]:
    return lambda: convolutional(Direct(4), 1, 64, surrogate)


SETUPS = {
    "conv": Setup(_conv(), lambda network, data: attacked(network, data, strong=True)),
    "conv, triangular": Setup(_conv(Surrogate("triangular", 1.0)), guarded),
    "conv, 300 images": Setup(_conv(), few, epochs=25, train=300, batch=16),
    **{f"rows, decay {decay}": Setup(lambda decay=decay: rows_network(decay), clean) for decay in (0.2, 0.5, 0.9)},
    "events": Setup(lambda: convolutional(Events(6), 2, 144), reversal, epochs=25, events=True),
    "perceptron": Setup(lambda: perceptron(64), far, epochs=40, rate=1e-2),
    "linear": Setup(lambda: perceptron(0), far, epochs=40, rate=1e-2),
}
ROWS = [name for name in SETUPS if name.startswith("rows")]


def defences_of(entries: list[dict[str, Any]]) -> list[Defence]:
    return list(parse_recipe({"defences": entries}, "benchmark").defences)


def trained(
    setup: Setup, defences: list[Defence], seed: int, data: Dataset, epochs: int | None = None
) -> SpikingNetwork:
    with seeded(seed):
        network = setup.build()
        for defence in defences:
            defence.prepare(network)
    settings = TrainSettings(seed=seed, batch=setup.batch)
    count = setup.train
    images, labels = data.train_images[:count], data.train_labels[:count]
    train_network(network, images, labels, settings, epochs=epochs or setup.epochs, rate=setup.rate, defences=defences)
    return network


def data_of(setup: Setup, data: Dataset) -> Dataset:
    if not setup.events:
        return data
    seen = moving_digits(1, 400, data.train_images, data.train_labels)
    unseen = moving_digits(2, 500, data.test_images, data.test_labels)
    return Dataset("moving digits", data.classes, *seen, *unseen, data.sha256, "events")
