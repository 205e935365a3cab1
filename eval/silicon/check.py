"""The check: measured networks as Programs, through the mapper and the energy model, beside what the board took."""

import hashlib
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, permutations
from pathlib import Path

from ...export.chip import chips
from ...export.chip.mapper import excesses, place
from ...export.program import Program
from ...toolkit.errors import InputError
from ...toolkit.progress import Track, silent
from ..cost.board import events_of, streamed
from ..cost.constants import Interval, Table, table
from ..cost.energy import MILLI, NANO, Estimate, estimate, mapped
from ..records.base import command_line, header
from ..records.silicon import Board, Ends, Measured, Modelled, Silicon, Slope, line
from .logs import BoardRun, find_logs, read_runs
from .networks import STEPS, events_at, keyword_spotter, scaled

CHIP = "loihi1"
RATES = (0.01, 0.02, 0.05, 0.1, 0.2)
TYPICAL = (0.02, 0.1)
LEAST = 2
"""Copies from which the time of a step no longer changes, so that a copy adds events alone."""
SPOTTER = "keyword spotter"
ASSUMED = [
    f"rates: no log has them. Every neuron and every input sends at one rate, swept over {RATES} messages a step; "
    f"typical are {TYPICAL[0]:g} to {TYPICAL[1]:g}: NengoLoihi's default tunes neurons to at most 100 to 120 Hz, and a "
    "step is 1 ms",
    f"steps: the keyword spotter's log does not name them; {STEPS} as in the other logs, and as long as NengoLoihi's "
    "example of this network holds each window",
    "weights: 8 bits, at random, none 0, all synapses dense; they change no count",
    "the spotter's 29 outputs are neurons here; whether the board or the host decoded them is not said",
    "a branch: 10 layers of 256, one after the other; first and last layer of 256 on 8 cores each, as the logs say",
    "updates: between only those that fire being active, and all of them",
    "the time of a step on the board is the measured one; the model of the chip alone knows neither host nor input",
]


def title(copies: int | None) -> str:
    """Return a network's name."""
    return SPOTTER if copies is None else f"scaling, {copies} cop{'y' if copies == 1 else 'ies'}"


def measured(runs: Sequence[BoardRun]) -> list[Measured]:
    """Return means over the runs of each network, the keyword spotter first."""

    def key(run: BoardRun) -> int:
        return -1 if run.copies is None else run.copies

    found = []
    for _, several in groupby(sorted(runs, key=key), key):
        of = list(several)
        dynamic = [run.rise * run.seconds / run.inferences for run in of]
        steps = [run.steps for run in of if run.steps is not None]
        found.append(
            Measured(
                network=title(of[0].copies),
                copies=of[0].copies,
                runs=len(of),
                readings=(sum(run.readings[0] for run in of), sum(run.readings[1] for run in of)),
                idle=statistics.fmean(run.idle for run in of),
                running=statistics.fmean(run.running for run in of),
                seconds=statistics.fmean(run.seconds / run.inferences for run in of),
                total=statistics.fmean(run.running * run.seconds / run.inferences for run in of),
                dynamic=statistics.fmean(dynamic),
                spread=statistics.stdev(dynamic) if len(of) > 1 else None,
                steps=statistics.fmean(steps) if steps else None,
            )
        )
    return found


@dataclass(frozen=True)
class _Placed:
    program: Program
    cores: int
    verdict: str
    estimates: dict[float, tuple[Estimate, Estimate]]


def _placed(program: Program, constants: Table) -> _Placed:
    """Place a Program, and estimate it at every rate: only those that fire active, and all."""
    mapping = place(program, CHIP, "partition")
    told = excesses(program, mapping)
    refused = chips.unsupported(program, CHIP) or any(hard for _, hard in told)
    traffic = mapped(program, mapping, constants)
    found = {}
    for rate in RATES:
        few, many = (events_at(program, rate, traffic, busy=busy) for busy in (False, True))
        found[rate] = (estimate(few, CHIP, constants), estimate(many, CHIP, constants))
    verdict = "refused" if refused else "unsure" if told else "fits"
    return _Placed(program, len(mapping.cores), verdict, found)


def _union(one: Interval, other: Interval) -> Interval:
    return Interval(min(one.low, other.low), max(one.high, other.high))


def _ends(interval: Interval) -> Ends:
    return interval.low, interval.high


def _events(placed: _Placed, rate: float) -> Interval:
    few, many = placed.estimates[rate]
    return _union(events_of(few), events_of(many))


