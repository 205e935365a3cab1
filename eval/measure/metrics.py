"""Measurements: pure update and compute, unit and direction on the class; a measurement that fails raises."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from ...export.program import Dense, Program, Shifted, Sparse, Synapse
from ...hw_targets.target import Counts, Trace
from ...toolkit.errors import InputError
from ...toolkit.task import CLASSES, Task
from ..records.base import Share, share_of


class Metric(ABC):
    """Something measured: :meth:`update` with each batch, then :meth:`compute`."""

    name: ClassVar[str]
    unit: ClassVar[str]
    higher_is_better: ClassVar[bool | None]

    @abstractmethod
    def compute(self) -> Any:
        """Return the measured value; raises :class:`InputError` if nothing was measured."""

    def _need(self, samples: int) -> None:
        if samples == 0:
            raise InputError(f"metric {self.name!r}: nothing was measured")


@dataclass(frozen=True)
class Answered:
    """One batch, and what one form of the network answered.

    Attributes:
        trace: what it did.
        messages: what the input sent, (time, batch, ...).
        labels: true classes, (batch,), or the targets of a task, (batch, outputs).
        program: the network's Program, whichever form it is.
        outputs: the read-out in real numbers, (batch, outputs); None where they are not known.
        task: what the outputs are for.
    """

    trace: Trace
    messages: NDArray[np.int32]
    labels: NDArray[Any]
    program: Program
    outputs: NDArray[Any] | None = None
    task: Task = CLASSES


class FormMetric(Metric):
    """What is measured of every form under every condition; it appears in the record and on the report's page.

    :meth:`compute` returns a number, or numbers by part.
    """

    @classmethod
    def of(cls, program: Program) -> Self:
        """Return the metric, empty, for the forms of a network whose Program this is."""
        return cls()

    @classmethod
    def measures(cls, task: Task) -> bool:
        """Return whether it has a meaning for a task; as a rule for all."""
        return True

    @abstractmethod
    def see(self, batch: Answered) -> None:
        """Count a batch."""


class Accuracy(FormMetric):
    """Share of samples whose class is right: correct / samples."""

    name = "accuracy"
    unit = "share of samples"
    higher_is_better = True

    @classmethod
    def measures(cls, task: Task) -> bool:
        """Return whether outputs are classes."""
        return task.classed

    def __init__(self) -> None:
        self.correct = 0
        self.samples = 0

    def see(self, batch: Answered) -> None:
        """Count a batch."""
        self.update(batch.trace.classes, batch.labels)

    def update(self, classes: Counts, labels: Counts) -> None:
        """Count a batch.

        Args:
            classes: predicted, (batch,).
            labels: true, (batch,).

        Raises:
            InputError: the shapes differ.
        """
        if classes.shape != labels.shape:
            raise InputError(f"metric 'accuracy': {classes.shape} predictions for {labels.shape} labels")
        self.correct += int((classes == labels).sum())
        self.samples += len(labels)

    def compute(self) -> Share:
        """Return the share and its interval."""
        self._need(self.samples)
        return share_of(self.correct, self.samples)


class SpikeRate(FormMetric):
    """Spikes a neuron and time step, for each population: spikes / (samples steps neurons)."""

    name = "spike rate"
    unit = "spikes per neuron and step"
    higher_is_better = None

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.spikes: dict[str, int] = {}
        self.places: dict[str, int] = {}

    @classmethod
    def of(cls, program: Program) -> Self:
        """Return the metric for a network of so many steps."""
        return cls(program.steps)

    def see(self, batch: Answered) -> None:
        """Count a batch."""
        self.update(batch.trace)

    def update(self, trace: Trace) -> None:
        """Count a batch."""
        for name, counts in trace.spike_counts.items():
            self.spikes[name] = self.spikes.get(name, 0) + int(counts.sum())
            self.places[name] = self.places.get(name, 0) + counts.size * self.steps

    def compute(self) -> dict[str, float]:
        """Return the rate of each population."""
        self._need(sum(self.places.values()))
        return {name: spikes / self.places[name] for name, spikes in self.spikes.items()}


def fan_out(program: Program, synapse: Synapse) -> NDArray[np.int64]:
    """Return how many target neurons each source neuron reaches, edges and stride counted exactly; (source shape).

    The transposed convolution of ones with a kernel of ones; all of them for a dense synapse, those that exist for a
    sparse one.
    """
    source, target = program.shape_of(synapse.source), program.shape_of(synapse.target)
    if isinstance(synapse, Sparse):
        return np.bincount(synapse.columns, minlength=int(np.prod(source))).astype(np.int64).reshape(source)
    if isinstance(synapse, Dense | Shifted):
        return np.full(source, int(np.prod(target)), dtype=np.int64)
    x = torch.zeros(1, *source, dtype=torch.float64, requires_grad=True)
    ones = torch.ones(synapse.weight.shape, dtype=torch.float64)
    y = functional.conv2d(x, ones, None, synapse.stride, synapse.padding, synapse.dilation, synapse.groups)
    (reached,) = torch.autograd.grad(y.sum(), x)
    return np.asarray(np.rint(reached[0].numpy()), dtype=np.int64)


class SynapticOperations(FormMetric):
    """Synaptic operations a sample: sum over spikes (or non-zero messages) of the sender's true fan-out.

    Args:
        program: whose synapses are counted; a float network of the same layers sends along the same ones.
    """

    name = "synaptic operations"
    unit = "operations per sample"
    higher_is_better = False

    def __init__(self, program: Program) -> None:
        self.program = program
        self.fan_outs = [(synapse.source, synapse.target, fan_out(program, synapse)) for synapse in program.synapses]
        self.operations: dict[str, int] = {f"{source} -> {target}": 0 for source, target, _ in self.fan_outs}
        self.samples = 0

    @classmethod
    def of(cls, program: Program) -> Self:
        """Return the metric for a network with these synapses."""
        return cls(program)

    def see(self, batch: Answered) -> None:
        """Count a batch."""
        self.update(batch.trace, batch.messages)

    def update(self, trace: Trace, messages: NDArray[np.int32]) -> None:
        """Count a batch.

        Args:
            trace: what the populations sent.
            messages: what the input sent, (time, batch, ...).
        """
        for name, operations in self.each(trace, messages).items():
            self.operations[name] += int(operations.sum())
        self.samples += messages.shape[1]

    def each(self, trace: Trace, messages: NDArray[np.int32]) -> dict[str, Counts]:
        """Return the operations of every sample of a batch, (batch,), by synapse; nothing is kept."""
        sent = {self.program.input.name: np.count_nonzero(messages, axis=0), **trace.spike_counts}
        found: dict[str, Counts] = {}
        for source, target, reached in self.fan_outs:
            name, counts = f"{source} -> {target}", sent[source].astype(np.int64) * reached
            # Two synapses between the same populations are counted together.
            found[name] = found.get(name, np.int64(0)) + counts.reshape(len(counts), -1).sum(1)
        return found

    def compute(self) -> dict[str, float]:
        """Return operations a sample, by synapse."""
        self._need(self.samples)
        return {name: count / self.samples for name, count in self.operations.items()}
