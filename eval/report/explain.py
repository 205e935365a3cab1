"""The page of an explanation: the walk, each cause, what to do, and rasters of the layers that differ."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...toolkit.files import write_text
from ..explain.causes import CAUSES
from ..explain.explainer import Overlay
from ..explain.verdict import base_words, place_words, reason_words
from ..records.base import Share
from ..records.explanation import Effect, Explanation, Pair
from ..records.sensitivity import Sensitivities, Sensitivity
from . import environment, words
from .overlay import overlay_plot


def _share(one: Share) -> dict[str, Any]:
    value, low, high = (words.percent(number) for number in (one.value, one.low, one.high))
    return {"value": value, "low": low, "high": high, "correct": one.correct, "samples": one.samples}


def _pair(pair: Pair, number: int, overlays: Sequence[Overlay]) -> dict[str, Any]:
    first = pair.effect.first
    drawn = next((one for one in overlays if one.pair == (pair.before, pair.after)), None)
    drawings = []
    if drawn is not None:
        # The layer in which spikes part first, and the one that differs most on that sample.
        counts = {name: int((drawn.before[name] != drawn.after[name]).sum()) for name in pair.by_population}
        for name in dict.fromkeys([drawn.place.population, max(counts, key=lambda name: counts[name])]):
            plot = overlay_plot(f"pair{number}-{name}", name, drawn.before[name], drawn.after[name], drawn.pair)
            drawings.append({"plot": plot, "population": name, "different": counts[name]})
    return {
        "names": (pair.before, pair.after),
        "different": pair.effect.different,
        "compared": pair.effect.compared,
        "samples": pair.effect.paired.samples,
        "paired": pair.effect.paired,
        "by_population": pair.by_population,
        "place": None if first is None else place_words(first),
        "fires": None if first is None else (pair.before if first.fires == "before" else pair.after),
        "reason": None if first is None else reason_words(pair),
        "membranes": pair.membranes,
        "drawings": drawings,
        "sample": None if first is None else first.sample,
    }


def _layers(found: Sensitivities) -> dict[str, Any]:
    bits = sorted({one.bits for layer in found.layers for one in layer.tried})
    rows = []
    for layer in found.layers:
        tried = [layer.at(number) for number in bits]
        cells = [
            None
            if one is None
            else {
                "points": words.points(found.accuracy, one.accuracy),
                "accuracy": _share(one.accuracy),
                "p": f"{one.paired.p:.2g}",
                "own": one.bits == layer.own,
            }
            for one in tried
        ]
        rows.append({"record": layer, "cells": cells})
    return {"record": found, "bits": bits, "rows": rows, "accuracy": _share(found.accuracy)}


def render_sensitivity(record: Sensitivity) -> str:
    """Return the page of a sensitivity as HTML."""
    return environment().get_template("sensitivity.html.j2").render(record=record, layers=_layers(record))


def render_explanation(record: Explanation, overlays: Sequence[Overlay]) -> str:
    """Return the page of an explanation as HTML.

    Args:
        record: what was found.
        overlays: spikes of the pairs that differ.
    """
    base = next(stage.accuracy for stage in record.stages if stage.name == record.base)
    program = next(stage.accuracy for stage in record.stages if stage.name == "Program")

    def effect(one: Effect, beside: Share) -> dict[str, Any]:
        return {
            "different": one.different,
            "changed": one.paired.classes_changed,
            "lost": one.paired.lost,
            "won": one.paired.won,
            "p": f"{one.paired.p:.2g}",
            "points": words.points(beside, one.accuracy),
            "accuracy": _share(one.accuracy),
        }

    causes = [
        {
            "record": one,
            "share": f"{100 * one.share:.1f}",
            "alone": effect(one.alone, base),
            "repaired": effect(one.repaired, program),
        }
        for one in record.causes
    ]
    page = (
        environment()
        .get_template("explain.html.j2")
        .render(
            record=record,
            stages=[{"record": stage, "accuracy": _share(stage.accuracy)} for stage in record.stages],
            pairs=[_pair(pair, number, overlays) for number, pair in enumerate(record.pairs)],
            causes=causes,
            exact=[CAUSES[code].title for code in record.exact],
            unknown=[CAUSES[code].title for code in record.unknown],
            base=base_words(record),
            listed=words.listed,
            layers=None if record.layers is None else _layers(record.layers),
        )
    )
    return page.strip() + "\n"


def write_explanation(path: Path, record: Explanation, overlays: Sequence[Overlay]) -> None:
    """Write the page of an explanation.

    Args:
        path: replaced atomically.
        record: what was found.
        overlays: spikes of the pairs that differ.

    Raises:
        FileError: ``path`` cannot be written.
    """
    write_text(path, render_explanation(record, overlays))
