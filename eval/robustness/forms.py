"""A protocol on all forms of a network, as a record."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...hw_targets.family import simulator
from ...hw_targets.target import get_target
from ...toolkit.attacks.protocol import Protocol, check_name
from ...toolkit.attacks.shifts import Shifts
from ...toolkit.data import Images, Labels
from ...toolkit.errors import InputError
from ...toolkit.files import digest
from ...toolkit.progress import Track, silent
from ..measure.forms import Deployed, Forms
from ..records.robustness import Robustness
from .protocol import Measured, Subject, run_protocol
from .shards import merged, shards
from .summary import summary
from .threat import USUAL_EPSILON, Threat, Timing, threat_of

SLOW = 64
"""Samples that slow simulators get where nobody said how many."""


@dataclass(frozen=True)
class Work:
    """What is done with every part of the samples.

    Attributes:
        protocol: "quick", "standard", "strong", or one of your own.
        threat: the threat model, with its radius.
        judges: samples that each other target of the Program gets, by name.
        torch: whether the float and the quantized form are attacked, too.
        seed: added to the seed of every attack.
        draws: of a stochastic coder that attacks with gradients average.
    """

    protocol: str | Protocol
    threat: Threat
    judges: dict[str, int]
    torch: bool
    seed: int
    draws: int


Elsewhere = Callable[[Work, list[range]], list[Measured]]


def measure_robustness(
    forms: Forms | Deployed,
    images: Images,
    labels: Labels,
    about: dict[str, Any],
    *,
    protocol: str | Protocol = "standard",
    targets: Sequence[str] | None = None,
    epsilon: float | None = None,
    threat: str | None = None,
    budget: int | None = None,
    shifts: Shifts | None = None,
    seed: int = 0,
    draws: int = 1,
    slow: int = SLOW,
    folder: Path | None = None,
    track: Track = silent,
    elsewhere: Elsewhere | None = None,
) -> tuple[Robustness, dict[str, Images]]:
    """Attack every form and let other targets judge the Program's worst cases.

    Args:
        forms: float network, quantized network and Program, or a Program alone.
        images: (samples, channels, height, width), in [0, 1].
        labels: (samples,).
        about: the record's header, see :func:`..records.base.header`.
        protocol: "quick", "standard", "strong", or one of your own.
        targets: "torch" for the float and quantized network, "loihi" for the Program, others to judge worst cases.
        epsilon: L-infinity radius, of pixels of [0, 1] or of coded entries; the threat model's default if None.
        threat: "pixel", "encoded", "encoded-binary" or "timing"; None for the protocol's, or "pixel".
        budget: edits of spikes a sample, for "encoded-binary"; spikes that move, for "timing".
        shifts: how far spikes move, for "timing"; by one step if None.
        seed: added to the seed of every attack.
        draws: of a stochastic coder that attacks with gradients average.
        slow: samples that slow targets get.
        folder: for attacks that are done or interrupted; None keeps nothing.
        track: progress.
        elsewhere: measures parts, as on Ray, and returns them in order; None for one after the other, here.

    Returns:
        The record, and the worst-case examples of every form, (samples, ...).

    Raises:
        InputError: an option does not fit the network.
        TargetError: a target is unavailable.
    """
    begun = time.perf_counter()
    if isinstance(protocol, str):
        check_name(protocol)
    if forms.network is None and "torch" in (targets or ()):
        raise InputError("--targets torch: a Program from elsewhere has no float network; leave it out")
    coder, program = forms.coder, forms.program
    own = simulator(program).name
    names = list(("torch", own) if targets is None else targets)
    found = {name: get_target(name) for name in names}
    model = threat_of(protocol, coder, threat, epsilon, budget, shifts)
    if model.name == "pixel" and epsilon is None:
        epsilon = USUAL_EPSILON if isinstance(protocol, str) else protocol.radius
    if model.unreceivable and targets is not None and set(targets) - {"torch"}:
        raise InputError(f"--targets {','.join(targets)}: {model.unreceivable}")
    if draws < 1 or (draws > 1 and not coder.stochastic):
        raise InputError(f"--draws {draws}: 1 or more, and 1 for the {coder.name} coder as it is set here: no draws")
    others = {
        name: slow if target.slow else len(labels)
        for name, target in found.items()
        if target.form == "program" and name != own
    }
    for name in others:
        found[name].compile(program)  # Unavailable or refused: said now, not after an hour of attacks.
    work = Work(protocol, model, others, "torch" in names, seed, draws)
    parts = shards(len(labels))
    if elsewhere is None:
        found_parts = [measure_part(forms, images, labels, work, part, folder, track) for part in parts]
    else:
        found_parts = elsewhere(work, parts)
    results = tuple(
        merged([found.forms[place] for found in found_parts], model.radius)
        for place in range(len(found_parts[0].forms))
    )
    measured = found_parts[0]
    examples = {name: np.concatenate([found.examples[name] for found in found_parts]) for name in measured.examples}
    record = Robustness(
        **about,
        protocol=measured.protocol.name,
        threat=model.name,
        threat_model=model.words,
        epsilon=model.radius,
        levels=round(model.radius * coder.pixels) if model.name == "pixel" else None,
        shifts=asdict(model.shifts) if isinstance(model, Timing) else None,
        asked=model.radius if epsilon is None else epsilon,
        samples=len(labels),
        cascade=measured.protocol.cascade,
        seed=seed,
        draws=draws,
        unreceivable=model.unreceivable,
        forms=list(results),
        summary=summary(list(results), measured.unreceivable),
        examples={name: digest(np.ascontiguousarray(made).tobytes()) for name, made in examples.items()},
        seconds=time.perf_counter() - begun,
    )
    return record, examples


def measure_part(
    forms: Forms | Deployed,
    images: Images,
    labels: Labels,
    work: Work,
    part: range,
    folder: Path | None,
    track: Track = silent,
) -> Measured:
    """Measure some of the samples; only the first part is probed.

    Args:
        forms: float network, quantized network and Program, or a Program alone.
        images: all of them, (samples, ...).
        labels: (samples,).
        work: what is to be done.
        part: which samples.
        folder: for attacks that are done or interrupted; None keeps nothing.
        track: progress.
    """
    counts = {name: max(min(part.stop, count) - part.start, 0) for name, count in work.judges.items()}
    return run_protocol(
        Subject(forms.network, forms.quantized, forms.program, counts, torch=work.torch, given_coder=forms.coder),
        images[part.start : part.stop],
        labels[part.start : part.stop],
        protocol=work.protocol,
        threat=work.threat,
        seed=work.seed,
        draws=work.draws,
        probes=part.start == 0,
        folder=folder,
        track=track,
    )
