"""What the report says of a network whose answers are no classes: sentences, tiles and cells of its quality."""

from collections.abc import Iterator
from typing import Any

from ..records.evaluation import Condition, Evaluation, Measured, MeasuredForm
from . import words
from .words import Tile


def worst_attack(form: MeasuredForm) -> str | None:
    """Return the attack that leaves the worst quality; None without attacks."""
    attacks = {name: found.judged for name, found in form.conditions.items() if name != "clean"}
    if not attacks:
        return None
    pick = min if next(iter(attacks.values())).higher_is_better else max
    return pick(attacks, key=lambda name: attacks[name].value)


def headline(record: Evaluation) -> str:
    """Return the answer in one sentence: deployed quality, clean and attacked, beside float, and agreement."""
    form = words.deployed(record)
    if form is None:
        clean = record.forms[0].conditions["clean"].judged
        return (
            "No integer target was run, so nothing here is about the deployed network; as "
            f"{words.label(record.forms[0])} its {clean.name} is {clean.text}."
        )
    beside, attack = words.reference(record), worst_attack(form)
    parts = []
    for name in ["clean"] + ([attack] if attack else []):
        found = form.conditions[name].judged
        parts.append(f"{found.text} {'on clean images' if name == 'clean' else f'under {name}'}")
        if beside and name in beside.conditions:
            parts[-1] += f" (float {beside.conditions[name].judged.text})"
    name = form.conditions["clean"].judged.name
    where = "" if form.target == "loihi" else f" (target {form.target})"
    agreed = words.verdict(record)
    joint = "; but " if agreed.state == "different" else "; "
    return f"As Loihi integers{where} the {name} of this network is {' and '.join(parts)}{joint}{agreed.sentence}."


def tiles(record: Evaluation) -> Iterator[Tile]:
    """Yield the numbers that a reader looks for first: of the task's quality, then of its other metrics."""
    form, beside = words.deployed(record), words.reference(record)
    if form is None:
        return
    attack = worst_attack(form)
    for name in ["clean"] + ([attack] if attack else []):
        found = form.conditions[name].judged
        note = f"{words.label(form)}, mean of {words.plural(found.samples, 'sample')}, worst {found.worst:.2f}"
        if beside and name in beside.conditions:
            note += f"; float {beside.conditions[name].judged.text}"
        yield Tile(f"{found.name}, {'clean images' if name == 'clean' else f'under {name}'}", found.text, note)
    without, found_without = next(iter(record.baseline.items()), ("", {}))
    for name, metric in form.conditions["clean"].others.items():
        if name in found_without:
            note = f"{without} {number(found_without[name])}"
            yield Tile(f"{name}, {metric.unit}", number(metric), note)


def number(metric: Measured) -> str:
    """Return what a metric measured, in figures: of parts their mean, where it is told."""
    value = metric.value
    if isinstance(value, dict):
        value = value.get("mean", next(iter(value.values())))
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.4f}"


def cells(one: Condition) -> dict[str, Any]:
    """Return what the table of a page shows of a form under a condition."""
    found = one.judged
    digits = 2 if abs(found.value) >= 1 else 4
    value, low, high = (f"{part:.{digits}f}" for part in (found.value, found.low, found.high))
    return {"value": value, "low": low, "high": high, "title": f"worst of {found.samples} samples: {found.worst:.4g}"}
