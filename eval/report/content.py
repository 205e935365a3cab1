"""What the report's template shows: tables, plots and sentences, made from a record and the raster of one sample."""

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from ...hw_targets.target import Trace
from ..measure.metrics import SpikeRate, SynapticOperations
from ..records.evaluation import Condition, Evaluation, Measured, MeasuredForm
from . import plots, quality, raster, trail, words

Cells = dict[str, Any]
TIMES = "\u00d7"
CURRENT_LIMIT = 2**17
"""A synaptic sum of this size, aligned by 6 bits, leaves the 24-bit current."""
CORE_LIMIT = 2**15
"""At this size Xylo's currents are clipped."""


def _conditions(record: Evaluation) -> list[str]:
    """Return all conditions, clean first."""
    found = dict.fromkeys(name for form in record.forms for name in form.conditions)
    return sorted(found, key=lambda name: name != "clean")


def _union(parts: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the keys of all parts, each new one right after the key that precedes it in its own part."""
    order: list[str] = []
    for part in parts:
        place = 0
        for key in part:
            if key in order:
                place = order.index(key) + 1
            else:
                order.insert(place, key)
                place += 1
    return order


def _cells(condition: Condition) -> Cells:
    share = condition.accuracy
    if share is None:
        return quality.cells(condition)
    value, low, high = (words.percent(part) for part in (share.value, share.low, share.high))
    return {"value": value, "low": low, "high": high, "title": f"{share.correct} of {share.samples}"}


def _accuracy(record: Evaluation) -> Cells:
    conditions = _conditions(record)
    labels = [words.label(form) for form in record.forms]
    largest = max(form.samples for form in record.forms)
    rows = []
    for form, label in zip(record.forms, labels, strict=True):
        found = [form.conditions.get(name) for name in conditions]
        shares = [_cells(one) if one is not None and one.known else None for one in found]
        same = [None if one is None or one.same_as_float is None else words.percent(one.same_as_float) for one in found]
        rows.append(
            {
                "label": label,
                "samples": form.samples,
                "part": form.samples < largest,
                "shares": shares,
                "same": None if form.form == "float" else same,
            }
        )
    attacks = [
        {
            "label": label,
            "settings": words.attack_settings(facts["settings"]),
            "made_on": facts["made_on"],
            "distance": facts["distance"],
            "on_grid": facts["distance_on_grid"],
            # float32 images: a distance may exceed epsilon by rounding alone.
            "beyond": facts["distance_on_grid"] > facts["settings"]["epsilon"] + 1e-6,
        }
        for label, facts in record.attacks.items()
    ]
    networks = any(form.form != "program" for form in record.forms)
    return {
        "classed": record.classed,
        "compared": record.classed and networks,
        "judged": None if record.classed else record.forms[0].conditions["clean"].judged,
        "conditions": conditions,
        "rows": rows,
        "attacks": attacks,
        "networks": networks,
        "known": any(one.known for form in record.forms for one in form.conditions.values()),
        "hollow": any(row["part"] for row in rows),
        "plot": plots.accuracy_plot(record.forms, labels, conditions),
    }


def _activity(record: Evaluation) -> Cells:
    conditions = _conditions(record)
    form = words.deployed(record) or record.forms[-1]
    everything = [one for each in record.forms for one in each.conditions.values()]
    populations = _union([one.spike_rates for one in everything])
    clean = plots.rates([each.conditions.get("clean") for each in record.forms], populations)
    attacked = plots.rates([form.conditions.get(name) for name in conditions], populations)
    styles = plots.form_styles(record.forms)
    colours = plots.CONDITION_COLOURS * len(conditions)
    largest = max(each.samples for each in record.forms)
    by_form = [
        plots.Series(words.label(each) + (f" (n = {each.samples})" if each.samples < largest else ""), colour, values)
        for each, (colour, _), values in zip(record.forms, styles, clean, strict=True)
    ]
    by_condition = [
        plots.Series(name, colour, values) for name, colour, values in zip(conditions, colours, attacked, strict=False)
    ]
    first = record.forms[0]
    heads = [(first, "clean")] * (first is not form) + [(form, name) for name in conditions]
    measured = [each.conditions.get(name) for each, name in heads]
    return {
        "form": words.label(form),
        "clean_plot": plots.rates_plot("rates-form", "Spike rate of each population by form", populations, by_form),
        "attacked_plot": plots.rates_plot(
            "rates-condition", f"Spike rate of each population on {words.label(form)}", populations, by_condition
        ),
        "rate_heads": [(words.label(each), "clean") for each in record.forms]
        + [(words.label(form), name) for name in conditions if name != "clean"],
        "rates": [(name, [values[i] for values in [*clean, *attacked[1:]]]) for i, name in enumerate(populations)],
        "operation_heads": [(words.label(each), name) for each, name in heads],
        "rate_is": words.direction(SpikeRate.unit, SpikeRate.higher_is_better),
        "operation_is": words.direction(SynapticOperations.unit, SynapticOperations.higher_is_better),
        "operations": list(_operations(measured)),
        "input_grows": _input_grows(form, populations),
    }


def _input_grows(form: MeasuredForm, populations: Sequence[str]) -> bool:
    """Return whether the input sends more under every attack than on clean images."""

    def sent(one: Condition) -> float:
        return math.fsum(n for name, n in one.operations.items() if name.split(" -> ")[0] not in populations)

    attacked = [sent(one) for name, one in form.conditions.items() if name != "clean"]
    return bool(attacked) and min(attacked) > sent(form.conditions["clean"])


def _operations(measured: Sequence[Condition | None]) -> Iterator[tuple[str, list[float | None]]]:
    """Yield (synapse, operations a sample), and the sum of all last."""
    for synapse in _union([one.operations for one in measured if one]):
        yield synapse.replace("->", "→"), [one.operations.get(synapse) if one else None for one in measured]
    yield "all", [math.fsum(one.operations.values()) if one else None for one in measured]


def _metrics(record: Evaluation) -> Cells:
    """Return the other metrics: what no network gives, every form on clean images, the deployed one under attacks."""
    deployed = words.deployed(record) or record.forms[-1]
    columns = [(f"{name}, without a network", "clean", found) for name, found in record.baseline.items()]
    columns += [
        (words.label(form), name, form.conditions[name].others)
        for form in record.forms
        for name in (_conditions(record) if form is deployed else ["clean"])
        if name in form.conditions
    ]
    heads = [(label, name) for label, name, _ in columns]
    return {"heads": heads, "rows": list(_others([found for _, _, found in columns]))}


def _others(measured: Sequence[Mapping[str, Measured]]) -> Iterator[tuple[str, str, list[float | None]]]:
    """Yield name, unit with direction, and values of every metric, part by part."""
    for name in _union(measured):
        found = [one.get(name) for one in measured]
        first = next(each for each in found if each is not None)
        values = [
            {} if each is None else each.value if isinstance(each.value, dict) else {"": each.value} for each in found
        ]
        for part in _union(values):
            label = f"{name}, {part}" if part else name
            yield label, words.direction(first.unit, first.higher_is_better), [each.get(part) for each in values]


def _gradients(record: Evaluation) -> Cells:
    layers = _union([facts["layers"] for facts in record.gradients.values()])
    colours = {"float": plots.FORM_COLOURS["float torch"], "quantized": plots.FORM_COLOURS["quantized torch"]}
    series = [
        plots.Series(
            form,
            colours.get(form, plots.SPARE_COLOURS[0]),
            [facts["layers"].get(name, {}).get("output") for name in layers],
        )
        for form, facts in record.gradients.items()
    ]
    # The toolkit names its LIF layers lif1, lif2, ...; the last one is the read-out and not hidden.
    hidden = [name for name in layers if name.startswith("lif")][:-1]
    return {
        "hidden": {
            form: words.share_text(facts["hidden"])
            for form, facts in record.gradients.items()
            if facts["hidden"] is not None
        },
        "bold": hidden,
        "missing": any(value is None for part in series for value in part.values),
        "note": words.sparsity_note(record),
        "measured": bool(series),
        "attacks": [
            {"label": name, "passes": found["passes"], "images": found["samples"]}
            | {key: _figure(value) for key, value in found["layers"]["image"]["input"].items()}
            for name, found in [
                *((f"none, {form}", facts["clean"]) for form, facts in record.gradients.items() if "clean" in facts),
                *((name, facts["gradients"]) for name, facts in record.attacks.items() if "gradients" in facts),
            ]
        ],
        "weights": [
            (name, [words.share_text(found[key]) for key in ("weights", "bound", "errors", "inputs")])
            for name, found in record.gradients.get("float", {}).get("weights", {}).items()
        ],
        "plot": plots.gradients_plot(layers, series, hidden) if any(any(part.values) for part in series) else None,
    }


def _figure(value: float | None) -> str:
    """Return a statistic to three significant digits, a dash where it is not defined."""
    return "\u2013" if value is None else f"{value:.3g}"


def _sample(trace: Trace) -> Cells:
    spikes = {name: one.spikes[:, 0] != 0 for name, one in trace.rasters.items()}
    counts = trace.output[0]
    order = np.argsort(-counts, kind="stable")[:3]
    return {
        "plot": raster.raster_plot(spikes) if spikes else None,
        "shaded": any(part[0].size > raster.LARGE for part in spikes.values()),
        "large": raster.LARGE,
        "steps": next((len(part) for part in spikes.values()), 0),
        "classes": [
            (int(name), words.plural(int(counts[name]), "spike"))
            for place, name in enumerate(order)
            if place == 0 or counts[name]
        ],
        "tie": int((counts == counts.max()).sum()) > 1,
    }


def _agreement(record: Evaluation) -> Cells:
    comparison = record.comparison
    values = comparison.values if comparison else ()
    trip = record.round_trip
    return {
        "verdict": words.verdict(record),
        "quantities": words.listed(words.verdict(record).quantities),
        "comparison": comparison,
        "rows": values,
        "any_first": any(bits.first for bits in values),
        "trip": trip if {"samples", "compared", "different"} <= set(trip) else None,
    }


def _program(record: Evaluation) -> Cells:
    overflow = {form.target: form.overflow for form in record.forms if form.overflow is not None}
    events = overflow.get("loihi") or next(iter(overflow.values()), None)
    rows = []
    for row in record.populations:
        delivered = math.floor(row["largest_sum"] * 2.0 ** row["exponent"])
        limit = CORE_LIMIT if row["synapse"] == "shifted" else CURRENT_LIMIT
        room = limit / delivered if delivered else math.inf
        rows.append(
            row
            | {
                "size": TIMES.join(f"{length:,}" for length in row["shape"]),
                "delivered": delivered,
                "room": "unlimited" if room == math.inf else f"{room:,.1f}" if room < 10 else f"{math.floor(room):,}",
                "tight": room <= 1,
                "events": events.get(row["population"]) if events else None,
            }
        )
    neurons = {row["population"]: math.prod(row["shape"]) for row in rows}
    return {
        "rows": rows,
        "neurons": sum(neurons.values()),
        "events": events is not None,
        "core": any(row["synapse"] == "shifted" for row in rows),
    }


def _training(record: Evaluation) -> Cells:
    epochs = [entry["epoch"] for entry in record.training]
    curves = {
        "loss": ("training loss" + " (cross-entropy)" * record.classed, 1),
        "accuracy": ("training accuracy, %", 100),
        "quality": (f"training {record.forms[0].conditions['clean'].measure[0]}", 1),
    }
    drawn = [
        plots.training_plot(name, title, epochs, [scale * entry[name] for entry in record.training])
        for name, (title, scale) in curves.items()
        if record.training and all(name in entry for entry in record.training)
    ]
    return {"plots": drawn, "last": record.training[-1] if record.training else None}


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(inner)}" for key, inner in value.items())
    return ", ".join(map(_text, value)) if isinstance(value, list) else "not set" if value is None else str(value)


def _rows(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return (key, text) for a table of two columns."""
    return [(key, _text(value)) for key, value in values.items()]


def _recipe(recipe: Mapping[str, Any]) -> dict[str, list[tuple[str, str]]]:
    """Return a recipe's sections as rows; its plain values come first, as one section."""
    sections = {"run": _rows({key: value for key, value in recipe.items() if not isinstance(value, dict | list)})}
    for key, value in recipe.items():
        if isinstance(value, dict):
            sections[key] = _rows(value)
        elif isinstance(value, list):
            sections[key] = [(str(number), _text(entry)) for number, entry in enumerate(value, start=1)]
    return {key: rows for key, rows in sections.items() if rows}


def _time(text: str) -> str:
    """Return an ISO time in UTC without its letters, or the text itself where it is no such time."""
    try:
        return f"{datetime.fromisoformat(text).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    except ValueError:
        return text


def _provenance(record: Evaluation) -> Cells:
    return {
        "recipe": _recipe(record.recipe or {}),
        "machine": _rows(
            {key: "none" if value is None else value for key, value in record.machine.model_dump().items()}
        ),
        "data": [(f"data, {key}", value) for key, value in _rows(record.data.model_dump(exclude_none=True))],
        "times": [(words.label(form), form.device, form.samples, form.seconds) for form in record.forms],
    }


def content(record: Evaluation, trace: Trace) -> Cells:
    """Return everything that the template needs.

    Args:
        record: what was measured.
        trace: a run of one sample with rasters.
    """
    return {
        "record": record,
        "created": _time(record.created),
        "simulators": words.listed([form.target for form in record.forms if form.form == "program"]),
        "headline": words.headline(record) if record.classed else quality.headline(record),
        "tiles": words.tiles(record, None if record.classed else list(quality.tiles(record))),
        "accuracy": _accuracy(record),
        "metrics": _metrics(record),
        "activity": _activity(record),
        "gradients": _gradients(record),
        "sample": _sample(trace),
        "agreement": _agreement(record),
        "program": _program(record),
        "training": _training(record),
        "trail": trail.cells(record.trail),
        "provenance": _provenance(record),
    }
