import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from spikeproof.eval.selftest import run
from spikeproof.hw_targets.loihi.sums import Sums

Call = Callable[..., Any]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own, and the two trainings, which take many seconds, stood for."""
    monkeypatch.setenv("SPIKEPROOF_CACHE", str(tmp_path))
    monkeypatch.setattr(run, "_trained", lambda switch: {"compiled": switch == "1", "found": {"weights": "ab"}})
    return tmp_path


def test_nothing_differs_here_and_doctor_says_so(call: Call, here: Path) -> None:
    assert "never; run 'spikeproof selftest'" in call("doctor").out
    told = call("selftest", "--json")
    assert told.code == 0, told.err
    found = json.loads(told.out)
    done = {check["check"]: check for check in found["checks"]}
    assert len(done) == len(found["checks"])
    for target in ("loihi", "twin", "onnx"):
        small = done[f"target {target}, a Program of every construct"]
        large = done[f"target {target}, convolutions of 32 channels"]
        assert small["compared"] > 10_000
        assert large["compared"] > 10**6
        assert small["different"] == large["different"] == 0
    assert (here / "selftest.json").exists()
    text = " ".join(call("doctor").out.split())
    assert "self-test differs: nothing" in text
    assert "self-test changed since: nothing" in text


@pytest.mark.usefixtures("here")
def test_a_processor_that_adds_wrongly_is_caught(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    right = Sums.__call__

    def wrong(self: Sums, x: torch.Tensor) -> torch.Tensor:
        found = right(self, x)
        if found.dim() == 4 and found.shape[1] == 32:  # as a fast convolution would round
            found = found.clone()
            found[0, 3, 2, 1] += 1
        return found

    monkeypatch.setattr(Sums, "__call__", wrong)
    told = call("selftest")
    assert told.code == 4
    text = " ".join(told.out.split())
    assert "target loihi, convolutions of 32 channels: first difference: spikes of 'a' at (step, sample" in text or (
        "target loihi, convolutions of 32 channels: first difference: u of 'a' at (step, sample" in text
    )
    assert "do not trust its figures" in text
    assert "target loihi, convolutions of 32 channels" in " ".join(call("doctor").out.split())
