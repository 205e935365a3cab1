"""Small random Programs: bounds, solver and decisions against every input of the region, one by one."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from spikeproof.eval.proof import sets, table
from spikeproof.eval.proof.decide import decide, solve
from spikeproof.eval.proof.encode import Encoder
from spikeproof.eval.proof.neurons import finish, some_rival
from spikeproof.eval.proof.search import margins
from spikeproof.eval.proof.sets import Prepared, bound
from spikeproof.eval.proof.trains import Trains
from spikeproof.hw_targets.loihi.simulator import LoihiTarget

from .conftest import Case, cases

pytest.importorskip("ortools")
SLOW = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]


def contained(case: Case) -> None:
    """Fail if anything that happens is outside the bounds."""
    prepared = Prepared(case.program)
    found = bound(prepared, case.region, case.label)
    for layer in prepared.layers:
        raster = case.trace.rasters[layer.name]
        spikes = raster.spikes.reshape(layer.steps, -1, layer.size).astype(np.int64)
        sent = found.sent[layer.name]
        assert (spikes >= sent.low[:, None]).all(), layer.name
        assert (spikes <= sent.high[:, None]).all(), layer.name
        if isinstance(sent, Trains) and sent.mask is not None:
            numbers = np.tensordot(1 << np.arange(layer.steps), spikes, 1)
            assert sent.mask[np.arange(layer.size), numbers].all(), layer.name
        if raster.v is not None:
            low, high = found.voltages[layer.name].last
            last = raster.v[-1].reshape(-1, layer.size)
            assert ((last >= low) & (last <= high)).all(), layer.name
    assert case.winners <= set(found.rivals)


def test_what_happens_is_within_the_bounds(share: float) -> None:
    @settings(max_examples=int(500 * share), suppress_health_check=SLOW)
    @given(cases())
    def law(case: Case) -> None:
        contained(case)

    law()


def test_many_steps_are_bounded_step_by_step(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond so many steps no train is kept by itself: the same laws with that limit at one step."""
    for module in (sets, table):
        monkeypatch.setattr(module, "STEPS", 1)

    @settings(max_examples=int(300 * share), suppress_health_check=SLOW)
    @given(cases())
    def law(case: Case) -> None:
        contained(case)
        found = decide(Prepared(case.program), LoihiTarget().compile(case.program), case.region, case.label, 60)
        assert found.status == ("broken" if case.winners else "proved")

    law()


def test_the_solver_finds_what_is_there_and_nothing_else(share: float) -> None:
    seen: Counter[str] = Counter()

    @settings(max_examples=int(300 * share), suppress_health_check=SLOW)
    @given(cases())
    def law(case: Case) -> None:
        prepared = Prepared(case.program)
        found = bound(prepared, case.region, case.label)
        others = [rival for rival in range(3) if rival != case.label]
        for exact in (False, True):
            encoder = Encoder(prepared, case.region, found, exact=exact)
            some_rival(encoder, case.label, others)
            finish(encoder)
            answer, example, _ = solve(encoder, 60)
            seen[f"{answer} {exact}"] += 1
            if case.winners:
                assert answer == "feasible"
            elif exact:
                assert answer == "infeasible"
            if example is not None:
                assert case.region.holds(example).all()
            if example is not None and exact:
                shape = case.program.input.shape
                trace = LoihiTarget().compile(case.program).run(example.reshape(len(example), 1, *shape))
                assert trace.classes[0] != case.label

    law()
    assert min(seen["feasible True"], seen["infeasible True"]) > 0.1 * seen.total() / 2, seen


def test_decisions_are_right(share: float) -> None:
    seen: Counter[str] = Counter()

    @settings(max_examples=int(300 * share), suppress_health_check=SLOW)
    @given(cases())
    def law(case: Case) -> None:
        compiled = LoihiTarget().compile(case.program)
        found = decide(Prepared(case.program), compiled, case.region, case.label, 60)
        seen[f"{found.status} {found.by}"] += 1
        assert found.status == ("broken" if case.winners else "proved")
        if found.example is not None:
            assert case.region.holds(found.example).all()
            shape = case.program.input.shape
            output = compiled.run(found.example.reshape(len(found.example), 1, *shape)).output
            assert margins(output, case.label)[0] <= 0

    law()
    assert {"proved sets", "proved solver", "broken search"} <= set(seen), seen
