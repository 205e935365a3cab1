"""The record of a Program from elsewhere: which file it was read from, how, and on which samples it is measured."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from .base import Part, Record, Share, read_model
from .comparison import Bits

if TYPE_CHECKING:
    from ...toolkit.coding import Coder


class OnImporter(Part):
    """The file itself on lava-dl's importer, against what was read from it.

    Attributes:
        samples: how many were run.
        spikes: that were sent.
        values: every population's spikes, u and v, compared.
        unloadable: why the importer does not load all of the file; None if it does.
    """

    samples: int
    spikes: int
    values: tuple[Bits, ...]
    unloadable: str | None

    @property
    def compared(self) -> int:
        """Values that were compared."""
        return sum(bits.compared for bits in self.values)

    @property
    def different(self) -> int:
        """Those that differ."""
        return sum(bits.different for bits in self.values)


class Imported(Record):
    """What was read.

    Attributes:
        source: name of the file.
        file: its SHA-256.
        kind: "net" of lava-dl, or "program", a Program's own file.
        steps: time steps a sample.
        coding: "direct": the same image at every step; "events": spikes, step by step.
        levels: the message that stands for 1.0.
        shape: (channels, height, width) of a step of the input.
        classes: outputs.
        readout: how classes are read.
        samples: how many.
        labels: "file", or "program": the Program's own answers, where the file had none.
        accuracy: of the Program on ``loihi``; None without labels of the file's own.
        silent: populations in which no neuron fired on any sample.
        importer: None where the file was not run on lava-dl's importer.
        warnings: what the importer changes, or the file leaves open.
    """

    source: str
    file: str
    kind: Literal["net", "program"]
    steps: int
    coding: Literal["direct", "events"]
    levels: int
    shape: tuple[int, int, int]
    classes: int
    readout: str
    samples: int
    labels: Literal["file", "program"]
    accuracy: Share | None
    silent: tuple[str, ...]
    importer: OnImporter | None
    warnings: tuple[str, ...]

    def coder(self) -> "Coder":
        """Return what makes the Program's messages."""
        from ...toolkit.coding import Direct, Events

        return Events(self.steps) if self.coding == "events" else Direct(self.steps, levels=self.levels)


def read_imported(path: Path) -> Imported:
    """Return the record in ``path``.

    Raises:
        FileError: missing, damaged, of another kind, or written by a newer spikeproof.
    """
    return read_model(Imported, path, "run 'spikeproof import'")
