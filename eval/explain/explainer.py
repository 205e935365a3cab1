"""Walks a network's forms on the same images, and switches every cause on and off alone."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...toolkit.coding import Coder
from ...toolkit.data import Images
from ...toolkit.defences.exact import exact
from ...toolkit.errors import InputError
from ...toolkit.network.fold import fold, moved_biases
from ...toolkit.progress import Track, silent
from ...toolkit.quantize import weight_bits
from ...toolkit.task import CLASSES, Task
from ..measure.forms import Deployed, Forms
from ..records.explanation import Contribution, Findings, Pair, Place, Reason
from ..records.explanation import Stage as StageRecord
from . import stages as forms
from .causes import ALONE, CAUSES, FOLDED, MOST_BITS, MOVED, PROGRAM, REAL, TUNED, UNDELAYED, present
from .judge import Judge
from .limits import alone
from .model import Codes, Field, Model, Outcome, Spikes, simulate
from .origins import match
from .stages import Shown, shown
from .tally import Tally, tallies
from .verdict import verdict

RANK = {"fault": 0, "limit": 1, "rounding": 2}
WALKED = frozenset({"floating_point", "moved_bias", "fine_tuning", "target"})
"""Causes that are stages of their own; of these only a moved bias can be a switch of the model, too."""


CLOSE = 1e-4
"""How far, in levels of the chip's input, float32 may be from k / levels."""


@dataclass(frozen=True)
class Overlay:
    """Two neighbouring stages on the sample in which they part first.

    Attributes:
        pair: names of the two.
        sample: index of the image.
        before: spikes of every population, (time, ...).
        after: of the second stage.
        place: the first difference.
    """

    pair: tuple[str, str]
    sample: int
    before: Spikes
    after: Spikes
    place: Place


def messages(batch: Shown, coder: Coder) -> Field:
    """Return what the network sees, in units of the chip's messages, and what the chip receives."""
    once = slice(1 if batch.encoded.stride(0) == 0 else None)
    real = batch.encoded[once].double() * coder.levels
    rounded = torch.from_numpy(batch.messages[once].astype(np.float64))
    whole = tuple(batch.encoded.shape)
    if bool((real - rounded).abs().max() <= CLOSE):
        # float32's k / levels is k but for the last bits.
        return Field(rounded.expand(whole))
    return Field(real.expand(whole), (("input_rounding", rounded.expand(whole)),))


def _off_grid(coder: Coder, images: Images, batch: int) -> tuple[str, ...]:
    """Return what shows that input is rounded; empty if it is on the chip's grid."""
    off, entries, largest = 0, 0, 0.0
    for start in range(0, len(images), batch) if not coder.binary else ():
        field = messages(shown(coder, images[start : start + batch], start), coder)
        entries += field.meant[0].numel()
        for _, rounded in field.steps:
            error = (field.meant - rounded).abs().amax(0)
            off += int((error > CLOSE).sum())
            largest = max(largest, float(error.max()))
    if not off:
        return ()
    return (
        f"{off / entries:.1%} of the input is off the grid of {coder.levels} levels, by up to {largest:.2g} levels",
    )


@dataclass(frozen=True)
class _Plan:
    """What is walked.

    Attributes:
        stages: in the order of deployment.
        model: with a switch for each cause.
        base: the stage that causes are switched on in.
        by_step: whether the earliest step comes first, see :class:`.tally.Tally`.
        order: populations with their shapes.
        bits: of the narrowest weights.
    """

    stages: Sequence[forms.Stage]
    model: Model
    base: str
    by_step: bool
    order: dict[str, tuple[int, ...]]
    bits: int


