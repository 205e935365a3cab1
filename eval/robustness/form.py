"""All attacks of a protocol on one form: outcomes a sample, and the worst case."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from torch import nn

from ...toolkit.attacks.base import NONE, SEARCH, TRANSFER, WHITE, Attack, predict
from ...toolkit.attacks.foreign import untaken
from ...toolkit.attacks.victim import Function, Victim
from ...toolkit.coding import on_grid
from ...toolkit.data import Images, Labels
from ...toolkit.errors import DisagreementError
from ...toolkit.train import seeded
from ..records.base import share
from ..records.robustness import Foreign, FormResult, Mask, Outcome, Saturation, letters
from .alarms import alarms
from .attackers import Attackers
from .probes import probe
from .runner import Done, Runner


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
        grid: rounds images to what the chip receives.
    """

    form: str
    target: str
    module: nn.Module | None
    function: Function | None = None
    salt: str = ""
    source: dict[str, tuple[Attack, Images, Mask]] = field(default_factory=dict)
    source_name: str = "float"
    grid: Callable[[Images], Images] = on_grid

    @property
    def judge(self) -> Victim:
        """What answers for the form."""
        found = self.function or self.module
        assert found is not None
        return found


@dataclass(frozen=True)
class Found:
    """A form's result, its worst-case examples, and every attack's."""

    result: FormResult
    worst: Images
    examples: dict[str, tuple[Attack, Images, Mask]]


class _Tally:
    """What is known of every sample of one form, attack by attack."""

    def __init__(self, side: Side, images: Images, labels: Labels, cascade: bool) -> None:
        self.side, self.images, self.labels, self.cascade = side, images, labels, cascade
        self.right = predict(side.judge, images) == labels
        self.left, self.left_on_grid = self.right.copy(), self.right.copy()
        self.worst = images.copy()
        self.has_worst = np.zeros(len(labels), dtype=np.bool_)
        self.outcomes: list[Outcome] = []
        self.examples: dict[str, tuple[Attack, Images, Mask]] = {}
        self.by: dict[str, Mask | None] = {}

    def note(
        self, label: str, access: str, attack: Attack, tried: Mask, made: Images, robust: Mask, seconds: float
    ) -> None:
        """Take in what an attack made of the samples ``tried``; ``robust`` is true elsewhere."""
        rounded = self.side.grid(made)
        still = robust.copy()
        if self.side.function is None and tried.any():
            still[tried] = predict(self.side.judge, rounded[tried]) == self.labels[tried]
        broken = tried & ~robust
        # The first example that breaks a sample, else the first that was tried on it.
        better = (broken & self.left) | (tried & ~self.has_worst)
        self.worst[better] = made[better]
        self.has_worst |= tried
        self.left, self.left_on_grid = self.left & ~broken, self.left_on_grid & ~(tried & ~still)
        found_elsewhere = access != attack.access
        complete = bool((tried == self.right).all()) or (found_elsewhere and not self.cascade)
        # White-box attacks come first and noise tries all: what they did not try, others of their kind had broken.
        mask = self.by.get(access, self.right)
        self.by[access] = mask & ~broken if mask is not None and (complete or access in (WHITE, NONE)) else None
        self.outcomes.append(
            Outcome(
                label=label,
                access=access,
                threat_model=f"{attack.place}, {TRANSFER}" if found_elsewhere else attack.threat_model,
                settings=attack.settings,
                outcomes=letters(self.right, tried, robust),
                on_grid=letters(self.right, tried, still),
                accuracy=share(self.right & ~broken) if complete else None,
                after=share(self.left),
                distance=_distance(attack, made[tried], self.images[tried]),
                distance_on_grid=_distance(attack, rounded[tried], self.images[tried]),
                seconds=seconds,
            )
        )
        self.examples[label] = (attack, made, tried)

    @property
    def todo(self) -> Mask:
        """Which samples an attack tries: in a cascade what is left, else all that are right."""
        samples: Mask = self.left if self.cascade else self.right
        return samples

    def run(self, attack: Attack, runner: Runner, tried: Mask | None = None, label: str | None = None) -> Mask:
        """Run an attack on the samples that it is to try; return which it broke."""
        if tried is None:
            tried = self.right if attack.access == NONE else self.todo
        if attack.most is not None:
            tried = np.isin(np.arange(len(tried)), np.flatnonzero(self.left)[: attack.most])
        done = _run(self.side, attack, self.images, self.labels, tried, runner)
        made, robust = self.images.copy(), np.ones(len(tried), dtype=np.bool_)
        made[tried], robust[tried] = done.images, done.robust
        self.note(label or attack.label, attack.access, attack, tried, made, robust, done.seconds)
        broken: Mask = tried & ~robust
        return broken

    def judge(self, label: str, attack: Attack, made: Images, tried: Mask) -> None:
        """Judge examples that were found on another form."""
        begun = time.perf_counter()
        tried, robust = tried & self.right, np.ones(len(tried), dtype=np.bool_)
        if tried.any():
            robust[tried] = predict(self.side.judge, made[tried]) == self.labels[tried]
        seconds = time.perf_counter() - begun
        self.note(f"found-on-{self.side.source_name}-{label}", TRANSFER, attack, tried, made, robust, seconds)


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
        begun = time.perf_counter()
        tally = _Tally(side, images, labels, against.cascade)
        blind = [attack for attack in against.attacks if attack.access not in (WHITE, SEARCH, TRANSFER)]
        for attack in against.attacks:
            if attack not in blind:
                tally.run(attack, runner)
        for label, (attack, made, tried) in side.source.items():
            if attack.access != NONE:
                tally.judge(label, attack, made, tried)
        saturation = None
        if against.search is not None and side.module is not None:
            saturation = saturate(tally, against.search, against.rounds, against.until, runner)
        for attack in blind:
            tally.run(attack, runner)
        probes = None
        if side.module is not None and against.probes:
            white = tally.by.get(WHITE)
            survivors = (tally.right if white is None else white) & tally.left
            probes = probe(side.module, images, labels, tally.right, survivors, tally.left, against, runner, side.salt)
        result = FormResult(
            form=side.form,
            target=side.target,
            clean=share(tally.right),
            attacks=tally.outcomes,
            worst=share(tally.left),
            worst_on_grid=share(tally.left_on_grid),
            worst_by={access: None if mask is None else share(mask) for access, mask in tally.by.items()},
            outcomes=letters(tally.right, tally.right, tally.left),
            probes=probes,
            saturation=saturation,
            foreign=[] if side.module is None else _foreign(side.module, images),
            seconds=time.perf_counter() - begun,
        )
    raised = alarms(result, against.epsilon)
    reliable = not any(alarm.severity == "alarm" for alarm in raised)
    return Found(result.model_copy(update={"alarms": raised, "reliable": reliable}), tally.worst, tally.examples)


