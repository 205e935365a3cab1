"""The step ``robustness``: every form of a run under a protocol of attacks."""

import time

from ...hw_targets.target import get_target
from ...toolkit.coding import LEVELS
from ...toolkit.errors import InputError
from ...toolkit.progress import Track, silent
from ..records.evaluation import machine, now, packages
from ..records.robustness import Robustness, write
from ..report.robustness import write_robustness
from ..robustness import plan
from ..robustness.protocol import Subject, run_protocol, summary
from ..robustness.threat import make_threat
from .folder import Run
from .pages import write_pages

DEFAULT_TARGETS = ("torch", "loihi")


KEPT = "robustness-attacks"
"""Folder of attacks that are done or interrupted, inside the run."""


def step_of(threat: str) -> str:
    """Return the step, and name of files, of a threat model: they are never mixed in one table."""
    return "robustness" if threat == "pixel" else f"robustness-{threat}"


def robustness(
    run: Run,
    protocol: str = "quick",
    *,
    targets: list[str] | None = None,
    epsilon: float | None = None,
    samples: int | None = None,
    threat: str = "pixel",
    budget: int | None = None,
    seed: int = 0,
    draws: int = 1,
    track: Track = silent,
) -> Robustness:
    """Run a protocol on a run; robustness.json and .html, or robustness-THREAT.json and .html.

    Args:
        run: trained, quantized and exported.
        protocol: "quick", "standard" or "strong".
        targets: "torch" for the float and quantized network, "loihi" for the Program, others to judge worst cases.
        epsilon: L-infinity radius, of pixels of [0, 1] or of coded entries; the threat model's default if None.
        samples: the first so many test images; all if None.
        threat: "pixel", "encoded" or "encoded-binary".
        budget: edits of spikes a sample, for "encoded-binary".
        seed: of every attack.
        draws: of a stochastic coder that attacks with gradients average.
        track: progress.

    Raises:
        InputError: an option does not fit the run.
        FileError: a step is missing, or a file has changed since.
    """
    begun = time.perf_counter()
    plan.check(protocol)
    names = list(DEFAULT_TARGETS) if targets is None else targets
    found = {name: get_target(name) for name in names}
    recipe, forms_of = run.recipe(), run.forms()
    network, program = forms_of.network, forms_of.program
    if threat == "pixel" and epsilon is None:
        epsilon = 0.1
    model = make_threat(threat, network.coder, epsilon, budget)
    if model.unreceivable and targets is not None and set(targets) - {"torch"}:
        raise InputError(f"--targets {','.join(targets)}: {model.unreceivable}")
    if draws < 1 or (draws > 1 and not network.coder.stochastic):
        raise InputError(
            f"--draws {draws}: 1 or more, and 1 for the {network.coder.name} coder as it is set here: no draws"
        )
    data = run.data()
    images, labels = data.test_images[:samples], data.test_labels[:samples]
    others = {
        name: recipe.evaluate.lava_samples if target.slow else len(labels)
        for name, target in found.items()
        if target.form == "program" and name != "loihi"
    }
    for name in others:
        found[name].compile(program)  # Unavailable or refused: said now, not after an hour of attacks.
    subject = Subject(network, forms_of.quantized, program, others, torch="torch" in names)
    forms = run_protocol(
        subject,
        images,
        labels,
        protocol=protocol,
        threat=model,
        seed=seed,
        draws=draws,
        folder=run.path(KEPT),
        track=track,
    )
    record = Robustness(
        name=recipe.name,
        created=now(),
        protocol=protocol,
        threat=model.name,
        threat_model=model.words,
        epsilon=model.radius,
        levels=round(model.radius * LEVELS) if threat == "pixel" else None,
        asked=model.radius if epsilon is None else epsilon,
        samples=len(labels),
        cascade=plan.cascade(protocol),
        seed=seed,
        draws=draws,
        unreceivable=model.unreceivable,
        data={
            "name": data.name,
            "provenance": data.provenance,
            "sha256": data.sha256,
            "test": len(data.test_labels),
        },
        program={"sha256": program.sha256(), "profile": program.profile},
        recipe=recipe.model_dump(mode="json"),
        machine=machine(),
        packages=packages(),
        forms=forms,
        summary=summary(forms, model.unreceivable),
        seconds=time.perf_counter() - begun,
    )
    step = step_of(threat)
    write(run.path(f"{step}.json"), record)
    write_robustness(run.path(f"{step}.html"), record)
    run.finished(step)
    write_pages(run)
    return record
