"""The constants of the energy model: read from one data file, in which each has an interval, a quality and a source."""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

from pydantic import ValidationError

from ...toolkit.errors import InputError
from ..records.base import Part

Quality = Literal["simulated", "fitted", "measured", "assumed"]


@dataclass(frozen=True)
class Interval:
    """Two non-negative bounds; sums and products of intervals are exact at both ends."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.high:
            raise InputError(f"interval {self.low} to {self.high}: bounds must be in order and not negative")

    def __add__(self, other: "Interval") -> "Interval":
        return Interval(self.low + other.low, self.high + other.high)

    def __mul__(self, other: "Interval | float") -> "Interval":
        by = other if isinstance(other, Interval) else Interval(other, other)
        return Interval(self.low * by.low, self.high * by.high)


NOTHING = Interval(0.0, 0.0)


class Source(Part):
    """Where constants come from, and what is known about how they were found."""

    title: str
    url: str
    note: str


class Constant(Part):
    """One constant.

    Attributes:
        chip: which chip, ``CHIP-board`` for a board with one, or ``int8-45nm`` for the estimate of an ANN.
        term: what it is the price of.
        kind: of synapse; None for all kinds.
        unit: pJ or ns an event, mW, or a count.
        value: low and high end.
        quality: how sure it is.
        source: key of a :class:`Source`.
        note: what the source calls it.
    """

    chip: str
    term: str
    kind: str | None = None
    unit: Literal["pJ", "ns", "mW", "count"]
    value: tuple[float, float]
    quality: Quality
    source: str
    note: str


class Table(Part):
    """All constants with their sources."""

    sources: dict[str, Source]
    constants: tuple[Constant, ...]

    def pick(self, chip: str, term: str, unit: str, kind: str | None = None) -> tuple[Constant, ...]:
        """Return the constants of a term: those for all kinds, and those for ``kind``."""
        return tuple(
            one
            for one in self.constants
            if (one.chip, one.term, one.unit) == (chip, term, unit) and one.kind in (None, kind)
        )

    def interval(self, chip: str, term: str, unit: str, kind: str | None = None) -> Interval:
        """Return the union of a term's constants, from the lowest end to the highest.

        Raises:
            InputError: there is no constant for it: nothing is ever made up.
        """
        found = self.pick(chip, term, unit, kind)
        if not found:
            raise InputError(f"energy: no public constant for {term!r} in {unit} on {chip!r}, so nothing is estimated")
        return Interval(min(one.value[0] for one in found), max(one.value[1] for one in found))


@cache
def table() -> Table:
    """Return the packaged constants.

    Raises:
        InputError: the file names a source that it does not hold, or a key is wrong.
    """
    text = resources.files(__package__).joinpath("constants.toml").read_text(encoding="utf-8")
    return parse(text)


def parse(text: str) -> Table:
    """Return the constants of a TOML text; see :func:`table`."""
    try:
        found = Table.model_validate(tomllib.loads(text))
    except (ValidationError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"energy constants: {error}") from error
    for one in found.constants:
        Interval(*one.value)
        if one.source not in found.sources:
            raise InputError(f"energy constants: {one.term!r} names the source {one.source!r}, which is not listed")
    return found
