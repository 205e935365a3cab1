"""The step ``robustness`` of a run whose answers are no classes: what attacks take of their quality."""

from ...toolkit.attacks.protocol import Protocol
from ...toolkit.attacks.shifts import Shifts
from ...toolkit.progress import Track, silent
from ..records.base import command_line, header
from ..records.quality import QualityUnderAttack
from ..report.under_attack import write_quality
from ..robustness.quality import measure_quality
from .folder import Run
from .robustness import keep

STEP = "robustness-quality"
"""Name of the step, and of its files."""


def quality_under_attack(
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
    track: Track = silent,
) -> QualityUnderAttack:
    """Run a protocol on a run; robustness-quality.json, .html and -examples.safetensors.

    Args:
        run: trained, quantized and exported.
        protocol: "quick", "standard", "strong", or one of your own.
        targets: "torch" for the float and quantized network, "loihi" for the Program, others to answer to its examples.
        epsilon: L-infinity radius in pixels of [0, 1].
        samples: the first so many test images; all if None.
        threat: "pixel" (None); of spikes "encoded-binary", or "timing".
        budget: edits of spikes a sample, for "encoded-binary"; spikes that move, for "timing".
        shifts: how far spikes move, for "timing".
        seed: added to the seed of every attack.
        track: progress.

    Raises:
        InputError: an option does not fit the run.
        FileError: a step is missing, or a file has changed since.
    """
    recipe, forms, data = run.recipe(), run.deployed(), run.data()
    named = protocol if isinstance(protocol, str) else protocol.name
    asked = {"protocol": named, "targets": targets, "epsilon": epsilon, "threat": threat, "budget": budget}
    asked |= {} if shifts is None else {"largest_shift": shifts.largest, "total_shift": shifts.total}
    record, examples = measure_quality(
        forms,
        data.test_images[:samples],
        data.test_labels[:samples],
        data.task,
        header(
            recipe.name,
            command_line("robustness", "DIR", samples=samples, **asked, seed=seed),
            data=data,
            program=forms.program,
            recipe=run.recipe_on_record(),
        ),
        protocol=protocol,
        names=targets,
        epsilon=epsilon,
        threat=threat,
        budget=budget,
        shifts=shifts,
        seed=seed,
        slow=recipe.evaluate.lava_samples,
        track=track,
    )
    return keep(run, STEP, record, examples, write_quality)
