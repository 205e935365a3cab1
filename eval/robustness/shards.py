"""Many samples in parts, one after the other or on Ray: the record is the same, whoever measured which part."""

from collections.abc import Sequence

import numpy as np

from ..records.base import Share, share_of
from ..records.robustness import UNTRIED, WRONG, FormResult, Judged, Outcome, Saturation
from .alarms import alarms
from .form import chapman

SHARD = 500
"""Samples that are attacked together; what is random in an attack begins anew in each part."""


def shards(samples: int) -> list[range]:
    """Return the parts of so many samples."""
    return [range(start, min(start + SHARD, samples)) for start in range(0, samples, SHARD)]


def merged(results: Sequence[FormResult], epsilon: float) -> FormResult:
    """Return the result of all samples from those of its parts, in order.

    Probes are those of the first part. A round of search that a part did not need tried none of its samples.

    Args:
        results: of one form.
        epsilon: radius of the ball.
    """
    if len(results) == 1:
        return results[0]
    first = results[0]
    saturations = [result.saturation for result in results if result.saturation is not None]
    accesses = list(dict.fromkeys(access for result in results for access in result.worst_by))
    judges = list(dict.fromkeys(name for result in results for name in result.judged))
    found = first.model_copy(
        update={
            "clean": _total([result.clean for result in results]),
            "attacks": _outcomes(results),
            "worst": _total([result.worst for result in results]),
            "worst_on_grid": _total([result.worst_on_grid for result in results]),
            "worst_by": {access: _all([result.worst_by.get(access) for result in results]) for access in accesses},
            "outcomes": "".join(result.outcomes for result in results),
            "saturation": _saturation(saturations) if len(saturations) == len(results) else None,
            "judged": {
                name: _judged([result.judged[name] for result in results if name in result.judged]) for name in judges
            },
            "seconds": sum(result.seconds for result in results),
        }
    )
    raised = alarms(found, epsilon)
    reliable = not any(alarm.severity == "alarm" for alarm in raised)
    return found.model_copy(update={"alarms": raised, "reliable": reliable})


def _total(parts: Sequence[Share]) -> Share:
    return share_of(sum(part.correct for part in parts), sum(part.samples for part in parts))


def _all(parts: Sequence[Share | None]) -> Share | None:
    known = [part for part in parts if part is not None]
    return _total(known) if len(known) == len(parts) else None


def _outcomes(results: Sequence[FormResult]) -> list[Outcome]:
    """Return the outcomes of all attacks; one that a part has not stands behind the one before it elsewhere."""
    labels: list[str] = []
    for result in results:
        place = 0
        for one in result.attacks:
            if one.label in labels:
                place = labels.index(one.label) + 1
            else:
                labels.insert(place, one.label)
                place += 1
    found = []
    known = [{one.label: one for one in result.attacks} for result in results]
    after = [result.clean for result in results]
    for label in labels:
        parts = [each.get(label) for each in known]
        after = [before if part is None else part.after for part, before in zip(parts, after, strict=True)]
        there = [part for part in parts if part is not None]
        untried = [np.where(np.array(list(result.outcomes)) == WRONG, WRONG, UNTRIED) for result in results]
        letters = {
            name: "".join(
                "".join(none) if part is None else getattr(part, name)
                for part, none in zip(parts, untried, strict=True)
            )
            for name in ("outcomes", "on_grid")
        }
        found.append(
            there[0].model_copy(
                update={
                    **letters,
                    "accuracy": _all([None if part is None else part.accuracy for part in parts]),
                    "after": _total(after),
                    "distance": max(part.distance for part in there),
                    "distance_on_grid": max(part.distance_on_grid for part in there),
                    "seconds": sum(part.seconds for part in there),
                }
            )
        )
    return found


def _saturation(parts: Sequence[Saturation]) -> Saturation:
    length = max(len(part.rounds) for part in parts)
    rounds = [sum(part.rounds[place] for part in parts if place < len(part.rounds)) for place in range(length)]
    one, other, both = (sum(part.halves[place] for part in parts) for place in range(3))
    return parts[0].model_copy(
        update={
            "tried": sum(part.tried for part in parts),
            "rounds": rounds,
            "halves": (one, other, both),
            "remaining": chapman(one, other, both, sum(rounds[2:])),
        }
    )


def _judged(parts: Sequence[Judged]) -> Judged:
    return Judged(
        samples=sum(part.samples for part in parts),
        clean=_total([part.clean for part in parts]),
        worst=_total([part.worst for part in parts]),
        same=sum(part.same for part in parts),
    )
