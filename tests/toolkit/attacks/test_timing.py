"""Spikes moved in time: budgets are never exceeded, cells keep their spikes, and enumeration finds nothing more."""

import itertools
from collections.abc import Iterator

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch import nn

from spikeproof.toolkit.attacks.base import Attack
from spikeproof.toolkit.attacks.protocol import Protocol, built_in
from spikeproof.toolkit.attacks.shifts import Shifts, choose, cost, moved, offsets
from spikeproof.toolkit.attacks.timing import SpikeTiming, SpikeTimingNoise, SpikeTimingSearch, TimingAttack
from spikeproof.toolkit.errors import InputError
from spikeproof.toolkit.network.backward import Backward
from spikeproof.toolkit.network.neurons import LIF
from spikeproof.toolkit.network.surrogates import AdaptiveSharpness

Budget = tuple[int, int | None, int | None]


def schedules(before: tuple[int, ...], steps: int, largest: int) -> Iterator[tuple[int, ...]]:
    """Yield every way to move the spikes of one cell, each spike on its own, as steps in the order of ``before``."""
    reach = [range(max(s - largest, 0), min(s + largest, steps - 1) + 1) for s in before]
    for after in itertools.product(*reach):
        if len(set(after)) == len(after):
            yield after


def cell_costs(before: tuple[int, ...], steps: int, largest: int) -> dict[frozenset[int], set[tuple[int, int]]]:
    """Return what one cell may become, with (sum of shifts, spikes touched) of every schedule."""
    found: dict[frozenset[int], set[tuple[int, int]]] = {}
    for after in schedules(before, steps, largest):
        moves = [abs(a - b) for a, b in zip(after, before, strict=True)]
        found.setdefault(frozenset(after), set()).add((sum(moves), sum(move > 0 for move in moves)))
    return found


def reachable(clean: np.ndarray, budget: Budget) -> list[np.ndarray]:
    """Return every raster (time, cells) within the budgets, by enumerating schedules spike by spike."""
    steps, cells = clean.shape
    largest, total, touched = budget
    each = [cell_costs(tuple(np.flatnonzero(clean[:, cell])), steps, largest) for cell in range(cells)]
    found = []
    for choice in itertools.product(*(options.items() for options in each)):
        sums = {(0, 0)}
        for _, costs in choice:
            sums = {(a + c, b + d) for a, b in sums for c, d in costs}
        if any((total is None or a <= total) and (touched is None or b <= touched) for a, b in sums):
            raster = np.zeros_like(clean)
            for cell, (after, _) in enumerate(choice):
                raster[sorted(after), cell] = 1
            found.append(raster)
    return found


budgets = st.tuples(st.integers(1, 3), st.none() | st.integers(1, 6), st.none() | st.integers(1, 4))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), budgets)
def test_what_is_allowed_is_what_enumeration_reaches(seed: int, budget: Budget) -> None:
    rng = np.random.default_rng(seed)
    clean = (rng.random((5, 2)) < rng.uniform(0.2, 0.8)).astype(np.float32)
    allowed = {raster.tobytes() for raster in reachable(clean, budget)}
    every = np.array(list(itertools.product((0, 1), repeat=10)), dtype=np.float32).reshape(-1, 5, 2)
    attack = SpikeTimingNoise(largest=budget[0], total=budget[1], touched=budget[2])
    made = attack.project(every, np.broadcast_to(clean, every.shape))
    kept = {raster.tobytes() for raster in every[(made == every).all((1, 2))]}
    assert kept == allowed


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10**6), budgets, st.integers(1, 8), st.integers(1, 6))
def test_chosen_moves_keep_every_budget_and_every_count(seed: int, budget: Budget, steps: int, cells: int) -> None:
    rng = np.random.default_rng(seed)
    clean = rng.random((4, steps, cells)) < rng.uniform(0.1, 0.9)
    shifts = Shifts(*budget)
    count = len(offsets(shifts.largest, steps))
    scores = torch.from_numpy(rng.normal(size=(4, count, steps, cells)).astype(np.float32))
    chosen = choose(torch.from_numpy(clean), scores, shifts)
    after = moved(torch.from_numpy(clean), chosen, shifts.largest).numpy()
    np.testing.assert_array_equal(after.sum(1), clean.sum(1))
    lengths = np.abs(offsets(shifts.largest, steps)).reshape(1, -1, 1, 1)
    assert (chosen.numpy().sum(1) <= clean).all()
    assert shifts.total is None or ((chosen.numpy() * lengths).sum((1, 2, 3)) <= shifts.total).all()
    assert shifts.touched is None or (chosen.flatten(1).sum(1) <= shifts.touched).all()
    found = cost(after, clean, shifts.largest)
    assert found.possible.all()
    assert (found.largest <= shifts.largest).all()
    assert (found.total <= (chosen.numpy() * lengths).sum((1, 2, 3))).all()
    assert (found.touched <= chosen.flatten(1).sum(1).numpy()).all()


