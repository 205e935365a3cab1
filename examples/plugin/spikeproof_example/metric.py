"""A metric of one's own: how many neurons are never needed."""

from typing import ClassVar

from spikeproof.eval.measure.metrics import Answered, FormMetric


class Silence(FormMetric):
    """Share of the neurons that do not spike for a sample, for each population."""

    name: ClassVar[str] = "silence"
    unit: ClassVar[str] = "share of neurons"
    higher_is_better: ClassVar[bool | None] = True

    def __init__(self) -> None:
        self.silent: dict[str, int] = {}
        self.neurons: dict[str, int] = {}

    def see(self, batch: Answered) -> None:
        """Count a batch."""
        for name, counts in batch.trace.spike_counts.items():
            self.silent[name] = self.silent.get(name, 0) + int((counts == 0).sum())
            self.neurons[name] = self.neurons.get(name, 0) + counts.size

    def compute(self) -> dict[str, float]:
        """Return the share of each population."""
        self._need(sum(self.neurons.values()))
        return {name: silent / self.neurons[name] for name, silent in self.silent.items()}
