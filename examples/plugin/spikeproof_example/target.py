"""A target of one's own: the simulator, with the samples of a batch in another order."""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from spikeproof.export.program import Program
from spikeproof.hw_targets.loihi.simulator import LoihiTarget
from spikeproof.hw_targets.target import CompiledProgram, Raster, Target, Trace
from spikeproof.toolkit.progress import Track


class _Shuffled(CompiledProgram):
    def _run(self, inputs: NDArray[np.int32], rasters: bool, track: Track) -> Trace:
        trace = LoihiTarget().compile(self.program).run(inputs[:, ::-1], rasters=rasters, track=track)

        def back(values: NDArray[Any] | None) -> Any:
            return None if values is None else values[:, ::-1]

        return Trace(
            trace.output[::-1],
            {name: counts[::-1] for name, counts in trace.spike_counts.items()},
            trace.overflow,
            {name: Raster(*map(back, (each.spikes, each.u, each.v))) for name, each in trace.rasters.items()},
        )


class Shuffled(Target[Program]):
    """Last sample first: samples must not know of each other."""

    name: ClassVar[str] = "shuffled"
    summary: ClassVar[str] = "the simulator, last sample first"

    def unsupported(self, network: Program) -> list[str]:
        """Return what the simulator cannot run."""
        return LoihiTarget().unsupported(network)

    def _compile(self, network: Program) -> CompiledProgram:
        return _Shuffled(network)
