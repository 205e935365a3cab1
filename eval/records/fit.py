"""The record of a fit: what each layer and core of a chip needs, where it lies, and what limits say of it."""

from pathlib import Path
from typing import Any, Literal

from ...export.chip.limits import Limits
from ...export.chip.mapper import Mapper
from .base import Part, ProgramId, Record, read_model


class LayerFit(Part):
    """What one population needs, as if one core could hold all of it; see :class:`...export.chip.demand.Demand`.

    Attributes:
        whole: why it must lie on one core; None if it may be cut.
        cores: where it lies; empty without a mapping.
    """

    population: str
    shape: list[int]
    demand: dict[str, int]
    whole: str | None
    cores: list[int]


class CoreFit(Part):
    """What one core holds.

    Attributes:
        tile: (column, row) in the mesh.
        slices: runs of neurons, in the order of :func:`...export.chip.mapping.order`; (population, start, stop).
        demand: what it must hold.
        use: share of each limit that is used, at the upper and at the lower end of the limit.
    """

    number: int
    tile: tuple[int, int]
    slices: list[tuple[str, int, int]]
    demand: dict[str, int]
    use: dict[str, tuple[float, float]]


class Traffic(Part):
    """Messages between cores, in all.

    Attributes:
        of: "one spike a neuron", or "a sample" (the mean of those that were run).
        packets: messages sent by neurons on the chip.
        east_west: tile hops along rows.
        north_south: tile hops along columns.
    """

    of: Literal["one spike a neuron", "a sample"]
    packets: float
    east_west: float
    north_south: float


class Integers(Part):
    """The split Program against the whole one on target loihi: values compared (spikes, u, v), and how many differ."""

    samples: int
    compared: int
    different: int


class Fit(Record):
    """Whether a Program fits a chip.

    Attributes:
        verdict: "refused": a hard limit is passed, or the chip lacks what the Program needs; "unsure": it needs more
            than the lower end of some limit, or than one that nobody confirmed; "fits": all known limits are kept.
        reasons: why it is refused.
        warnings: why it is unsure.
        unknown: quantities without a public limit.
        cut: how many populations lie on more than one core.
        integers: the proof; None where nothing had to be cut, or nothing was run.
    """

    program: ProgramId
    chip: str
    mapper: Mapper
    verdict: Literal["fits", "unsure", "refused"]
    reasons: list[str]
    warnings: list[str]
    unknown: list[str]
    limits: Limits
    layers: list[LayerFit]
    cores: list[CoreFit]
    cut: int
    traffic: list[Traffic]
    integers: Integers | None

    @classmethod
    def of_schema_1(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Return values of schema 2: of the Program, only the hash was kept."""
        values = super().of_schema_1(values)
        if isinstance(values.get("program"), str):
            values["program"] = {"sha256": values["program"]}
        return values


def read_fit(path: Path) -> Fit:
    """Return the record in ``path``.

    Raises:
        FileError: missing, corrupt, or of another schema.
    """
    return read_model(Fit, path, "run 'spikeproof fit'")
