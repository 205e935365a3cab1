"""The face's verb for faults: flipped bits of a Program's memory."""

from typing import Any

from ...toolkit.progress import bars
from ...toolkit.train import seeded
from ..faults.measure import MOST, SEEDS, measure_faults
from ..measure.forms import DRAWS, Forms
from ..records.faults import Faults
from ..report.faults import render_faults
from .measures import header_of
from .samples import Samples, task_of, test_part
from .shown import Shown


def faults(
    forms: Forms,
    data: Samples,
    *,
    samples: int | None = None,
    layer: str | None = None,
    field: str | None = None,
    bit: int | None = None,
    seeds: int = SEEDS,
    most: int = MOST,
    worst: int = 20,
    level: float | None = None,
) -> Shown[Faults]:
    """Flip bits of stored weights, biases, thresholds and decays: by chance, by search, and what is proved.

    Args:
        forms: whose Program, and whose coder.
        data: whose test images, or images and labels.
        samples: the first so many; all if None.
        layer: flips of this population only.
        field: of this kind only: weight, bias, vth, du or dv.
        bit: at this position only, from 0, the least significant.
        seeds: of random flips.
        most: random flips, at most: 1, 2, 4, ... up to here.
        worst: searched flips, at most; 0: no search.
        level: accuracy at which a search stops; that of guessing and a tenth if None.

    Raises:
        InputError: there is no such layer, field or bit, or a number is refused.
    """
    task_of(data).needs_classes("faults")
    images, labels = test_part(data, samples)
    with seeded(DRAWS):
        messages = forms.network.coder.integers(images)
    asked: dict[str, Any] = {"layer": layer, "field": field, "bit": bit, "seeds": seeds}
    asked |= {"most": most, "worst": worst, "level": level}
    with bars(keep=False) as track:
        record = measure_faults(
            forms.program,
            messages,
            labels,
            header_of("faults", data, forms.program, samples=samples, **asked),
            **asked,
            track=track,
        )
    rows = [
        {
            "field": chance.field or "any",
            "flips": one.flips,
            "mean, %": 100 * one.mean,
            "least, %": 100 * one.least,
            "most, %": 100 * one.most,
        }
        for chance in record.chances
        for one in chance.random
    ]
    return Shown(record, " ".join(record.sentences), tuple(rows), lambda: render_faults(record))
