"""The threat models: what an attacker may change, and who can receive it; never mixed in one table."""

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from ...hw_targets.target import Compiled
from ...toolkit.attacks.base import Attack, Space, ThreatName
from ...toolkit.attacks.protocol import Protocol, make_protocol
from ...toolkit.attacks.shifts import Shifts
from ...toolkit.attacks.timing import TimingAttack
from ...toolkit.attacks.victim import Encoded, EncodedFunction, Function
from ...toolkit.coding import LEVELS, Coder, Events, on_grid
from ...toolkit.data import Images
from ...toolkit.errors import InputError
from ...toolkit.train import seeded

PAPER_EPSILON = 6 / 255
"""Of the attacks released with arXiv 2509.23762, on coded input."""
BUDGET = 20
"""Edits of spikes a sample, unless asked otherwise."""
HALF = 0.5
"""What a pixel of 0 or 1 must be changed by at least, to be received as the other."""
USUAL_EPSILON = 0.1
"""Of pixels in [0, 1]."""
KNOWS = "the attacker knows the network and chooses the backward pass"


class Threat(ABC):
    """What is attacked: input with the samples first, its ball, and the forms of the network on it.

    Attributes:
        name: of the threat model; its results are written to files of that name.
        space: of attacks and probes; None where spikes are edited, so that there is no continuous ball.
        radius: of the ball: epsilon, or a number of edits.

    Args:
        coder: of the network.
        radius: None means the usual one.
    """

    name: ClassVar[ThreatName]
    space: ClassVar[Space | None] = "encoded"
    radius: float

    def __init__(self, coder: Coder, radius: float | None = None) -> None:
        self.coder = coder
        self.radius = self.checked(radius)

    @abstractmethod
    def checked(self, radius: float | None) -> float:
        """Return the radius, or the usual one; raises :class:`InputError`."""

    def protocol(self, given: str | Protocol) -> Protocol:
        """Return a protocol, or the built-in one of that name, at this radius; raises :class:`InputError`."""
        return make_protocol(given, self.name, self.radius)

    @property
    @abstractmethod
    def words(self) -> str:
        """What the attacker may do, for records."""

    @property
    def unreceivable(self) -> str | None:
        """Why the chip cannot receive what attackers make; None if it can."""
        return None

    def inputs(self, images: Images) -> Images:
        """Return what is attacked, samples first, for images as the host receives them; draws have seed 0."""
        with seeded(0), torch.no_grad():
            encoded = self.coder.encode(torch.from_numpy(self.coder.on_grid(images)))
        return np.ascontiguousarray(encoded.transpose(0, 1).numpy())

    def module(self, network: nn.Module) -> nn.Module:
        """Return a network, or a twin, as a module of such input."""
        return Encoded(network)

    def function(self, compiled: Compiled) -> Function:
        """Return a function from such input to the read-out (samples, classes) of a compiled Program."""
        return EncodedFunction(lambda encoded: compiled.run(self.coder.messages(encoded)).output)

    def grid(self, inputs: Images) -> Images:
        """Return such input rounded to what the chip receives."""
        return (self.coder.messages(inputs) / np.float32(self.coder.levels)).astype(np.float32)


class Pixel(Threat):
    """The image, through the coder."""

    name: ClassVar[ThreatName] = "pixel"
    space = "pixel"

    def __init__(self, coder: Coder, radius: float | None = None) -> None:
        super().__init__(coder, radius)
        if isinstance(coder, Events) and self.radius < HALF:
            raise InputError(
                f"threat pixel: input of events is 0 or 1, and no change below 1/2 reaches it (epsilon "
                f"{self.radius:.3g}): what would be found is no robustness; use --threat {Spikes.name} "
                f"or {Timing.name}"
            )

    def checked(self, radius: float | None) -> float:
        """Return epsilon in whole levels of the chip's input (8 bits as a rule), rounded down; 0.1 is the usual one."""
        whole: float = levels(USUAL_EPSILON if radius is None else radius, self.coder.pixels) / self.coder.pixels
        return whole

    @property
    def words(self) -> str:
        """What the attacker may do, for records."""
        grid = "8 bit" if self.coder.pixels == LEVELS else f"levels of 0 to {self.coder.pixels}"
        around = f"around the images as the chip receives them ({grid})"
        return f"pixel space, L-infinity, {around}, through the {self.coder}; {KNOWS}"

    def inputs(self, images: Images) -> Images:
        """Return images as the host receives them."""
        return self.coder.on_grid(images)

    def module(self, network: nn.Module) -> nn.Module:
        """Return the module itself."""
        return network

    def function(self, compiled: Compiled) -> Function:
        """Return a function from images to the read-out (samples, classes) of a compiled Program."""
        return lambda images: compiled.run(self.coder.integers(images)).output

    def grid(self, inputs: Images) -> Images:
        """Return images as the host receives them."""
        return self.coder.on_grid(inputs)


