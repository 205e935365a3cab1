"""The energy attack: images of the ball that cost most synaptic operations, and a bound that none of it exceeds."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...export.program import Program
from ...hw_targets.target import get_target
from ...toolkit.coding import Coder, Direct
from ...toolkit.data import Images
from ...toolkit.errors import InputError
from ...toolkit.progress import Track, silent
from ..measure.activity import dense_operations
from ..measure.metrics import SynapticOperations
from ..proof.layers import unsupported
from ..proof.region import Ball
from ..proof.sets import Prepared, bound
from ..proof.trains import Levels
from ..records.cost import WorstEnergy
from ..robustness.threat import levels as whole_levels

Ints = NDArray[np.int64]
QUERIES = 500
"""Runs of the Program a sample."""
KICK = 0.3
"""Share of pixels that are flipped to start anew, once no block helps any sample."""


@dataclass(frozen=True)
class Found:
    """What the search found.

    Attributes:
        levels: of the chip's input, (samples, ...).
        operations: with them, (samples,).
        clean: with the samples themselves, (samples,).
        queries: that were spent, a sample.
    """

    levels: Ints
    operations: Ints
    clean: Ints
    queries: int


def search(
    program: Program, levels: Ints, radius: int, *, queries: int = QUERIES, seed: int = 0, track: Track = silent
) -> Found:
    """Search the corners of the ball around each sample for the most synaptic operations, greedily.

    From the best of the sample, both extreme corners and three random ones, blocks of pixels are turned from one end to
    the other, large ones first, then smaller ones, and what does not cost less is kept. When a round of all sizes helps
    no sample, a share of the pixels is turned at random.

    Args:
        program: what runs, on ``loihi``; its input is the same at every step.
        levels: samples as the chip receives them, (samples, ...).
        radius: in levels.
        queries: runs a sample.
        seed: of blocks and corners.
        track: progress.
    """
    compiled, metric = get_target("loihi").compile(program), SynapticOperations(program)
    random = np.random.default_rng(seed)
    shape, size = levels.shape, int(np.prod(levels.shape[1:]))
    clean = levels.reshape(len(levels), -1)
    low, high = np.maximum(clean - radius, 0), np.minimum(clean + radius, program.input.full)
    left = iter(track(range(queries), "worst energy", queries))

    def cost(found: Ints) -> Ints | None:
        """Return the operations of each sample; None if no query is left."""
        if next(left, None) is None:
            return None
        messages = np.broadcast_to(found.reshape(shape).astype(np.int32), (program.steps, *shape))
        return np.asarray(sum(metric.each(compiled.run(messages), messages).values()), dtype=np.int64)

    first = cost(clean)
    if first is None:
        raise InputError(f"worst energy: {queries} queries, expected at least 1")
    best, most, spent = clean.copy(), first.copy(), 1
    now, value = best.copy(), most.copy()
    corners = [high, low, *(np.where(random.integers(0, 2, clean.shape, dtype=bool), high, low) for _ in range(3))]

    def tried(trial: Ints) -> bool:
        """Keep a trial where it costs no less; return whether there was a query left for it."""
        nonlocal spent
        given = cost(trial)
        if given is None:
            return False
        spent += 1
        taken = given >= value
        now[taken], value[taken] = trial[taken], given[taken]
        better = value > most
        best[better], most[better] = now[better], value[better]
        return True

    going = all(tried(corner) for corner in corners)
    while going:
        before = value.copy()
        part = max(size // 2, 1)
        while going and part:
            for block in np.array_split(random.permutation(size), -(-size // part)):
                trial = now.copy()
                trial[:, block] = np.where(now[:, block] == high[:, block], low[:, block], high[:, block])
                if not (going := tried(trial)):
                    break
            part //= 2
        if going and (value == before).all():
            turned = random.random(clean.shape) < KICK
            now = np.where(turned, np.where(best == high, low, high), best)
            kicked = cost(now)
            going = kicked is not None
            if kicked is not None:
                spent, value = spent + 1, kicked
    return Found(best.reshape(shape), most, first, spent)


def upper(program: Program, levels: Ints, radius: int, track: Track = silent) -> tuple[list[int], str]:
    """Return operations that no image of the ball exceeds, a sample, and where that comes from.

    Each neuron is counted with the most spikes of all trains that it may send, see :func:`..proof.sets.bound`; where
    proofs do not cover the Program, with one at every step.

    Args:
        program: whose input is the same at every step.
        levels: samples as the chip receives them, (samples, ...).
        radius: in levels.
        track: progress.
    """
    reasons = unsupported(program)
    if reasons:
        return [sum(dense_operations(program).values())] * len(levels), f"every neuron at every step: {reasons[0]}"
    prepared, metric = Prepared(program), SynapticOperations(program)
    fans = [(source, reached.ravel()) for source, _, reached in metric.fan_outs]
    found = []
    for sample in track(levels.reshape(len(levels), -1), "bound of the energy", len(levels)):
        bounds = bound(prepared, Ball(sample, radius, program.steps, program.input.full), 0)
        most = {
            name: (sent.high != 0).sum(0) if isinstance(sent, Levels) else sent.counts()[1]
            for name, sent in bounds.sent.items()
        }
        found.append(int(sum((most[source] * reached).sum() for source, reached in fans)))
    return found, "sets of spike trains"


def condition(epsilon: float) -> str:
    """Return how the images of an energy attack are called."""
    return f"worst energy@{epsilon:g}"


def worst_energy(
    program: Program,
    coder: Coder,
    images: Images,
    epsilon: float,
    *,
    queries: int = QUERIES,
    seed: int = 0,
    track: Track = silent,
) -> tuple[WorstEnergy, Images]:
    """Return the record of an energy attack, and its images: those of most synaptic operations.

    Args:
        program: what runs.
        coder: the direct one.
        images: (samples, ...) in [0, 1]; the ball lies around what the chip receives of them.
        epsilon: its radius, rounded down to whole levels of the chip's input.
        queries: runs of the Program a sample.
        seed: of the search.
        track: progress.

    Raises:
        InputError: another coder, or an epsilon without a level.
    """
    if not isinstance(coder, Direct):
        raise InputError(f"worst energy: the coder is {coder.name!r}; only direct coding has a ball of levels so far")
    radius = whole_levels(epsilon)
    levels = coder.integers(images)[0].astype(np.int64)
    found = search(program, levels, radius, queries=queries, seed=seed, track=track)
    most, by = upper(program, levels, radius, track)
    record = WorstEnergy(
        condition=condition(epsilon),
        epsilon=epsilon,
        levels=radius,
        queries=found.queries,
        seed=seed,
        clean=found.clean.tolist(),
        searched=found.operations.tolist(),
        bound=most,
        bound_by=by,
    )
    return record, (found.levels / np.float32(coder.levels)).astype(np.float32)
