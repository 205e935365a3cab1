"""The limits of the chips, from one data file (chips.toml) in which every number has its source."""

from functools import cache
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from . import CHIPS

QUANTITIES = (
    "cores",
    "chip_neurons",
    "chip_connections",
    "neurons",
    "axons_in",
    "axons_out",
    "synapse_bits",
    "configurations",
    "thresholds",
    "formats",
    "delay",
)
"""What is limited: the first three a chip, the others a core, see :class:`.demand.Demand`."""

CORE_QUANTITIES = (
    "channels",
    "hidden",
    "outputs",
    "synapses",
    "fan_out",
    "connections",
    "fan_in",
    "input_projection",
    "output_projection",
)
"""What is limited of Xylo's one core, see :func:`.core.demand`."""

FIELDS = ("weight_bits", "weight_exponent", "vth", "du", "dv", "bias_mantissa", "bias_exponent", "message_bits")
"""Integers of a Program that have a documented range."""

CORE_FIELDS = ("weight_bits", "weight_exponent", "vth", "dash", "bias", "message_bits")
"""The same of a Program of profile ``xylo``."""

Family = Literal["loihi", "xylo"]
PROFILES: dict[Family, str] = {"loihi": "lava", "xylo": "xylo"}
"""The profile of the Programs that a family of chips computes."""

Count = Annotated[int, Field(ge=1)]
Confidence = Literal["high", "medium", "low", "none"]
Quality = Literal["published", "software", "secondary", "assumed", "none"]


class _Sourced(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    confidence: Confidence
    quality: Quality
    source: Annotated[str, Field(min_length=1)]


class Limit(_Sourced):
    """One limit of a chip.

    Attributes:
        low: up to here every source agrees that it fits; None where there is no public number.
        high: beyond here none says that it fits.
        unit: of what, a core or a chip.
        hard: whether more than ``high`` is refused; else it is only warned of.
    """

    low: Count | None = None
    high: Count | None = None
    unit: str
    hard: bool

    @model_validator(mode="after")
    def _ordered(self) -> "Limit":
        if (self.low is None) != (self.high is None) or (self.confidence == "none") != (self.low is None):
            raise ValueError("low, high and a confidence belong together")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}")
        if self.hard and self.high is None:
            raise ValueError("a hard limit needs a number")
        return self


class Range(_Sourced):
    """The documented range of an integer, both ends included."""

    low: int
    high: int


class Mesh(_Sourced):
    """Tiles in rows and columns; core n is in tile n // cores_a_tile, counted along the rows."""

    columns: Count
    rows: Count
    cores_a_tile: Count

    def tile(self, core: int) -> tuple[int, int]:
        """Return (column, row) of the tile that ``core`` is in; beyond the chip, rows are counted on."""
        row, column = divmod(core // self.cores_a_tile, self.columns)
        return column, row

    @property
    def cores(self) -> int:
        """How many cores it has room for."""
        return self.columns * self.rows * self.cores_a_tile


class Limits(BaseModel):
    """All limits of one chip, by quantity (:data:`QUANTITIES`), ranges by field (:data:`FIELDS`), and its mesh."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    title: str
    family: Family = "loihi"
    mesh: Mesh
    limits: dict[str, Limit]
    fields: dict[str, Range]

    @property
    def main(self) -> tuple[str, ...]:
        """What is shown first of what a core holds."""
        one_core = ("hidden", "outputs", "connections", "fan_out")
        return one_core if self.family == "xylo" else ("neurons", "axons_in", "axons_out", "synapse_bits")

    @property
    def graded(self) -> bool:
        """Whether its spikes carry a number."""
        return self.fields["message_bits"].high > 0

    @model_validator(mode="after")
    def _complete(self) -> "Limits":
        quantities, fields = (QUANTITIES, FIELDS) if self.family == "loihi" else (CORE_QUANTITIES, CORE_FIELDS)
        for kind, found, expected in (("limits", self.limits, quantities), ("fields", self.fields, fields)):
            if set(found) != set(expected):
                raise ValueError(f"{kind}: {sorted(found)}, expected {sorted(expected)}")
        return self


@cache
def load_limits(chip: str) -> Limits:
    """Return the limits of a chip; raises as :meth:`CHIPS.get <...toolkit.registry.Registry.get>`."""
    found: Limits = CHIPS.get(chip)
    return found