class _Walk:
    """Runs all stages and all switches on one batch after the other."""

    def __init__(self, plan: _Plan, coder: Coder, judge: Judge) -> None:
        self.stages, self.model, self.coder, self.base = plan.stages, plan.model, coder, plan.base
        self.codes: Codes = plan.model.codes
        self.bits, self.order, self.judge, by_step = plan.bits, plan.order, judge, plan.by_step
        order = plan.order
        names = [stage.name for stage in plan.stages]
        self.pairs = {pair: Tally(order, by_step, judge) for pair in pairwise(names)}
        self.own = tallies(names, order, by_step, judge)
        self.alone = tallies(sorted(self.codes), order, by_step, judge)
        self.repaired = tallies(sorted(self.codes), order, by_step, judge)
        self.left = tallies(sorted(self.codes), order, by_step, judge)
        self.whole, self.total, self.real, self.integers = (Tally(order, by_step, judge) for _ in range(4))
        self.overflow: dict[str, dict[str, int]] = {}

    def runs(self) -> int:
        """Return how many runs a batch takes."""
        return len(self.stages) + 2 + 2 * len(self.codes)

    def batch(self, batch: Shown, labels: NDArray[Any], done: int) -> Iterator[str]:
        """Run one batch, ``done`` samples after the first; yield what was run."""
        answers: dict[str, Outcome] = {}
        for stage in self.stages:
            part = batch if stage.most is None else batch.part(slice(max(stage.most - done, 0)))
            if part.messages.shape[1]:
                answers[stage.name] = stage.run(part)
                self.own[stage.name].update(answers[stage.name], answers[stage.name], labels)
            yield stage.name
        for (before, after), tally in self.pairs.items():
            if after in answers:
                tally.update(answers[before], answers[after], labels)
        self.whole.update(answers[self.stages[0].name], answers[PROGRAM], labels)
        self._count(answers[PROGRAM].events)
        sent = messages(batch, self.coder)
        base = simulate(self.model, sent, frozenset(), self.judge)
        yield "base"
        every = simulate(self.model, sent, self.codes, self.judge)
        yield "all causes"
        self.real.update(answers[self.base], base, labels)
        self.integers.update(answers[PROGRAM], every, labels)
        self.total.update(base, every, labels)
        for code in self.alone:
            self.alone[code].update(base, simulate(self.model, sent, frozenset({code}), self.judge), labels)
            yield code
            without = simulate(self.model, sent, self.codes - {code}, self.judge)
            self.repaired[code].update(every, without, labels)
            self.left[code].update(base, without, labels)
            yield code

    def _count(self, events: Mapping[str, Mapping[str, int]]) -> None:
        for name, counts in events.items():
            own = self.overflow.setdefault(name, dict.fromkeys(counts, 0))
            for kind, count in counts.items():
                own[kind] += count

    def contribution(self, code: str) -> Contribution:
        """Return what one cause does."""
        total, cause = self.total.different, CAUSES[code]
        alone, left = self.alone[code].different, self.left[code].different
        return Contribution(
            code=code,
            title=cause.title,
            kind=cause.kind,
            evidence=list(self.model.evidence[code]),
            alone=self.alone[code].effect(),
            repaired=self.repaired[code].effect(),
            left=left,
            share=(alone + total - left) / 2 / total if total else 0.0,
            remedy=cause.advice(self.bits),
        )


def _spike(outcome: Outcome, place: Place, shape: tuple[int, ...]) -> bool:
    raster = outcome.spikes[place.population]
    return bool(raster[:, 0].reshape(-1, *shape)[(place.step, *place.neuron)])


def _reasons(
    model: Model, pair: tuple[str, str], place: Place, sent: Field, shape: tuple[int, ...]
) -> tuple[list[Reason], tuple[float, float] | None]:
    """Return which causes between two stages make the first difference, and how far the membrane moved."""
    before, after = (present(name, model.codes) for name in pair)
    runs = [simulate(model, sent, on, membranes=True) for on in (before, after)]
    was, now = place.fires == "before", place.fires == "after"
    if [_spike(run, place, shape) for run in runs] != [was, now]:
        # What parts the stages is none of the model's switches.
        codes = [code for code in WALKED if CAUSES[code].stage == pair[1]] or ["floating_point"]
        return [Reason(code=codes[0], sufficient=True, necessary=True)], None
    found = [
        Reason(
            code=code,
            sufficient=_spike(simulate(model, sent, before | {code}), place, shape) == now,
            necessary=_spike(simulate(model, sent, after - {code}), place, shape) == was,
        )
        for code in CAUSES
        if code in after - before
    ]
    found = [one for one in found if one.sufficient or one.necessary]
    found.sort(key=lambda one: -one.sufficient - one.necessary)
    at = (place.step, 0, *place.neuron)
    levels = [run.membranes[place.population].reshape(-1, 1, *shape)[at] for run in runs if run.membranes is not None]
    return found, (float(levels[0]), float(levels[1])) if np.isfinite(levels).all() else None


def _beside(given: Forms, lava: int, images: Images) -> _Plan:
    """Return the way from a float network to its Program."""
    folded, moved = exact(fold(given.network, move_biases=False)), exact(fold(given.network))
    biases = moved_biases(given.network)
    tuned = forms.fine_tuned(moved, given.quantized)
    shape = given.coder.encoded_shape(images.shape[-3:])
    # Fine-tuning trained with the bias where the chip has it: what it left is no longer due to the move.
    model = match(tuned or moved, given.quantized, given.program, shape, biases if tuned is None else {})
    stages = forms.network_stages(given.network, folded, moved if biases else None, tuned, given.quantized)
    stages += forms.program_stages(given.program, model.meant, min(lava, len(images)))
    least = min(weight_bits(given.quantized).values(), default=0)
    order = {name: given.program.shape_of(name) for name in folded.populations()}
    return _Plan(stages, model, FOLDED if tuned is None else TUNED, folded.recurrent, order, least)


def _alone(given: Deployed, lava: int, samples: int) -> _Plan:
    """Return the way from what a Program computes in real numbers to its integers."""
    program, model = given.program, alone(given.program)

    def run(batch: Shown) -> Outcome:
        return simulate(model, messages(batch, given.coder), frozenset())

    real = forms.Stage(REAL, "the Program's own integers, nothing rounded and no range that ends", run)
    integers = [one for one in forms.program_stages(program, program, min(lava, samples)) if one.name != UNDELAYED]
    order = {population.name: population.shape for population in program.populations}
    return _Plan([real, *integers], model, REAL, program.recurrent, order, MOST_BITS)


