"""The record of a run: one JSON file that says what was measured, on what, with what, and how sure it is."""

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...toolkit.errors import FileError
from ...toolkit.files import read_json, write_json

M = TypeVar("M", bound=BaseModel)
PACKAGES = (
    "spikeproof",
    "torch",
    "snntorch",
    "brevitas",
    "nir",
    "onnx",
    "onnxruntime",
    "adversarial-robustness-toolbox",
    "lightning-fabric",
    "numpy",
)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Share(_Part):
    """A measured share with its 95 % Wilson interval."""

    value: float
    low: float
    high: float
    correct: int
    samples: int


class Described(Protocol):
    """What a metric says of itself."""

    unit: ClassVar[str]
    higher_is_better: ClassVar[bool | None]


class Measured(_Part):
    """What a metric of another package measured: a number, or numbers by part."""

    unit: str
    higher_is_better: bool | None
    value: float | dict[str, float]

    @classmethod
    def of(cls, metric: Described, value: float | dict[str, float]) -> "Measured":
        """Return a metric's value, with its unit and direction."""
        return cls(unit=metric.unit, higher_is_better=metric.higher_is_better, value=value)


class Condition(_Part):
    """One form under one condition: clean images, or the examples of one attack.

    ``same_as_float`` is the share of these samples that get the float network's class; ``others``, by name, is what
    the metrics of other packages measured, and is left out where there are none.
    """

    accuracy: Share
    same_as_float: float
    spike_rates: dict[str, float]
    operations: dict[str, float]
    others: dict[str, Measured] = Field(default={}, exclude_if=lambda found: not found)


class Form(_Part):
    """Everything measured on one form of the network on one target.

    Attributes:
        form: float, quantized (fake-quantized in PyTorch), or program (the integers).
        target: what ran it.
        conditions: by name: "clean", or an attack's label.
        overflow: wraps, saturations and states swallowed by a leak, a population, on clean images; None where not
            exposed.
        seconds: wall time of all conditions.
    """

    form: Literal["float", "quantized", "program"]
    target: str
    device: str
    samples: int
    conditions: dict[str, Condition]
    overflow: dict[str, dict[str, int]] | None
    seconds: float


class TrailPoint(_Part):
    """The network after an epoch; ``zero_gradient`` is that of the hidden LIF layers together."""

    epoch: int
    zero_gradient: float
    clean: Share
    robust: Share


class Trail(_Part):
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


class Machine(_Part):
    """Where it was measured."""

    processor: str
    cores: int
    system: str
    python: str
    accelerator: str | None


class Record(_Part):
    """One run.

    Attributes:
        threat_model: the only one that its robust accuracies are about.
        attacks: each attack's settings, largest distance and zero-gradient facts.
        gradients: zero-gradient share, a form: layer -> input and output share, and all hidden LIF layers together;
            "clean", statistics of the same gradients; for float also "weights", density and bound of theirs.
        trail: the network along training; None if the recipe did not ask for it.
        comparison: bit for bit, from ``spikeproof compare --bitwise``; None if it was not run.
        warnings: what a reader must know before quoting a number.
    """

    schema_version: Literal[1] = 1
    name: str
    created: str
    recipe: dict[str, Any]
    data: dict[str, Any]
    program: dict[str, Any]
    machine: Machine
    packages: dict[str, str]
    threat_model: str
    attacks: dict[str, dict[str, Any]]
    training: list[dict[str, float]]
    round_trip: dict[str, Any]
    gradients: dict[str, dict[str, Any]]
    forms: list[Form]
    comparison: dict[str, Any] | None
    trail: Trail | None = None
    warnings: list[str]


def machine() -> Machine:
    """Describe this machine, without its name or paths."""
    processor = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        processor = names[0] if names else processor
    import torch

    accelerator = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    return Machine(
        processor=processor,
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        accelerator=accelerator,
    )


def packages() -> dict[str, str]:
    """Return the versions of the packages that numbers depend on."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


def now() -> str:
    """Return the time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def write_record(path: Path, record: Record) -> None:
    """Write a record as JSON."""
    write_json(path, record.model_dump(mode="json"))


def read_model(kind: type[M], path: Path, remedy: str) -> M:
    """Return the record of a kind in ``path``.

    Args:
        kind: its model.
        path: a JSON file.
        remedy: what to do again where it is damaged, for the message.

    Raises:
        FileError: missing, corrupt, or of another schema.
    """
    try:
        return kind.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise FileError(f"{path}: key {where}: {first['msg']}; {remedy} again") from error


def read_record(path: Path) -> Record:
    """Return the record in ``path``.

    Raises:
        FileError: missing, corrupt, or of another schema.
    """
    return read_model(Record, path, "run 'spikeproof evaluate'")
