"""The step ``prove``: which test samples no input of a ball can change."""

import time
from typing import Any

import numpy as np

from ...export.program import read_program
from ...hw_targets.family import loihi_only
from ...toolkit.files import write_arrays
from ...toolkit.progress import Track, silent
from ..proof.prove import LIMIT, prove_samples, record_of, strength_of
from ..proof.second import second_look
from ..records.base import command_line, header, write_record
from ..records.proof import Proof
from ..report.proof import write_proof
from .folder import Run
from .pages import write_pages
from .simulate import chip_input

KEPT = "proof-samples"
"""Folder of samples that are decided, inside the run."""
EXAMPLES = "prove-examples.safetensors"


def prove(
    run: Run,
    *,
    epsilon: float | None = None,
    samples: int | None = None,
    limit: float = LIMIT,
    threat: str | None = None,
    budget: int | None = None,
    edit: str | None = None,
    jobs: int | None = None,
    ray: str | None = None,
    check: bool = False,
    track: Track = silent,
) -> Proof:
    """Prove or break each of the first test samples; prove.json and .html, and the examples that break.

    Args:
        run: exported.
        epsilon: L-infinity radius in pixels of [0, 1].
        samples: the first so many test images; all if None.
        limit: of the solver for a sample, in its own count of steps.
        threat: "pixel" or "encoded-binary"; None for what the input allows.
        budget: edits of spikes a sample.
        edit: "flip" or "shift".
        jobs: processes beside each other; None for one a core.
        ray: "local", or the address of a cluster that sees the run folder; None without Ray.
        check: have a second look at some certificates.
        track: progress.

    Raises:
        InputError: an option does not fit the run.
        UnsupportedError: the Program has something that proofs do not cover.
        DisagreementError: the second look found otherwise.
    """
    begun = time.perf_counter()
    program = read_program(run.path("program.safetensors"))
    loihi_only(program, "prove")
    run.require("export")
    recipe, data = run.recipe(), run.data()
    data.task.needs_classes("prove")
    labels = data.test_labels[:samples]
    messages = chip_input(run, len(labels))
    strength = strength_of(program, messages, threat, epsilon, budget, edit)
    # What cannot change an outcome, as the number of processes, is no part of the command.
    asked: dict[str, Any] = {"epsilon": epsilon, "limit": limit, "threat": threat, "budget": budget, "edit": edit}
    typed = command_line("prove", "DIR", samples=samples, **asked, check=check)
    found = prove_samples(
        program, messages, labels, strength, run.path(KEPT), limit=limit, jobs=jobs, ray=ray, track=track
    )
    checked = second_look(program, messages, labels, strength, found.samples, track=track) if check else None
    write_arrays(
        run.path(EXAMPLES),
        "examples",
        {
            "indices": np.array(sorted(found.examples), dtype=np.int64),
            "messages": np.stack([found.examples[index] for index in sorted(found.examples)])
            if found.examples
            else np.zeros((0, 0), dtype=np.int32),
        },
        {"program": program.sha256(), "threat": strength.threat, "radius": strength.radius, "edit": strength.edit},
    )
    record = record_of(
        header(recipe.name, typed, data=data, program=program, recipe=run.recipe_on_record()),
        program,
        strength,
        found.samples,
        limit=limit,
        begun=begun,
        examples=EXAMPLES,
        checked=checked,
    )
    write_record(run.path("prove.json"), record)
    write_proof(run.path("prove.html"), record)
    run.finished("prove")
    write_pages(run)
    return record
