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
from .samples import load_samples

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
    graph, warnings = foreign.load_graph(file, told)
    if data is None:
        raise InputError(f"{file}: say what to run it on with --data SAMPLES.npz")
    shapes = list(graph.shapes.values())
    given = load_samples(data, shapes[0], shapes[-1], steps=steps, input_bits=input_bits, samples=samples)
    deployment = Deployment(len(given.real), given.input_bits, settings, bits=bits or 8)
    made = foreign.lowered(graph, deployment, str(file))
    program = made.program
    found = foreign.measure(graph, made, settings, given, list(TARGETS if targets is None else targets), track=track)
    return Evaluated(found, foreign.record(file, data, told, deployment, given, program, found, warnings), warnings)
