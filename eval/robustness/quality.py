"""A protocol on answers that are no classes: the largest loss of quality that its attacks find inside the ball."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from ...hw_targets.target import Compiled, get_target
from ...hw_targets.twin import Twin
from ...toolkit.attacks.base import NONE, TRANSFER, WHITE, Attack
from ...toolkit.attacks.harm import Answer, for_harm, harm, worse
from ...toolkit.attacks.protocol import Protocol
from ...toolkit.attacks.shifts import Shifts
from ...toolkit.attacks.victim import answer, device_of
from ...toolkit.coding import Events
from ...toolkit.data import Images
from ...toolkit.errors import DisagreementError, InputError
from ...toolkit.files import digest
from ...toolkit.progress import Track, silent
from ...toolkit.task import Task
from ...toolkit.train import seeded
from ..measure.activity import input_gradient
from ..measure.forms import DRAWS, Deployed, Forms
from ..records.base import MeanQuality, mean_of
from ..records.quality import Attempt, FormQuality, QualityUnderAttack
from .forms import SLOW
from .protocol import JUDGE, one_thread
from .threat import USUAL_EPSILON, Continuous, Pixel, Threat, Timing, threat_of

Scores = NDArray[np.float64]
BATCH = 250
"""Samples whose gradients are taken at once."""


@dataclass
class _Form:
    """A form under attack, and the worst that is known of every sample."""

    name: str
    target: str
    module: nn.Module
    judge: Answer
    task: Task
    images: Images
    targets: NDArray[Any]
    attempts: list[Attempt] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.clean = self.task.scores(self.judge(self.images), self.targets)
        self.worst, self.examples = self.clean.copy(), self.images.copy()

    def run(self, attack: Attack, track: Track) -> Images:
        """Attack, note what was found, and return the examples."""
        begun = time.perf_counter()
        made = harm(attack, self.module, self.images, self.targets, self.task, judge=self.judge, track=track)
        self.note(attack, attack.access, made.images, made.scores, made.distance, begun)
        return made.images

    def try_on(self, attack: Attack, made: Images) -> None:
        """Judge examples that were made on another form."""
        begun = time.perf_counter()
        scores = self.task.scores(self.judge(made), self.targets)
        self.note(attack, TRANSFER, made, scores, float(attack.distances(made, self.images).max()), begun)

    def note(self, attack: Attack, access: str, made: Images, scores: Scores, distance: float, begun: float) -> None:
        """Take in what an attack made, and its scores (samples,)."""
        found = worse(scores, self.worst, self.task)
        self.worst[found], self.examples[found] = scores[found], made[found]
        self.attempts.append(
            Attempt(
                label=attack.label if access != TRANSFER else f"found-on-float-{attack.label}",
                access=access,
                settings=attack.settings,
                quality=mean_of(scores, self.task.quality),
                distance=distance,
                seconds=time.perf_counter() - begun,
            )
        )

    def doubts(self) -> Iterator[str]:
        """Yield why what attacks found may be far from the worst."""
        if self.module_is_flat():
            yield (
                f"the gradient at the image is 0 on all {len(self.images)} samples, so attacks that climb it have "
                "nothing to climb; what they leave is not the worst case"
            )
        higher = self.task.quality.higher_is_better
        best = min if higher else max
        means = {
            access: [one.quality.value for one in self.attempts if one.access == access] for access in (NONE, WHITE)
        }
        if means[NONE] and means[WHITE]:
            noise, white = best(means[NONE]), best(means[WHITE])
            if noise <= white if higher else noise >= white:
                yield (
                    "noise takes as much of the quality as the strongest white-box attack: gradients do not lead it, "
                    "or answers hardly depend on the image; what attacks leave is not the worst case"
                )

    def module_is_flat(self) -> bool:
        """Return whether the gradient of the harm with respect to the image is 0 everywhere."""
        for start in range(0, len(self.images), BATCH):
            part = slice(start, start + BATCH)
            with seeded(DRAWS + start):
                found = input_gradient(
                    self.module, self.images[part], self.targets[part], device_of(self.module), self.task
                )
            if bool(found.count_nonzero()):
                return False
        return True

    def result(self, differ: Mapping[str, int], left_out: Sequence[str], begun: float) -> FormQuality:
        """Return what is known."""
        loss = self.clean - self.worst if self.task.quality.higher_is_better else self.worst - self.clean
        return FormQuality(
            form=self.name,
            target=self.target,
            clean=mean_of(self.clean, self.task.quality),
            attacks=self.attempts,
            worst=mean_of(self.worst, self.task.quality),
            loss=float(loss.max()),
            scores=[(float(a), float(b)) for a, b in zip(self.clean, self.worst, strict=True)],
            answers_differ=dict(differ),
            left_out=list(left_out),
            notes=list(self.doubts()),
            seconds=time.perf_counter() - begun,
        )


def measure_quality(
    forms: Forms | Deployed,
    images: Images,
    targets: NDArray[Any],
    task: Task,
    about: dict[str, Any],
    *,
    protocol: str | Protocol = "standard",
    names: Sequence[str] | None = None,
    epsilon: float | None = None,
    threat: str | None = None,
    budget: int | None = None,
    shifts: Shifts | None = None,
    seed: int = 0,
    slow: int = SLOW,
    track: Track = silent,
) -> tuple[QualityUnderAttack, dict[str, Images]]:
    """Attack every form by the attacks of a protocol that raise the harm of a task.

    Args:
        forms: float network, quantized network and Program.
        images: (samples, channels, height, width), in [0, 1].
        targets: (samples, outputs).
        task: of the outputs.
        about: the record's header, see :func:`..records.base.header`.
        protocol: "quick", "standard", "strong", or one of your own; attacks that look for a class are left out.
        names: "torch" for the float and quantized network, "loihi" for the Program, others to answer to its examples.
        epsilon: L-infinity radius in pixels of [0, 1]; 0.1 if None.
        threat: "pixel" (None); of spikes "encoded-binary", or "timing".
        budget: edits of spikes a sample, for "encoded-binary"; spikes that move, for "timing".
        shifts: how far spikes move, for "timing".
        seed: added to the seed of every attack.
        slow: samples that slow targets get.
        track: progress.

    Returns:
        The record, and the worst examples of every form, (samples, ...).

    Raises:
        InputError: an option does not fit the task.
        DisagreementError: the twin answers otherwise than the simulator.
    """
    begun = time.perf_counter()
    if forms.network is None or forms.quantized is None:
        raise InputError("robustness: of a Program from elsewhere only classes are known")
    coder, program, gain = forms.coder, forms.program, forms.network.gain
    model = threat_of(protocol, coder, threat, epsilon, budget, shifts)
    if isinstance(model, Continuous) or not (isinstance(model, Pixel) or isinstance(coder, Events)):
        raise InputError(f"--threat {model.name}: the task of these data is {task.name}; attack pixels")
    chosen = model.protocol(protocol).later(seed)
    wanted = list(("torch", JUDGE) if names is None else names)
    clean, known = model.inputs(images), task.check(targets, "targets", len(images))
    mapped = {attack.label: for_harm(attack) for attack in chosen.attacks}
    left_out = [label for label, attack in mapped.items() if attack is None]
    left_out += [] if chosen.search is None else [chosen.search.label]
    compiled = get_target(JUDGE).compile(program)
    unit = gain / program.largest_output

    def on(one: Compiled, inputs: Images) -> NDArray[Any]:
        return np.asarray((unit * model.function(one)(inputs)).astype(np.float32))

    twin = Twin(program, coder=coder, gain=gain)
    sides: list[tuple[str, str, nn.Module]] = []
    if "torch" in wanted:
        sides += [
            (name, "torch", model.module(one))
            for name, one in (("float", forms.network), ("quantized", forms.quantized))
        ]
    deployed = model.module(twin)
    sides.append(("program", JUDGE, deployed))
    results, examples, source = [], {}, dict[str, tuple[Attack, Images]]()
    with one_thread():
        for name, target, module in sides:
            started = time.perf_counter()

            def ask(inputs: Images, module: nn.Module = module) -> NDArray[Any]:
                return on(compiled, inputs) if module is deployed else answer(module, inputs)

            form = _Form(name, target, module.eval(), ask, task, clean, known)
            made: dict[str, tuple[Attack, Images]] = {}
            for attack in dict.fromkeys(one.suited(module) for one in mapped.values() if one is not None):
                made[attack.label] = attack, form.run(attack, track)
            if name == "float":
                source = made
            for attack, images_made in source.values() if name == "program" else ():
                form.try_on(attack, images_made)
            differ = {}
            if name == "program":
                _same(deployed, ask, form.examples)
                shown = np.concatenate([clean, form.examples])
                for other in (one for one in wanted if one not in ("torch", JUDGE)):
                    few = np.r_[: slow if get_target(other).slow else len(clean)]
                    few = np.concatenate([few[: len(clean)], few[: len(clean)] + len(clean)])
                    theirs = on(get_target(other).compile(program), shown[few])
                    differ[other] = int((theirs != ask(shown[few])).any(1).sum())
            results.append(form.result(differ, left_out, started))
            examples[name] = form.examples
    asked = (USUAL_EPSILON if epsilon is None else epsilon) if isinstance(model, Pixel) else model.radius
    record = QualityUnderAttack(
        **about,
        task=task.name,
        protocol=chosen.name,
        threat_model=model.words,
        epsilon=model.radius,
        levels=round(model.radius * coder.pixels) if isinstance(model, Pixel) else 0,
        asked=asked,
        threat=model.name,
        samples=len(images),
        seed=seed,
        forms=results,
        examples={name: digest(np.ascontiguousarray(one).tobytes()) for name, one in examples.items()},
        summary=_summary(results, model),
        seconds=time.perf_counter() - begun,
    )
    return record, examples


def _same(twin: nn.Module, ask: Answer, images: Images) -> None:
    """Check that the twin, which was attacked, answers as the simulator does."""
    different = int((answer(twin, images) != ask(images)).any(1).sum())
    if different:
        raise DisagreementError(
            f"program: {different} examples get another answer from {JUDGE} than from the module that was attacked; "
            "run 'spikeproof agree'"
        )


def _changes(model: Threat) -> str:
    """Return what an attacker of spikes may do, in words."""
    return f"spikes moved {model.shifts.words}" if isinstance(model, Timing) else f"{model.radius:g} spikes changed"


def _drop(clean: MeanQuality, worst: MeanQuality) -> str:
    return f"{clean.text} clean, {worst.text} in the worst case"


def _summary(forms: list[FormQuality], model: Threat) -> str:
    parts = [f"{one.form} {_drop(one.clean, one.worst)}" for one in forms]
    last = forms[-1]
    where = f"inside the ball of {model.radius:.4g}" if isinstance(model, Pixel) else f"with {_changes(model)}"
    return (
        f"{last.clean.name} {where}: {'; '.join(parts)}. The largest loss of a sample of the "
        f"Program is {last.loss:.3g} {last.clean.unit}."
    )
