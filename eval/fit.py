"""Will a Program fit a chip? What each layer and core needs, where it lies, and the proof that no integer changed."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..export.chip import chips, core
from ..export.chip.demand import demand
from ..export.chip.limits import Limits, load_limits
from ..export.chip.mapper import NAMES, Mapper, excesses, place
from ..export.chip.mapping import Core, Mapping, Slice, hops
from ..export.chip.split import split, whole
from ..export.program import Program
from ..hw_targets.loihi.simulator import LoihiTarget
from ..hw_targets.mapped import together
from ..hw_targets.target import Trace
from ..toolkit.errors import DisagreementError, UnsupportedError
from .agreement.targets import difference
from .records.base import header
from .records.fit import CoreFit, Fit, Integers, LayerFit, Traffic


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


def _in_core(program: Program, chip: str, mapper: Mapper, limits: Limits, about: dict[str, Any] | None) -> Fit:
    """Count what a Program asks of Xylo's one core, or refuse one of another arithmetic; nothing is cut or run."""
    reasons = chips.unsupported(program, chip)
    warnings: list[str] = []
    needed = {} if reasons else core.total(program)
    for key, count in needed.items():
        limit = limits.limits[key]
        if limit.high is None or limit.low is None or count <= limit.low:
            continue
        ends = f"{limit.low:,}" if limit.low == limit.high else f"{limit.low:,} to {limit.high:,}"
        text = f"the Program: needs {count:,} {NAMES[key]}; {limits.title} has {ends} {limit.unit}"
        (reasons if limit.hard and count > limit.high else warnings).append(text)
    for key, (low, high) in ({} if not needed else core.values(program)).items():
        allowed = limits.fields[key]
        if low < allowed.low or high > allowed.high:
            warnings.append(
                f"{key.replace('_', ' ')} from {low} to {high}, documented are {allowed.low} to {allowed.high}"
            )
    sizes = {population.name: int(np.prod(population.shape)) for population in program.populations}
    known = {key: (limit.high, limit.low) for key, limit in limits.limits.items() if limit.low and limit.high}
    use = {key: (count / known[key][0], count / known[key][1]) for key, count in needed.items() if key in known}
    call = f"spikeproof.eval.fit.fit(program, {chip!r}, {mapper!r}, messages)"
    return Fit(
        **(about or header("program", call, program=program)),
        chip=chip,
        mapper=mapper,
        verdict="refused" if reasons else "unsure" if warnings else "fits",
        reasons=reasons,
        warnings=warnings,
        unknown=[key for key, limit in limits.limits.items() if limit.high is None],
        limits=limits,
        layers=[
            LayerFit(
                population=name,
                shape=list(program.shape_of(name)),
                demand=each,
                whole=None,
                cores=[] if reasons else [0],
            )
            for name, each in (core.demand(program) if needed else {}).items()
        ],
        cores=[]
        if reasons
        else [
            CoreFit(
                number=0,
                tile=(0, 0),
                slices=[(name, 0, size) for name, size in sizes.items()],
                demand=needed,
                use=use,
            )
        ],
        cut=0,
        traffic=[],
        integers=None,
    )


def fit(
    program: Program,
    chip: str,
    mapper: Mapper,
    messages: NDArray[np.int32],
    about: dict[str, Any] | None = None,
) -> Fit:
    """Place a Program on a chip, count what it needs, and run it split against whole.

    Args:
        program: what to place.
        chip: where.
        mapper: how.
        messages: input (time, batch, ...) to run both on; without samples nothing is run.
        about: the record's header, see :func:`.records.base.header`; that of a Program by itself if None.

    Raises:
        DisagreementError: split and whole Program differ.
        InputError: the messages do not fit the Program.
    """
    limits = load_limits(chip)
    if "xylo" in (limits.family, program.profile):
        return _in_core(program, chip, mapper, limits, about)
    placed = _place(program, chip, mapper)
    mapping = placed.mapping
    cut = [p.name for p in program.populations if mapping is not None and len(mapping.slices(p.name)) > 1]
    traffic, integers = [], None
    if mapping is not None:
        trace = LoihiTarget().compile(program).run(messages, rasters=bool(cut)) if messages.shape[1] else None
        traffic = _traffic(program, mapping, trace)
        integers = _integers(program, mapping, messages, trace) if cut and trace is not None else None
    call = f"spikeproof.eval.fit.fit(program, {chip!r}, {mapper!r}, messages)"
    return Fit(
        **(about or header("program", call, program=program)),
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
    )
