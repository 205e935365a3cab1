"""Modules and inputs of any form: the same victim gives the same examples, in its own units and shape."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import spikeproof as sp
from spikeproof.toolkit.attacks.given import Given, gathered
from spikeproof.toolkit.attacks.gradient import PGD
from spikeproof.toolkit.errors import InputError

RNG = np.random.default_rng(0)
IMAGES = RNG.random((10, 3, 4, 5)).astype(np.float32)
LABELS = np.arange(10) % 3
MEAN, STD = np.array([0.4, 0.5, 0.6]), np.array([0.2, 0.25, 0.3])


class Linear(nn.Module):
    """Logits of images in [0, 1]."""

    def __init__(self) -> None:
        super().__init__()
        weight = np.random.default_rng(1).normal(size=(3, 60)).astype(np.float32)
        self.weight = nn.Parameter(torch.from_numpy(weight))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight.T


class Scaled(nn.Module):
    """The same, of inputs in [low, high]."""

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.inner, self.low, self.high = Linear(), low, high

    def forward(self, x: Tensor) -> Tensor:
        return self.inner((x - self.low) / (self.high - self.low))


class Normal(nn.Module):
    """The same, of inputs that were normalised a channel."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Linear()

    def forward(self, x: Tensor) -> Tensor:
        mean, std = (torch.tensor(v, dtype=torch.float32).view(3, 1, 1) for v in (MEAN, STD))
        return self.inner(x * std + mean)


class OverTime(nn.Module):
    """Spikes and membranes over time, as snnTorch's tutorials return them."""

    def __init__(self, axis: int = 0, several: bool = True, steps: int = 3) -> None:
        super().__init__()
        self.inner, self.axis, self.several, self.steps = Linear(), axis, several, steps

    def forward(self, x: Tensor) -> Any:
        found = torch.stack([self.inner(x) / self.steps] * self.steps, self.axis)
        return (found, torch.zeros_like(found)) if self.several else found


RIGHT = PGD(epsilon=0.1, steps=5)(Linear(), IMAGES, LABELS)


def close(made: Any, images: np.ndarray) -> None:
    np.testing.assert_allclose(made.images, images, atol=1e-5 * max(1.0, float(np.abs(images).max())))
    np.testing.assert_array_equal(made.robust, RIGHT.robust)


@pytest.mark.parametrize(("low", "high"), [(0, 255), (-1, 1), (-0.5, 2)])
def test_bounds_are_the_units_of_images_epsilon_and_distance(low: float, high: float) -> None:
    width = high - low
    data = (IMAGES * width + low, LABELS)
    made = sp.attack(Scaled(low, high), data, "pgd", epsilon=0.1 * width, steps=5, bounds=(low, high))
    close(made, RIGHT.images * width + low)
    assert made.distance == pytest.approx(0.1 * width, rel=1e-5)
    same = sp.attack(Scaled(low, high), data, PGD(epsilon=0.1, steps=5), bounds=(low, high))
    close(same, RIGHT.images * width + low)


def test_preprocessing_is_part_of_the_victim() -> None:
    made = sp.attack(Normal(), (IMAGES, LABELS), "pgd", epsilon=0.1, steps=5, preprocessing=(MEAN, STD))
    close(made, RIGHT.images)


def test_flat_inputs_keep_their_shape() -> None:
    flat = IMAGES.reshape(10, 60)
    made = sp.attack(Linear(), (flat, LABELS), "pgd", epsilon=0.1, steps=5)
    assert made.images.shape == flat.shape
    close(made, RIGHT.images.reshape(10, 60))


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("several", [True, False])
@pytest.mark.parametrize("steps", [1, 2, 3, 10])
def test_outputs_over_time_are_added_up(axis: int, several: bool, steps: int) -> None:
    model = OverTime(axis, several, steps)
    close(sp.attack(model, (IMAGES, LABELS), "pgd", epsilon=0.1, steps=5), RIGHT.images)


