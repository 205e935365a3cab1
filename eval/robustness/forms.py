"""A protocol on all forms of a network, as a record."""

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ...hw_targets.target import get_target
from ...toolkit.attacks.protocol import Protocol, check_name
from ...toolkit.attacks.shifts import Shifts
from ...toolkit.coding import LEVELS
from ...toolkit.data import Images, Labels
from ...toolkit.errors import InputError
from ...toolkit.progress import Track, silent
from ..measure.forms import Forms
from ..records.robustness import Robustness
from .protocol import Subject, run_protocol
from .threat import USUAL_EPSILON, Timing, threat_of

DEFAULT_TARGETS = ("torch", "loihi")
SLOW = 64
"""Samples that slow simulators get where nobody said how many."""


def measure_robustness(
    forms: Forms,
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
) -> Robustness:
    """Attack every form and let other targets judge the Program's worst cases.

    Args:
        forms: float network, quantized network and Program.
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

    Raises:
        InputError: an option does not fit the network.
        TargetError: a target is unavailable.
    """
    begun = time.perf_counter()
    if isinstance(protocol, str):
        check_name(protocol)
    names = list(DEFAULT_TARGETS if targets is None else targets)
    found = {name: get_target(name) for name in names}
    coder, program = forms.network.coder, forms.program
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
        if target.form == "program" and name != "loihi"
    }
    for name in others:
        found[name].compile(program)  # Unavailable or refused: said now, not after an hour of attacks.
    measured = run_protocol(
        Subject(forms.network, forms.quantized, program, others, torch="torch" in names),
        images,
        labels,
        protocol=protocol,
        threat=model,
        seed=seed,
        draws=draws,
        folder=folder,
        track=track,
    )
    return Robustness(
        **about,
        protocol=measured.protocol.name,
        threat=model.name,
        threat_model=model.words,
        epsilon=model.radius,
        levels=round(model.radius * LEVELS) if model.name == "pixel" else None,
        shifts=asdict(model.shifts) if isinstance(model, Timing) else None,
        asked=model.radius if epsilon is None else epsilon,
        samples=len(labels),
        cascade=measured.protocol.cascade,
        seed=seed,
        draws=draws,
        unreceivable=model.unreceivable,
        forms=list(measured.forms),
        summary=measured.summary,
        seconds=time.perf_counter() - begun,
    )
