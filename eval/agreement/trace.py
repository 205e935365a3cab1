"""Where a recorded board, or another simulator, parts from the Program: the first step and neuron."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ...export.program import Program
from ...hw_targets.loihi.simulator import LoihiTarget
from ...hw_targets.target import Trace
from ...toolkit.errors import InputError
from ..records.trace import Parting, Quantities, TraceCompared
from ..report.words import plural
from .recorded import Column, Recorded


def _expected(
    program: Program, trace: Trace, column: Column, rows: int, clock: bool
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return what the Program has (time, samples, neurons) in the rows of a column, and where its neurons fire.

    On the clock a population is silent, with state 0, until its window starts.
    """
    raster = trace.rasters[column.population]
    values = getattr(raster, column.quantity)
    assert values is not None
    both = []
    for part in (values, raster.spikes != 0):
        flat = part.reshape(*part.shape[:2], -1)[:, :, column.neurons]
        depth = program.depths()[column.population] if clock else 0
        full = np.concatenate([np.zeros((depth, *flat.shape[1:]), flat.dtype), flat])
        both.append(full[:rows])
    return both[0].astype(np.int64), both[1].astype(np.bool_)


def _compared(program: Program, trace: Trace, column: Column, clock: bool) -> Quantities:
    depth = program.depths()[column.population]
    expected, fires = _expected(program, trace, column, len(column.values), clock)
    found = column.values[: len(expected)]
    wrong = found != expected
    first = None
    if wrong.any():
        row, sample, place = (int(i) for i in np.argwhere(wrong)[0])
        shape = program.shape_of(column.population)
        first = Parting(
            population=column.population,
            quantity=column.quantity,
            step=row if clock else row + depth,
            window=row - depth if clock else row,
            sample=sample,
            neuron=tuple(int(i) for i in np.unravel_index(int(column.neurons[place]), shape)),
            expected=float(expected[row, sample, place]),
            found=float(found[row, sample, place]),
            spike=bool(fires[row, sample, place]),
        )
    return Quantities(
        population=column.population,
        quantity=column.quantity,
        neurons=len(column.neurons),
        compared=wrong.size,
        different=int(wrong.sum()),
        steps=wrong.shape[0] * wrong.shape[1],
        equal_steps=int((~wrong.any(2)).sum()),
        at_spikes=int((wrong & fires).sum()),
        first=first,
    )


def compare_trace(
    program: Program,
    given: Recorded,
    inputs: NDArray[np.int32] | None,
    *,
    clock: bool = False,
    file: str | None = None,
    sha256: str | None = None,
) -> TraceCompared:
    """Compare a trace with the Program, value by value, on the trace's own messages if it holds them.

    Args:
        program: run on target ``loihi``.
        given: the trace.
        inputs: messages (time, samples, ...) for a trace without.
        clock: whether its rows are steps of one clock, counted from the sample's first; else of each population's own
            window. A trace may end early.
        file: its name.
        sha256: of the file.

    Raises:
        InputError: no messages, not as many samples, or more rows than the Program has steps.
    """
    messages = inputs if given.inputs is None else given.inputs
    if messages is None:
        raise InputError("trace: no 'input'; a Program alone has no samples: record what it was shown, too")
    if messages.shape[1] != given.samples:
        raise InputError(f"trace: {given.samples} samples, but {messages.shape[1]} inputs")
    most = program.steps + (max(program.depths().values()) if clock else 0)
    if given.steps > most:
        hint = "" if clock else "; if rows are steps of one clock, say so (--clock)"
        raise InputError(f"trace: {given.steps} rows, the Program has {most} steps{hint}")
    trace = LoihiTarget().compile(program).run(messages, rasters=True)
    values = [_compared(program, trace, column, clock) for column in given.columns]
    order = {population.name: place for place, population in enumerate(program.populations)}
    partings = [one.first for one in values if one.first is not None]
    first = min(
        partings,
        key=lambda one: (one.step, order[one.population], ("u", "v", "spikes").index(one.quantity), one.sample),
        default=None,
    )
    found = TraceCompared(
        file=file,
        sha256=sha256,
        samples=given.samples,
        steps=given.steps,
        clock=clock,
        values=values,
        equal=first is None,
        first=first,
        verdict=[],
    )
    return found.model_copy(update={"verdict": list(_words(found))})


def place_of(one: Parting) -> str:
    """Return where a value differs, in words."""
    return (
        f"{one.quantity} of population {one.population!r}, step {one.step} (step {one.window} of its window), sample "
        f"{one.sample}, neuron {one.neuron}"
    )


def _words(found: TraceCompared) -> Iterator[str]:
    total = sum(one.compared for one in found.values)
    if found.first is None:
        yield f"Equal: all {total:,} recorded values are the Program's."
        return
    one = found.first
    values_there = f"{one.found:g} where the Program has {one.expected:g}"
    yield f"The trace parts from the Program first at {place_of(one)}: {values_there}."
    for values in found.values:
        if values.different:
            yield (
                f"{values.quantity} of {values.population!r}: {values.equal_steps:,} of {values.steps:,} steps equal, "
                f"{plural(values.different, 'value')} of {values.compared:,} differ."
            )
        if values.different and values.quantity != "spikes" and values.at_spikes == values.different:
            spikes = next(
                (o for o in found.values if o.population == values.population and o.quantity == "spikes"), None
            )
            same = " Its spikes are equal, so the neurons do the same." if spikes and not spikes.different else ""
            yield (
                f"{values.quantity} of {values.population!r} differs only in steps in which that neuron fires, where a "
                f"probe may look before or behind the reset.{same}"
            )
    quiet = [one for one in found.values if not one.different]
    if quiet:
        told = ", ".join(f"{one.quantity} of {one.population!r}" for one in quiet)
        yield f"Equal in all values: {told}."
