"""What a board takes beside the events of its chip: idle power, and what runs while anything runs, for a step's time.

    E_dynamic = E_events + P_running t,    E_total = E_dynamic + P_idle t,    t = steps t_step

Power and time are those of one board into which a host streamed inputs, see docs/energy-silicon.md. E_events are the
terms of the chip without its static power, which P_idle holds.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from .constants import NOTHING, Interval, Table
from .energy import MILLI, NANO, Estimate


@dataclass(frozen=True)
class Streamed:
    """Energy and time of one inference on a board that inputs are streamed to.

    Attributes:
        terms: joules: "events" of the chip, "running" and "idle" of the board.
        dynamic: joules, events + running: what a meter shows above the idle board.
        total: joules, all three.
        time: seconds.
    """

    terms: Mapping[str, Interval]
    dynamic: Interval
    total: Interval
    time: Interval

    def to_dict(self) -> dict[str, tuple[float, float]]:
        """Return joules and seconds, each interval as two numbers."""
        parts = {**self.terms, "dynamic": self.dynamic, "total": self.total, "time": self.time}
        return {name: (part.low, part.high) for name, part in parts.items()}


def events_of(found: Estimate) -> Interval:
    """Return what the chip's events cost, in joules: all terms but the static one."""
    total = NOTHING
    for name, term in found.terms.items():
        if name != "static":
            total += term
    return total


def known(chip: str, constants: Table) -> bool:
    """Return whether a board with this chip was measured."""
    return any(one.chip == f"{chip}-board" for one in constants.constants)


def streamed(found: Estimate, constants: Table, step: Interval | None = None) -> Streamed:
    """Return what an inference takes on a board.

    Args:
        found: the chip's estimate.
        constants: the table.
        step: seconds a time step; None: the range that was measured.

    Raises:
        InputError: no board with this chip was measured.
    """
    board = f"{found.chip}-board"
    step = step or constants.interval(board, "step", "ns") * NANO
    time = step * float(found.steps)
    terms = {
        "events": events_of(found),
        "running": constants.interval(board, "running", "mW") * MILLI * time,
        "idle": constants.interval(board, "idle", "mW") * MILLI * time,
    }
    dynamic = terms["events"] + terms["running"]
    return Streamed(terms, dynamic, dynamic + terms["idle"], time)
