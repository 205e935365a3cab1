"""The step ``robustness``: every form of a run under a protocol of attacks."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from ...toolkit.attacks.protocol import Protocol
from ...toolkit.attacks.shifts import Shifts
from ...toolkit.code import code_hash
from ...toolkit.data import Images
from ...toolkit.errors import InputError
from ...toolkit.files import write_arrays
from ...toolkit.progress import Track, silent
from ..records.base import command_line, header, write_record
from ..records.quality import QualityUnderAttack
from ..records.robustness import Robustness
from ..report.robustness import write_robustness
from ..robustness.forms import Work, measure_part, measure_robustness
from ..robustness.protocol import Measured
from ..tasks import on_ray
from .folder import Run
from .pages import write_pages

Kept = TypeVar("Kept", Robustness, QualityUnderAttack)
KEPT = "robustness-attacks"
"""Folder of attacks that are done or interrupted, inside the run."""


EXAMPLES = "worst-case examples"
"""Kind of the file that keeps them."""


def step_of(threat: str) -> str:
    """Return the step, and name of files, of a threat model: they are never mixed in one table."""
    return "robustness" if threat == "pixel" else f"robustness-{threat}"


def robustness(
    run: Run,
    protocol: str | Protocol = "quick",
    *,
    targets: list[str] | None = None,
    epsilon: float | None = None,
    samples: int | None = None,
    threat: str | None = None,
    budget: int | None = None,
    shifts: Shifts | None = None,
    seed: int = 0,
    draws: int = 1,
    ray: str | None = None,
    track: Track = silent,
) -> Robustness:
    """Run a protocol on a run; robustness.json, .html and -examples.safetensors, or robustness-THREAT....

    The examples are the worst case of every form, inputs that were attacked, (samples, ...).

    Args:
        run: trained, quantized and exported.
        protocol: "quick", "standard", "strong", or one of your own.
        targets: "torch" for the float and quantized network, "loihi" for the Program, others to judge worst cases.
        epsilon: L-infinity radius, of pixels of [0, 1] or of coded entries; the threat model's default if None.
        samples: the first so many test images; all if None.
        threat: "pixel", "encoded", "encoded-binary" or "timing"; None for the protocol's, or "pixel".
        budget: edits of spikes a sample, for "encoded-binary"; spikes that move, for "timing".
        shifts: how far spikes move, for "timing"; by one step if None.
        seed: added to the seed of every attack.
        draws: of a stochastic coder that attacks with gradients average.
        ray: "local", or the address of a cluster that sees the run folder: parts of the samples beside each other; None
            for one after the other, here, with the same record.
        track: progress.

    Raises:
        InputError: an option does not fit the run.
        FileError: a step is missing, or a file has changed since.
    """
    recipe, forms, data = run.recipe(), run.deployed(), run.data()
    named = protocol if isinstance(protocol, str) else protocol.name
    asked = {"protocol": named, "targets": targets, "epsilon": epsilon, "threat": threat, "budget": budget}
    if shifts is not None:
        asked |= {"largest_shift": shifts.largest, "total_shift": shifts.total, "budget": budget or shifts.touched}
    typed = command_line("robustness", "DIR", samples=samples, **asked, seed=seed, draws=draws)

    def elsewhere(work: Work, parts: list[range]) -> list[Measured]:
        tasks = {part: (str(run.folder.resolve()), work, part, samples, code_hash()) for part in parts}
        done = dict(track(on_ray(_on_worker, tasks, str(ray), "samples"), "parts of the samples", len(parts)))
        return [done[part] for part in parts]

    record, examples = measure_robustness(
        forms,
        data.test_images[:samples],
        data.test_labels[:samples],
        header(recipe.name, typed, data=data, program=forms.program, recipe=run.recipe_on_record()),
        protocol=protocol,
        targets=targets,
        epsilon=epsilon,
        threat=threat,
        budget=budget,
        shifts=shifts,
        seed=seed,
        draws=draws,
        slow=recipe.evaluate.lava_samples,
        folder=run.path(KEPT),
        track=track,
        elsewhere=None if ray is None else elsewhere,
    )
    step = step_of(record.threat)
    return keep(run, step, record, examples, write_robustness)


def keep(
    run: Run, step: str, record: Kept, examples: Mapping[str, Images], write_page: Callable[[Path, Kept], None]
) -> Kept:
    """Write record, worst-case examples and page of a step, let other pages link to it, and return the record."""
    write_record(run.path(f"{step}.json"), record)
    write_arrays(run.path(f"{step}-examples.safetensors"), EXAMPLES, examples, {"samples": record.samples})
    write_page(run.path(f"{step}.html"), record)
    run.finished(step)
    write_pages(run)
    return record


def _on_worker(folder: str, work: Work, part: range, samples: int | None, version: str) -> Measured:
    """Measure a part in a worker of Ray."""
    if code_hash() != version:
        raise InputError("the cluster's workers run another version of spikeproof; install the same one there")
    run = Run.open(Path(folder))
    data = run.data()
    return measure_part(
        run.deployed(), data.test_images[:samples], data.test_labels[:samples], work, part, run.path(KEPT)
    )
