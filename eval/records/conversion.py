"""The record of a conversion: a network of ReLU, and its accuracy in spikes by the number of steps."""

from typing import Literal

from .base import Part, Record, Share


class AtStep(Part):
    """The converted network read after so many steps.

    Attributes:
        steps: how many.
        accuracy: None where there were no labels.
        same: share of samples that get the class that the ReLU network gives them.
    """

    steps: int
    accuracy: Share | None
    same: float


class Conversion(Record):
    """What a network of ReLU became.

    Attributes:
        steps: time steps.
        percentile: of activations, which became thresholds.
        per: what has a threshold of its own.
        calibration: samples on which they were measured.
        equal: share of the samples looked at on which the logits are those of SpikingJelly's converted network.
        ann: accuracy of the ReLU network; None where there were no labels.
        by_steps: after 1, 2, 4, ... steps, and all.
    """

    steps: int
    percentile: float
    per: Literal["layer", "channel"] = "layer"
    calibration: int
    equal: float
    ann: Share | None
    by_steps: list[AtStep]

    @property
    def sentences(self) -> list[str]:
        """What happened, in words."""
        last = self.by_steps[-1]
        of = f"{self.percentile:g} % percentiles of each {self.per}'s activations"
        found = [f"{self.steps} steps; thresholds are the {of}."]
        if self.ann is not None and last.accuracy is not None:
            found.append(
                f"Accuracy {100 * self.ann.value:.1f} % with ReLU, {100 * last.accuracy.value:.1f} % in spikes, of "
                f"{self.ann.samples} samples."
            )
        found.append(f"{100 * last.same:.1f} % of the samples get the class that the network of ReLU gives them.")
        return found
