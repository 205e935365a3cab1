"""The record of a trace: what a board, or another simulator, recorded of a Program, against the Program itself."""

from pathlib import Path
from typing import Literal

from .base import Part, Record, read_model

Quantity = Literal["u", "v", "spikes"]
"""In the order in which a step computes them."""


class Parting(Part):
    """One value that differs.

    Attributes:
        population: which.
        quantity: u, v or spikes.
        step: of the clock, from the sample's first step, 0.
        window: the same step in the population's own window.
        sample: of the trace.
        neuron: index in the population's shape.
        expected: the Program's value.
        found: the trace's.
        spike: whether the Program's neuron fires in that step.
    """

    population: str
    quantity: Quantity
    step: int
    window: int
    sample: int
    neuron: tuple[int, ...]
    expected: float
    found: float
    spike: bool


class Quantities(Part):
    """One quantity of one population.

    Attributes:
        population: which.
        quantity: u, v or spikes.
        neurons: how many were recorded.
        compared: values.
        different: how many of them differ.
        steps: steps of samples that were compared.
        equal_steps: those of them in which no neuron differs.
        at_spikes: differing values in steps in which the Program's neuron fires.
        first: the first that differs; None if none does.
    """

    population: str
    quantity: Quantity
    neurons: int
    compared: int
    different: int
    steps: int
    equal_steps: int
    at_spikes: int
    first: Parting | None


class TraceCompared(Part):
    """What :func:`..agreement.trace.compare_trace` finds.

    Attributes:
        file: name of the trace; None where arrays were given.
        sha256: of the file.
        samples: in the trace.
        steps: rows in the trace.
        clock: whether rows are steps of one clock, from the sample's first step; else of each population's window.
        values: one entry a population and quantity that was recorded.
        equal: whether not one value differs.
        first: the first value that differs, on the clock.
        verdict: the answer in a few sentences.
    """

    file: str | None
    sha256: str | None
    samples: int
    steps: int
    clock: bool
    values: list[Quantities]
    equal: bool
    first: Parting | None
    verdict: list[str]


class TraceComparison(Record, TraceCompared):
    """The same with where it comes from."""


def read(path: Path) -> TraceComparison:
    """Return the record in ``path``.

    Raises:
        FileError: missing, corrupt, or of another schema.
    """
    return read_model(TraceComparison, path, "run 'spikeproof compare RUN --trace FILE'")
