"""What the steps of a run answer with; ``to_dict`` gives what the command line prints with ``--json``."""

from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel

from ...export.nir.roundtrip import RoundTrip
from ..agreement.profiles import UnderProfile
from ..cost.table import SideBySide
from ..records.base import MeanQuality
from ..records.comparison import Comparison

R = TypeVar("R", bound=BaseModel)


@dataclass(frozen=True)
class Result:
    """The answer of one step."""

    step: ClassVar[str]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values; ``step`` says which step it was."""
        values = {"step": self.step, **asdict(self)}
        return {key: one.model_dump() if isinstance(one, MeanQuality) else one for key, one in values.items()}


@dataclass(frozen=True)
class Trained(Result):
    """``train``: the float network.

    Attributes:
        epochs: of training.
        loss: mean of the last one.
        test_accuracy: share of test images that are classified rightly; None where answers are no classes.
        samples: how many test images.
        quality: of the answers, where they are no classes.
        scale: how the values of the images were read.
        threads: that torch added in: another number gives other weights.
    """

    step = "train"
    epochs: int
    loss: float
    test_accuracy: float | None
    samples: int
    quality: MeanQuality | None
    scale: str
    threads: int | None


@dataclass(frozen=True)
class Attacked(Result):
    """``attack``: examples made on the float network.

    Attributes:
        samples: how many test images.
        attacks: by label: settings, threat model, distances, what is left of the accuracy, gradients.
    """

    step = "attack"
    samples: int
    attacks: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Quantized(Result):
    """``quantize``: the network on the chip's weight grid.

    Attributes:
        bits: a weight: of all layers, or by layer.
        rounded_accuracy: before fine-tuning; None where answers are no classes.
        test_accuracy: after it; None the same.
        samples: how many test images.
        quality: after it, where answers are no classes.
        rounded_quality: before it.
        changes: what the chip has not as the network has it, beside the rounding of numbers.
    """

    step = "quantize"
    bits: int | dict[str, int]
    rounded_accuracy: float | None
    test_accuracy: float | None
    samples: int
    quality: MeanQuality | None = None
    rounded_quality: MeanQuality | None = None
    changes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Exported(Result):
    """``export``: the Program and its files.

    Attributes:
        program_sha256: of the Program.
        round_trip: how the NIR file, read back and executed, agrees with the network.
        without_net: why there is no ``.net`` file; empty where there is one.
        qcdq: how Brevitas' ONNX form agrees with the network; None where there is none.
        without_qcdq: why there is none.
        populations: one row a synapse, for people.
        nir: whether ``round_trip`` is of a NIR file; else of the network and its Program, both in integers.
    """

    step = "export"
    program_sha256: str
    round_trip: RoundTrip
    without_net: list[str]
    qcdq: dict[str, Any] | None
    without_qcdq: list[str]
    populations: list[dict[str, Any]]
    nir: bool = True


@dataclass(frozen=True)
class LavaProject(Result):
    """``export --lava-project``: a folder that runs the Program on Lava.

    Attributes:
        folder: its path.
        files: in it.
        samples: test images that go with it.
        program_sha256: of the Program.
    """

    step = "lava-project"
    folder: str
    files: list[str]
    samples: int
    program_sha256: str


@dataclass(frozen=True)
class CFile(Result):
    """``export --c``: the Program as one file of C99.

    Attributes:
        file: its path.
        samples_file: samples as its ``main`` reads them.
        samples: how many.
        program_sha256: of the Program.
        expected_file: what ``main`` prints on them, by target ``loihi``.
        equal_to_loihi: that the compiled file gives the same outputs; None where there is no compiler.
        without_compiler: why it was not compiled.
        constant_bytes: of weights, biases and indices.
        state_bytes: of variables.
        compiled: sizes of code and constants (flash) and of variables (RAM), by compiler; without ``main``.
        updates_a_step: neurons.
        additions_a_step: weights added, mean over the samples' steps.
        most_additions_a_step: if all neurons spiked.
    """

    step = "c-file"
    file: str
    samples_file: str
    samples: int
    program_sha256: str
    expected_file: str
    equal_to_loihi: bool | None
    without_compiler: str
    constant_bytes: int
    state_bytes: int
    compiled: list[dict[str, Any]]
    updates_a_step: int
    additions_a_step: float
    most_additions_a_step: int


@dataclass(frozen=True)
class Simulated(Result):
    """``simulate``: the Program on one target.

    Attributes:
        target: its name.
        samples: how many.
        accuracy: share of them that are classified rightly; None without labels, or where answers are no classes.
        classes: of each sample; none where answers are no classes.
        spike_rates: spikes a neuron and step, by population.
        overflow: wraps, saturations and swallowed states, by population; None where the target does not tell.
        silent: populations of which no neuron fires.
        file: of the trace.
        quality: of the answers, where they are no classes.
    """

    step = "simulate"
    target: str
    samples: int
    accuracy: float | None
    classes: list[int]
    spike_rates: dict[str, float]
    overflow: dict[str, dict[str, int]] | None
    silent: list[str]
    file: str
    quality: MeanQuality | None = None


@dataclass(frozen=True)
class Agreed(Result):
    """``agree``: targets beside each other, bit for bit.

    Attributes:
        record: every quantity of every population.
    """

    step = "compare"
    record: Comparison

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"step": self.step, **self.record.model_dump(mode="json")}


@dataclass(frozen=True)
class Profiled(Result):
    """``profiles``: the Program under other definitions of the chip's arithmetic.

    Attributes:
        samples: how many.
        reference: the profile that the others are compared with.
        changes_outputs: whether another one changes a class.
        profiles: what each changes.
    """

    step = "profiles"
    samples: int
    reference: str
    changes_outputs: bool
    profiles: list[UnderProfile]


@dataclass(frozen=True)
class Recorded(Result, Generic[R]):
    """A step whose answer is a record; it stands in the run folder, and a page beside it.

    Attributes:
        name: of the step.
        record: what was measured.
        record_file: where it stands.
        report_file: the page.
    """

    name: str
    record: R
    record_file: str
    report_file: str

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        files = {"record": self.record_file, "report": self.report_file}
        return {"step": self.name, **self.record.model_dump(mode="json"), **files}


@dataclass(frozen=True)
class Compared(Result):
    """``compare``: float, quantized and deployed side by side.

    Attributes:
        measured: whether costs were measured, and not on record already.
        table: what is known of each form.
        record_file: of the costs.
        report_file: the page.
    """

    step = "side by side"
    measured: bool
    table: SideBySide
    record_file: str
    report_file: str

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        files = {"record": self.record_file, "report": self.report_file}
        return {"step": self.step, "measured": self.measured, **self.table.to_dict(), **files}
