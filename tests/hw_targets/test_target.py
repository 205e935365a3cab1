from importlib.metadata import EntryPoint
from typing import Any

import numpy as np
import pytest

from spikeproof.export.program import Dense, Input, Population, Program, Readout
from spikeproof.hw_targets import TARGETS
from spikeproof.hw_targets.c.target import CTarget
from spikeproof.hw_targets.loihi.simulator import LoihiTarget
from spikeproof.hw_targets.onnx import OnnxTarget
from spikeproof.hw_targets.target import (
    CompiledProgram,
    Overflow,
    Raster,
    Target,
    Trace,
    get_target,
    join,
    target_names,
)
from spikeproof.toolkit import registry
from spikeproof.toolkit.errors import InputError, TargetError, UnsupportedError
from spikeproof.toolkit.progress import Track

BUILT_IN = ["torch", "loihi", "twin", "onnx", "c", "lava", "netx", "xylo", "xylosim"]


def small(message_bits: int = 4) -> Program:
    return Program(
        input=Input(name="pixels", shape=(2, 1, 1), message_bits=message_bits),
        populations=(Population(name="a", shape=(2,), du=0, dv=0, vth=1, bias=np.zeros(2, int)),),
        synapses=(Dense(source="pixels", target="a", weight=2 * np.eye(2, dtype=int)),),
        readout=Readout(population="a"),
        steps=3,
    )


USED: list[Target[Program]] = [LoihiTarget(), LoihiTarget(latency=1), OnnxTarget(), CTarget()]
GOOD = np.zeros((3, 5, 2, 1, 1), dtype=np.int32)


@pytest.mark.parametrize(
    "target",
    [one for one in USED if one.unavailable() is None],
    ids=lambda one: "late" if getattr(one, "latency", None) else one.name,
)
@pytest.mark.parametrize(
    ("inputs", "why"),
    [
        (GOOD[:2], r"shape \(2, 5, 2, 1, 1\), expected \(3, batch, 2, 1, 1\)"),
        (GOOD[..., 0], "shape"),
        (GOOD[0], "shape"),
        (np.zeros(3, dtype=int), "shape"),
        (np.array(0), "shape"),
        (GOOD[:, :0], "no samples"),
        (GOOD.astype(np.float32), "type float32, expected integers; encode images first"),
        (GOOD.astype(bool), "type bool"),
        (GOOD - 1, "values -1 to -1, expected 0 to 15"),
        (GOOD + 16, "values 16 to 16, expected 0 to 15"),
        (GOOD.astype(np.uint64) + np.uint64(2**63), "values 9223372036854775808 to"),
    ],
    ids=["steps", "rank", "no time", "1-d", "0-d", "empty", "float", "bool", "negative", "large", "huge"],
)
def test_input_is_refused_by_name_before_it_runs(target: Target[Program], inputs: np.ndarray, why: str) -> None:
    with pytest.raises(InputError, match=rf"^input 'pixels': {why}"):
        target.compile(small()).run(inputs)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64, np.uint64, ">i4"])
def test_any_integers_in_range_run_alike(dtype: Any) -> None:
    sent = np.random.default_rng(0).integers(0, 16, GOOD.shape)
    compiled = LoihiTarget().compile(small())
    np.testing.assert_array_equal(compiled.run(sent.astype(dtype)).output, compiled.run(sent).output)


def test_binary_input_is_zero_or_one() -> None:
    with pytest.raises(InputError, match="values 0 to 2, expected 0 to 1"):
        LoihiTarget().compile(small(message_bits=0)).run(np.where(np.arange(30).reshape(GOOD.shape) == 7, 2, 0))


class Echo(CompiledProgram):
    def _run(self, inputs: np.ndarray, rasters: bool, track: Track) -> Trace:
        counts = inputs.sum(0).reshape(inputs.shape[1], -1)
        return Trace(counts, {"a": counts})


class Other(Target[Program]):
    name = "other"
    summary = "from another package"
    missing: str | None = None
    reasons: tuple[str, ...] = ()

    def unavailable(self) -> str | None:
        return self.missing

    def unsupported(self, network: Program) -> list[str]:
        return list(self.reasons)

    def _compile(self, network: Program) -> Echo:
        return Echo(network)


class Absent(Other):
    missing = "buy the chip"


class Picky(Other):
    reasons = ("no convolutions", "too wide")


def install(monkeypatch: pytest.MonkeyPatch, *entries: tuple[str, str]) -> None:
    points = [EntryPoint(name, f"builtins:{attribute}", TARGETS.group) for name, attribute in entries]

    def found(group: str, name: str | None = None) -> list[EntryPoint]:
        return [point for point in points if point.group == group and name in (None, point.name)]

    monkeypatch.setattr(registry, "entry_points", found)
    for one in (Other, Absent, Picky):
        monkeypatch.setattr(f"builtins.{one.__name__}", one, raising=False)


