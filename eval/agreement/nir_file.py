"""A NIR file of any origin, from the file to its record: checked, lowered, run as meant and as integers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nir

from ...export.lowering.lower import Deployment
from ...export.lowering.lower import Lowered as Parts
from ...export.nir.graph import Graph
from ...export.program import Program
from ...toolkit.errors import InputError
from ...toolkit.progress import Track, silent
from ...toolkit.quantize import Bits, bits_by_layer
from ..records.foreign import Foreign, ForeignFile
from . import foreign
from .foreign import Told, bits_text
from .reference import Reference
from .samples import Samples, load_samples

TARGETS = ("loihi", "twin", "onnx")
MOST_BITS = 8
"""Of a weight."""
WEIGHTS = (nir.Affine, nir.Linear, nir.Conv1d, nir.Conv2d)


@dataclass(frozen=True)
class Evaluated:
    """What was found.

    Attributes:
        found: accuracy, spikes and differences.
        record: all of it, and on what and with what it was measured.
        warnings: of the linter, and what makes the figures say less than they seem to.
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
    bits: Bits | None = None,
    input_bits: int | None = None,
    samples: int | None = None,
) -> Lowered:
    """Lower a NIR file: with samples, which say steps and input bits, or without.

    Args:
        file: the graph.
        told: what is known of the file beyond itself.
        data: an ``.npz`` with samples.
        steps: time steps a sample; needed for images, and without samples.
        bits: a weight, 8 by default: of all nodes, or by node, with "default" for those that are not named.
        input_bits: of an input message; by default as :func:`.samples.load_samples` has it, 8 without samples.
        samples: the first so many.

    Raises:
        InputError: something is missing or does not fit.
        UnsupportedError: the graph has no exact form.
    """
    graph, warnings = foreign.load_graph(file, told)
    given, levels = None, None
    if data is not None:
        shapes = list(graph.shapes.values())
        given = load_samples(data, shapes[0], shapes[-1], steps=steps, input_bits=input_bits, samples=samples)
        steps, input_bits, levels = len(given.real), given.input_bits, given.levels
    if steps is None:
        raise InputError(f"{file}: say how many time steps a sample has with --steps, or give samples with --data")
    wide = 8 if input_bits is None else input_bits
    deployment = Deployment(steps, wide, told.deployed(), bits=_checked(file, graph, bits), input_levels=levels)
    return Lowered(graph, foreign.lowered(graph, deployment, str(file)), deployment, given, warnings)


def _checked(file: Path, graph: Graph, bits: Bits | None) -> Bits:
    """Return bits of weights, of nodes that there are."""
    if bits is None or isinstance(bits, int):
        return bits or MOST_BITS
    try:
        bits_by_layer(bits, [name for name, node in graph.nodes.items() if isinstance(node, WEIGHTS)])
    except InputError as error:
        raise InputError(f"{file}: --bits: {str(error).removeprefix('quantize.bits: ')}") from error
    return dict(bits)


def evaluate_nir(
    file: Path,
    data: Path | None,
    told: Told,
    *,
    targets: Sequence[str] | None = None,
    steps: int | None = None,
    bits: Bits | None = None,
    input_bits: int | None = None,
    samples: int | None = None,
    reference: Path | None = None,
    track: Track = silent,
) -> Evaluated:
    """Run a NIR file as its origin meant it and as integers on targets.

    Args:
        file: the graph.
        data: an ``.npz`` with samples.
        told: what is known of the file beyond itself.
        targets: names; :data:`TARGETS` by default, the first is the reference.
        steps: time steps a sample, needed for images.
        bits: a weight, 8 by default: of all nodes, or by node, with "default" for those that are not named.
        input_bits: of an input message; see :func:`.samples.load_samples`.
        samples: the first so many.
        reference: an ``.npz`` with the origin's own outputs, see :class:`.reference.Reference`.
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
    given, warnings, deployment = made.given, made.warnings, made.deployment
    assert given is not None
    own = None if reference is None else Reference(reference, made.graph, len(given.real), given.real.shape[1])
    names = list(TARGETS if targets is None else targets)
    found = foreign.measure(made.graph, made.parts, settings, given, names, reference=own, track=track)
    if told.as_hard and settings.reset != "zero":
        apart, all_ = (sum(getattr(row, what) for row in found.spikes) for what in ("different", "compared"))
        warnings.append(
            f"the origin resets by {settings.reset!r}, the Program to 0: {apart:,} of {all_:,} spikes differ, for this "
            "and for rounding; train with a hard reset, or fine-tune with it, to have none of the first kind"
        )
    warnings += [*found.doubts(), *_way_out(found, file, deployment.bits)]
    kept = foreign.record(file, data, told, deployment, given, made.program, found, warnings, reference)
    return Evaluated(found, kept, warnings)


def _way_out(found: Foreign, file: Path, bits: Bits) -> list[str]:
    """Return the command that says where accuracy is lost, where some is."""
    if not found.loses():
        return []
    if min([bits] if isinstance(bits, int) else bits.values()) < MOST_BITS:
        again = f"spikeproof nir evaluate {file.name} --bits {MOST_BITS} ..."
        return [f"weights have {', '.join(bits_text(bits) or ())} bits: '{again}' says what they cost"]
    return [
        f"weights have {MOST_BITS} bits, the most there are: the spikes that differ, a population, say where it is lost"
    ]
