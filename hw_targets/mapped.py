"""A run of a split Program as a run of the whole one."""

from collections.abc import Mapping as Dictionary

import numpy as np
from numpy.typing import NDArray

from ..export.chip.mapping import Mapping
from ..export.program import Program
from .target import Overflow, Raster, Trace


def together(trace: Trace, program: Program, mapping: Mapping) -> Trace:
    """Return what the split Program did, slices put together: the Trace that ``program`` itself must give.

    Args:
        trace: of ``split(program, mapping)``.
        program: the whole one.
        mapping: that it was split by.
    """

    def whole(name: str, parts: Dictionary[str, NDArray[np.generic]]) -> NDArray[np.generic]:
        slices = mapping.slices(name)
        if len(slices) == 1:
            return parts[name]
        shape = program.shape_of(name)
        given = [parts[f"{name}.{index}"] for index in range(len(slices))]
        found = np.empty((*given[0].shape[:-1], int(np.prod(shape))), dtype=given[0].dtype)
        for part, array in zip(slices, given, strict=True):
            found[..., part.neurons(program)] = array
        return found.reshape(*given[0].shape[:-1], *shape)

    def events(name: str, overflow: Dictionary[str, Overflow]) -> Overflow:
        slices = mapping.slices(name)
        names = [name] if len(slices) == 1 else [f"{name}.{index}" for index in range(len(slices))]
        parts = [overflow[one] for one in names]
        return Overflow(
            sum(part.wraps for part in parts),
            sum(part.saturations for part in parts),
            sum(part.swallowed for part in parts),
        )

    def raster(name: str) -> Raster:
        kept = {
            quantity: {one: getattr(part, quantity) for one, part in trace.rasters.items()}
            for quantity in ("spikes", "u", "v")
        }
        first = name if name in trace.rasters else f"{name}.0"
        return Raster(
            **{  # type: ignore[arg-type]
                quantity: None if parts[first] is None else whole(name, parts) for quantity, parts in kept.items()
            }
        )

    names = [population.name for population in program.populations]
    overflow = trace.overflow
    return Trace(
        trace.output,
        {name: whole(name, trace.spike_counts) for name in names},  # type: ignore[misc]
        None if overflow is None else {part.name: events(part.name, overflow) for part in program.stateful},
        {name: raster(name) for name in names} if trace.rasters else {},
    )
