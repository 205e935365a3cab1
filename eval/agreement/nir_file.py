"""A NIR file of any origin, from the file to its record: checked, lowered, run as meant and as integers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...export.lowering.lower import Deployment
from ...export.lowering.lower import Lowered as Parts
from ...export.nir.graph import Graph
from ...export.program import Program
from ...toolkit.errors import InputError
from ...toolkit.progress import Track, silent
from ..records.foreign import Foreign, ForeignFile
from . import foreign
from .foreign import Told
from .samples import Samples, load_samples

TARGETS = ("loihi", "twin", "onnx")


@dataclass(frozen=True)
class Evaluated:
    """What was found.

    Attributes:
        found: accuracy, spikes and differences.
        record: all of it, and on what and with what it was measured.
        warnings: of the linter.
    """

    found: Foreign
    record: ForeignFile
    warnings: list[str]


@dataclass(frozen=True)
class Lowered:
    """A file's graph with its Program.

    Attributes:
        graph: of the file.
        parts: its integers, and what became of its nodes.
        deployment: how it was lowered.
        given: samples; None where there were none.
        warnings: of the linter.
    """

    graph: Graph
    parts: Parts
    deployment: Deployment
    given: Samples | None
    warnings: list[str]

    @property
    def program(self) -> Program:
        """Return the Program."""
        return self.parts.program


def lower_nir(
    file: Path,
    told: Told,
    *,
    data: Path | None = None,
    steps: int | None = None,
    bits: int | None = None,
    input_bits: int | None = None,
    samples: int | None = None,
) -> Lowered:
    """Lower a NIR file: with samples, which say steps and input bits, or without.

    Args:
        file: the graph.
        told: what is known of the file beyond itself.
        data: an ``.npz`` with samples.
        steps: time steps a sample; needed for images, and without samples.
        bits: a weight, 8 by default.
        input_bits: of an input message; by default as :func:`.samples.load_samples` has it, 8 without samples.
        samples: the first so many.

    Raises:
        InputError: something is missing or does not fit.
        UnsupportedError: the graph has no exact form.
    """
    settings = told.settings()
    graph, warnings = foreign.load_graph(file, told)
    given = None
    if data is not None:
        shapes = list(graph.shapes.values())
        given = load_samples(data, shapes[0], shapes[-1], steps=steps, input_bits=input_bits, samples=samples)
        steps, input_bits = len(given.real), given.input_bits
    if steps is None:
        raise InputError(f"{file}: say how many time steps a sample has with --steps, or give samples with --data")
    deployment = Deployment(steps, 8 if input_bits is None else input_bits, settings, bits=bits or 8)
    return Lowered(graph, foreign.lowered(graph, deployment, str(file)), deployment, given, warnings)


def evaluate_nir(
    file: Path,
    data: Path | None,
    told: Told,
    *,
    targets: Sequence[str] | None = None,
    steps: int | None = None,
    bits: int | None = None,
    input_bits: int | None = None,
    samples: int | None = None,
    track: Track = silent,
) -> Evaluated:
    """Run a NIR file as its origin meant it and as integers on targets.

    Args:
        file: the graph.
        data: an ``.npz`` with samples.
        told: what is known of the file beyond itself.
        targets: names; :data:`TARGETS` by default, the first is the reference.
        steps: time steps a sample, needed for images.
        bits: a weight, 8 by default.
        input_bits: of an input message; see :func:`.samples.load_samples`.
        samples: the first so many.
        track: progress.

    Raises:
        InputError: something is missing or does not fit.
        UnsupportedError: the graph has no exact form, or no target runs it.
    """
    settings = told.settings()
    if data is None:
        foreign.load_graph(file, told)  # What is wrong with the file is said first.
        raise InputError(f"{file}: say what to run it on with --data SAMPLES.npz")
    made = lower_nir(file, told, data=data, steps=steps, bits=bits, input_bits=input_bits, samples=samples)
    given, program = made.given, made.program
    assert given is not None
    names = list(TARGETS if targets is None else targets)
    found = foreign.measure(made.graph, made.parts, settings, given, names, track=track)
    record = foreign.record(file, data, told, made.deployment, given, program, found, made.warnings)
    return Evaluated(found, record, made.warnings)
