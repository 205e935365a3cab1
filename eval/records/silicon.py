"""The record of the energy model against a board: what was measured, what the model says, and what holds."""

import math
from pathlib import Path

from .base import Part, Record, read_model

Ends = tuple[float, float]


class Measured(Part):
    """One network on the board: means over its runs, and the sample standard deviation over them where it says so.

    Attributes:
        network: "keyword spotter", or "scaling, N copies".
        copies: of the scaling family's branch; None for the keyword spotter.
        runs: how many.
        readings: of power, idle and running, over all runs.
        idle: W.
        running: W.
        seconds: an inference.
        total: J an inference: running power times its time.
        dynamic: J an inference: the same less the idle power.
        spread: J, standard deviation of ``dynamic`` over the runs; None for one run.
        steps: time steps an inference, by the logs; None where they do not say.
    """

    network: str
    copies: int | None
    runs: int
    readings: tuple[int, int]
    idle: float
    running: float
    seconds: float
    total: float
    dynamic: float
    spread: float | None
    steps: float | None


class Modelled(Part):
    """One network under the model, at one rate; joules an inference.

    Attributes:
        network: as in :class:`Measured`.
        rate: messages a neuron, or an input, and step.
        neurons: of the Program.
        cores: that the mapper places it on.
        verdict: of ``fit``: whether it fits.
        events: of the chip, without static power.
        chip: the whole estimate of the chip alone: events and static power for the modelled time.
        step: seconds a time step of the chip alone.
        dynamic: on the board: events, and its running power for the time that was measured.
        total: the same and its idle power.
    """

    network: str
    rate: float
    neurons: int
    cores: int
    verdict: str
    events: Ends
    chip: Ends
    step: Ends
    dynamic: Ends
    total: Ends


class Slope(Part):
    """What a copy adds to the dynamic energy, J: least squares over networks of at least ``least`` copies.

    Attributes:
        least: copies.
        measured: over all runs.
        error: standard error of it.
        modelled: by rate: what a copy adds to the events, at the low and at the high end of every price.
        explained: the lowest and the highest rate at which the model gives the measured slope.
    """

    least: int
    measured: float
    error: float
    modelled: dict[str, Ends]
    explained: Ends


class Board(Part):
    """The board's constants as these logs give them, W and seconds, beside those of ``constants.toml``.

    Attributes:
        idle: lowest and highest run.
        running: rise of the two smallest networks less their events: fewest at the lowest rate, most at the highest.
        crossed: dynamic energy of each of the two, J, with the running power that the other one gives.
        step: fastest and slowest run.
        used_idle: what the model uses.
        used_running: the same.
        used_step: the same.
    """

    idle: Ends
    running: Ends
    crossed: dict[str, Ends]
    step: Ends
    used_idle: Ends
    used_running: Ends
    used_step: Ends


class Silicon(Record):
    """The check. ``typical``: the rates between which a network of this kind is taken to be."""

    logs: str
    typical: Ends
    measured: list[Measured]
    modelled: list[Modelled]
    slope: Slope
    board: Board
    assumed: list[str]

    def band(self, network: str, what: str) -> Ends:
        """Return the lowest and the highest value of an interval of :class:`Modelled` over the typical rates."""
        low, high = self.typical
        found = [getattr(one, what) for one in self.modelled if one.network == network and low <= one.rate <= high]
        return min(one[0] for one in found), max(one[1] for one in found)

    def of(self, network: str) -> Measured:
        """Return what was measured of a network."""
        return next(one for one in self.measured if one.network == network)

    def holds(self, network: str) -> tuple[bool, bool]:
        """Return whether the chip alone, and the board, have the measured dynamic energy in their typical interval."""
        value = self.of(network).dynamic
        return tuple(low <= value <= high for low, high in (self.band(network, w) for w in ("chip", "dynamic")))  # type: ignore[return-value]

    @property
    def slope_band(self) -> Ends:
        """The modelled slope over the typical rates."""
        low, high = self.typical
        found = [ends for rate, ends in self.slope.modelled.items() if low <= float(rate) <= high]
        return min(one[0] for one in found), max(one[1] for one in found)

    @property
    def slope_holds(self) -> bool:
        """Whether the measured slope lies in it."""
        return self.slope_band[0] <= self.slope.measured <= self.slope_band[1]


def line(points: list[tuple[float, float]]) -> tuple[float, float]:
    """Return slope and its standard error of the least-squares line through (x, y); no error (nan) for two points."""
    count = len(points)
    middle = sum(x for x, _ in points) / count
    height = sum(y for _, y in points) / count
    square = sum((x - middle) ** 2 for x, _ in points)
    slope = sum((x - middle) * (y - height) for x, y in points) / square
    rest = sum((y - height - slope * (x - middle)) ** 2 for x, y in points)
    return slope, math.sqrt(rest / (count - 2) / square) if count > 2 else math.nan


def read_silicon(path: Path) -> Silicon:
    """Return the record in ``path``.

    Raises:
        FileError: missing, corrupt, or of another schema.
    """
    return read_model(Silicon, path, "run 'spikeproof energy --silicon'")
