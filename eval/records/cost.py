"""The record of what every form of a run costs: sparsity, time, energy and memory."""

from pathlib import Path
from typing import Any

from pydantic import Field

from .base import FormName, Machine, Part, ProgramId, Record, Share, read_model

Ends = tuple[float, float]


class Gradient(Part):
    """The gradient at the images, see :class:`..measure.gradients.Statistics`; ``silent`` samples have none."""

    zeros: float
    near_zeros: float
    hoyer: float | None
    silent: int


class Counted(Part):
    """Updates a sample, see :class:`..measure.activity.Updates`."""

    changed: float
    active: float
    all: float


class Views(Part):
    """The four views on one form and one set of images.

    Attributes:
        samples: how many images.
        spikes: messages a sample, by population and the input (pixels that are not 0, at every step).
        places: neuron steps a sample, by population and the input: all that could have been sent.
        operations: synaptic operations a sample, by synapse; at borders only those that exist.
        dense: the same if every sender sent at every step.
        updates: membrane updates a sample, by population with a membrane.
        gradient: at the input.
    """

    samples: int
    spikes: dict[str, float]
    places: dict[str, int]
    operations: dict[str, float]
    dense: dict[str, int]
    updates: dict[str, Counted]
    gradient: Gradient


class Timing(Part):
    """Wall time of a form on this machine, in seconds.

    Attributes:
        alone: quartiles of single images.
        runs: how many.
        batch: a sample, in a batch.
        size: of the batch.
    """

    alone: tuple[float, float, float]
    runs: int
    batch: float
    size: int


class Metering(Part):
    """Joules a sample that a meter counted, or why there is none."""

    meter: str | None = None
    joules: Ends | None = None
    samples: int = 0
    seconds: float = 0.0
    idle_watts: float = 0.0
    absent: str | None = None


class Memory(Part):
    """Bytes.

    Attributes:
        parameters: weights and biases; two ends where it depends on how they are laid out.
        state: of the neurons, for one sample.
        basis: how they were counted.
    """

    parameters: Ends
    state: float
    basis: str


class FormCost(Part):
    """One form on one target and device; ``conditions`` are empty for a device that only times and meters."""

    form: FormName
    target: str
    device: str
    conditions: dict[str, Views]
    timing: Timing
    energy: Metering
    memory: Memory


class SecondOpinion(Part):
    """SANA-FE's estimate beside this model's, joules and seconds an inference, without static power.

    Attributes:
        version: of SANA-FE.
        samples: the first so many clean images.
        energy: by its terms, and "total".
        time: seconds.
        same: this model's at SANA-FE's prices; only how far the input comes is an interval.
        own: this model's at all its constants.
        counts: of events, theirs and ours.
        explained: what differs, in sentences.
    """

    version: str
    samples: int
    energy: dict[str, float]
    time: float
    same: dict[str, Ends]
    own: dict[str, Ends]
    counts: dict[str, Ends]
    explained: list[str]


class ChipCost(Part):
    """The estimate on a chip, in joules and seconds; or why there is none.

    Attributes:
        chip: loihi1 or loihi2.
        steps: time steps an inference.
        terms: joules by condition and term.
        total: joules by condition.
        step: seconds a time step, by condition.
        time: seconds an inference, by condition.
        board: the same on a board that inputs are streamed to, by condition: joules of events, running, idle, dynamic
            and total, seconds as "time"; empty where no such board was measured.
        basis: where populations are assumed to be.
        unsuitable: reasons why this chip could not hold the Program: the estimate then only borrows its prices.
        absent: why there is no estimate.
        second: SANA-FE's opinion, where it was asked for.
    """

    chip: str
    steps: int
    terms: dict[str, dict[str, Ends]] = Field(default_factory=dict)
    total: dict[str, Ends] = Field(default_factory=dict)
    step: dict[str, Ends] = Field(default_factory=dict)
    time: dict[str, Ends] = Field(default_factory=dict)
    board: dict[str, dict[str, Ends]] = Field(default_factory=dict)
    basis: str = ""
    unsuitable: list[str] = Field(default_factory=list)
    absent: str | None = None
    second: SecondOpinion | None = None


class AnnRobustness(Part):
    """The run's protocol on the ANN.

    Attributes:
        protocol: its name.
        epsilon: radius of the ball, as for the run.
        samples: the first so many.
        float_worst: of the float ANN.
        quantized_worst: of the fake-quantized one in PyTorch, attacked by itself.
        worst: right in ONNX Runtime on the image and on the worst-case examples of both.
        reliable: whether no alarm was raised on either.
    """

    protocol: str
    epsilon: float
    samples: int
    float_worst: Share
    quantized_worst: Share
    worst: Share
    reliable: bool


class TrainedAnn(Part):
    """An INT8 ANN that was trained by the run's recipe, with ReLU for neurons.

    Attributes:
        epochs: of training, and of fine-tuning in INT8.
        float_accuracy: before quantization.
        quantized_accuracy: fake-quantized, in PyTorch.
        accuracy: of the QCDQ file in ONNX Runtime.
        same: classes that it gives as PyTorch does.
        operators: that ONNX Runtime made of the file on this processor.
        size: of the file, bytes.
        timing: in ONNX Runtime.
        robustness: under the run's protocol; None: ``absent`` says why.
        absent: why it was not attacked.
    """

    epochs: tuple[int, int]
    float_accuracy: Share
    quantized_accuracy: Share
    accuracy: Share
    same: int
    operators: dict[str, int]
    size: int
    timing: Timing
    robustness: AnnRobustness | None
    absent: str | None


class AnnCost(Part):
    """The estimate of an INT8 ANN of the same layers; ``trained``: what it does, where one was trained."""

    macs: int
    weights: int
    activations: int
    joules: Ends
    trained: TrainedAnn | None = None


class WorstEnergy(Part):
    """Synaptic operations of the Program within a ball around each sample: clean <= searched <= all <= bound.

    Attributes:
        condition: of the images that the search found.
        epsilon: as it was asked for, L-infinity, in pixels of [0, 1].
        levels: the radius in levels of the chip's input, around what the chip receives of a sample.
        queries: runs of the Program that were spent, a sample.
        seed: of the search.
        clean: of each sample.
        searched: the most that the search found, of each sample.
        bound: what no image of the ball exceeds.
        bound_by: where the bound comes from.
    """

    condition: str
    epsilon: float
    levels: int
    queries: int
    seed: int
    clean: list[int]
    searched: list[int]
    bound: list[int]
    bound_by: str


class Cost(Record):
    """The cost of all forms of a run.

    Attributes:
        samples: the first so many test images.
        images: SHA-256 of the images of each condition, so that a stale record is known.
        worst: the energy attack; None if none was asked for.
    """

    program: ProgramId
    machine: Machine
    samples: int
    images: dict[str, str]
    forms: list[FormCost]
    chips: list[ChipCost]
    ann: AnnCost
    worst: WorstEnergy | None = None

    @classmethod
    def of_schema_1(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Return values of schema 2: of the Program, only the hash was kept."""
        values = super().of_schema_1(values)
        if "program_sha256" in values:
            values["program"] = {"sha256": values.pop("program_sha256")}
        return values


def read_cost(path: Path) -> Cost:
    """Return the record in ``path``.

    Raises:
        FileError: missing, corrupt, or of another schema.
    """
    return read_model(Cost, path, "delete it and run 'spikeproof compare'")
