"""The verb that proves: both ends of a Program's robust accuracy."""

import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from ...export.program import Program
from ...toolkit.coding import Coder, Direct, make_coder
from ...toolkit.errors import InputError
from ...toolkit.network.network import SpikingNetwork
from ...toolkit.progress import bars
from ...toolkit.settings import CodingSettings
from ...toolkit.train import seeded
from ..measure.forms import DRAWS, Forms
from ..proof.prove import LIMIT, prove_samples, record_of, strength_of
from ..proof.second import second_look
from ..records.proof import Proof, decided_by
from ..report.proof import render_proof
from .measures import header_of
from .samples import Samples, task_of, test_part
from .shown import Shown


def prove(
    subject: Forms | Program,
    data: Samples,
    *,
    epsilon: float | None = None,
    samples: int | None = None,
    limit: float = LIMIT,
    threat: str | None = None,
    budget: int | None = None,
    edit: str | None = None,
    coder: Coder | SpikingNetwork | None = None,
    jobs: int = 1,
    folder: str | Path | None = None,
    check: bool = False,
) -> Shown[Proof]:
    """Prove or break each sample on the Program's integers: robust accuracy as an interval with two exact ends.

    Args:
        subject: all forms of a network, or a Program alone.
        data: whose test images, or images and labels.
        epsilon: L-infinity radius in pixels of [0, 1], at least one level of the chip's input: 1/255.
        samples: the first so many; all if None.
        limit: of the solver for a sample, in its own count of steps: about as many seconds of a core, or twice as many.
        threat: "pixel" or "encoded-binary"; None for what the Program's input allows.
        budget: edits of spikes a sample, for binary input.
        edit: "flip" or "shift" by one step.
        coder: makes messages of images; a network's, or the network. Of a Program alone by default the direct coder
            for graded input, and spikes (samples, time, ...) as they are for binary input.
        jobs: processes beside each other.
        folder: keeps what is decided, so that it is not decided again.
        check: find some certificates again, and run random inputs of proved balls.

    Raises:
        InputError: an option does not fit the Program.
        UnsupportedError: the Program has something that proofs do not cover.
        DisagreementError: the second look found otherwise; please report it.
    """
    begun = time.perf_counter()
    program = subject.program if isinstance(subject, Forms) else subject
    task_of(data).needs_classes("prove")
    images, labels = test_part(data, samples)
    messages = _messages(subject, program, coder, images)
    strength = strength_of(program, messages, threat, epsilon, budget, edit)
    options = {"epsilon": epsilon, "samples": samples, "threat": threat, "budget": budget, "edit": edit}
    with bars() as track, TemporaryDirectory() as temporary:
        place = Path(temporary if folder is None else folder)
        found = prove_samples(program, messages, labels, strength, place, limit=limit, jobs=jobs, track=track)
        checked = second_look(program, messages, labels, strength, found.samples, track=track) if check else None
    record = record_of(
        header_of("prove", data, program, **options, limit=limit, check=check or None),
        program,
        strength,
        found.samples,
        limit=limit,
        begun=begun,
        checked=checked,
    )
    rows = [
        {"status": status, "by": by, "samples": len(seconds), "seconds": sum(seconds)}
        for (status, by), seconds in decided_by(record.samples).items()
    ]
    return Shown(record, f"{record.summary} {record.threat_model}", tuple(rows), lambda: render_proof(record))


def _messages(
    subject: Forms | Program, program: Program, coder: Coder | SpikingNetwork | None, images: NDArray[np.float32]
) -> NDArray[np.int32]:
    """Return what the chip receives."""
    if coder is None and isinstance(subject, Forms):
        coder = subject.network
    if coder is None and program.input.peak == Direct(1).peak:
        coder = Direct(program.steps)
    if coder is None and program.input.peak == 1:
        coder = make_coder(CodingSettings(name="events", steps=program.steps))
    if coder is None:
        raise InputError(f"prove: no coder makes messages up to {program.input.peak} of images; give coder=")
    with seeded(DRAWS):
        return (coder.coder if isinstance(coder, SpikingNetwork) else coder).integers(images)