def saturate(tally: _Tally, search: Attack, rounds: int, until: float, runner: Runner) -> Saturation:
    """Run a search again and again with other seeds, until two rounds in a row break hardly anything.

    Later rounds cost what the first did: where fewer samples are left, each gets more queries.

    Args:
        tally: what is known of every sample.
        search: the attack of a round.
        rounds: at most so many, 2 or more; the first two try the same samples.
        until: share of all samples; it ends when two rounds in a row, the first aside, broke no more.
        runner: runs it.
    """
    tried = tally.todo.copy()
    known = tally.left.copy()

    def one(number: int, samples: Mask) -> Mask:
        share = tried.sum() / max(samples.sum(), 1)
        found = search.with_seed(search.seed + number).longer(float(share) if number > 1 else 1.0)
        return tally.run(found, runner, samples, f"{search.label}#{number + 1}")

    first, second = one(0, tried), one(1, tried)
    broken = [int((first & known).sum()), int((second & known & ~first).sum())]
    while len(broken) < rounds and tally.left.any():
        if len(broken) > 2 and max(broken[-2:]) <= until * len(tried):
            break
        broken.append(int(one(len(broken), tally.left.copy()).sum()))
    alone, other, both = (int(mask.sum()) for mask in (first & ~second, second & ~first, first & second))
    return Saturation(
        label=search.label,
        tried=int(tried.sum()),
        rounds=broken,
        halves=(alone, other, both),
        remaining=chapman(alone, other, both, sum(broken[2:])),
        until=until,
    )


def chapman(one: int, other: int, both: int, later: int) -> float:
    """Return how many samples are estimated to be left: :class:`..records.robustness.Saturation` has the equation.

    Args:
        one: found by the first round only.
        other: by the second only.
        both: by both.
        later: by later rounds.
    """
    could = (one + both + 1) * (other + both + 1) / (both + 1) - 1
    return max(could - one - other - both - later, 0.0)


def _foreign(module: nn.Module, images: Images) -> list[Foreign]:
    found = untaken(module, images[:1])
    return [Foreign(module=one.module, kind=one.kind, reason=one.reason) for one in found]


def _run(side: Side, attack: Attack, images: Images, labels: Labels, tried: Mask, runner: Runner) -> Done:
    module = side.module
    victim = module if module is not None and attack.access in (WHITE, SEARCH) else side.judge
    done = runner(attack, victim, images[tried], labels[tried], salt=side.salt)
    if side.function is not None and victim is module and len(done.images):
        # With the same seed, so that a stochastic coder shows both the same draws.
        verdicts = []
        for judge in (side.function, module):
            with seeded(attack.seed):
                verdicts.append(predict(judge, done.images))
        different = int((verdicts[0] != verdicts[1]).sum())
        if different:
            raise DisagreementError(
                f"{side.form}: {different} examples of {attack.label} get another verdict "
                f"from {side.target} than from the module that was attacked; run 'spikeproof agree'"
            )
    return done


def _distance(attack: Attack, made: Images, clean: Images) -> float:
    return float(attack.distances(made, clean).max()) if made.size else 0.0