def _modelled(name: str, placed: _Placed, board: Measured, constants: Table) -> list[Modelled]:
    second = board.seconds / STEPS
    found = []
    for rate, (few, many) in placed.estimates.items():
        low, high = (streamed(one, constants, Interval(second, second)) for one in (few, many))
        found.append(
            Modelled(
                network=name,
                rate=rate,
                neurons=sum(int(population.bias.size) for population in placed.program.spiking),
                cores=placed.cores,
                verdict=placed.verdict,
                events=_ends(_events(placed, rate)),
                chip=_ends(_union(few.total, many.total)),
                step=_ends(_union(few.step, many.step)),
                dynamic=_ends(_union(low.dynamic, high.dynamic)),
                total=_ends(_union(low.total, high.total)),
            )
        )
    return found


def _slope(runs: Sequence[BoardRun], placed: dict[str, _Placed]) -> Slope:
    many = [run for run in runs if run.copies is not None and run.copies >= LEAST]
    copies = sorted({run.copies for run in many if run.copies is not None})
    found, error = line([(float(run.copies or 0), run.rise * run.seconds / run.inferences) for run in many])
    modelled = {}
    for rate in RATES:
        events = {count: _events(placed[title(count)], rate) for count in copies}
        low, high = (line([(float(x), getattr(e, end)) for x, e in events.items()])[0] for end in ("low", "high"))
        modelled[f"{rate:g}"] = (low, high)
    # Events are a constant and a part that grows with the rate: two rates give the whole line.
    first, last = RATES[0], RATES[-1]
    rates = []
    for end in (1, 0):
        here, there = modelled[f"{first:g}"][end], modelled[f"{last:g}"][end]
        rates.append(first + (found - here) * (last - first) / (there - here))
    return Slope(least=LEAST, measured=found, error=error, modelled=modelled, explained=(rates[0], rates[1]))


def _rise(one: Measured, placed: _Placed) -> Ends:
    """Return a network's dynamic power, W, less that of its events: most of them, and fewest."""
    few, many = (_events(placed, rate) for rate in (RATES[0], RATES[-1]))
    return one.running - one.idle - many.high / one.seconds, one.running - one.idle - few.low / one.seconds


def _board(runs: Sequence[BoardRun], placed: dict[str, _Placed], constants: Table) -> Board:
    """Return the board's constants from the runs of the smallest networks: no copies, or the keyword spotter."""
    small = [one for one in measured(runs) if not one.copies]
    rises = {one.network: _rise(one, placed[one.network]) for one in small}
    crossed = {}
    for one, other in permutations(small, 2):
        events = [_events(placed[one.network], rate) for rate in RATES if TYPICAL[0] <= rate <= TYPICAL[1]]
        low, high = (rise * one.seconds for rise in rises[other.network])
        crossed[one.network] = (low + min(part.low for part in events), high + max(part.high for part in events))
    steps = [run.seconds / run.inferences / STEPS for run in runs]

    def used(term: str, unit: str, scale: float) -> Ends:
        return _ends(constants.interval(f"{CHIP}-board", term, unit) * scale)

    return Board(
        idle=(min(run.idle for run in runs), max(run.idle for run in runs)),
        running=(min(low for low, _ in rises.values()), max(high for _, high in rises.values())),
        crossed=crossed,
        step=(min(steps), max(steps)),
        used_idle=used("idle", "mW", MILLI),
        used_running=used("running", "mW", MILLI),
        used_step=used("step", "ns", NANO),
    )


def check(logs: Path | None = None, *, track: Track = silent) -> Silicon:
    """Compare the energy model with the power logs of a board.

    Args:
        logs: their archive; None looks under ``$SPIKEPROOF_DATA``.
        track: progress.

    Raises:
        FileError: no logs, or damaged ones.
        InputError: they lack the networks that the check needs.
    """
    path = find_logs(logs)
    runs = read_runs(path)
    constants = table()
    boards = measured(runs)
    if not any(not one.copies for one in boards):
        raise InputError(f"{path}: neither the keyword spotter nor the network without copies is in it")
    many = [one for one in boards if (one.copies or 0) >= LEAST]
    if len(many) < 2:
        raise InputError(f"{path}: {len(many)} networks of at least {LEAST} copies; a slope needs two")
    placed, modelled = {}, []
    for one in track(boards, "networks", len(boards)):
        program = keyword_spotter() if one.copies is None else scaled(one.copies)
        if one.steps not in (None, STEPS):
            raise InputError(f"{path}: {one.network} took {one.steps:g} steps an inference, expected {STEPS}")
        placed[one.network] = _placed(program, constants)
        modelled += _modelled(one.network, placed[one.network], one, constants)
    return Silicon(
        **header("silicon", command_line("energy", silicon=True)),
        logs=hashlib.sha256(path.read_bytes()).hexdigest(),
        typical=TYPICAL,
        measured=boards,
        modelled=modelled,
        slope=_slope(runs, placed),
        board=_board(runs, placed, constants),
        assumed=ASSUMED,
    )
