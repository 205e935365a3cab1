"""Whether several targets are equal, bit for bit."""

import numpy as np
from numpy.typing import NDArray

from ...export.program import Program
from ...hw_targets.target import Trace, get_target
from ...toolkit.errors import InputError
from ...toolkit.progress import Track, silent
from ..records.comparison import Bits, Compared


def difference(target: str, reference: Trace, other: Trace) -> list[Bits]:
    """Compare every raster of two Traces.

    Raises:
        InputError: the Traces have no rasters, or not of the same populations.
    """
    if not reference.rasters or set(reference.rasters) != set(other.rasters):
        raise InputError(f"target {target!r}: its Trace has other rasters than the reference; ask both for rasters")
    found = []
    for name, raster in reference.rasters.items():
        for quantity in ("spikes", "u", "v"):
            expected, given = getattr(raster, quantity), getattr(other.rasters[name], quantity)
            if expected is None or given is None:
                continue
            if expected.shape != given.shape:
                raise InputError(
                    f"target {target!r}: {quantity} of {name!r} are {given.shape}, expected {expected.shape}"
                )
            wrong = expected != given
            first = tuple(int(i) for i in np.argwhere(wrong)[0]) if wrong.any() else None
            count = {"compared": wrong.size, "different": int(wrong.sum())}
            found.append(Bits(target=target, population=name, quantity=quantity, first=first, **count))
    return found


def compare(program: Program, inputs: NDArray[np.int32], targets: list[str], *, track: Track = silent) -> Compared:
    """Run ``inputs`` on every target and compare spikes, and u and v where exposed, with the first one's.

    Args:
        program: what runs.
        inputs: messages (time, batch, ...).
        targets: names; the first is the reference.
        track: progress.

    Raises:
        InputError: fewer than two targets, or one that runs no Programs.
        TargetError: a target is unavailable or failed.
    """
    if len(set(targets)) < 2:
        raise InputError(f"targets: {', '.join(targets)}; name at least two different ones to compare")
    for name in targets:
        if get_target(name).form != "program":
            raise InputError(f"target {name!r}: runs no Programs, so it cannot be compared bit for bit")
    # All are compiled before any runs, so that an absent target is told at once.
    compiled = {name: get_target(name).compile(program) for name in dict.fromkeys(targets)}
    traces = {name: ready.run(inputs, rasters=True, track=track) for name, ready in compiled.items()}
    first, *others = traces
    reference = traces[first]
    values = tuple(bits for name in others for bits in difference(name, reference, traces[name]))
    different = sum(bits.different for bits in values)
    spikes = sum(bits.compared for bits in values if bits.quantity == "spikes")
    return Compared(
        reference=first,
        targets=tuple(others),
        samples=inputs.shape[1],
        spikes=sum(int((raster.spikes != 0).sum()) for raster in reference.rasters.values()),
        values=values,
        same_classes={name: int((traces[name].classes == reference.classes).sum()) for name in others},
        equal=not different,
        spike_values_compared=spikes,
        state_values_compared=sum(bits.compared for bits in values) - spikes,
        different=different,
    )
