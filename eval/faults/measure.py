"""Everything that is measured, searched and proved about flipped bits of one Program, in one record."""

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...export.program import Program
from ...hw_targets.target import get_target
from ...toolkit.errors import InputError
from ...toolkit.progress import Track, silent
from ..records.base import share_of
from ..records.faults import Chance, Faults, Proof, Selection, Stored
from .against import broken
from .chance import Judge, groups, price, random_flips
from .memory import Memory
from .readout import absent, layer, proved
from .search import search

SEEDS, MOST, GROUP, GROUP_SEEDS, SEARCHED, READOUT = 20, 1024, 16, 5, 200, 16
"""Random flips: seeds, and how many; flips and choices a group; samples that a search sees; flips of the read-out."""


def _proof(program: Program, messages: NDArray[np.int32], flips: int, track: Track) -> Proof:
    memory = Memory(program)
    own = program.readout.population
    bits = sum(f.bits * f.words for f in memory.fields if f.layer == own and f.kind in ("weight", "bias"))
    reason = absent(program)
    if reason is not None:
        return Proof(bits=bits, most=flips, proved=[], broken=[], absent=reason)
    trace = get_target("loihi").compile(program).run(messages, rasters=True)
    found = layer(program, messages, trace)
    against = broken(found, messages, trace, flips, track)
    return Proof(
        bits=bits,
        most=flips,
        proved=proved(found, trace.classes, flips),
        broken=[None if one is None else one[0] for one in against],
    )


def measure_faults(
    program: Program,
    messages: NDArray[np.int32],
    labels: NDArray[np.integer],
    about: dict[str, Any],
    *,
    layer: str | None = None,
    field: str | None = None,
    bit: int | None = None,
    seeds: int = SEEDS,
    most: int = MOST,
    worst: int = 20,
    level: float | None = None,
    track: Track = silent,
) -> Faults:
    """Flip stored bits of a Program: by chance, layer by layer, by search; and prove what the read-out layer bears.

    Args:
        program: whose integers.
        messages: input (time, samples, ...).
        labels: (samples,).
        about: the record's header, see :func:`..records.base.header`.
        layer: random and searched flips are of this population only.
        field: of this kind only: weight, bias, vth, du or dv.
        bit: at this position only, from 0, the least significant.
        seeds: of random flips.
        most: random flips, at most.
        worst: searched flips, at most; 0: no search.
        level: accuracy at which a search stops; that of guessing and a tenth if None.
        track: progress.

    Raises:
        InputError: there is no such layer, field or bit, or a number is refused.
    """
    if seeds < 1 or most < 1 or worst < 0:
        raise InputError(f"faults: {seeds} seeds, {most} random and {worst} searched flips; give at least 1, 1 and 0")
    if level is not None and not 0 <= level <= 1:
        raise InputError(f"--level {level}: is a share of samples; choose 0 to 1")
    if not messages.shape[1]:
        raise InputError("faults: no samples")
    begun = time.perf_counter()
    memory = Memory(program)
    among = memory.select(layer, field, bit)
    judge = Judge(memory, messages, labels)
    right = judge.right([])
    clean = right / len(labels)
    classes = int(np.prod(program.shape_of(program.readout.population)))
    stop = 1.1 / classes if level is None else level
    # A threshold or decay is shared by a whole layer, so weights are also taken alone, as the literature does.
    alone = (
        field is None and bit is None and any(f.kind == "weight" and layer in (None, f.layer) for f in memory.fields)
    )
    choices = [("weight", memory.select(layer, "weight"))] if alone else []
    choices.append((field or "", among))
    chances = []
    for kind, bits in choices:
        drawn = random_flips(judge, bits, most, seeds, clean, track)
        chances.append(Chance(field=kind or None, bits=len(bits), random=drawn, cost=price(drawn, clean)))
    return Faults(
        **about,
        samples=len(labels),
        clean=share_of(right, len(labels)),
        memory=[
            Stored(field=f.kind, layer=f.layer, label=f.label, bits=f.bits, words=f.words, signed=f.signed)
            for f in memory.fields
        ],
        left_out=memory.left_out,
        selection=Selection(layer=layer, field=field, bit=bit, bits=len(among)),
        seeds=seeds,
        chances=chances,
        groups=groups(judge, GROUP, min(seeds, GROUP_SEEDS), clean, track),
        searches=[
            search(judge, bits, field=kind or None, most=worst, level=stop, samples=SEARCHED, clean=clean, track=track)
            for kind, bits in choices
            if worst
        ],
        proof=_proof(program, messages, READOUT, track),
        seconds=time.perf_counter() - begun,
    )
