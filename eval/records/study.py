"""The record of a seed study: one row a cell, and means over its seeds."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from .base import Data, Part, Record, Share, read_model

PAPER = "paper"
"""Prefix of conditions under the paper's own attack, in the space of coded spikes."""


class Measured(Share):
    """Accuracy under one condition.

    Attributes:
        reliable: whether no alarm was raised; None where none were computed.
        alarms: their codes.
        threat_model: None for clean images.
    """

    reliable: bool | None = None
    alarms: tuple[str, ...] = ()
    threat_model: str | None = None


class StudiedForm(Part):
    """One form of one network.

    Attributes:
        accuracy: by condition: "clean", a white-box attack's label, "paper ..." or a protocol's name.
        facts: quantities by name, as "zero-gradient share".
        layers: share of exact zeros in the gradient at the output of each layer; empty for the Program.
    """

    accuracy: dict[str, Measured]
    facts: dict[str, float]
    layers: dict[str, float] = Field(default_factory=dict)


class Row(Part):
    """One cell: a network, trained once.

    Attributes:
        name: of the cell.
        family: what differs between rows beside the seed: pool, residual kind, coder, bits.
        seed: of training.
        key: of the cell.
        epochs: of training.
        forms: by name; only "float" where the network was refused by the chip.
        refused: the reason, or None.
        costs: of training.
        trail: after chosen epochs: zero-gradient share, clean and robust accuracy.
    """

    name: str
    family: dict[str, str]
    seed: int
    key: str
    epochs: int
    forms: dict[str, StudiedForm]
    refused: str | None
    costs: dict[str, float]
    trail: tuple[dict[str, Any], ...] = ()


class Study(Record):
    """A study on one data set.

    Attributes:
        plan: protocols, attacked samples, radius.
        rows: one a cell.
    """

    data: Data
    recipe: dict[str, Any]
    plan: dict[str, Any]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Mean:
    """Mean and sample standard deviation (None of a single value) of one quantity over seeds, and doubts."""

    value: float
    spread: float | None
    values: tuple[float, ...]
    alarms: tuple[str, ...] = ()


def families(study: Study) -> list[dict[str, str]]:
    """Return the families of rows, in order, each once."""
    found: list[dict[str, str]] = []
    for row in study.rows:
        if row.family not in found:
            found.append(row.family)
    return found


def title(family: dict[str, str]) -> str:
    """Return a family in words, as "max, add, phase, 8 bit"."""
    return ", ".join(family.values())


def rows_of(study: Study, family: dict[str, str]) -> list[Row]:
    """Return the rows of a family, one a seed."""
    return [row for row in study.rows if row.family == family]


def accuracy(rows: Sequence[Row], form: str, condition: str) -> Mean | None:
    """Return the accuracy over seeds in percent; None where it was not measured for all of them."""
    found = [row.forms[form].accuracy.get(condition) for row in rows if form in row.forms]
    if len(found) < len(rows) or any(one is None for one in found):
        return None
    shares = [one for one in found if one is not None]
    alarms = sorted({code for one in shares for code in one.alarms})
    return _mean([100 * one.value for one in shares], tuple(alarms))


def fact(rows: Sequence[Row], form: str, name: str) -> Mean | None:
    """Return a quantity over seeds; None where it was not measured for all of them."""
    values = [row.forms[form].facts[name] for row in rows if form in row.forms and name in row.forms[form].facts]
    return _mean(values) if len(values) == len(rows) else None


def _mean(values: Sequence[float], alarms: tuple[str, ...] = ()) -> Mean:
    spread = statistics.stdev(values) if len(values) > 1 else None
    return Mean(statistics.fmean(values), spread, tuple(values), alarms)


def conditions(study: Study) -> list[str]:
    """Return all conditions, "clean" first, in the order in which they were measured."""
    found = dict.fromkeys(name for row in study.rows for form in row.forms.values() for name in form.accuracy)
    return sorted(found, key=lambda name: name != "clean")


def read(path: Path) -> Study:
    """Return the study in ``path``.

    Raises:
        FileError: missing, corrupt, or of another schema.
    """
    return read_model(Study, path, "run 'spikeproof study seed'")
