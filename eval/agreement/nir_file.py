"""A NIR file of any origin, from the file to its record: checked, lowered, run as meant and as integers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...export.lowering.lower import Deployment
from ...toolkit.errors import InputError
from ...toolkit.progress import Track, silent
from ..records.foreign import Foreign, ForeignFile
from . import foreign
from .foreign import Told
from .reference import Reference
from .samples import load_samples

TARGETS = ("loihi", "twin", "onnx")
MOST_BITS = 8
"""Of a weight."""


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
        bits: a weight, 8 by default.
        input_bits: of an input message; see :func:`.samples.load_samples`.
        samples: the first so many.
        reference: an ``.npz`` with the origin's own outputs, see :class:`.reference.Reference`.
        track: progress.

    Raises:
        InputError: something is missing or does not fit.
        UnsupportedError: the graph has no exact form, or no target runs it.
    """
    settings = told.settings()
    graph, warnings = foreign.load_graph(file, told)
    if data is None:
        raise InputError(f"{file}: say what to run it on with --data SAMPLES.npz")
    shapes = list(graph.shapes.values())
    given = load_samples(data, shapes[0], shapes[-1], steps=steps, input_bits=input_bits, samples=samples)
    deployment = Deployment(
        len(given.real), given.input_bits, told.deployed(), bits=bits or MOST_BITS, input_levels=given.levels
    )
    program = foreign.lowered(graph, deployment, str(file))
    own = None if reference is None else Reference(reference, graph, len(given.real), given.real.shape[1])
    names = list(TARGETS if targets is None else targets)
    found = foreign.measure(graph, program, settings, given, names, reference=own, track=track)
    if told.as_hard and settings.reset != "zero":
        apart, all_ = (sum(getattr(row, what) for row in found.spikes) for what in ("different", "compared"))
        warnings.append(
            f"the origin resets by {settings.reset!r}, the Program to 0: {apart:,} of {all_:,} spikes differ, for this "
            "and for rounding; train with a hard reset, or fine-tune with it, to have none of the first kind"
        )
    warnings += [*found.doubts(), *_way_out(found, file, deployment.bits)]
    kept = foreign.record(file, data, told, deployment, given, program, found, warnings, reference)
    return Evaluated(found, kept, warnings)


def _way_out(found: Foreign, file: Path, bits: int) -> list[str]:
    """Return the command that says where accuracy is lost, where some is."""
    if not found.loses():
        return []
    if bits < MOST_BITS:
        again = f"spikeproof nir evaluate {file.name} --bits {MOST_BITS} ..."
        return [f"weights have {bits} bits: '{again}' says what they cost"]
    return [f"weights have {bits} bits, the most there are: the spikes that differ, a population, say where it is lost"]