def test_an_unknown_target_is_answered_with_the_known_ones() -> None:
    with pytest.raises(
        InputError, match="target 'gpu': unknown; known targets: torch, loihi, twin, onnx, c, lava, netx"
    ):
        get_target("gpu")


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_targets_are_found_by_their_own_name(name: str) -> None:
    target = get_target(name)
    assert target.name == name
    assert target.summary
    assert target.form == ("network" if name == "torch" else "program")


def test_targets_of_other_packages_come_after_the_built_in_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, ("zebra", "Other"), ("ant", "Other"))
    assert target_names() == [*BUILT_IN, "ant", "zebra"]
    assert isinstance(get_target("zebra"), Other)
    assert get_target("ant").compile(small()).run(GOOD + 1).output.tolist() == [[3, 3]] * 5


@pytest.mark.parametrize("entries", [[("loihi", "Other")], [("ant", "Other"), ("ant", "Absent")]])
def test_a_name_that_is_taken_is_an_error(monkeypatch: pytest.MonkeyPatch, entries: list[tuple[str, str]]) -> None:
    install(monkeypatch, *entries)
    with pytest.raises(InputError, match=rf"target '{entries[0][0]}' is defined twice.*{TARGETS.group}"):
        target_names()
    with pytest.raises(InputError, match="is defined twice"):
        get_target("loihi")


def test_an_entry_point_that_is_no_target_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, ("ant", "dict"))
    with pytest.raises(InputError, match=r"target 'ant': .*dict.* is not a class derived from Target"):
        get_target("ant")


@pytest.mark.parametrize("attribute", ["Nowhere", "len"])
def test_an_entry_point_that_does_not_load_is_refused(monkeypatch: pytest.MonkeyPatch, attribute: str) -> None:
    install(monkeypatch, ("ant", attribute))
    with pytest.raises((InputError, TargetError), match="target 'ant'"):
        get_target("ant")


def test_an_unavailable_target_says_how_to_get_it() -> None:
    with pytest.raises(TargetError, match="target 'other': unavailable: buy the chip"):
        Absent().compile(small())


def test_an_unsupported_program_is_told_every_reason() -> None:
    with pytest.raises(UnsupportedError, match="target 'other': no convolutions; too wide"):
        Picky().compile(small())


def trace(rng: np.random.Generator, batch: int, *, states: bool, overflow: bool) -> Trace:
    spikes = rng.integers(0, 2, (3, batch, 2)).astype(bool)
    u, v = rng.integers(-9, 9, (2, 3, batch, 2)) if states else (None, None)
    events = {"a": Overflow(*(int(n) for n in rng.integers(9, size=3)))} if overflow else None
    return Trace(spikes.sum(0), {"a": spikes.sum(0)}, events, {"a": Raster(spikes, u, v)})


@pytest.mark.parametrize("states", [True, False])
@pytest.mark.parametrize("overflow", [True, False])
def test_joined_traces_are_the_batches_in_order(states: bool, overflow: bool) -> None:
    rng = np.random.default_rng(0)
    one, two = (trace(rng, batch, states=states, overflow=overflow) for batch in (2, 3))
    whole = join([one, two])
    np.testing.assert_array_equal(whole.output, np.vstack([one.output, two.output]))
    np.testing.assert_array_equal(whole.spike_counts["a"], whole.rasters["a"].spikes.sum(0))
    assert whole.rasters["a"].spikes.shape == (3, 5, 2)
    if states:
        np.testing.assert_array_equal(whole.rasters["a"].u[:, 2:], two.rasters["a"].u)
        np.testing.assert_array_equal(whole.rasters["a"].v[:, :2], one.rasters["a"].v)
    else:
        assert whole.rasters["a"].u is whole.rasters["a"].v is None
    if overflow:
        assert whole.overflow["a"].wraps == one.overflow["a"].wraps + two.overflow["a"].wraps
        assert whole.overflow["a"].swallowed == one.overflow["a"].swallowed + two.overflow["a"].swallowed
        assert whole.overflow["a"].saturations == one.overflow["a"].saturations + two.overflow["a"].saturations
    else:
        assert whole.overflow is None


def test_ties_between_classes_go_to_the_lowest_index() -> None:
    assert Trace(np.array([[1, 3, 3], [0, 0, 0], [2, 2, 5]]), {}).classes.tolist() == [1, 0, 2]
