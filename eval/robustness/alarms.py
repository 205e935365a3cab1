"""Hygiene alarms: what makes a robustness number unbelievable, judged from the record alone.

Codes: unbounded, steps, epsilon, black-box, transfer, fgsm, zero-gradients, loss, surrogates, stochastic, ball, grid,
foreign;
docs/robustness.md says what each means.
"""

from collections.abc import Iterator
from typing import Literal

import numpy as np
from scipy.stats import binomtest

from ...toolkit.attacks.base import NONE, SEARCH, TRANSFER, WHITE
from ..records.base import share_of
from ..records.robustness import BROKEN, Alarm, FormResult, Mask, Outcome, is_letter
from .attackers import family

TOLERANCE = 0.02
"""Two points: half of one standard error at 50 % of 500 samples lies beyond, and no conclusion hangs on less."""
SIGNIFICANCE = 0.01
"""Of one-sided sign tests on pairs: some ten of them a form, so that a false alarm stays rare."""
UNBOUNDED = 0.05
"""At epsilon 1 any image may be replaced by any other: what survives more than chance stops the attack, not the eye."""
ZERO_SHARE = 0.5
"""Where more than half of the input's gradient is exactly 0, an attack is blind for most pixels."""
ZERO_ACCURACY = 0.1
"""Below, zeros do no harm: the attack works without them."""
ROSE = 0.5
"""A working attack raises the loss of nearly all samples; spike counts have plateaus, so half is asked for."""
LAST = 0.01
"""A round of search that breaks a larger share of all samples is not the last that is needed."""
SPREAD = 0.1
"""Accuracies of backward passes that differ by more: the choice of surrogate decides, and is to be told."""
ROUNDING = 1e-6
"""Of distances in float32."""


def alarms(result: FormResult, epsilon: float) -> list[Alarm]:
    """Return the reasons to doubt the worst case of a form.

    Args:
        result: outcomes and probes; its own alarms are not looked at.
        epsilon: radius of the ball that all attacks were given.
    """
    found = [*_outside(result, epsilon), *_rounded(result), *_blind_stronger(result), *_foreign(result)]
    if result.probes is not None:
        found += [*_gradients(result), *_weaker(result), *_sweep(result), *_stochastic(result)]
    return [*found, *_unsaturated(result)]


def clearly(more: int, less: int, samples: int) -> bool:
    """Return whether ``more`` of discordant pairs is significantly, and by more than the tolerance, above ``less``."""
    if more - less <= TOLERANCE * samples:
        return False
    return float(binomtest(more, more + less, alternative="greater").pvalue) < SIGNIFICANCE


def _alarm(code: str, result: FormResult, message: str, severity: Literal["alarm", "note"] = "alarm") -> Alarm:
    return Alarm(code=code, form=result.form, severity=severity, message=message)


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _outside(result: FormResult, epsilon: float) -> Iterator[Alarm]:
    for one in result.attacks:
        if one.distance > epsilon + ROUNDING:
            yield _alarm(
                "ball",
                result,
                f"{one.label} reaches distance {one.distance:.5f}, epsilon is {epsilon:.5f}; project its examples",
            )


def _rounded(result: FormResult) -> Iterator[Alarm]:
    # Two masks of the same samples: a sample may be broken only as made, or only after rounding.
    broken, rounded = np.zeros((2, len(result.outcomes)), dtype=np.bool_)
    for one in result.attacks:
        broken |= is_letter(one.outcomes, BROKEN)
        rounded |= is_letter(one.on_grid, BROKEN)
    saved, lost = int((broken & ~rounded).sum()), int((rounded & ~broken).sum())
    text = (
        f"worst case {_percent(result.worst.value)} with examples as made, {_percent(result.worst_on_grid.value)} "
        "after rounding them to the chip's input"
    )
    if clearly(lost, saved, len(broken)):
        yield _alarm("grid", result, f"{text}: rounding alone breaks {lost} more; attack with the rounding inside")
    elif clearly(saved, lost, len(broken)):
        # As made they are inside the ball and broken, so the number stands; it is the chip that would not see them.
        yield _alarm("grid", result, f"{text}; the chip is judged on the form 'program'", "note")