class Net(nn.Module):
    """Neurons on spikes (time, batch, cells), and a read-out of their spikes that weighs steps."""

    def __init__(self, seed: int, cells: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.first, self.second = (torch.randn(size, generator=generator) for size in ((cells, 8), (8, 2)))
        self.lif = LIF(0.8, 0.6, 2.0)
        self.offset = torch.zeros(2)

    def near(self, x: np.ndarray) -> np.ndarray:
        """Put the answer to x next to a tie and return the class."""
        with torch.no_grad():
            logits = self(torch.from_numpy(x))
            self.offset = self.offset - logits[0] + torch.tensor([0.7, 0.0])
            return self(torch.from_numpy(x)).argmax(1).numpy()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        current: torch.Tensor = self.lif(x.flatten(2) @ self.first) @ self.second
        weights = torch.linspace(1, 2, len(x)).view(-1, 1, 1)
        return (current * weights).sum(0) + self.offset


def vulnerable(net: nn.Module, clean: np.ndarray, label: int, budget: Budget) -> bool:
    every = np.stack(reachable(clean, budget), 1)
    with torch.no_grad():
        return bool((net(torch.from_numpy(every)).argmax(1) != label).any())


@pytest.mark.parametrize("budget", [(1, None, None), (2, 3, None), (4, None, 2), (1, None, 3), (2, 3, 2)])
def test_search_finds_what_enumeration_finds(budget: Budget) -> None:
    rng = np.random.default_rng(5)
    names = dict(zip(("largest", "total", "touched"), budget, strict=True))
    broken, searched, led = [], [], []
    for seed in range(12):
        net = Net(seed, 3)
        x = (rng.random((4, 1, 3)) < 0.5).astype(np.float32)
        y = net.near(x)
        broken.append(vulnerable(net, x[:, 0], int(y[0]), budget))
        searched.append(not SpikeTimingSearch(queries=200, restarts=4, **names)(net, x, y).robust[0])
        led.append(not SpikeTiming(steps=20, restarts=5, random_start=True, **names)(net, x, y).robust[0])
    assert 0 < sum(broken) < 12
    assert searched == broken
    assert not any(found and not there for found, there in zip(led, broken, strict=True))
    assert sum(led) >= 0.7 * sum(broken)


class Linear(nn.Module):
    """Logits (sum of w x, 0): the effect of every move is known."""

    def __init__(self, weight: np.ndarray) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.from_numpy(weight.astype(np.float32)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = (x * self.weight[:, None]).sum((0, 2))
        return torch.stack([first, torch.zeros_like(first)], 1)


@pytest.mark.parametrize("budget", [(1, None, 1), (3, None, 1), (3, 1, None)])
def test_on_a_linear_victim_the_best_move_is_made(budget: Budget) -> None:
    rng = np.random.default_rng(0)
    weight, x = rng.normal(size=(5, 3)) + 9, rng.integers(0, 2, (5, 20, 3)).astype(np.float32)
    names = dict(zip(("largest", "total", "touched"), budget, strict=True))
    made = SpikeTiming(steps=1, loss="margin", **names)(Linear(weight), x, np.zeros(20, int)).images
    for sample in range(20):
        best = min((weight * raster).sum() for raster in reachable(x[:, sample], budget))
        assert (weight * made[:, sample]).sum() == pytest.approx(best, abs=1e-4)


@pytest.mark.parametrize(
    "attack",
    [
        SpikeTiming(largest=2, total=9, touched=6),
        SpikeTiming(largest=2, backward=Backward(surrogate=AdaptiveSharpness())),
        SpikeTiming(largest=1, touched=4, loss="margin", random_start=True, restarts=2, batch=7),
        SpikeTimingSearch(largest=3, total=20, queries=20),
        SpikeTimingNoise(largest=2, restarts=2),
    ],
    ids=lambda attack: attack.label,
)
def test_examples_are_inside_and_the_same_again(attack: TimingAttack) -> None:
    rng = np.random.default_rng(1)
    x = (rng.random((6, 20, 2, 3, 3)) < 0.3).astype(np.float32)
    net = Net(3, 18)
    with torch.no_grad():
        y = net(torch.from_numpy(x)).argmax(1).numpy()
    found, again = attack(net, x, y), attack(net, x, y)
    np.testing.assert_array_equal(found.images, again.images)
    assert set(np.unique(found.images)) <= {0, 1}
    np.testing.assert_array_equal(found.images.sum(0), x.sum(0))
    spent = cost(np.swapaxes(found.images, 0, 1), np.swapaxes(x, 0, 1), attack.largest)
    assert spent.possible.all()
    assert found.distance == spent.largest.max() <= attack.largest
    assert attack.total is None or spent.total.max() <= attack.total
    assert attack.touched is None or spent.touched.max() <= attack.touched
    assert (found.images != x).any()


def test_what_breaks_a_budget_is_put_back() -> None:
    clean = np.array([[1, 0, 0, 0], [1, 1, 0, 0]], dtype=np.float32)[:, :, None]
    raw = np.array([[0, 0, 1, 0], [0, 1, 1, 0]], dtype=np.float32)[:, :, None]
    for budget, kept in (
        ((1, None, None), [False, True]),
        ((2, None, 1), [True, True]),
        ((1, None, 1), [False, False]),
    ):
        attack = SpikeTimingNoise(largest=budget[0], total=budget[1], touched=budget[2])
        made = attack.project(raw, clean)
        assert [bool((made[k] == raw[k]).all()) for k in range(2)] == kept
        np.testing.assert_array_equal(made[~np.array(kept)], clean[~np.array(kept)])
    more = clean.copy()
    more[0, 3] = 1
    np.testing.assert_array_equal(SpikeTimingNoise(largest=3).project(more, clean), clean)


@pytest.mark.parametrize("wrong", [{"largest": 0}, {"total": 0}, {"touched": -1}])
def test_budgets_are_at_least_one(wrong: dict[str, int]) -> None:
    with pytest.raises(InputError, match="expected 1 or more, of time steps or spikes"):
        SpikeTimingNoise(**wrong)


def test_other_input_is_refused() -> None:
    with pytest.raises(InputError, match="values other than 0 and 1"):
        SpikeTiming()(Net(0, 3), np.full((4, 1, 3), 0.5, np.float32), np.zeros(1, int))


def test_protocols_have_one_set_of_budgets() -> None:
    for name, count in (("quick", 2), ("standard", 4), ("strong", 6)):
        found = built_in(name, "timing", 2)
        assert (found.threat, found.radius, len(found.attacks)) == ("timing", 2, count)
        assert len({attack.label for attack in found.attacks}) == count
        assert [attack.seed for attack in found.attacks] == list(range(count))
    attacks: list[Attack] = [SpikeTiming(touched=3), SpikeTimingNoise(touched=4)]
    with pytest.raises(InputError, match="timing 1-step-touched-3 and timing 1-step-touched-4"):
        Protocol(name="mixed", attacks=attacks)
