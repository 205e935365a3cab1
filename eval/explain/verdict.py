"""The answer in sentences that follow from the record."""

from collections.abc import Iterator
from itertools import pairwise

from ..records.explanation import Contribution, Findings, Pair, Place
from ..records.sensitivity import Paired
from ..report.words import listed, percent, plural
from .causes import CAUSES, LAVA, MOVED, PROGRAM, REAL, TUNED


def place_words(place: Place) -> str:
    """Return where a first difference is."""
    return f"population {place.population!r}, step {place.step}, neuron {place.neuron}, sample {place.sample}"


def base_words(found: Findings) -> str:
    """Return what causes are switched on in."""
    return "Program in real numbers" if found.base == REAL else f"{found.base} network in real numbers"


def paired_words(paired: Paired) -> str:
    """Return what a pair of forms does to the classes of the same samples."""
    if not paired.classes_changed:
        return f"no class of {paired.samples:,} samples changes"
    changed = f"{paired.classes_changed:,} of {paired.samples:,} classes change"
    if not paired.lost + paired.won:
        return f"{changed}, all from wrong to wrong"
    sure = "too few to call it a difference" if paired.p >= 0.05 else "more than chance"
    return (
        f"{changed}, {paired.lost:,} from right to wrong and {paired.won:,} from wrong to right: {sure} "
        f"(McNemar's exact p = {paired.p:.2g})"
    )


def reason_words(pair: Pair) -> str:
    """Return what makes the first difference of a pair."""
    alone = [CAUSES[one.code].title for one in pair.reasons if one.sufficient]
    needed = [CAUSES[one.code].title for one in pair.reasons if not one.sufficient]
    if alone:
        return listed(alone) + (" does it alone" if len(alone) == 1 else ", each of which does it alone")
    if needed:
        return listed(needed) + (", not alone" if len(needed) == 1 else " together")
    return "several causes together, none of which is necessary"


def _share(share: float) -> str:
    return "under 1 %" if abs(share) < 0.005 else f"{100 * share:.0f} %"


def _fault(one: Contribution, total: int) -> str:
    back = total - one.left
    repaired = (
        f"repaired alone, {back:,} of {total:,} differing spike values agree again"
        if back > 0
        else f"alone it changes {plural(one.alone.different, 'spike value')}"
    )
    first = one.alone.first
    shows = "" if first is None else f"; switched on alone it shows first at {place_words(first)}"
    return f"{one.title[0].upper()}{one.title[1:]}: {'; '.join(one.evidence)}; {repaired}{shows}. {one.remedy}"


EVENTS = {"wraps": "a current wraps", "saturations": "a voltage saturates"}


def _no_fault(found: Findings) -> Iterator[str]:
    """Yield what there is beside roundings: limits that are met, but change nothing."""
    met = [
        f"{what} {count:,} times in {listed(places)}"
        for kind, what in EVENTS.items()
        if (count := sum(counts.get(kind, 0) for counts in found.overflow.values()))
        and (places := [f"{name!r}" for name, counts in found.overflow.items() if counts.get(kind, 0)])
    ]
    # Moved biases that were trained on are behind the network that roundings are counted from.
    moved = next((pair for pair in found.pairs if pair.after == MOVED and pair.effect.different), None)
    if moved is not None:
        yield (
            f"Biases moved from current to voltage, before fine-tuning trained with them there: "
            f"{paired_words(moved.effect.paired)}."
        )
    fault = "" if found.unknown else "No fault is found. "
    differs = ": what differs is rounding" if found.total else ""
    if met:
        yield f"{fault}Limits of the chip are met ({listed(met)}), but no spike and no class depends on it{differs}."
    elif found.unknown:
        yield f"No limit of the chip is met{differs}."
    else:
        yield "No fault is found and no limit of the chip is met: what differs is rounding."


def _largest_step(found: Findings) -> Iterator[str]:
    """Yield between which stages accuracy moves most; stages on fewer samples do not count."""
    whole = [stage for stage in found.stages if stage.samples == found.samples]
    moved = [(b.accuracy.correct - a.accuracy.correct, a.name, b.name) for a, b in pairwise(whole)]
    change, before, after = max(moved, key=lambda one: abs(one[0]))
    if change:
        points = f"{100 * change / found.samples:+.1f}".replace("-", "\u2212")
        yield f"Its largest step is from {before} to {after}: {points} points."


def _sentences(found: Findings) -> Iterator[str]:
    first, program = found.stages[0], next(stage for stage in found.stages if stage.name == PROGRAM)
    if found.base == REAL:
        yield (
            "The Program came without the network that it was made from: it is set beside what its own integers would "
            "compute if nothing were rounded and no range ended."
        )
    yield (
        f"Accuracy is {percent(first.accuracy.value)} % in {first.name} and {percent(program.accuracy.value)} % in the "
        f"Program: {paired_words(found.whole.paired)}."
    )
    yield from _largest_step(found)
    acting = [one for one in found.causes if one.acts]
    faults = [one for one in acting if one.kind != "rounding"]
    yield from (_fault(one, found.total) for one in faults)
    if not faults:
        yield from _no_fault(found)
    parted = [pair for pair in found.pairs if pair.effect.first is not None and pair.after != LAVA]
    if not parted:
        yield "All forms fire the same spikes."
    # Moved biases and fine-tuning make another network; what else deployment does to it begins behind them.
    made = [pair for pair in parted if pair.after in (MOVED, TUNED)]
    shown = parted[: parted.index(made[-1]) + 2 if made and parted[0] == made[0] else 1]
    for number, pair in enumerate(shown):
        assert pair.effect.first is not None
        how = "first" if number == 0 else "next"
        yield (
            f"Spikes part {how} between {pair.before} and {pair.after}, at {place_words(pair.effect.first)}: "
            f"{reason_words(pair)}."
        )
    if acting and found.total:
        beside = "its real numbers" if found.base == REAL else f"the {found.base} network"
        shares = listed([f"{one.title} {_share(one.share)}" for one in acting])
        yield (
            f"Of the {found.total:,} spike values in which the Program differs from {beside}: {shares}"
            f"{' (causes interact: shares need not add up)' if len(acting) > 1 else ''}."
        )
    if found.program_differs:
        yield (
            f"This explanation is incomplete: with all causes switched on, {found.program_differs:,} spike values "
            "still differ from the Program; please report it."
        )
    if found.unknown:
        yield (
            "Without that network it cannot be said whether the integers are what it meant: "
            f"{listed([CAUSES[code].title for code in found.unknown])}."
        )
    lava = next((pair for pair in found.pairs if pair.after == LAVA), None)
    if lava is not None:
        samples = lava.effect.paired.samples
        yield (
            f"Lava fires the Program's spikes on {samples} samples, all {lava.effect.compared:,} values."
            if not lava.effect.different
            else f"Lava differs from the Program in {plural(lava.effect.different, 'spike value')} on {samples} "
            f"samples: {CAUSES['target'].remedy}"
        )


def verdict(found: Findings) -> list[str]:
    """Return the answer, a sentence or two each: accuracy, first difference, faults, roundings, Lava."""
    return list(_sentences(found))
