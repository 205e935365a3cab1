"""Will a Program fit a chip? What each layer and core needs, where it lies, and the proof that no integer changed."""

from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from ..export.chip import chips
from ..export.chip.demand import demand
from ..export.chip.limits import Limits, load_limits
from ..export.chip.mapper import Mapper, excesses, place
from ..export.chip.mapping import Core, Mapping, Slice, hops
from ..export.chip.split import split, whole
from ..export.program import Program
from ..hw_targets.loihi.simulator import LoihiTarget
from ..hw_targets.mapped import together
from ..hw_targets.target import Trace
from ..toolkit.errors import DisagreementError, FileError, UnsupportedError
from ..toolkit.files import read_json
from .agreement.targets import difference
from .records.evaluation import now, packages


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LayerFit(_Part):
    """What one population needs, as if one core could hold all of it; see :class:`..export.chip.demand.Demand`.

    Attributes:
        whole: why it must lie on one core; None if it may be cut.
        cores: where it lies; empty without a mapping.
    """

    population: str
    shape: list[int]
    demand: dict[str, int]
    whole: str | None
    cores: list[int]


class CoreFit(_Part):
    """What one core holds.

    Attributes:
        tile: (column, row) in the mesh.
        slices: runs of neurons, in the order of :func:`..export.chip.mapping.order`; (population, start, stop).
        demand: what it must hold.
        use: share of each limit that is used, at the upper and at the lower end of the limit.
    """

    number: int
    tile: tuple[int, int]
    slices: list[tuple[str, int, int]]
    demand: dict[str, int]
    use: dict[str, tuple[float, float]]


class Traffic(_Part):
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


class Integers(_Part):
    """The split Program against the whole one on target loihi: values compared (spikes, u, v), and how many differ."""

    samples: int
    compared: int
    different: int


class Fit(_Part):
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

    schema_version: Literal[1] = 1
    created: str
    program: str
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
    packages: dict[str, str]


@dataclass(frozen=True)
class _Placed:
    mapping: Mapping | None
    reasons: list[str]
    warnings: list[str]


def _place(program: Program, chip: str, mapper: Mapper) -> _Placed:
    reasons = chips.unsupported(program, chip)
    try:
        mapping = place(program, chip, mapper)
    except UnsupportedError as error:
        return _Placed(None, [*reasons, str(error)], [])
    return _Placed(mapping, reasons, [text for text, _ in excesses(program, mapping)])


def _layers(program: Program, chip: str, mapping: Mapping | None) -> list[LayerFit]:
    sizes = {population.name: int(np.prod(population.shape)) for population in program.populations}
    apart = Mapping(chip, tuple(Core(i, (Slice(name, 0, size),)) for i, (name, size) in enumerate(sizes.items())))
    uncut = whole(program)
    return [
        LayerFit(
            population=population.name,
            shape=list(population.shape),
            demand=asdict(needed),
            whole=uncut.get(population.name),
            cores=[] if mapping is None else sorted({*mapping.core_of(program, population.name).tolist()}),
        )
        for population, needed in zip(program.populations, demand(program, apart).values(), strict=True)
    ]


def _cores(program: Program, mapping: Mapping, limits: Limits) -> list[CoreFit]:
    needed = {core: asdict(one) for core, one in demand(program, mapping).items()}
    known = {key: (limit.high, limit.low) for key, limit in limits.limits.items() if limit.low and limit.high}
    return [
        CoreFit(
            number=core.number,
            tile=limits.mesh.tile(core.number),
            slices=[(part.population, part.start, part.stop) for part in core.slices],
            demand=needed[core.number],
            use={
                key: (count / known[key][0], count / known[key][1])
                for key, count in needed[core.number].items()
                if key in known
            },
        )
        for core in mapping.cores
    ]


def _traffic(program: Program, mapping: Mapping, trace: Trace | None) -> list[Traffic]:
    ways = hops(program, mapping)
    kinds: list[tuple[Literal["one spike a neuron", "a sample"], dict[str, NDArray[Any]]]] = [
        ("one spike a neuron", {name: np.ones(len(way.packets)) for name, way in ways.items()})
    ]
    if trace is not None:
        samples = len(trace.output)
        kinds.append(("a sample", {name: trace.spike_counts[name].reshape(samples, -1).mean(0) for name in ways}))
    return [
        Traffic(
            of=of,
            **{
                key: float(sum((sent[name] * getattr(way, key)).sum() for name, way in ways.items()))
                for key in ("packets", "east_west", "north_south")
            },
        )
        for of, sent in kinds
    ]


def _integers(program: Program, mapping: Mapping, messages: NDArray[np.int32], expected: Trace) -> Integers:
    """Run the split Program and compare.

    Raises:
        DisagreementError: a value differs.
    """
    run = LoihiTarget().compile(split(program, mapping)).run(messages, rasters=True)
    compared = difference("loihi", expected, together(run, program, mapping))
    wrong = next((bits for bits in compared if bits.different), None)
    if wrong is not None:
        raise DisagreementError(f"the split Program differs in {wrong.quantity} of population {wrong.population!r}")
    return Integers(samples=messages.shape[1], compared=sum(bits.compared for bits in compared), different=0)


def fit(program: Program, chip: str, mapper: Mapper, messages: NDArray[np.int32]) -> Fit:
    """Place a Program on a chip, count what it needs, and run it split against whole.

    Args:
        program: what to place.
        chip: where.
        mapper: how.
        messages: input (time, batch, ...) to run both on; without samples nothing is run.

    Raises:
        DisagreementError: split and whole Program differ.
        InputError: the messages do not fit the Program.
    """
    limits = load_limits(chip)
    placed = _place(program, chip, mapper)
    mapping = placed.mapping
    cut = [p.name for p in program.populations if mapping is not None and len(mapping.slices(p.name)) > 1]
    traffic, integers = [], None
    if mapping is not None:
        trace = LoihiTarget().compile(program).run(messages, rasters=bool(cut)) if messages.shape[1] else None
        traffic = _traffic(program, mapping, trace)
        integers = _integers(program, mapping, messages, trace) if cut and trace is not None else None
    return Fit(
        created=now(),
        program=program.sha256(),
        chip=chip,
        mapper=mapper,
        verdict="refused" if placed.reasons else "unsure" if placed.warnings else "fits",
        reasons=placed.reasons,
        warnings=placed.warnings,
        unknown=[key for key, limit in limits.limits.items() if limit.high is None],
        limits=limits,
        layers=_layers(program, chip, mapping),
        cores=[] if mapping is None else _cores(program, mapping, limits),
        cut=len(cut),
        traffic=traffic,
        integers=integers,
        packages=packages() | {"networkx": version("networkx")},
    )


def read_fit(path: Path) -> Fit:
    """Return a stored record.

    Raises:
        FileError: there is none, or it is not one.
    """
    try:
        return Fit.model_validate(read_json(path))
    except ValidationError as error:
        raise FileError(f"{path}: not a record of 'spikeproof fit'; run it again") from error
