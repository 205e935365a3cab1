"""A ``.net`` file of lava-dl as a Program: what its importer ``netx`` would load, in the chip's integers.

The arithmetic is the importer's, also where it changes what the file says (weights that it clips or cuts); then a
warning says so. Times are its own, too: a layer's window starts one step after that of the layer before, and delays
that all its synapses share move it on. Its sigma-delta neurons cannot be reset, so that where nothing else holds them
back all layers start together.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ...toolkit.errors import UnsupportedError
from ..program import Program, Readout
from .netx_build import Builder, Kind, Made, Stage
from .netx_file import read_layers

if TYPE_CHECKING:
    from ...toolkit.coding import Coder

__all__ = ["Kind", "NetFile", "Stage", "read_net"]


@dataclass(frozen=True)
class NetFile(Made):
    """What a ``.net`` file holds, see :class:`.netx_build.Made`."""

    @property
    def loaded(self) -> Program:
        """The part of the Program that the importer loads.

        Raises:
            UnsupportedError: it loads none.
        """
        if self.unloadable is None:
            return self.program
        names = {stage.name for stage in self.stages}
        if not names:
            raise UnsupportedError(str(self.unloadable))
        return Program(
            input=self.program.input,
            populations=tuple(part for part in self.program.populations if part.name in names),
            synapses=tuple(synapse for synapse in self.program.synapses if synapse.target in names),
            readout=Readout(population=self.stages[-1].name),
            steps=self.program.steps,
        )

    @property
    def coder(self) -> "Coder":
        """What makes messages of images in [0, 1], or of spikes (samples, time, ...) where messages are binary."""
        from ...toolkit.coding import Direct, Events

        steps = self.program.steps
        return Direct(steps, levels=self.levels) if self.program.input.message_bits else Events(steps)

    @property
    def levels(self) -> int:
        """The message that stands for 1.0 in the input."""
        return self.program.input.full


def read_net(
    path: str | Path,
    *,
    steps: int | None = None,
    input_bits: int | None = None,
    input_range: tuple[float, float] = (0.0, 1.0),
    readout: Kind | None = None,
    together: bool = False,
) -> NetFile:
    """Return the Program in a ``.net`` file of lava-dl, whoever wrote it.

    Args:
        path: an HDF5 file as SLAYER's ``export_hdf5``, or ``spikeproof export``, writes it.
        steps: time steps a sample; None for what the file says (``simulation/tSample``).
        input_bits: of an input message. Into synapses: 0 for spikes, which is the default. Bias-coded: None for values
            in [0, 1] that the input's weight turns into messages, else integers of so many bits that it multiplies.
        input_range: what the host multiplies by a bias-coded input's weight for a value of 0 and of 1, as (-1, 1) where
            images were trained with as 2 x - 1.
        readout: how classes are read, which the file does not say; None for the membrane where the last layer cannot
            fire, else the spike count.
        together: whether all layers start at the sample's first step, as on a chip where nothing holds them back; each
            starts when the sample reaches it otherwise, as SLAYER trains.

    Raises:
        FileError: missing, damaged, or no network of lava-dl.
        UnsupportedError: a layer has no exact form; it is named with the reason.
    """
    path = Path(path)
    layers, told = read_layers(path)
    steps = told if steps is None else steps
    if steps is None:
        raise UnsupportedError(f"{path}: does not say how many time steps a sample has; give them (--steps)")
    if not 1 <= steps <= 2**16:
        raise UnsupportedError(f"{path}: {steps} time steps; expected 1 to {2**16}")
    builder = Builder(str(path), steps, input_bits, input_range)
    for layer in layers:
        builder.add(layer)
    made = builder.finish(readout)
    return NetFile(**vars(_together(made) if together else made))


def _together(made: Made) -> Made:
    """Return the same with every window from the first step on."""
    program, late = made.program, max(made.program.depths().values())
    warnings = list(made.warnings)
    if late >= program.steps:
        warnings.append(f"the last layer is reached after {late} steps, and a sample has {program.steps}; give more")
    populations = tuple(part.model_copy(update={"start": 0}) for part in program.populations)
    return replace(
        made,
        program=Program(**dict(program) | {"populations": populations}),
        warnings=tuple(warnings),
        stages=tuple(replace(stage, depth=0) for stage in made.stages),
    )