class Continuous(Threat):
    """The coded tensor, each entry in [0, 1]: what the code released with arXiv 2509.23762 attacks."""

    name: ClassVar[ThreatName] = "encoded"

    def checked(self, radius: float | None) -> float:
        """Return epsilon; 6/255 is the usual one."""
        if radius is not None and not 0 < radius <= 1:
            raise InputError(f"epsilon: {radius}, expected a number in (0, 1]")
        return PAPER_EPSILON if radius is None else radius

    @property
    def words(self) -> str:
        """What the attacker may do, for records."""
        rounded = "" if self.unreceivable else "; the chip receives it rounded to its messages"
        return f"encoded space, continuous, L-infinity, behind the {self.coder}{rounded}; {KNOWS}"

    @property
    def unreceivable(self) -> str | None:
        """Why the chip cannot receive it, where messages are binary."""
        if not self.coder.binary:
            return None
        return (
            f"messages of the {self.coder.name} coder are binary: no chip receives entries between 0 and 1, and "
            "rounding them to spikes undoes the attack; see --threat encoded-binary"
        )


class Spikes(Threat):
    """Spikes flipped, inserted, deleted or shifted, so many a sample: what a chip with spike input can receive."""

    name: ClassVar[ThreatName] = "encoded-binary"
    space = None

    def __init__(self, coder: Coder, radius: float | None = None) -> None:
        super().__init__(coder, radius)
        if not coder.binary:
            raise InputError(
                f"--threat encoded-binary: the {coder.name} coder sends no spikes but graded messages; use encoded"
            )

    def checked(self, radius: float | None) -> float:
        """Return the number of edits; 20 is the usual one."""
        found = BUDGET if radius is None else int(radius)
        if found < 1:
            raise InputError(f"budget: {radius}, expected 1 spike or more")
        return found

    @property
    def words(self) -> str:
        """What the attacker may do, for records."""
        kinds = "flips, or as many insertions, deletions or shifts by one step"
        return f"encoded space, binary, {self.radius:g} {kinds} of spikes a sample, behind the {self.coder}; {KNOWS}"


class Timing(Threat):
    """The time of spikes: each keeps its cell and moves, within three budgets; arXiv 2602.03284 for binary input.

    Args:
        coder: of the network.
        radius: the largest shift, in steps; 1 is the usual one.
        shifts: all three budgets, instead.
    """

    name: ClassVar[ThreatName] = "timing"
    space = None

    def __init__(self, coder: Coder, radius: float | None = None, shifts: Shifts | None = None) -> None:
        self.shifts = Shifts(int(radius or 1)) if shifts is None else shifts
        super().__init__(coder, self.shifts.largest)
        if not coder.binary:
            raise InputError(f"--threat timing: the {coder.name} coder sends no spikes but graded messages")

    def checked(self, radius: float | None) -> float:
        """Return the largest shift, in steps."""
        return float(self.shifts.largest)

    def protocol(self, given: str | Protocol) -> Protocol:
        """Return a protocol, or the built-in one of that name, within these budgets; raises :class:`InputError`."""
        made = super().protocol(given)
        return replace(made, attacks=[_bounded(attack, self.shifts) for attack in made.attacks])

    @property
    def words(self) -> str:
        """What the attacker may do, for records."""
        return f"encoded space, binary, spikes moved in time {self.shifts.words}, behind the {self.coder}; {KNOWS}"


def _bounded(attack: Attack, shifts: Shifts) -> Attack:
    return attack.bounded(shifts) if isinstance(attack, TimingAttack) else attack


