"""Twins and gradient descent: what must hold of them exactly, against closed forms, NumPy and full Hessians."""

import math
from collections.abc import Callable
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from spikeproof.eval.study.shallow import TANH_BEND, Shallow, descend, squared_errors
from spikeproof.eval.study.stability import measure, prepare
from spikeproof.eval.study.twins import Draw, Task, draw, part
from spikeproof.toolkit.config import Recipe, parse_recipe
from spikeproof.toolkit.data import load_data
from spikeproof.toolkit.errors import InputError

PLAN: dict[str, Any] = {
    "rate": 0.1,
    "batch": None,
    "scale": "pixels",
    "targets": "half",
    "steps": [1, 5, 20],
    "epochs": [1, 2],
    "twins": 3,
    "samples": 16,
}


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    """A small conv-SNN with a defence that draws random numbers."""
    return parse_recipe(
        {
            "name": "tiny",
            "data": {"train_samples": 80, "test_samples": 30},
            "coding": {"steps": 2},
            "model": {"channels": [2], "threshold": 0.3},
            "train": {"seed": 5, "batch": 8},
            "defences": [{"name": "at", "epsilon": 0.1}],
        },
        "test",
    )


class Line(nn.Module):
    """f(x) = w x, a convex quadratic in w for squared errors."""

    def __init__(self, start: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(start.clone())

    def forward(self, x: Tensor) -> Tensor:
        """Return w x."""
        return x @ self.weight


def task_of(made: Callable[[], nn.Module], x: Tensor, y: Tensor, **options: Any) -> Task:
    """Return a task of gradient descent that looks at every step."""

    def train(given: Tensor, wanted: Tensor, observe: Callable[[int, nn.Module], None]) -> None:
        network = made()
        for step in descend(network, squared_errors, given, wanted, **options):
            observe(step, network)

    return Task(train, squared_errors, lambda outputs, wanted: outputs * wanted > 0, x, y, x[-5:], y[-5:])


def some(samples: int, features: int) -> tuple[Tensor, Tensor]:
    return torch.randn(samples, features, dtype=torch.float64), torch.randn(samples, dtype=torch.float64).sign()


@pytest.mark.parametrize(
    ("network", "batch"), [("tanh:8", None), ("tanh:8", 5), ("lif:8", None), ("lif:8", 5), ("recipe", None)]
)
def test_an_example_replaced_by_itself_changes_nothing(recipe: Recipe, network: str, batch: int | None) -> None:
    data = load_data(recipe.data, recipe.coding.steps)
    task = prepare(recipe, PLAN | {"network": network, "batch": batch}, data).task
    sample = draw(len(data.train_labels), 16, 3, 1)
    same = part(task, Draw(sample.chosen, sample.chosen[:3]))
    assert all(point["distances"] == point["replaced"] == [0.0] * 3 for point in same)
    # Other examples part all of them, once each was shown.
    assert min(part(task, sample)[-1]["distances"]) > 0


def test_means_part_by_their_closed_form() -> None:
    """With f(x) = w and w(0) = 0, w(t) = mean(y) (1 - (1 - r)^t): twins part by |y_i - y_i'| / n times the same."""
    y = torch.randn(40, dtype=torch.float64)
    x = torch.ones(40, 1, dtype=torch.float64)
    for size in (7, 14):
        sample = draw(40, size, 4, 3)
        task = task_of(lambda: Line(torch.zeros(1, dtype=torch.float64)), x, y, rate=0.3, steps=12)
        for point in part(task, sample):
            shrunk = 1 - 0.7 ** point["step"]
            expected = (y[sample.chosen[:4]] - y[sample.others]).abs() / size * shrunk
            assert point["distances"] == pytest.approx(expected.tolist(), abs=1e-12)
            assert point["moved"] == pytest.approx(abs(float(y[sample.chosen].mean())) * shrunk, abs=1e-12)


def test_gradient_descent_is_as_numpy_does_it() -> None:
    x, y = some(30, 6)
    network = Shallow(6, 4, nn.Tanh(), 2)
    start = network.weight.detach().numpy().copy()
    sample = draw(30, 12, 3, 8)
    found = part(task_of(lambda: Shallow(6, 4, nn.Tanh(), 2), x, y, rate=0.2, steps=25), sample)
    readout = np.array([0.5, -0.5, 0.5, -0.5])

    def weights_of(rows: Any, targets: Any) -> list[Any]:
        w, seen = start.copy(), [start.copy()]
        for _ in range(25):
            hidden = np.tanh(rows @ w.T)
            error = hidden @ readout - targets
            slope = np.zeros_like(w)
            for one, (row, wrong) in enumerate(zip(rows, error, strict=True)):
                slope += wrong * (readout * (1 - hidden[one] ** 2))[:, None] * row[None]
            w = w - 0.2 * slope / len(rows)
            seen.append(w.copy())
        return seen

    def loss(w: Any, rows: Any, targets: Any) -> Any:
        return (np.tanh(rows @ w.T) @ readout - targets) ** 2 / 2

    rows, targets = x.numpy(), y.numpy()
    own = weights_of(rows[sample.chosen], targets[sample.chosen])
    for point, weight in zip(found, own, strict=True):
        assert point["train_loss"] == pytest.approx(loss(weight, rows[sample.chosen], targets[sample.chosen]).mean())
        assert point["test_loss"] == pytest.approx(loss(weight, rows[-5:], targets[-5:]).mean())
        assert point["moved"] == pytest.approx(float(np.linalg.norm(weight - start)))
    for number in range(3):
        twin = weights_of(rows[sample.twin(number)], targets[sample.twin(number)])
        missing = sample.chosen[number : number + 1].numpy()
        for point, weight, other in zip(found, own, twin, strict=True):
            assert point["distances"][number] == pytest.approx(float(np.linalg.norm(weight - other)), abs=1e-13)
            change = loss(other, rows[missing], targets[missing]) - loss(weight, rows[missing], targets[missing])
            assert point["replaced"][number] == pytest.approx(float(change[0]), abs=1e-12)


def apart(rate: float, x: Tensor, y: Tensor, starts: tuple[Tensor, Tensor]) -> list[float]:
    """Return the distance of two descents on the same sample, step by step."""
    lines = [Line(start) for start in starts]
    walks = [descend(line, squared_errors, x, y, rate=rate, steps=30) for line in lines]
    return [float((lines[0].weight - lines[1].weight).detach().norm()) for _ in zip(*walks, strict=True)]


def test_descent_on_a_convex_quadratic_does_not_expand_up_to_twice_the_inverse_of_its_smoothness() -> None:
    x, y = some(12, 5)
    values, directions = torch.linalg.eigh(x.T @ x / len(x))
    smooth = float(values[-1])
    start = torch.randn(5, dtype=torch.float64)
    for _ in range(10):
        other = torch.randn(5, dtype=torch.float64)
        for rate in (0.1 / smooth, 1 / smooth, 2 / smooth):
            distances = apart(rate, x, y, (start, other))
            assert all(after <= before * (1 + 1e-12) for before, after in pairwise(distances))
    steepest = apart(2.1 / smooth, x, y, (start, start + directions[:, -1]))
    assert steepest[-1] > 10 * steepest[0]


def test_smoothness_bounds_how_fast_gradients_change() -> None:
    x, y = some(6, 5)
    most = 0.0
    for trial in range(60):
        pair = [Shallow(5, 4, nn.Tanh(), trial), Shallow(5, 4, nn.Tanh(), trial)]
        with torch.no_grad():
            pair[1].weight.add_(torch.randn(4, 5, dtype=torch.float64) * 10.0 ** (trial % 3 - 2))
        smooth = pair[0].smoothness(x, y)
        assert smooth is not None
        for row, target in zip(x.split(1), y.split(1), strict=True):
            slopes = [torch.autograd.grad(squared_errors(net(row), target).sum(), net.weight)[0] for net in pair]
            ratio = float((slopes[0] - slopes[1]).norm() / (pair[0].weight - pair[1].weight).detach().norm())
            most = max(most, ratio / smooth)
    assert 0.1 < most <= 1


def test_the_bend_of_tanh_is_the_largest_second_derivative() -> None:
    places = np.linspace(-5, 5, 200_001)
    assert np.abs(-2 * np.tanh(places) * (1 - np.tanh(places) ** 2)).max() == pytest.approx(TANH_BEND, abs=1e-9)


def test_no_eigenvalue_of_the_hessian_lies_below_the_curvature() -> None:
    close = []
    for trial in range(20):
        x, y = some(3 + trial, 4)
        network = Shallow(4, 6, nn.Tanh(), trial)
        readout = network.get_buffer("readout")

        def loss(flat: Tensor, x: Tensor = x, y: Tensor = y, readout: Tensor = readout) -> Tensor:
            return squared_errors(torch.tanh(x @ flat.view(6, 4).T) @ readout, y).mean()

        hessian = torch.autograd.functional.hessian(loss, network.weight.detach().flatten())
        lowest = float(torch.linalg.eigvalsh(hessian)[0])
        bound = network.curvature(x, y)
        assert bound is not None
        assert bound <= lowest + 1e-12
        close.append(lowest / bound if bound else 1.0)
        errors = float((network(x) - y).detach().abs().mean())
        assert bound >= -TANH_BEND * float(x.square().sum(1).max()) * errors / math.sqrt(6) - 1e-12
    assert max(close) > 0.5


def test_the_inequality_holds_for_every_twin_not_in_the_mean_alone() -> None:
    """l(w_i; z_i) - l(w; z_i) <= (L / g) l(w; z_i) + (L + g) / 2 |w - w_i|^2 for any g > 0, whatever the training."""
    x, y = some(60, 8)
    sample = draw(60, 20, 8, 4)
    options = {"rate": 0.3, "steps": 40, "batch": 6, "seed": 1}
    network = Shallow(8, 16, nn.Tanh(), 1)
    smooth = network.smoothness(x, y)
    assert smooth is not None
    points = part(task_of(lambda: Shallow(8, 16, nn.Tanh(), 1), x, y, **options), sample)
    chosen = sample.chosen
    for point, _ in zip(points, descend(network, squared_errors, x[chosen], y[chosen], **options), strict=True):
        losses = squared_errors(network(x[chosen[:8]]), y[chosen[:8]]).tolist()
        for loss, distance, replaced in zip(losses, point["distances"], point["replaced"], strict=True):
            for weight in (0.01, 0.1, 1.0, 10.0):
                assert replaced <= smooth / weight * loss + (smooth + weight) / 2 * distance**2 + 1e-12
    assert max(max(point["replaced"]) for point in points) > 0.01


def test_every_pass_shows_every_sample_once_in_an_order_of_the_seed() -> None:
    x, y = torch.arange(10, dtype=torch.float64)[:, None], torch.zeros(10, dtype=torch.float64)

    def order(seed: int) -> list[list[float]]:
        seen: list[list[float]] = []
        line = Line(torch.ones(1, dtype=torch.float64))
        line.register_forward_pre_hook(lambda _, given: seen.append(given[0].flatten().tolist()))
        for _ in descend(line, squared_errors, x, y, rate=1e-9, steps=8, batch=3, seed=seed):
            pass
        return seen

    first = order(1)
    for start in (0, 4):
        assert sorted(chain(*first[start : start + 4])) == list(range(10))
    assert first[:4] != first[4:]
    assert order(1) == first != order(2)


def test_samples_of_a_seed_are_nested_and_hold_none_that_replace() -> None:
    small, large = draw(100, 10, 4, 1), draw(100, 50, 4, 1)
    assert torch.equal(large.chosen[:10], small.chosen)
    assert torch.equal(large.others, small.others)
    assert not set(large.chosen.tolist()) & set(large.others.tolist())
    assert (large.twin(2) != large.chosen).nonzero().flatten().tolist() == [2]
    assert not torch.equal(draw(100, 10, 4, 2).chosen, small.chosen)
    for size, twins in ((97, 4), (3, 4), (10, 0)):
        with pytest.raises(InputError, match="twins"):
            draw(100, size, twins, 1)


def test_what_diverges_is_told() -> None:
    x, y = some(5, 3)
    with pytest.raises(InputError, match=r"--rate 1e\+200"):
        list(descend(Line(torch.ones(3, dtype=torch.float64)), squared_errors, x, y, rate=1e200, steps=9))


def test_only_smooth_networks_have_a_smoothness(recipe: Recipe, tmp_path: Path) -> None:
    found = {name: measure(recipe, PLAN | {"network": name}, tmp_path) for name in ("tanh:4", "lif:4", "recipe")}
    assert found["tanh:4"]["smoothness"] > 0
    assert found["lif:4"]["smoothness"] is found["recipe"]["smoothness"] is None
    assert [found[name]["unit"] for name in found] == ["step", "step", "epoch"]
    assert [point["step"] for point in found["recipe"]["points"]] == [0, 1, 2]
    assert found["lif:4"]["parameters"] == 4 * 64


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"network": "relu:4"}, "network 'relu:4'"),
        ({"network": "tanh"}, "network 'tanh'"),
        ({"network": "tanh:3"}, "width 3"),
        ({"scale": "bytes"}, "--scale 'bytes'"),
        ({"targets": "thirds"}, "--targets 'thirds'"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(recipe: Recipe, change: dict[str, Any], why: str) -> None:
    data = load_data(recipe.data, recipe.coding.steps)
    with pytest.raises(InputError, match=why):
        prepare(recipe, PLAN | {"network": "tanh:4"} | change, data)
