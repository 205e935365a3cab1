from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spikeproof.eval.selftest import recorded, run, sizes, training
from spikeproof.hw_targets.loihi.arithmetic import step
from spikeproof.hw_targets.target import get_target
from spikeproof.toolkit.files import read_arrays, write_arrays
from spikeproof.toolkit.kernels import native


def equal_loops(switch: str) -> dict[str, Any]:
    """Stand for the two trainings, which take many seconds."""
    return {"compiled": switch == "1", "found": {"weights": "ab"}}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPIKEPROOF_CACHE", str(tmp_path))
    monkeypatch.setattr(run, "_trained", equal_loops)
    return tmp_path


@pytest.mark.usefixtures("need_lava")
def test_what_is_shipped_is_what_lava_does(tmp_path: Path) -> None:
    recorded.write(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == recorded.FILE.read_bytes()


def test_every_recorded_program_does_something() -> None:
    cases = list(recorded.recorded())
    assert len(cases) >= 27
    assert {construct for construct, *_ in cases} == set(recorded.programs())
    for construct, program, given, trace in cases:
        assert given.shape == (program.steps, recorded.SAMPLES, *program.input.shape)
        assert set(trace.rasters) == {population.name for population in program.populations}, construct
        assert all(trace.rasters[population.name].u is not None for population in program.spiking)
        assert sum(int((raster.spikes != 0).sum()) for raster in trace.rasters.values())


def test_numpys_integers_are_those_of_the_rule_element_by_element() -> None:
    program = sizes.sized()
    rng = np.random.default_rng(5)
    given = rng.integers(0, 256, (program.steps, 1, *program.input.shape), dtype=np.int32)
    found = sizes.by_numpy(program, given)
    assert all(0.01 < found[name][0].mean() < 0.99 for name in ("a", "b", "p", "out"))
    # One neuron in the middle of the first layer, its window written out.
    population, synapse = program.population("a"), next(iter(program.incoming("a")))
    channel, row, column = 7, 5, 9
    u = v = torch.zeros((), dtype=torch.int64)
    bias = torch.tensor(int(population.bias[channel, row, column]) << population.bias_exponent)
    for t in range(program.steps):
        a = sum(
            int(synapse.weight[channel, c, i, j]) * int(given[t, 0, c, row + i - 1, column + j - 1])
            for c, i, j in np.ndindex(3, 3, 3)
        )
        done = step(u, v, torch.tensor(a), du=population.du, dv=population.dv, vth=population.vth, bias=bias)
        u, v = done.u, done.v
        told = [int(part[t, 0, channel, row, column]) for part in found["a"]]
        assert told == [int(done.spikes), int(u), int(v)]


def test_sums_reach_where_float32_ends() -> None:
    program = sizes.sized()
    assert max(program.bound(synapse) for synapse in program.synapses) > 2**19
    # Every layer has windows that a convolution library would put through its fast ways.
    assert program.shape_of("b")[0] >= 32


COMPILED = {"compiled": True, "found": {"a": "1", "b": "2"}}
ALONE = {"compiled": False, "found": {"a": "1", "b": "3"}}


@pytest.mark.parametrize(
    ("answers", "outcome", "says"),
    [((COMPILED, ALONE), "DIFFERS", "b"), ((ALONE, ALONE), "not run", "no compiled loops here")],
)
def test_loops_are_compared_by_what_they_trained(
    answers: tuple[dict[str, Any], ...], outcome: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = iter(answers)
    monkeypatch.setattr(run, "_trained", lambda _: next(left))
    found = run._loops()
    assert found.outcome == outcome
    assert says in found.first + found.missing


@pytest.mark.long
def test_the_two_trainings_agree_here(need_loops: Callable[[native.Status], None]) -> None:
    need_loops(native.status())
    assert run._loops().outcome == "equal"


def test_training_is_the_same_twice_and_depends_on_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    first = training.trained()
    assert training.trained() == first
    assert len(first) > 20
    monkeypatch.setattr(
        training.torch, "manual_seed", lambda seed: torch.random.default_generator.manual_seed(seed + 1)
    )
    other = training.trained()
    assert all(other[name] != value for name, value in first.items() if name.endswith("weight"))


def test_what_changed_since_is_named(here: Path) -> None:
    found = run.selftest()
    assert run.stale(found) == []
    older = found.model_copy(update={"packages": {**found.packages, "torch": "2.0"}, "code": "x", "processor": "y"})
    assert run.stale(older)[0].startswith("torch 2.0 is now")
    assert run.stale(older)[1:] == ["another processor", "other code of spikeproof"]
    (here / run.FILE).write_text("{")
    assert "damaged" in str(run.tested()["last"]) or "JSON" in str(run.tested()["last"])


def test_a_recording_of_other_programs_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays, header = read_arrays(recorded.FILE, recorded.KIND)
    header["programs"]["delays"] = "0" * 64
    write_arrays(tmp_path / "lava.safetensors", recorded.KIND, arrays, header)
    monkeypatch.setattr(recorded, "FILE", tmp_path / "lava.safetensors")
    with pytest.raises(Exception, match="recorded of another Program than 'delays' is"):
        list(recorded.recorded())
    assert get_target("loihi").unavailable() is None
