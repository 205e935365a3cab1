"""The second look: it finds every certificate of random Programs again, and sees one that was tampered with."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from spikeproof.eval.proof.check import check, draw_inside
from spikeproof.eval.proof.sets import Prepared, bound
from spikeproof.eval.proof.trains import Trains
from spikeproof.hw_targets.loihi.simulator import LoihiTarget
from spikeproof.toolkit.errors import DisagreementError

from .conftest import Case, cases

SLOW = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]


def test_every_certificate_is_found_again(share: float) -> None:
    refuted = []

    @settings(max_examples=int(300 * share), suppress_health_check=SLOW)
    @given(cases())
    def law(case: Case) -> None:
        found = bound(Prepared(case.program), case.region, case.label)
        random = np.random.default_rng(0)
        refuted.append(check(case.program, case.region, found, case.label, random))
        if not found.rivals:
            draw_inside(LoihiTarget().compile(case.program), case.region, case.label, random, 50)

    law()
    assert sum(refuted) > 100


def test_what_happens_cannot_be_refuted(share: float) -> None:
    """Certificates that exclude a train that is really fired are refused."""
    tried = []

    @settings(max_examples=int(200 * share), suppress_health_check=SLOW)
    @given(cases())
    def law(case: Case) -> None:
        found = bound(Prepared(case.program), case.region, case.label)
        layer = case.program.populations[-1]
        spikes = case.trace.rasters[layer.name].spikes.reshape(case.program.steps, -1, 3).astype(int)
        number = int(spikes[:, -1, 0] @ (1 << np.arange(case.program.steps)))
        sent = found.sent[layer.name]
        assert isinstance(sent, Trains)
        assert sent.mask is not None
        mask = sent.mask.copy()
        mask[0, number] = False
        if not mask[0].any():
            return
        found.sent[layer.name] = Trains.of_mask(mask, case.program.steps)
        tried.append(case)
        with pytest.raises(DisagreementError):
            check(case.program, case.region, found, case.label, np.random.default_rng(0))

    law()
    assert tried
