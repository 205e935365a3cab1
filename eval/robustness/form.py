"""All attacks of a protocol on one form: outcomes a sample, and the worst case."""

import time
from dataclasses import dataclass, field

import numpy as np
from torch import nn

from ...toolkit.attacks.base import Attack, predict
from ...toolkit.attacks.blind import HopSkipJump
from ...toolkit.attacks.victim import Function, Victim
from ...toolkit.coding import on_grid
from ...toolkit.data import Images, Labels
from ...toolkit.errors import DisagreementError
from ...toolkit.train import seeded
from .alarms import alarms
from .plan import DECISION_SAMPLES, NONE, TRANSFER, WHITE, victim_of
from .probes import probe
from .record import FormResult, Mask, Outcome, letters, share
from .runner import Done, Runner

FOUND = "pixel space, L-infinity, transfer"
"""Threat model of examples that were found on another form, whatever found them."""


@dataclass(frozen=True)
class Side:
    """A form of a network, as attackers see it.

    Attributes:
        form: its name.
        target: what answers.
        module: for attacks with gradients; None if there is none.
        function: what answers for the form, images to logits; None if it is the module.
        salt: what tells it from others beside its answers, as a Program's hash.
        source: examples by label with the samples they were made for, made elsewhere, to be judged here.
        source_name: where they were made.
    """

    form: str
    target: str
    module: nn.Module | None
    function: Function | None = None
    salt: str = ""
    source: dict[str, tuple[Attack, Images, Mask]] = field(default_factory=dict)
    source_name: str = "float"

    @property
    def judge(self) -> Victim:
        """What answers for the form."""
        found = self.function or self.module
        assert found is not None
        return found


@dataclass(frozen=True)
class Attackers:
    """What one form has to bear: attacks, and how they share the samples.

    Attributes:
        attacks: in order.
        cascade: only noise tries all samples; the others what is left.
        epsilon: radius of all.
        seed: of the probes.
        batch: of the probes.
    """

    attacks: list[Attack]
    cascade: bool
    epsilon: float
    seed: int = 0
    batch: int = 100


@dataclass(frozen=True)
class Found:
    """A form's result, its worst-case examples, and every attack's."""

    result: FormResult
    worst: Images
    examples: dict[str, tuple[Attack, Images, Mask]]


def assess(side: Side, images: Images, labels: Labels, against: Attackers, runner: Runner) -> Found:
    """Run all attacks on one form and look for reasons not to believe them.

    Args:
        side: the form.
        images: (samples, channels, height, width).
        labels: (samples,).
        against: the attacks.
        runner: runs them.

    Raises:
        DisagreementError: the module's verdict on an example differs from that of the function it stands for.
    """
    # A stochastic victim draws numbers; seeded, the same command gives the same record.
    with seeded(against.seed):
        return _assess(side, images, labels, against, runner)


def _assess(side: Side, images: Images, labels: Labels, against: Attackers, runner: Runner) -> Found:
    begun = time.perf_counter()
    right = predict(side.judge, images) == labels
    left, left_on_grid = right.copy(), right.copy()
    outcomes: list[Outcome] = []
    worst = images.copy()
    examples: dict[str, tuple[Attack, Images, Mask]] = {}
    by: dict[str, Mask | None] = {}

    def note(label: str, access: str, attack: Attack, tried: Mask, made: Images, robust: Mask, seconds: float) -> None:
        nonlocal left, left_on_grid
        rounded = on_grid(made)
        still = robust if side.function is not None else np.zeros(len(labels), dtype=np.bool_)
        if side.function is None and tried.any():
            still[tried] = predict(side.judge, rounded[tried]) == labels[tried]
        broken = tried & ~robust
        worst[broken & left] = made[broken & left]
        untouched = left & tried & ~broken & (worst == images).all(axis=tuple(range(1, images.ndim)))
        worst[untouched] = made[untouched]
        left, left_on_grid = left & ~broken, left_on_grid & ~(tried & ~still)
        # White-box attacks come first and noise tries all: what they did not try, others of their kind had broken.
        mask = by.get(access, right)
        alone = not against.cascade or access in (WHITE, NONE)
        by[access] = mask & ~broken if mask is not None and alone else None
        complete = not against.cascade or bool((tried == right).all())
        outcomes.append(
            Outcome(
                label=label,
                access=access,
                threat_model=attack.threat_model if access == attack.access else FOUND,
                settings=attack.settings,
                outcomes=letters(right, tried, robust),
                on_grid=letters(right, tried, still),
                accuracy=share(right & ~broken) if complete else None,
                after=share(left),
                distance=_distance(made[tried], images[tried]),
                distance_on_grid=_distance(rounded[tried], images[tried]),
                seconds=seconds,
            )
        )
        examples[label] = (attack, made, tried)

    for attack in against.attacks:
        tried = left.copy() if against.cascade and attack.access != NONE else right.copy()
        if isinstance(attack, HopSkipJump):
            tried[np.flatnonzero(left)[DECISION_SAMPLES:]] = False
            tried &= left
        done = _run(side, attack, images, labels, tried, runner)
        made = images.copy()
        made[tried] = done.images
        robust = np.ones(len(labels), dtype=np.bool_)
        robust[tried] = done.robust
        note(attack.label, attack.access, attack, tried, made, robust, done.seconds)
    for label, (attack, made, tried) in side.source.items():
        if attack.access == NONE:
            continue
        tried = tried & right
        robust = np.ones(len(labels), dtype=np.bool_)
        moment = time.perf_counter()
        if tried.any():
            robust[tried] = predict(side.judge, made[tried]) == labels[tried]
        seconds = time.perf_counter() - moment
        note(f"found-on-{side.source_name}-{label}", TRANSFER, attack, tried, made, robust, seconds)
    probes = None
    if side.module is not None:
        white = by.get(WHITE)
        survivors = white if white is not None else right
        probes = probe(side.module, images, labels, right, survivors, against, runner, side.salt)
    result = FormResult(
        form=side.form,
        target=side.target,
        clean=share(right),
        attacks=outcomes,
        worst=share(left),
        worst_on_grid=share(left_on_grid),
        worst_by={access: None if mask is None else share(mask) for access, mask in by.items()},
        outcomes=letters(right, right, left),
        probes=probes,
        seconds=time.perf_counter() - begun,
    )
    raised = alarms(result, against.epsilon)
    reliable = not any(alarm.severity == "alarm" for alarm in raised)
    return Found(result.model_copy(update={"alarms": raised, "reliable": reliable}), worst, examples)


def _run(side: Side, attack: Attack, images: Images, labels: Labels, tried: Mask, runner: Runner) -> Done:
    module = side.module
    victim = victim_of(attack, module, side.judge) if module is not None else side.judge
    done = runner(attack, victim, images[tried], labels[tried], salt=side.salt)
    if side.function is not None and victim is module and len(done.images):
        judged = predict(side.function, done.images) == labels[tried]
        if (judged != done.robust).any():
            raise DisagreementError(
                f"{side.form}: {int((judged != done.robust).sum())} examples of {attack.label} get another verdict "
                f"from {side.target} than from the module that was attacked; run 'spikeproof compare --bitwise'"
            )
    return done


def _distance(made: Images, clean: Images) -> float:
    return float(np.abs(made - clean).max()) if made.size else 0.0
