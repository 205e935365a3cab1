"""The record of a NIR file of any origin: as its origin meant it, and as integers on every target."""

from pathlib import Path
from typing import Any

from .base import Data, Part, ProgramId, Record, Share, read_model


class SpikesOf(Part):
    """One population's spikes, as its origin meant them against the Program's.

    Attributes:
        population: in the Program.
        node: in the graph.
        float_rate: spikes a neuron and step of the origin.
        program_rate: the same of the Program.
        compared: neurons, steps and samples.
        different: how many differ.
        share: that differ.
    """

    population: str
    node: str
    float_rate: float
    program_rate: float
    compared: int
    different: int
    share: float


class OnTarget(Part):
    """One target against the first one: every spike, and u and v where it exposes them.

    Attributes:
        target: its name.
        accuracy: None without labels.
        compared: values; 0 for the first.
        different: how many differ.
        first: the first difference: quantity, population, (step, sample, ...neuron).
    """

    target: str
    accuracy: Share | None
    compared: int
    different: int
    first: tuple[str, str, tuple[int, ...]] | None


class Foreign(Part):
    """What was measured.

    Attributes:
        samples: how many.
        float_accuracy: of the graph as its origin meant it; None without labels.
        same_class: samples that the Program (on the first target) gives the same class as the origin does.
        spikes: a spiking population.
        targets: those that ran the Program; the first is the reference.
        refused: the reasons of those that did not.
        equal: whether no target differs in any value from the first.
        different: values that differ, of all targets.
    """

    samples: int
    float_accuracy: Share | None
    same_class: Share
    spikes: tuple[SpikesOf, ...]
    targets: tuple[OnTarget, ...]
    refused: dict[str, list[str]]
    equal: bool
    different: int

    def first_difference(self) -> str:
        """Return where the first target that differs does so, in words."""
        wrong = next(one for one in self.targets if one.first)
        quantity, population, (step, sample, *neuron) = wrong.first or ("", "", (0, 0))
        return (
            f"{wrong.target} differs from {self.targets[0].target}: {wrong.different} values, first {quantity} of "
            f"population {population!r} at step {step}, sample {sample}, neuron {tuple(neuron)}"
        )


class ForeignFile(Record, Foreign):
    """The same with where it comes from.

    Attributes:
        file: SHA-256 of the NIR file; the header's name is the file's, its data the samples'.
        labels: whether the samples had any.
        origin: the framework that wrote it, as far as told.
        settings: how it computes.
        steps: a sample.
        weight_bits: of the Program.
        input_bits: of its input's messages.
        warnings: what a reader must know.
    """

    data: Data
    program: ProgramId
    file: str
    labels: bool
    origin: str | None
    settings: dict[str, Any]
    steps: int
    weight_bits: int
    input_bits: int
    warnings: list[str]

    @classmethod
    def of_schema_1(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Return values of schema 2: the file's name and hash stood together, and so did labels and data."""
        values = super().of_schema_1(values)
        values.pop("step", None)
        if isinstance(values.get("file"), dict) and isinstance(values.get("data"), dict):
            file, data = values["file"], dict(values["data"])
            values |= {"name": file.get("name"), "file": file.get("sha256"), "labels": data.pop("labels", None)}
            values |= {"data": data, "program": {"sha256": values.pop("program_sha256", None)}}
        return values


def read(path: Path) -> ForeignFile:
    """Return the record in ``path``.

    Raises:
        FileError: missing, corrupt, or of another schema.
    """
    return read_model(ForeignFile, path, "run 'spikeproof evaluate FILE.nir'")
