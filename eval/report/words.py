"""The report's sentences: what was found, in words that follow from the record."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..cost.cells import Cell
from ..records.base import Share
from ..records.evaluation import Evaluation, MeasuredForm


def percent(share: float) -> str:
    """Return a share in per cent to one decimal; 0.0 and 100.0 are kept for none and all."""
    if 0 < share < 0.0005:
        return "< 0.1"
    return "> 99.9" if 0.9995 <= share < 1 else f"{100 * share:.1f}"


def points(before: Share, after: Share) -> str:
    """Return the change of accuracy in points, signed."""
    change = 100 * (after.value - before.value)
    return "0" if after.correct * before.samples == before.correct * after.samples else f"{change:+.1f}"


def share_text(share: float) -> str:
    """Return a share to three decimals; "0" and "1" are kept for the exact values."""
    if share in (0.0, 1.0):
        return f"{share:.0f}"
    return "< 0.001" if share < 0.0005 else "> 0.999" if share >= 0.9995 else f"{share:.3f}"


_PREFIXES = {1.0: "", 1e-3: "m", 1e-6: "\u00b5", 1e-9: "n", 1e-12: "p"}


def amount(value: float, unit: str) -> str:
    """Return a value with its unit, to three digits: shares in per cent, joules and seconds with a prefix."""
    if unit == "share":
        return f"{percent(value)} %"
    if unit in ("J", "s"):
        # Half a digit below each prefix, so that what rounds up to the next one gets it.
        size = next((size for size in _PREFIXES if value >= 0.9995 * size), 1e-12)
        return f"{value / size:.3g} {_PREFIXES[size]}{unit}" if value else f"0 {unit}"
    if unit == "bytes":
        return f"{value:,.0f} B" if value < 10_000 else f"{value / 1000:,.0f} kB"
    if unit == "times clean":
        return f"{value:.2f} \u00d7"
    return f"{value:,.0f}" if value >= 100 or value.is_integer() else f"{value:.3g}"


def interval(low: float, high: float, unit: str) -> str:
    """Return "a to b" with the unit, once where both ends have the same."""
    first, last = amount(low, unit), amount(high, unit)
    if first == last:
        return first
    number, _, tail = first.partition(" ")
    return f"{number} to {last}" if not low or (tail and last.endswith(f" {tail}")) else f"{first} to {last}"


def figure(cell: Cell, unit: str) -> tuple[str, str]:
    """Return what a cell shows: the figure, and its interval where it has both."""
    if cell.how == "missing":
        return "none", ""
    if cell.low is None or cell.high is None:
        return amount(cell.value or 0.0, unit), ""
    ends = interval(cell.low, cell.high, unit)
    return (ends, "") if cell.value is None else (amount(cell.value, unit), ends)


def label(form: MeasuredForm) -> str:
    """Return how the report names a form."""
    return f"{'Program' if form.form == 'program' else form.form} · {form.target}"


def direction(unit: str, higher_is_better: bool | None) -> str:
    """Return a metric's unit, and which way is better where one is."""
    return unit if higher_is_better is None else f"{unit}, {'higher' if higher_is_better else 'lower'} is better"


def listed(names: Sequence[str]) -> str:
    """Return "a, b and c"; an empty text for no names."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def plural(count: int, thing: str) -> str:
    """Return "1 thing" or "2 things"."""
    return f"{count:,} {thing}" + ("" if count == 1 else "s")


def reference(record: Evaluation) -> MeasuredForm | None:
    """Return the float network; None if it was not measured."""
    return next((form for form in record.forms if form.form == "float"), None)


def deployed(record: Evaluation) -> MeasuredForm | None:
    """Return the form that speaks for the Program: loihi's, else the one on most samples; None if there is none."""
    programs = [form for form in record.forms if form.form == "program"]
    return max(programs, key=lambda form: (form.target == "loihi", form.samples), default=None)


def strongest(form: MeasuredForm) -> str | None:
    """Return the attack that leaves the lowest accuracy; None without attacks."""
    attacks = {
        name: found.accuracy.value
        for name, found in form.conditions.items()
        if name != "clean" and found.accuracy is not None
    }
    return min(attacks, key=lambda name: attacks[name], default=None)


@dataclass(frozen=True)
class Verdict:
    """What the comparison bit for bit says.

    Attributes:
        state: "equal", "different", "absent", or "stale": made with another Program.
        targets: all that were compared, the reference first.
        compared: values.
        different: how many of them differ.
        unlike: the targets that differ from the reference.
        quantities: which were compared: spikes, u, v.
    """

    state: str
    targets: tuple[str, ...] = ()
    compared: int = 0
    different: int = 0
    unlike: tuple[str, ...] = ()
    quantities: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """The verdict, as the end of a sentence."""
        verb = "does" if len(self.unlike) == 1 else "do"
        return {
            "equal": f"{listed(self.targets)} agree on all {self.compared:,} compared values",
            "different": f"{listed(self.unlike)} {verb} not agree with {self.targets[0] if self.targets else ''}: "
            f"{self.different:,} of {self.compared:,} compared values differ",
            "absent": "whether targets agree bit for bit was not checked",
            "stale": "the comparison on record was made with another Program, so agreement is not known",
        }[self.state]


def verdict(record: Evaluation) -> Verdict:
    """Return what the comparison says, counted anew from its values."""
    comparison = record.comparison
    if comparison is None or not comparison.values:
        return Verdict("absent")
    if comparison.program is None or comparison.program.sha256 != record.program.sha256:
        return Verdict("stale")
    values = comparison.values
    different = sum(bits.different for bits in values)
    return Verdict(
        "different" if different else "equal",
        (comparison.reference, *comparison.targets),
        sum(bits.compared for bits in values),
        different,
        tuple(dict.fromkeys(bits.target for bits in values if bits.different)),
        tuple(dict.fromkeys(bits.quantity for bits in values)),
    )


