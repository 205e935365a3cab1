"""The record of an adoption: what a network from elsewhere was read as, and the proof that it is the same."""

from pathlib import Path

from pydantic import Field

from .base import Part, Record, Share, read_model


class AdoptedLayer(Part):
    """One layer of the adopted network.

    Attributes:
        name: as in the model.
        kind: of the layer.
        receives: the layers whose outputs it gets.
        parameters: how many weights and constants.
        spikes: how many were compared with the model's; None where it sends none.
        differing: how many of them differ.
        refused: why it has no exact form in Loihi's integers; None if it has one.
        notes: what was assumed.
    """

    name: str
    kind: str
    receives: list[str]
    parameters: int
    spikes: int | None
    differing: int | None
    refused: str | None
    notes: list[str]


class Adoption(Record):
    """What was read, and how it was compared by execution.

    Attributes:
        source: class of the model, or name of the file.
        framework: of its neurons.
        steps: time steps a sample.
        shape: (channels, height, width) of an image.
        readout: what the logits are, in words.
        layers: in order.
        samples: on which both ran.
        others: inputs beside them on which both ran, too: black, white and noise; 0 for a graph, which cannot decide.
        failed: on how many others the model itself failed, and how; left out where it did not.
        dtype: in which both ran: float64, or float32 where the model runs in no other.
        logits: largest difference of a logit.
        classes: samples whose class differs.
        refused: why it does not become a Program as it is, found by trying; None if it does.
        silent: populations that never fired, of which nothing is proved but that.
        accuracy: of the adopted network on labels; None without them.
    """

    source: str
    framework: str
    steps: int
    shape: tuple[int, int, int]
    readout: str
    layers: list[AdoptedLayer]
    samples: int
    others: int
    failed: list[str] = Field(default=[], exclude_if=lambda found: not found)
    dtype: str
    logits: float
    classes: int
    silent: list[str]
    refused: str | None
    accuracy: Share | None = None

    @property
    def sentences(self) -> list[str]:
        """What was found, in words."""
        compared = sum(layer.spikes or 0 for layer in self.layers)
        differing = sum(layer.differing or 0 for layer in self.layers)
        found = [
            f"{self.source} ({self.framework}), {self.steps} time steps, read out by {self.readout}.",
            f"Proof on {self.samples} samples in {self.dtype}: {differing:,} of {compared:,} spikes differ, logits by "
            f"at most {self.logits:.2g}, {self.classes} classes"
            f"{f'; the same on {self.others} others (black, white, noise)' if self.others else ''}.",
        ]
        found += [f"{one[0].upper()}{one[1:]}." for one in self.failed]
        if self.silent:
            found.append(
                f"No neuron of {', '.join(self.silent)} fired: nothing else is proved of it; give other samples."
            )
        if self.refused:
            found.append(f"It does not deploy as it is: {self.refused}.")
        return found


def read_adoption(path: Path) -> Adoption:
    """Return the adoption in ``path``.

    Raises:
        FileError: missing, damaged, or of another kind.
    """
    return read_model(Adoption, path, "adopt")
