"""The record of sensitivity: what each layer's weights cost when they alone are quantized, by their bits."""

from pathlib import Path

from pydantic import Field

from .base import Part, Record, Share, read_model


class Paired(Part):
    """Two forms on the same samples.

    Attributes:
        samples: how many.
        classes_changed: samples that get another class.
        lost: samples that only the first answers rightly.
        won: samples that only the second does.
        p: of McNemar's exact test, which is the sign test of ``lost`` against ``won``; 1 if both are 0.
    """

    samples: int
    classes_changed: int
    lost: int
    won: int
    p: float


class AtBits(Part):
    """One layer quantized, all others in float.

    Attributes:
        bits: a weight.
        accuracy: of that network.
        paired: against the network in which no layer is quantized.
    """

    bits: int
    accuracy: Share
    paired: Paired


class LayerBits(Part):
    """One layer.

    Attributes:
        layer: its name.
        weights: how many it has.
        own: its bits in the quantized network; None where there is none.
        tried: by number of bits, the fewest first.
        needs: the fewest bits from which on it costs no more than the stated loss; None: more than were tried.
    """

    layer: str
    weights: int
    own: int | None
    tried: list[AtBits]
    needs: int | None

    def at(self, bits: int) -> AtBits | None:
        """Return what was found at ``bits``; None if they were not tried."""
        return next((one for one in self.tried if one.bits == bits), None)


class Together(Part):
    """All layers quantized at once, each at the bits that it needs alone; not fine-tuned.

    Attributes:
        bits: by layer.
        accuracy: of that network.
        paired: against the network in which no layer is quantized.
        memory: bits of all weights, in these and at 8 bits each.
    """

    bits: dict[str, int]
    accuracy: Share
    paired: Paired
    memory: tuple[int, int]


class Sensitivities(Part):
    """What :func:`..explain.sensitivity.find_sensitivity` finds.

    Attributes:
        base: the stage whose weights are quantized layer by layer: folded, or fine-tuned.
        samples: images, the first so many.
        accuracy: of the base.
        loss: points of accuracy that a layer may cost alone.
        layers: in the order of the network.
        together: the bits that each needs alone, at once; None where a layer needs more than were tried.
        verdict: the answer in a few sentences.
        notes: what a reader must know: what is right where answers are no classes.
    """

    base: str
    samples: int
    accuracy: Share
    loss: float
    layers: list[LayerBits]
    together: Together | None
    verdict: list[str]
    notes: list[str] = Field(default=[], exclude_if=lambda found: not found)


class Sensitivity(Record, Sensitivities):
    """The same with where it comes from."""

    seconds: float


def read(path: Path) -> Sensitivity:
    """Return the record in ``path``.

    Raises:
        FileError: missing, corrupt, or of another schema.
    """
    return read_model(Sensitivity, path, "measure it with spikeproof.sensitivity")
