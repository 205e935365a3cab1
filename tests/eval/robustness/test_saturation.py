"""A search in rounds: when it ends, and what two rounds that know nothing of each other tell."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from spikeproof.eval.robustness.form import Attackers, Side, assess
from spikeproof.eval.robustness.runner import Runner
from spikeproof.toolkit.attacks.ball import BallAttack
from spikeproof.toolkit.attacks.base import Access


@dataclass(frozen=True, kw_only=True)
class Scripted(BallAttack):
    """Breaks the samples that a script has for its seed; the second pixel says which sample it is."""

    name: ClassVar[str] = "scripted"
    access: ClassVar[Access] = "search"
    script: tuple[frozenset[int], ...]

    def run(self, model: nn.Module, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        made = images.copy()
        for row in made.reshape(len(made), -1):
            row[0] = 0.6 if round(float(row[1]) * 255) in self.script[self.seed] else 0.5
        return made


def test_a_search_goes_on_until_it_is_saturated_and_tells_what_two_halves_found() -> None:
    class Threshold(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([0.55 - x.flatten(1)[:, 0], 0 * x.flatten(1)[:, 0]], 1)

    images = np.full((100, 1, 1, 2), 0.5, np.float32)
    images[:, 0, 0, 1] = np.arange(100, dtype=np.float32) / 255
    sets = [range(20), range(5, 30), range(28, 33), range(0), range(0), range(50, 60)]
    search = Scripted(epsilon=0.2, script=tuple(frozenset(each) for each in sets))
    against = Attackers(
        [Scripted(epsilon=0.2, script=(frozenset({0, 1}),))], True, 0.2, search=search, rounds=6, probes=False
    )
    labels = np.zeros(100, np.int64)
    result = assess(Side("network", "torch", Threshold()), images, labels, against, Runner(None)).result
    found = result.saturation
    assert found is not None
    # The first attack broke 0 and 1; both halves try the other 98; the third round breaks 30, 31, 32, two more none.
    assert (found.tried, found.rounds, found.halves) == (98, [18, 10, 3, 0, 0], (3, 10, 15))
    assert found.remaining == pytest.approx(max(19 * 26 / 16 - 1 - 28 - 3, 0))
    assert result.worst.correct == 67
    assert [one.label for one in result.attacks[1:]] == [f"scripted@0.2#{number}" for number in range(1, 6)]
    assert result.alarms == []