def _foreign(result: FormResult) -> Iterator[Alarm]:
    if result.foreign:
        places = [f"{one.kind} ({one.module})" if one.module else one.kind for one in result.foreign]
        told = "; ".join(f"{place}: {one.reason}" for place, one in zip(places, result.foreign, strict=True))
        yield _alarm(
            "foreign",
            result,
            f"surrogates could not be swapped, or state not reset: {told}; attacks are weaker than they could be. Let "
            "neurons call an attribute spike_grad(v - threshold), as snnTorch's do, and start every forward pass from "
            "the same state; or use neurons of snnTorch, SpikingJelly, norse, sinabs or this package",
        )


def _survivors(result: FormResult, *accesses: str) -> Mask | None:
    """Return who is right and survives the attacks of some accesses; None if there was none."""
    parts = [one for one in result.attacks if one.access in accesses]
    if not parts:
        return None
    left = ~is_letter(result.outcomes, ".")
    for one in parts:
        left &= ~is_letter(one.outcomes, BROKEN)
    return left


def _blind_stronger(result: FormResult) -> Iterator[Alarm]:
    blind = ("black box, logits", "black box, classes", NONE)
    for code, kinds, before in (("transfer", (TRANSFER,), (WHITE,)), ("black-box", blind, (WHITE, SEARCH))):
        white = _survivors(result, *before)
        if white is None:
            continue
        extra, names = np.zeros(len(white), dtype=np.bool_), []
        for one in result.attacks:
            if one.access in kinds:
                added = is_letter(one.outcomes, BROKEN) & white & ~extra
                extra |= added
                names += [one.label] * bool(added.any())
        count = int(extra.sum())
        if count:
            # More than the tolerance with confidence, of all samples: each is one that gradients should have found.
            # What a search goes on from is no longer a matter of gradients.
            searched = code == "transfer" and result.saturation is not None
            clear = share_of(count, len(white)).low > TOLERANCE and not searched
            how = "transferred examples" if code == "transfer" else "attacks without gradients"
            yield _alarm(
                code,
                result,
                f"{how} ({', '.join(names)}) break {count} of {int(white.sum())} samples that survive every white-box "
                "attack: gradients mislead; use the surrogates of --protocol strong, more steps, or restarts",
                "alarm" if clear else "note",
            )


def _gradients(result: FormResult) -> Iterator[Alarm]:
    probes = result.probes
    assert probes is not None
    kin, unbounded, worst = family(probes), probes.accuracy.get("unbounded"), result.worst.value
    if unbounded is not None and unbounded.value > UNBOUNDED:
        yield _alarm(
            "unbounded",
            result,
            f"{_percent(unbounded.value)} of {probes.samples} samples survive {kin.title} without a bound, where every "
            "input is allowed: the attack fails, not the adversary; attack through another backward pass, or without "
            "gradients",
        )
    if probes.zero_share > ZERO_SHARE and worst > ZERO_ACCURACY:
        yield _alarm(
            "zero-gradients",
            result,
            f"{_percent(probes.zero_share)} of the input's gradient is exactly 0, with accuracy {_percent(worst)} "
            "under attack; replace the derivative of what rounds or saturates (straight-through, another surrogate)",
        )
    before, after = probes.loss["clean"], probes.loss[kin.many]
    if not after > before or probes.rose < ROSE:
        yield _alarm(
            "loss",
            result,
            f"{kin.title} leaves the mean loss at {after:.4g} from {before:.4g} and raises it for "
            f"{_percent(probes.rose)} of {probes.samples} samples; the gradient does not point uphill, try another "
            "surrogate or loss",
        )


