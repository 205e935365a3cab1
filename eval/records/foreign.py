"""The record of a NIR file of any origin: as its origin meant it, and as integers on every target."""

from pathlib import Path
from typing import Any

from .base import Data, Part, ProgramId, Record, Share, read_model

MOST_KEEP = 0.9
"""Share of samples that keep their class; below it, the deployment deserves a word also without labels."""


def silence(population: str, before: float, after: float) -> str:
    """Return what is to be said where no neuron of a population fires; nothing where some do.

    Args:
        population: its name.
        before: spikes a neuron and step, in float.
        after: the same of the Program.
    """
    if after:
        return ""
    hint = "look at the scale of the input, and at the bits"
    if before:
        return f"population {population!r}: no neuron fires in the Program, though some do in float; {hint}"
    return (
        f"population {population!r}: no neuron fires, neither in float nor in the Program: equal silence proves "
        f"nothing; {hint}"
    )


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


class OfOrigin(Part):
    """A node's values as the origin itself gave them out, against what was read here.

    Attributes:
        node: in the graph.
        compared: values.
        different: how many differ.
        first: the first difference: (step, sample, ...neuron).
    """

    node: str
    compared: int
    different: int
    first: tuple[int, ...] | None


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
        outputs: neurons that are read out.
        reference: the origin's own outputs against this reading, where they were given.
    """

    samples: int
    float_accuracy: Share | None
    same_class: Share
    spikes: tuple[SpikesOf, ...]
    targets: tuple[OnTarget, ...]
    refused: dict[str, list[str]]
    equal: bool
    different: int
    outputs: int | None = None
    reference: tuple[OfOrigin, ...] = ()

    def doubts(self) -> list[str]:
        """Return what makes these figures say less than they seem to."""
        found = [silence(row.population, row.float_rate, row.program_rate) for row in self.spikes]
        if self.outputs == 1:
            found.append("one output neuron: every sample has the same class, so that 'same class' says nothing")
        program = self.targets[0].accuracy
        if self.loses() and program is not None and self.float_accuracy is not None:
            found.append(
                f"the Program answers {100 * program.value:.1f} % right, the graph as its origin meant it "
                f"{100 * self.float_accuracy.value:.1f} %: more than the intervals explain"
            )
        elif self.loses():
            found.append(
                f"the Program gives only {100 * self.same_class.value:.1f} % of the samples the class that they have "
                "in float"
            )
        return [text for text in found if text]

    def loses(self) -> bool:
        """Return whether deployment changes the answers by more than the samples' number explains."""
        program, meant = self.targets[0].accuracy, self.float_accuracy
        if program is None or meant is None:
            return self.same_class.high < MOST_KEEP
        return program.high < meant.low

    def against_origin(self) -> str | None:
        """Return where this reading parts from the origin's own outputs, in words; None where it does not."""
        wrong = next((one for one in self.reference if one.first), None)
        if wrong is None:
            return None
        step, sample, *neuron = wrong.first or ()
        return (
            f"node {wrong.node!r} differs from the origin's own output: {wrong.different:,} of {wrong.compared:,} "
            f"values, first at step {step}, sample {sample}, neuron {tuple(neuron)}; the origin computes otherwise "
            "than was told (--origin, --dt, --reset)"
        )

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
        weight_bits: of the Program: of all nodes, or by node.
        input_bits: of its input's messages.
        input_levels: the message that stands for 1.0; None in older records: the largest.
        scale: how the values of the samples' file were read.
        warnings: what a reader must know.
    """

    data: Data
    program: ProgramId
    file: str
    labels: bool
    origin: str | None
    settings: dict[str, Any]
    steps: int
    weight_bits: int | dict[str, int]
    input_bits: int
    input_levels: int | None = None
    scale: str = ""
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