def explain(
    given: Forms | Deployed,
    images: Images,
    labels: NDArray[Any],
    *,
    task: Task = CLASSES,
    lava: int = 0,
    batch: int = 250,
    track: Track = silent,
) -> tuple[Findings, list[Overlay]]:
    """Explain why the forms of a network differ, by running them and by switching causes on and off.

    Of a Program without a network its own integers are explained: what they compute where something is rounded or a
    range ends, against the same in real numbers.

    Args:
        given: the float network, the quantized one, and a Program: theirs, or one that should be; or a Program alone.
        images: (samples, channels, height, width), in [0, 1].
        labels: (samples,), or the task's targets.
        task: what outputs are for; see :class:`.judge.Judge` for what counts as right where they are no classes.
        lava: how many samples Lava gets; 0: none.
        batch: samples a run.
        track: progress.

    Returns:
        What was found, and the spikes of each pair of stages that differs, on the sample where they part first.

    Raises:
        UnsupportedError: the Program has other populations or connections than the network, or of an unknown kind.
        InputError: no samples.
        TargetError: Lava was asked for and failed.
    """
    if len(images) == 0 or len(images) != len(labels):
        raise InputError(f"explain: {len(images)} images and {len(labels)} labels; give one label an image")
    coder = given.coder
    plan = _alone(given, lava, len(images)) if isinstance(given, Deployed) else _beside(given, lava, images)
    rounded = _off_grid(coder, images, batch)
    if rounded:
        plan = replace(plan, model=replace(plan.model, evidence={**plan.model.evidence, "input_rounding": rounded}))
    judge, known = Judge(), labels
    if not isinstance(given, Deployed):
        judge = Judge(task, given.network.gain)
        known = judge.known(given.network, images, labels, batch)
    elif not task.classed:
        raise InputError(f"explain: answers of task {task.name!r} are judged by the float network's, and there is none")
    walk = _Walk(plan, coder, judge)
    starts = range(0, len(images), batch)

    def part(start: int) -> Shown:
        return shown(coder, images[start : start + batch], start, judge)

    jobs = (job for s in starts for job in walk.batch(part(s), known[s : s + batch], s))
    for _ in track(jobs, "explain", len(starts) * walk.runs()):
        pass

    def again(sample: int) -> tuple[Shown, int]:
        start = sample // batch * batch
        return part(start), sample - start

    return _findings(walk, len(images), again)


def _walked(code: str, walk: _Walk) -> bool:
    """Return whether the walk shows by itself whether a cause acts."""
    if walk.base == REAL:
        return code == "target"
    return code in WALKED and (code != "moved_bias" or any(stage.name == MOVED for stage in walk.stages))


def _findings(walk: _Walk, samples: int, again: Callable[[int], tuple[Shown, int]]) -> tuple[Findings, list[Overlay]]:
    """Return what a finished walk found.

    Args:
        walk: after its last batch.
        samples: how many it saw.
        again: from a sample to the batch that it came in, and its place there.
    """
    pairs, overlays = [], []
    by_name = {stage.name: stage for stage in walk.stages}
    for names, tally in walk.pairs.items():
        effect = tally.effect()
        reasons: list[Reason] = []
        membranes = None
        if effect.first is not None:
            place = effect.first
            batch, at = again(place.sample)
            sent = messages(batch.part(slice(at, at + 1)), walk.coder)
            reasons, membranes = _reasons(walk.model, names, place, sent, walk.order[place.population])
            # The whole batch up to there, as it was run: a form may draw numbers for it.
            before, after = (
                {name: raster[:, at] for name, raster in by_name[one].run(batch.part(slice(at + 1))).spikes.items()}
                for one in names
            )
            overlays.append(Overlay(names, place.sample, before, after, place))
        pairs.append(
            Pair(
                before=names[0],
                after=names[1],
                effect=effect,
                by_population=tally.by_population,
                reasons=reasons,
                membranes=membranes,
            )
        )
    causes = [walk.contribution(code) for code in walk.alone]
    causes.sort(key=lambda one: (not one.acts, RANK[one.kind], -one.share))
    stages = [
        StageRecord(
            name=stage.name,
            what=stage.what,
            samples=walk.own[stage.name].samples,
            accuracy=walk.own[stage.name].accuracy(),
        )
        for stage in walk.stages
    ]
    known = ALONE if walk.base == REAL else tuple(CAUSES)
    found = Findings(
        samples=samples,
        stages=stages,
        pairs=pairs,
        whole=walk.whole.effect(),
        base=walk.base,
        total=walk.total.different,
        causes=causes,
        exact=[code for code in known if code not in walk.codes and not _walked(code, walk)],
        unknown=[code for code in CAUSES if code not in known and not _walked(code, walk)],
        base_differs=walk.real.different,
        program_differs=walk.integers.different,
        overflow=walk.overflow,
        verdict=[],
    )
    return found.model_copy(update={"verdict": verdict(found)}), overlays
