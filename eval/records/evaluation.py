"""The record of a run: every form under every condition, and how sure each number is."""

from pathlib import Path
from typing import Any, ClassVar, Protocol

from pydantic import Field

from .base import Data, FormName, Machine, Part, ProgramId, Record, Share, read_model
from .comparison import Comparison


class Described(Protocol):
    """What a metric says of itself."""

    unit: ClassVar[str]
    higher_is_better: ClassVar[bool | None]


class Measured(Part):
    """What a metric of another package measured: a number, or numbers by part."""

    unit: str
    higher_is_better: bool | None
    value: float | dict[str, float]

    @classmethod
    def of(cls, metric: Described, value: float | dict[str, float]) -> "Measured":
        """Return a metric's value, with its unit and direction."""
        return cls(unit=metric.unit, higher_is_better=metric.higher_is_better, value=value)


class Condition(Part):
    """One form under one condition: clean images, or the examples of one attack.

    Attributes:
        accuracy: None where samples have no labels but the Program's own answers.
        same_as_float: share of these samples that get the float network's class; None where there is no such network.
        spike_rates: spikes a neuron and step, by population.
        operations: synaptic operations a sample, by synapse.
        others: what the metrics of other packages measured, by name; left out where there are none.
    """

    accuracy: Share | None
    same_as_float: float | None
    spike_rates: dict[str, float]
    operations: dict[str, float]
    others: dict[str, Measured] = Field(default={}, exclude_if=lambda found: not found)


class MeasuredForm(Part):
    """Everything measured on one form of the network on one target.

    Attributes:
        form: its name.
        target: what ran it.
        conditions: by name: "clean", or an attack's label.
        overflow: wraps, saturations and states swallowed by a leak, a population, on clean images; None where not
            exposed.
        seconds: wall time of all conditions.
    """

    form: FormName
    target: str
    device: str
    samples: int
    conditions: dict[str, Condition]
    overflow: dict[str, dict[str, int]] | None
    seconds: float


class TrailPoint(Part):
    """The network after an epoch; ``zero_gradient`` is that of the hidden LIF layers together, None without any."""

    epoch: int
    zero_gradient: float | None
    clean: Share
    robust: Share


class Trail(Part):
    """Zero-gradient share, clean and robust accuracy along training, of the float network on its own test images.

    Attributes:
        attack: its label; white box, on the float network.
        threat_model: what ``robust`` is about.
        samples: the first so many test images.
        points: in the order of epochs.
    """

    attack: str
    threat_model: str
    samples: int
    points: list[TrailPoint]


class Evaluation(Record):
    """Every form of a run under every condition; of a Program from elsewhere, which has no other form, that one.

    What needs the float network is empty there: recipe, attacks, training, round trip, gradients, trail.

    Attributes:
        populations: one row a synapse, the Program's integers in words.
        threat_model: the only one that its robust accuracies are about.
        attacks: each attack's settings, largest distance and zero-gradient facts.
        gradients: zero-gradient share, a form: layer -> input and output share, and all hidden LIF layers together
            (None if there are none); "clean", statistics of the same gradients; for float also "weights", density and
            bound of theirs.
        trail: the network along training; None if the recipe did not ask for it.
        comparison: bit for bit, from ``spikeproof agree``; None if it was not run.
        warnings: what a reader must know before quoting a number.
    """

    data: Data
    program: ProgramId
    recipe: dict[str, Any] | None
    machine: Machine
    populations: list[dict[str, Any]]
    threat_model: str
    attacks: dict[str, dict[str, Any]]
    training: list[dict[str, float]]
    round_trip: dict[str, Any]
    gradients: dict[str, dict[str, Any]]
    forms: list[MeasuredForm]
    comparison: Comparison | None
    trail: Trail | None = None
    warnings: list[str]

    @classmethod
    def of_schema_1(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Return values of schema 2: populations stood in ``program``, and the comparison had no header."""
        values = super().of_schema_1(values)
        if isinstance(values.get("program"), dict) and "populations" in values["program"]:
            program = dict(values["program"])
            values |= {"populations": program.pop("populations"), "program": program}
        if isinstance(values.get("comparison"), dict):
            values["comparison"] = Comparison.of_schema_1(values["comparison"])
        return values


def read_record(path: Path) -> Evaluation:
    """Return the record in ``path``.

    Raises:
        FileError: missing, corrupt, or of another schema.
    """
    return read_model(Evaluation, path, "run 'spikeproof evaluate'")