class AsGiven(Threat):
    """Inputs of any module, L-infinity, taken as they are: no coder, no rounding to what a chip receives.

    Args:
        radius: epsilon.
    """

    name: ClassVar[ThreatName] = "pixel"
    space = "pixel"

    def __init__(self, radius: float | None = None) -> None:
        self.radius = self.checked(radius)

    def checked(self, radius: float | None) -> float:
        """Return epsilon; 0.1 is the usual one."""
        if radius is not None and not 0 < radius <= 1:
            raise InputError(f"epsilon: {radius}, expected a number in (0, 1]")
        return USUAL_EPSILON if radius is None else radius

    @property
    def words(self) -> str:
        """What the attacker may do, for records."""
        return f"input space, L-infinity, around the inputs as they are; {KNOWS}"

    def inputs(self, images: Images) -> Images:
        """Return the images."""
        return images

    def module(self, network: nn.Module) -> nn.Module:
        """Return the module itself."""
        return network

    def grid(self, inputs: Images) -> Images:
        """Return inputs rounded to 8 bits."""
        return on_grid(inputs)


THREATS: dict[str, type[Threat]] = {threat.name: threat for threat in (Pixel, Continuous, Spikes, Timing)}


def make_threat(
    name: str, coder: Coder, epsilon: float | None = None, budget: int | None = None, shifts: Shifts | None = None
) -> Threat:
    """Return the threat model called ``name``.

    Raises:
        InputError: there is none of that name, the radius is refused, or the coder has no such input.
    """
    if name not in THREATS:
        raise InputError(f"threat: {name!r}, expected one of {', '.join(THREATS)}")
    if (name == Timing.name) < (shifts is not None):
        raise InputError(f"--largest-shift, --total-shift: move spikes in time, not {name!r}; use --threat timing")
    if name == Timing.name:
        if epsilon is not None:
            raise InputError(
                "--epsilon: the time of spikes has other budgets; use --largest-shift, --total-shift, --budget"
            )
        shifts = shifts or Shifts()
        return Timing(coder, shifts=shifts if budget is None else replace(shifts, touched=budget))
    if name == Spikes.name and epsilon is not None:
        raise InputError("--epsilon: spikes have a budget instead; use --budget")
    if name != Spikes.name and budget is not None:
        raise InputError(
            f"--budget: counts spikes, threat model {name!r} has --epsilon; or use --threat encoded-binary"
        )
    return THREATS[name](coder, epsilon if budget is None else budget)


def threat_of(
    protocol: str | Protocol,
    coder: Coder,
    name: str | None,
    epsilon: float | None = None,
    budget: int | None = None,
    shifts: Shifts | None = None,
) -> Threat:
    """Return the threat model that a protocol is run in: its own, at its own radius, where nothing else is said.

    Raises:
        InputError: as :func:`make_threat`; or the protocol's attacks are of another threat model.
    """
    if isinstance(protocol, str):
        return make_threat(name or Pixel.name, coder, epsilon, budget, shifts)
    if name not in (None, protocol.threat):
        raise InputError(
            f"protocol {protocol.name!r}: its attacks are of threat model {protocol.threat!r}, not {name!r}"
        )
    first = protocol.attacks[0]
    if isinstance(first, TimingAttack):
        return make_threat(Timing.name, coder, epsilon, budget, shifts or first.shifts)
    if epsilon is None and budget is None:
        spikes = protocol.threat == Spikes.name
        epsilon, budget = (None, int(protocol.radius)) if spikes else (protocol.radius, None)
    return make_threat(protocol.threat, coder, epsilon, budget, shifts)


def levels(epsilon: float, most: int = LEVELS) -> int:
    """Return the radius ``epsilon`` in whole levels of the chip's input, of 8 bits as a rule, rounded down.

    Raises:
        InputError: it is less than one level, or more than all.
    """
    # 0.1 * 255 and 2 / 255 * 255 are not what they seem in floating point.
    found = int(epsilon * most + 1e-6) if 0 < epsilon <= 1 else 0
    if not found:
        raise InputError(f"epsilon: {epsilon}, expected a number in [1/{most}, 1]; the chip's input has no less")
    return found
