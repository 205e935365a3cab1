"""What every record has in common: one header, shares with intervals, the names of forms, reading and writing.

Since schema 2 the header says which code measured. A record of schema 1 is read into the same models; what it did not
keep is None ("unknown" for its name and time).
"""

import os
import platform
import shlex
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from ...toolkit.code import code_hash, revision
from ...toolkit.errors import FileError
from ...toolkit.files import check_format, read_json, write_json

if TYPE_CHECKING:
    from ...export.program import Program
    from ...toolkit.config import Recipe
    from ...toolkit.data import Dataset
    from ...toolkit.task.base import Quality

SCHEMA = 2
UNKNOWN = "unknown"
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
    "networkx",
    "numpy",
)
"""Those whose versions numbers may depend on."""

FormName = Literal["float", "quantized", "program"]
"""What a network can be: floats in PyTorch, fake-quantized in PyTorch, or the integers of a Program."""
FORMS: tuple[FormName, ...] = ("float", "quantized", "program")


class Part(BaseModel):
    """A part of a record: it cannot be changed, and has no keys but its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Share(Part):
    """A measured share with its 95 % Wilson score interval (Wilson 1927)."""

    value: float
    low: float
    high: float
    correct: int
    samples: int


def share_of(correct: int, samples: int) -> Share:
    """Return correct / samples with its 95 % Wilson interval."""
    from scipy.stats import binomtest  # Reading a record must not wait for SciPy.

    interval = binomtest(correct, samples).proportion_ci(method="wilson")
    return Share(
        value=correct / samples, low=float(interval.low), high=float(interval.high), correct=correct, samples=samples
    )


def share(right: NDArray[np.bool_]) -> Share:
    """Return the share of true entries with its 95 % Wilson interval."""
    return share_of(int(right.sum()), len(right))


class MeanQuality(Part):
    """A measured mean over samples, with its 95 % interval: mean +- 1.96 standard errors.

    Attributes:
        name: of what was measured, as "PSNR".
        unit: of the values.
        higher_is_better: which way is better.
        value: the mean.
        low: lower end of its interval.
        high: upper end of it.
        worst: the worst sample's value.
        samples: how many.
    """

    name: str
    unit: str
    higher_is_better: bool
    value: float
    low: float
    high: float
    worst: float
    samples: int

    @property
    def text(self) -> str:
        """The mean as pages show it."""
        return f"{self.value:.2f} {self.unit}" if abs(self.value) >= 1 else f"{self.value:.4f} {self.unit}"


def mean_of(scores: NDArray[np.float64], quality: "Quality") -> MeanQuality:
    """Return the mean of the scores (samples,) of a quality, with its 95 % interval."""
    middle, error = float(scores.mean()), 1.96 * float(scores.std()) / len(scores) ** 0.5
    return MeanQuality(
        name=quality.name,
        unit=quality.unit,
        higher_is_better=quality.higher_is_better,
        value=middle,
        low=middle - error,
        high=middle + error,
        worst=float(scores.min() if quality.higher_is_better else scores.max()),
        samples=len(scores),
    )


class Machine(Part):
    """Where it was measured; ``threads`` that torch adds in: the order of a sum, so weights depend on them."""

    processor: str
    cores: int
    threads: int | None = None
    system: str
    python: str
    accelerator: str | None


class Data(Part):
    """Which samples; ``sha256`` of all images and labels as they were used, ``train`` and ``test`` their numbers."""

    name: str
    sha256: str
    provenance: str | None = None
    kind: str | None = None
    train: int | None = None
    test: int | None = None


class ProgramId(Part):
    """Which Program, and whose integer arithmetic."""

    sha256: str
    profile: str | None = None


class Record(Part):
    """The header of every record: what was measured, by which code, how, where, with what, and on what.

    Attributes:
        name: of the recipe, study or benchmark.
        created: time in UTC.
        code: SHA-256 of the package's code, see :func:`.toolkit.code.code_hash`; None in a record of schema 1.
        revision: git commit; None outside a checkout.
        dirty: whether the checkout differed from that commit; None outside one.
        command: that makes the record again, on a command line or in Python; DIR names a run of this recipe.
        machine: None where unknown.
        packages: their versions.
        data: None where there is none, or unknown.
        program: the same.
        recipe: the same.
    """

    schema_version: Literal[2] = 2
    name: str
    created: str
    code: str | None
    revision: str | None
    dirty: bool | None
    command: str | None
    machine: Machine | None
    packages: dict[str, str]
    data: Data | None = None
    program: ProgramId | None = None
    recipe: dict[str, Any] | None = None

    @property
    def made_by(self) -> list[tuple[str, str]]:
        """Which code made it, and how, in words: (key, text), for pages."""
        changed = {True: ", with changes", False: "", None: ""}[self.dirty]
        return [
            ("command", self.command or UNKNOWN),
            ("code, sha256", self.code or UNKNOWN),
            ("revision", f"{self.revision}{changed}" if self.revision else UNKNOWN),
        ]

    @classmethod
    def of_schema_1(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Return the values of a record of schema 1 as those of schema 2; what is not known is marked so."""
        unknown: dict[str, Any] = {"name": UNKNOWN, "created": UNKNOWN, "packages": {}}
        unknown |= dict.fromkeys(("code", "revision", "dirty", "command", "machine"))
        return unknown | values | {"schema_version": SCHEMA}


