"""The trail: what it measures, that it can be taken up again, and that training does not notice it."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spikeproof.eval.measure.trail import SAMPLES, TrailKeeper, read_trail
from spikeproof.eval.measure.zeros import ZeroGradientShare
from spikeproof.toolkit.attacks.base import predict
from spikeproof.toolkit.attacks.gradient import FGSM, PGD
from spikeproof.toolkit.config import CodingSettings, ModelSettings, Recipe, TrainSettings
from spikeproof.toolkit.errors import FileError
from spikeproof.toolkit.files import write_json
from spikeproof.toolkit.models import build_network
from spikeproof.toolkit.network.network import SpikingNetwork
from spikeproof.toolkit.train import Epoch, train_network

EPOCHS, EVERY = 5, 2
RECIPE = Recipe(
    model=ModelSettings(channels=[3], threshold=0.4), coding=CodingSettings(steps=3), train=TrainSettings(batch=10)
)
RNG = np.random.default_rng(0)
IMAGES, LABELS = RNG.random((40, 1, 6, 6), dtype=np.float32), RNG.integers(0, 3, 40)
TEST, ANSWERS = RNG.random((SAMPLES + 10, 1, 6, 6), dtype=np.float32), RNG.integers(0, 3, SAMPLES + 10)
ATTACK = PGD(epsilon=0.2, steps=2, seed=7)


class Stopped(Exception):
    """Power failure."""


def train(
    folder: Path, after: Callable[[TrailKeeper, Epoch], None] | None = TrailKeeper.__call__, identity: str = "mine"
) -> tuple[SpikingNetwork, list[Epoch], tuple[Any, ...]]:
    """Train with a trail, or without; return what came out, and the random numbers that follow."""
    network = build_network(RECIPE, (1, 6, 6), 3)
    keeper = TrailKeeper(
        folder / "trail.json", identity, network, ATTACK, TEST, ANSWERS, every=EVERY, epochs=EPOCHS, batch=64
    )
    random.seed(1), np.random.seed(1), torch.manual_seed(1)  # noqa: NPY002
    history = train_network(
        network,
        IMAGES,
        LABELS,
        RECIPE.train,
        epochs=EPOCHS,
        rate=0.02,
        state=folder / "state.safetensors",
        after_epoch=None if after is None else lambda done: after(keeper, done),
    )
    return network, history, (random.random(), np.random.random(), torch.rand(1).item())  # noqa: NPY002


def assert_same_bits(one: SpikingNetwork, other: SpikingNetwork) -> None:
    for name, tensor in one.state_dict().items():
        assert tensor.numpy().tobytes() == other.state_dict()[name].numpy().tobytes(), name


def test_training_is_the_same_bit_for_bit_with_and_without_it(tmp_path: Path) -> None:
    network, history, drawn = train(tmp_path)
    plain, plain_history, plain_drawn = train(tmp_path, None)
    assert_same_bits(network, plain)
    assert history == plain_history
    assert drawn == plain_drawn
    assert all((parameter.grad is None) == (other.grad is None)
               for parameter, other in zip(network.parameters(), plain.parameters(), strict=True))  # fmt: skip


def test_points_are_those_of_the_network_after_these_epochs(tmp_path: Path) -> None:
    expected = {}

    def measure(keeper: TrailKeeper, done: Epoch) -> None:
        keeper(done)
        network, x, y = keeper.network, TEST[:SAMPLES], ANSWERS[:SAMPLES]
        zeros = ZeroGradientShare(network)
        zeros.update(x, y)
        expected[done.epoch] = (
            zeros.hidden(),
            int((predict(network, x) == y).sum()),
            int(ATTACK(network, x, y).robust.sum()),
        )

    train(tmp_path, measure)
    trail = read_trail(tmp_path / "trail.json")
    assert (trail.attack, trail.samples) == ("pgd-2@0.2", SAMPLES)
    assert trail.threat_model.startswith("pixel space, L-infinity, white box")
    assert [point.epoch for point in trail.points] == [2, 4, 5]
    for point in trail.points:
        found = (pytest.approx(point.zero_gradient), point.clean.correct, point.robust.correct)
        assert expected[point.epoch] == found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("whole")
    train(folder)
    return (folder / "trail.json").read_bytes()


@pytest.mark.parametrize("stop", [1, 2, EPOCHS])
@pytest.mark.parametrize("before", [True, False])
def test_an_interrupted_trail_is_taken_up_and_ends_the_same(
    whole: bytes, tmp_path: Path, stop: int, before: bool
) -> None:
    def fails(keeper: TrailKeeper, done: Epoch) -> None:
        if done.epoch == stop and before:
            raise Stopped
        keeper(done)
        if done.epoch == stop:
            raise Stopped

    with pytest.raises(Stopped):
        train(tmp_path, fails)
    train(tmp_path)
    assert (tmp_path / "trail.json").read_bytes() == whole


def test_points_of_another_recipe_or_by_other_code_are_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Stopped):
        train(tmp_path, stop_after_second, identity="another")
    (tmp_path / "state.safetensors").unlink()
    network = build_network(RECIPE, (1, 6, 6), 3)
    path = tmp_path / "trail.json"
    settings = {"every": 2, "epochs": 9, "batch": 64}
    assert TrailKeeper(path, "mine", network, ATTACK, TEST, ANSWERS, **settings).points == []
    assert len(TrailKeeper(path, "another", network, ATTACK, TEST, ANSWERS, **settings).points) == 1
    monkeypatch.setattr("spikeproof.eval.measure.trail.code_hash", lambda: "other code")
    assert TrailKeeper(path, "another", network, ATTACK, TEST, ANSWERS, **settings).points == []


def stop_after_second(keeper: TrailKeeper, done: Epoch) -> None:
    keeper(done)
    if done.epoch == 2:
        raise Stopped


@pytest.mark.parametrize("content", [[], {"identity": "mine"}, {"identity": "mine", "trail": {"points": 3}}])
def test_a_damaged_trail_is_named(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "trail.json"
    write_json(path, content)
    with pytest.raises(FileError, match=r"trail\.json: not a trail, or damaged; delete it"):
        read_trail(path)
    path.write_text("{")
    with pytest.raises(FileError, match=r"trail\.json: not a JSON file"):
        TrailKeeper(
            path, "mine", build_network(RECIPE, (1, 6, 6), 3), FGSM(epsilon=0.1), TEST, ANSWERS,
            every=1, epochs=1, batch=64,
        )  # fmt: skip