def _weaker(result: FormResult) -> Iterator[Alarm]:
    probes = result.probes
    assert probes is not None
    kin = family(probes)
    told = {
        "steps": ("steps", f"{kin.title} with few steps", f"{kin.title} with {kin.many_steps}"),
        "half": ("epsilon", f"{kin.title} at half of {kin.radius}", f"{kin.title} at {kin.radius}"),
        "twice": ("epsilon", f"{kin.title} at {kin.radius}", f"{kin.title} at twice {kin.radius}"),
        "fgsm": ("fgsm", kin.first, f"{kin.title} with {kin.many_steps} steps"),
    }
    for name, (weak_only, strong_only) in probes.backwards.items():
        code, weak, strong = told[name]
        if clearly(weak_only, strong_only, probes.samples):
            yield _alarm(
                code,
                result,
                f"{weak} breaks {weak_only} samples that {strong} does not, and misses {strong_only} that it breaks, "
                f"of {probes.samples}: more of the attack is less; attack with momentum or another surrogate",
            )
    one_step, many = probes.accuracy[kin.one].value, probes.accuracy[kin.many].value
    # Accuracies tie by chance where a network is nearly linear in the ball, losses do not.
    if many >= one_step > ZERO_ACCURACY and probes.loss[kin.many] <= probes.loss[kin.one]:
        yield _alarm(
            "fgsm",
            result,
            f"{kin.title} with {kin.many_steps} steps leaves {_percent(many)} at mean loss "
            f"{probes.loss[kin.many]:.4g}, {kin.first} {_percent(one_step)} at {probes.loss[kin.one]:.4g}, of "
            f"{probes.samples} samples: nothing gained; try another surrogate or step size",
        )


def _sweep(result: FormResult) -> Iterator[Alarm]:
    probes = result.probes
    assert probes is not None
    if not probes.sweep:
        return
    values = {name: one.value for name, one in probes.sweep.items()}
    low, high = min(values, key=lambda name: values[name]), max(values, key=lambda name: values[name])
    ends = f"{_percent(values[low])} with surrogate {low} and {_percent(values[high])} with {high}"
    text = f"{family(probes).title} leaves {ends}"
    if probes.sweep_only and share_of(probes.sweep_only, probes.samples).low > TOLERANCE:
        yield _alarm(
            "surrogates",
            result,
            f"{text}; the sweep breaks {probes.sweep_only} of {probes.samples} samples that survive the protocol's "
            "white-box attacks; use --protocol strong, which adapts surrogates, or more steps",
        )
    elif values[high] - values[low] > SPREAD:
        yield _alarm("surrogates", result, f"{text}; the protocol's attacks break what the best of them does", "note")


def _unsaturated(result: FormResult) -> Iterator[Alarm]:
    samples, found = len(result.outcomes), result.saturation
    if found is not None:
        last = found.rounds[-1]
        if last > LAST * samples:
            yield _alarm(
                "saturation",
                result,
                f"the last of {len(found.rounds)} rounds of {found.label} still broke {last} of {samples} samples; the "
                "number would fall further: give the search more queries or rounds",
            )
        elif found.remaining > TOLERANCE * samples:
            alone, other, both = found.halves
            yield _alarm(
                "saturation",
                result,
                f"two searches of {found.label} broke {both} samples both, {alone} and {other} alone: some "
                f"{found.remaining:.0f} of {samples} more are to be expected; give the search more queries or rounds",
            )
    probes = result.probes
    if probes is not None and probes.search_only and share_of(probes.search_only, probes.samples).low > LAST:
        yield _alarm(
            "saturation",
            result,
            f"a short corner search breaks {probes.search_only} of {probes.samples} samples that survive the protocol; "
            "use --protocol strong, or give yours a search",
        )


def _stochastic(result: FormResult) -> Iterator[Alarm]:
    probes = result.probes
    assert probes is not None
    single = [one.label for one in result.attacks if one.access == WHITE and _draws(one) == 1]
    if probes.differ > 0 and single:
        yield _alarm(
            "stochastic",
            result,
            f"two forward passes give {_percent(probes.differ)} of {probes.samples} samples other logits, and "
            f"{', '.join(single)} take one draw a gradient; attack the average of many draws, or fix the noise",
        )


def _draws(one: Outcome) -> int:
    return int(one.settings.get("draws", 1))