@dataclass(frozen=True)
class Tile:
    """One number that a reader looks for first."""

    title: str
    value: str
    note: str
    bad: bool = False


def _float(share: Share, samples: int) -> str:
    """Return the float network's share; its samples only where they are others."""
    return f"float {percent(share.value)} %" + (f" of {share.samples:,}" if share.samples != samples else "")


def _right(share: Share) -> str:
    return f"{percent(share.value)} % of {plural(share.samples, 'test image')} right"


def headline(record: Evaluation) -> str:
    """Return the answer in one sentence: deployed accuracy, clean and attacked, beside float, and agreement."""
    form = deployed(record)
    if form is None:
        first = record.forms[0]
        clean = first.conditions["clean"].accuracy
        right = "" if clean is None else f"; as {label(first)} it gets {_right(clean)}"
        return f"No integer target was run, so nothing here is about the deployed network{right}."
    beside = reference(record)
    parts = []
    attack = strongest(form)
    for name in ["clean"] + ([attack] if attack else []):
        share = form.conditions[name].accuracy
        if share is None:
            continue
        parts.append(_right(share) if name == "clean" else f"{percent(share.value)} % under {name}")
        float_share = beside.conditions[name].accuracy if beside and name in beside.conditions else None
        if float_share is not None:
            parts[-1] += f" ({_float(float_share, share.samples)})"
    where = "" if form.target == "loihi" else f" (target {form.target})"
    gets = f"gets {' and '.join(parts)}" if parts else f"was run on {plural(form.samples, 'sample')} without labels"
    found = verdict(record)
    joint = "; but " if found.state == "different" else "; "
    return f"As Loihi integers{where} this network {gets}{joint}{found.sentence}."


def sparsity_note(record: Evaluation) -> str:
    """Return what explains the headline share of zero gradients, where the recipe does."""
    pool = (record.recipe or {}).get("model", {}).get("pool")
    hidden = {form: facts["hidden"] for form, facts in record.gradients.items() if facts["hidden"] is not None}
    if not hidden:
        return ""
    if pool == "max" and all(0.75 <= share < 0.7505 for share in hidden.values()):
        return (
            "Max pooling over 2 by 2 neurons sends the gradient back to one of the four, so three quarters of the "
            "entries before it are zero. Here that accounts for the whole share."
        )
    if pool == "max" and all(share > 0.75 for share in hidden.values()):
        return (
            "Max pooling over 2 by 2 neurons sends the gradient back to one of the four. That accounts for 0.75; the "
            "rest has other causes."
        )
    if pool == "avg" and not any(hidden.values()):
        return (
            "Average pooling sends the gradient back to every neuron, and the arctan surrogate is never zero: not one "
            "entry vanishes."
        )
    return ""


def attack_settings(settings: dict[str, Any]) -> str:
    """Return an attack's settings in one line; those that its kind ignores are left out."""
    ignored = {"name"} | ({"steps", "seed"} if settings.get("name") == "fgsm" else set())
    return ", ".join(f"{key} {value}" for key, value in settings.items() if key not in ignored)


def _accuracy_tiles(form: MeasuredForm, float_form: MeasuredForm | None) -> Iterator[Tile]:
    attack = strongest(form)
    for name in ["clean"] + ([attack] if attack else []):
        share = form.conditions[name].accuracy
        if share is None:
            continue
        note = f"{label(form)}, {percent(share.low)} to {percent(share.high)}"
        float_share = float_form.conditions[name].accuracy if float_form and name in float_form.conditions else None
        if float_share is not None:
            note += f"; float {percent(float_share.value)}"
        title = "Accuracy, clean images" if name == "clean" else f"Accuracy under {name}"
        yield Tile(title, f"{percent(share.value)} %", note)
    same = {name: one.same_as_float for name, one in form.conditions.items() if one.same_as_float is not None}
    if not same:
        return
    least = min(same, key=lambda name: same[name])
    note = "clean images" + (f"; least {percent(same[least])} under {least}" if least != "clean" else "")
    yield Tile("Same class as float", f"{percent(same['clean'])} %", note)


def tiles(record: Evaluation, judged: Sequence[Tile] | None = None) -> list[Tile]:
    """Return the numbers that a reader looks for first; ``judged`` takes the place of accuracies."""
    form = deployed(record)
    accuracies = judged is None and form is not None
    found = list(_accuracy_tiles(form, reference(record)) if accuracies and form else judged or [])
    checked = verdict(record)
    title = "Values that differ between targets"
    if checked.state in ("equal", "different"):
        note = f"of {checked.compared:,}: {listed(checked.targets)}"
        found.append(Tile(title, f"{checked.different:,}", note, bad=checked.state == "different"))
    else:
        why = (
            "no comparison on record" if checked.state == "absent" else "the comparison on record is of another Program"
        )
        found.append(Tile(title, "not known", why))
    operations = (form or record.forms[0]).conditions["clean"].operations
    if operations:
        most = max(operations, key=lambda name: operations[name])
        note = f"clean images; most on {most.replace('->', '→')} ({operations[most]:,.0f})"
        found.append(Tile("Synaptic operations a sample", f"{math.fsum(operations.values()):,.0f}", note))
    shares = {
        name: share_text(facts["hidden"]) for name, facts in record.gradients.items() if facts["hidden"] is not None
    }
    if shares:
        (name, share), *rest = shares.items()
        note = "; ".join([f"{name}, hidden LIF layers", *(f"{other} {text}" for other, text in rest)])
        found.append(Tile("Zero-gradient share", share, note))
    return found