R = TypeVar("R", bound=Record)


def header(
    name: str,
    command: str,
    *,
    data: "Dataset | None" = None,
    program: "Program | None" = None,
    recipe: "Recipe | None" = None,
) -> dict[str, Any]:
    """Return the fields of :class:`Record` for something measured now, by this code.

    Args:
        name: of the recipe, study or benchmark.
        command: that makes the record again, see :func:`command_line`.
        data: what it was measured on.
        program: whose integers.
        recipe: of the network.
    """
    source = revision()
    return {
        "name": name,
        "created": now(),
        "code": code_hash(),
        "revision": source.commit,
        "dirty": source.dirty,
        "command": command,
        "machine": machine(),
        "packages": packages(),
        "data": None if data is None else data_of(data),
        "program": None if program is None else ProgramId(sha256=program.sha256(), profile=program.profile),
        "recipe": None if recipe is None else recipe.model_dump(mode="json"),
    }


def data_of(data: "Dataset") -> Data:
    """Return what a record says of a data set."""
    return Data(
        name=data.name,
        sha256=data.sha256,
        provenance=data.provenance,
        kind=data.kind,
        train=len(data.train_labels),
        test=len(data.test_labels),
    )


def command_line(*words: object, **options: Any) -> str:
    """Return a command of ``spikeproof`` as it is typed.

    Args:
        words: the command and its arguments.
        options: by name; None and False are left out, True is a flag, lists are joined by commas.
    """
    typed = [*map(str, words)]
    for name, value in options.items():
        if value is None or value is False:
            continue
        typed.append(f"--{name.replace('_', '-')}")
        if value is not True:
            typed.append(",".join(map(str, value)) if isinstance(value, list | tuple) else str(value))
    return shlex.join(["spikeproof", *typed])


def machine() -> Machine:
    """Describe this machine, without its name or paths."""
    processor = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        processor = names[0] if names else processor
    import torch  # Reading a record must not wait for torch.

    return Machine(
        processor=processor,
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        threads=torch.get_num_threads(),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        accelerator=torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
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


def read_model(kind: type[R], path: Path, remedy: str) -> R:
    """Return the record of a kind in ``path``, of this schema or an older one.

    Args:
        kind: its model.
        path: a JSON file.
        remedy: what to do again where it is damaged, for the message.

    Raises:
        FileError: missing, corrupt, of another kind, or written by a newer spikeproof.
    """
    values = read_json(path)
    if isinstance(values, dict) and check_format(path, values.get("schema_version", 1), SCHEMA) < SCHEMA:
        values = kind.of_schema_1(values)
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise FileError(f"{path}: key {where}: {first['msg']}; {remedy} again") from error
