"""The solver's constraints against real runs: each of them satisfies all, and fixed inputs leave nothing else."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from spikeproof.eval.proof.encode import Encoder
from spikeproof.eval.proof.neurons import finish
from spikeproof.eval.proof.region import Ball, Edits
from spikeproof.eval.proof.sets import Prepared, bound

from .conftest import Case, cases

cp_model = pytest.importorskip("ortools.sat.python.cp_model")
SLOW = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
INPUTS = 12


def fix(encoder: Encoder, case: Case, index: int) -> None:
    """Demand one input of the region."""
    given = case.inputs[:, index]
    if isinstance(case.region, Ball):
        for neuron, level in encoder._levels.items():
            encoder.at_least(level, int(given[0, neuron]), [])
            encoder.at_most(level, int(given[0, neuron]), [])
        return
    assert isinstance(case.region, Edits)
    left = given != case.region.spikes
    for t in range(len(left)):
        for neuron in range(left.shape[1]):
            if (t, neuron) in encoder._edits:
                literal = encoder._edits[t, neuron]
                encoder.model.add_bool_or([literal if left[t, neuron] else ~literal])
            if case.region.edit == "shift" and t + 1 < len(left) and left[t, neuron]:
                left[t + 1, neuron] = ~left[t + 1, neuron]


def test_every_run_satisfies_the_constraints(share: float) -> None:
    tried = []

    @settings(max_examples=int(200 * share), suppress_health_check=SLOW)
    @given(cases())
    def law(case: Case) -> None:
        prepared = Prepared(case.program)
        found = bound(prepared, case.region, case.label)
        spiking = [layer for layer in prepared.layers if not layer.graded]
        rng = np.random.default_rng(len(tried))
        count = case.inputs.shape[1]
        for number, index in enumerate(rng.permutation(count)[:INPUTS]):
            exact = bool(number % 2)
            encoder = Encoder(prepared, case.region, found, exact=exact)
            bits = {
                (layer.name, neuron): encoder.bits(layer, neuron) for layer in spiking for neuron in range(layer.size)
            }
            finish(encoder)
            fix(encoder, case, int(index))
            solver = cp_model.CpSolver()
            solver.parameters.num_workers = 1
            assert solver.solve(encoder.model) in (cp_model.OPTIMAL, cp_model.FEASIBLE), (case, index, exact)
            tried.append(len(encoder.variables))
            if not exact:
                continue
            for layer in spiking:
                fired = case.trace.rasters[layer.name].spikes[:, index].reshape(layer.steps, -1)
                for neuron in range(layer.size):
                    told = [
                        bit if isinstance(bit, int) else int(solver.boolean_value(bit))
                        for bit in bits[layer.name, neuron]
                    ]
                    assert told == fired[:, neuron].astype(int).tolist(), (case, index, layer.name)

    law()
    assert np.mean(np.array(tried) > 5) > 0.3
