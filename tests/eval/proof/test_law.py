"""The law of proofs on random Programs: no search breaks what is proved."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from spikeproof.eval.proof.prove import Strength, prove_samples
from spikeproof.eval.proof.region import Ball
from spikeproof.eval.proof.search import search
from spikeproof.hw_targets.loihi.simulator import LoihiTarget

from .conftest import small_programs

pytest.importorskip("ortools")


def test_searches_on_random_programs_break_nothing_that_is_proved(share: float, tmp_path: Path) -> None:
    seen = []

    @settings(max_examples=int(150 * share), suppress_health_check=list(HealthCheck))
    @given(small_programs(binary=False))
    def law(program) -> None:  # type: ignore[no-untyped-def]
        rng = np.random.default_rng(len(seen))
        levels = rng.integers(0, program.input.peak + 1, (4, *program.input.shape)).astype(np.int32)
        messages = np.broadcast_to(levels, (program.steps, *levels.shape))
        compiled = LoihiTarget().compile(program)
        labels = compiled.run(messages).classes
        strength = Strength("pixel", 2)
        found = prove_samples(program, messages, labels, strength, tmp_path / str(len(seen)), limit=10, jobs=1)
        for index, sample in enumerate(found.samples):
            if sample.status == "proved":
                region = Ball(levels[index].ravel().astype(np.int64), 2, program.steps, program.input.peak)
                assert search(compiled, region, int(labels[index]), seed=1, count=500, rounds=4) is None
        seen.append([sample.status for sample in found.samples])

    law()
    assert {"proved", "broken"} <= {status for row in seen for status in row}