def test_an_output_can_be_said() -> None:
    model = OverTime(several=True)
    made = sp.attack(model, (IMAGES, LABELS), "pgd", epsilon=0.1, steps=5, output=lambda answer: answer[0].sum(0))
    close(made, RIGHT.images)


@pytest.mark.parametrize("kind", ["tensors", "loader", "dataset", "grad"])
def test_data_of_pytorch(kind: str) -> None:
    images, labels = torch.from_numpy(IMAGES), torch.from_numpy(LABELS)
    data: Any = {
        "tensors": (images, labels),
        "grad": (images.clone().requires_grad_(), labels),
        "loader": DataLoader(TensorDataset(images, labels), batch_size=4),
        "dataset": TensorDataset(images, labels),
    }[kind]
    close(sp.attack(Linear(), data, "pgd", epsilon=0.1, steps=5), RIGHT.images)
    few = sp.attack(Linear(), data, "pgd", samples=5, epsilon=0.1, steps=5)
    np.testing.assert_allclose(few.images, RIGHT.images[:5], atol=1e-6)


def test_robustness_takes_the_same_words() -> None:
    plain = sp.robustness(Linear(), (IMAGES, LABELS), "quick", epsilon=0.1)
    scaled = sp.robustness(Scaled(0, 255), (IMAGES * 255, LABELS), "quick", epsilon=25.5, bounds=(0, 255))
    over = sp.robustness(OverTime(), DataLoader(TensorDataset(*map(torch.from_numpy, (IMAGES, LABELS)))), "quick")
    assert plain.outcomes == scaled.outcomes == over.outcomes
    assert plain.worst.value < plain.clean.value


def test_a_loader_is_read_as_far_as_needed() -> None:
    def endless() -> Any:
        while True:
            yield torch.zeros(2), 1

    class Stream(torch.utils.data.IterableDataset[Any]):
        def __iter__(self) -> Any:
            return endless()

    images, labels = gathered(Stream(), 3)
    assert (images.shape, labels.tolist()) == ((3, 2), [1, 1, 1])
    images, labels = gathered(DataLoader(Stream(), batch_size=2), 3)
    assert (images.shape, labels.tolist()) == ((3, 2), [1, 1, 1])


@pytest.mark.parametrize(
    ("model", "data", "options", "reason"),
    [
        (Linear(), (IMAGES * 2, LABELS), {}, r"outside bounds=\(0, 1\); give bounds=.*preprocessing=\(mean, std\)"),
        (Linear(), (IMAGES, LABELS), {"bounds": (1, 0)}, "smallest value before the largest"),
        (Linear(), (IMAGES, LABELS), {"bounds": 3}, "expected .smallest, largest. as two numbers"),
        (Linear(), (IMAGES, LABELS), {"preprocessing": (0, 0)}, "std 0, expected numbers above 0"),
        (Linear(), (IMAGES, LABELS), {"preprocessing": ([0, 0], 1)}, "expected one a channel"),
        (Linear(), (IMAGES, np.eye(3)[LABELS]), {}, "one-hot"),
        (nn.Identity(), (IMAGES, LABELS), {}, r"the module returns shape \(3, 3, 4, 5\).*output=lambda"),
        (Linear(), [IMAGES, LABELS, LABELS], {}, "data: yields ndarray, expected pairs"),
        (Linear(), [], {}, "data: yields nothing"),
    ],
)
def test_what_cannot_be_meant_is_refused(model: Any, data: Any, options: Any, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        sp.attack(model, data, "pgd", epsilon=0.1, **options)


def test_our_own_networks_take_no_such_words() -> None:
    data = sp.load_data(arrays=(IMAGES, LABELS, IMAGES, LABELS))
    with pytest.raises(InputError, match="belong to modules of others"):
        sp.attack(sp.build_network(data), data, epsilon=0.1, bounds=(0, 1))


def test_units_come_back() -> None:
    given = Given(Linear(), (3, 4, 5), (-3.0, 5.0))
    own = IMAGES * 8 - 3
    np.testing.assert_allclose(given.own(given.unit(own)), own, atol=1e-6)
