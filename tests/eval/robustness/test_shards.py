"""Many samples in parts: outcomes are those of the parts, whoever measured them; alarms are judged on all of them."""

import numpy as np
import pytest

from spikeproof.eval.records.base import share_of
from spikeproof.eval.records.robustness import FormResult
from spikeproof.eval.robustness.protocol import measure
from spikeproof.eval.robustness.shards import SHARD, merged, shards
from spikeproof.toolkit.config import CodingSettings, DataSettings, ModelSettings, Recipe, TrainSettings
from spikeproof.toolkit.data import Dataset, load_data
from spikeproof.toolkit.models import build_network
from spikeproof.toolkit.network.network import SpikingNetwork
from spikeproof.toolkit.train import train_network


def test_parts_cover_all_samples_once() -> None:
    for samples in (1, SHARD, SHARD + 1, 3 * SHARD - 1):
        parts = shards(samples)
        assert [place for part in parts for place in part] == list(range(samples))
        assert all(len(part) == SHARD for part in parts[:-1])


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_data(DataSettings(test_samples=90))


@pytest.fixture(scope="module")
def spiking(digits: Dataset) -> SpikingNetwork:
    recipe = Recipe(model=ModelSettings(channels=[6]), coding=CodingSettings(steps=3))
    network = build_network(recipe, digits.shape, digits.classes, seed=0)
    train_network(network, digits.train_images, digits.train_labels, TrainSettings(), epochs=3, rate=1e-2)
    return network


def part_of(network: SpikingNetwork, digits: Dataset, start: int, stop: int, protocol: str) -> FormResult:
    images, labels = digits.test_images[start:stop], digits.test_labels[start:stop]
    return measure(network, images, labels, protocol=protocol, epsilon=0.06)["network"]


@pytest.mark.parametrize("protocol", ["quick", "standard"])
def test_the_whole_is_its_parts(protocol: str, spiking: SpikingNetwork, digits: Dataset) -> None:
    parts = [part_of(spiking, digits, start, start + 30, protocol) for start in (0, 30, 60)]
    whole = merged(parts, 0.06)
    assert whole.outcomes == "".join(part.outcomes for part in parts)
    assert whole.worst == share_of(whole.outcomes.count("o"), 90)
    assert whole.clean.correct == 90 - whole.outcomes.count(".")
    assert whole.attacks[-1].after == whole.worst
    for one in whole.attacks:
        assert len(one.outcomes) == len(one.on_grid) == 90
        assert one.after.samples == 90
        for number, part in enumerate(parts):
            there = {each.label: each for each in part.attacks}
            text = one.outcomes[30 * number : 30 * number + 30]
            if one.label in there:
                assert text == there[one.label].outcomes
            else:
                assert set(text) <= {".", "-"}
    afters = [one.after.correct for one in whole.attacks]
    assert afters == sorted(afters, reverse=True)
    broken = np.zeros(90, dtype=bool)
    for one in whole.attacks:
        broken |= np.array(list(one.outcomes)) == "x"
    assert (broken == (np.array(list(whole.outcomes)) == "x")).all()
    if protocol == "standard":
        assert whole.saturation is not None
        found = [part.saturation for part in parts]
        assert whole.saturation.tried == sum(part.tried for part in found if part)
        assert sum(whole.saturation.rounds) == sum(sum(part.rounds) for part in found if part)
        searched = [one for one in whole.attacks if one.access == "search"]
        assert len(searched) == max(len(part.rounds) for part in found if part)
    assert whole.probes == parts[0].probes


def test_one_part_is_the_whole(spiking: SpikingNetwork, digits: Dataset) -> None:
    part = part_of(spiking, digits, 0, 30, "quick")
    assert merged([part], 0.06) is part
