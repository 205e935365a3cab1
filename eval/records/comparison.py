"""The record of a comparison: several targets on the same inputs, bit for bit."""

from pathlib import Path
from typing import Any

from .base import Part, Record, read_model


class Bits(Part):
    """One quantity of one population on one target against the reference.

    Attributes:
        target: compared with the reference.
        population: which.
        quantity: spikes, u or v.
        compared: number of values: neurons, steps and samples.
        different: how many differ.
        first: where the first difference is: (step, sample, ...neuron); None if there is none.
    """

    target: str
    population: str
    quantity: str
    compared: int
    different: int
    first: tuple[int, ...] | None


class Compared(Part):
    """Several targets against a reference, on the same inputs.

    Attributes:
        reference: the first target.
        targets: the others.
        samples: how many.
        spikes: that the reference fired.
        values: a target, population and quantity.
        same_classes: samples that get the reference's class, by target.
        equal: whether not one value differs.
        spike_values_compared: all of them.
        state_values_compared: of u and v.
        different: values that differ.
    """

    reference: str
    targets: tuple[str, ...]
    samples: int
    spikes: int
    values: tuple[Bits, ...]
    same_classes: dict[str, int]
    equal: bool
    spike_values_compared: int
    state_values_compared: int
    different: int


class Comparison(Record, Compared):
    """The same with where it comes from."""

    @classmethod
    def of_schema_1(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Return values of schema 2: there were a step and the Program's hash for a header."""
        values = super().of_schema_1(values)
        values.pop("step", None)
        if "program_sha256" in values:
            values["program"] = {"sha256": values.pop("program_sha256")}
        return values


def read(path: Path) -> Comparison:
    """Return the record in ``path``.

    Raises:
        FileError: missing, corrupt, or of another schema.
    """
    return read_model(Comparison, path, "run 'spikeproof agree'")
