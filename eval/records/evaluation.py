"""The record of a run: every form under every condition, and how sure each number is."""

from pathlib import Path
from typing import Any, ClassVar, Protocol

from pydantic import Field

from .base import Data, FormName, Machine, MeanQuality, Part, ProgramId, Record, Share, read_model
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
        accuracy: None where samples have no labels but the Program's own answers, and where outputs are no classes.
        same_as_float: share of these samples that get the float network's class; None where there is no such network,
            or no classes.
        quality: that of the task where outputs are no classes; left out otherwise.
        spike_rates: spikes a neuron and step, by population.
        operations: synaptic operations a sample, by synapse.
        others: what the metrics of other packages measured, and those of the task, by name; left out where there are
            none.
    """

    accuracy: Share | None = None
    same_as_float: float | None = None
    quality: MeanQuality | None = Field(default=None, exclude_if=lambda found: found is None)
    spike_rates: dict[str, float]
    operations: dict[str, float]
    others: dict[str, Measured] = Field(default={}, exclude_if=lambda found: not found)

    @property
    def known(self) -> bool:
        """Whether answers were judged: not where samples have no labels."""
        return self.accuracy is not None or self.quality is not None

    @property
    def measure(self) -> tuple[str, str]:
        """Name and unit of what answers are judged by, also where samples have no labels."""
        return ("accuracy", "%") if self.quality is None else (self.quality.name, self.quality.unit)

    @property
    def judged(self) -> MeanQuality:
        """What answers are judged by, if they are: the accuracy in per cent, or the task's quality."""
        share = self.accuracy
        if share is None:
            assert self.quality is not None
            return self.quality
        value, low, high = (100 * part for part in (share.value, share.low, share.high))
        return MeanQuality(
            name="accuracy",
            unit="%",
            higher_is_better=True,
            value=value,
            low=low,
            high=high,
            worst=100.0 * (share.correct == share.samples),
            samples=share.samples,
        )

    @property
    def share(self) -> Share:
        """The accuracy, where outputs are classes."""
        assert self.accuracy is not None
        return self.accuracy


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
        baseline: what answers are worth that no network gives, by name: each metric's value; left out where there are
            none.
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
    baseline: dict[str, dict[str, Measured]] = Field(default={}, exclude_if=lambda found: not found)
    trail: Trail | None = None
    warnings: list[str]

    @property
    def classed(self) -> bool:
        """Whether answers are classes."""
        return all(one.quality is None for form in self.forms for one in form.conditions.values())

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
