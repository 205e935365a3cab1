"""What one form has to bear, and the attacks of growing strength that probes compare."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...toolkit.attacks.base import Attack, Space
from ...toolkit.attacks.gradient import FGSM, PGD
from ...toolkit.attacks.shifts import Shifts
from ...toolkit.attacks.spikes import SpikeFlip
from ...toolkit.attacks.timing import SpikeTiming
from ...toolkit.network.backward import Backward
from ..records.robustness import Probes

FEW, SWEPT = 5, 20
"""Steps: few, and in the sweep of backward passes."""


@dataclass(frozen=True)
class Attackers:
    """What one form has to bear: attacks, and how they share the samples.

    Attributes:
        attacks: in order; in a cascade, those of the white box first.
        cascade: only noise tries all samples; the others what is left.
        epsilon: radius of all.
        seed: of the probes.
        batch: of the probes.
        search: repeated in rounds; None for no search.
        rounds: of the search at most.
        until: share of samples; the search ends when a round broke no more.
        space: of the probes; None where spikes are edited.
        probes: whether short attacks look for gradients that mislead.
        shifts: budgets, where spikes are moved in time.
    """

    attacks: Sequence[Attack]
    cascade: bool
    epsilon: float
    seed: int = 0
    batch: int = 100
    search: Attack | None = None
    rounds: int = 2
    until: float = 0.0
    space: Space | None = "pixel"
    probes: bool = True
    shifts: Shifts | None = None


@dataclass(frozen=True)
class Family:
    """Attacks of one kind that grow stronger, under the names that a record gives them.

    Attributes:
        title: what alarms call the attack.
        first: with a single gradient, in words.
        one: with a single gradient.
        many_steps: of the longest.
        prefix: of names with a number of steps.
        radius: what bounds it, in words.
        unbounded: whether everything is allowed without a bound, so that nothing should survive.
    """

    title: str
    first: str
    one: str
    many_steps: int
    prefix: str
    radius: str
    unbounded: bool = True

    @property
    def few(self) -> str:
        """Name of the attack with few steps."""
        return f"{self.prefix}-{FEW}"

    @property
    def many(self) -> str:
        """Name of the attack with many steps."""
        return f"{self.prefix}-{self.many_steps}"

    @property
    def pairs(self) -> dict[str, tuple[str, str]]:
        """Comparisons of a weaker with a stronger attack."""
        return {
            "steps": (self.few, self.many),
            "fgsm": (self.one, self.many),
            "half": (f"half {self.radius}", self.radius),
            "twice": (self.radius, f"twice {self.radius}"),
        }

    def make(self, against: Attackers, radius: float, steps: int, backward: Backward | None = None) -> Attack:
        """Return the attack: PGD, or FGSM for 0 steps; as many edits of spikes where ``against`` has no space."""
        common: dict[str, Any] = {"seed": against.seed, "batch": against.batch, "backward": backward}
        if against.shifts is not None:
            largest = replace(against.shifts, largest=int(radius))
            return SpikeTiming(steps=max(steps, 1), **common).bounded(largest)
        if against.space is None:
            return SpikeFlip(budget=int(radius), steps=max(steps, 1), **common)
        common |= {"epsilon": radius, "space": against.space}
        return PGD(steps=steps, **common) if steps else FGSM(**common)

    def compared(self, against: Attackers, entries: int) -> dict[str, Attack]:
        """Return the attacks by name.

        Args:
            against: radius, space, batch and seed.
            entries: of a sample: all may be edited at most.
        """
        radius, space = against.epsilon, against.space
        most = 1.0 if space else float(entries)
        radii = {f"half {self.radius}": max(radius / 2, 0.0 if space else 1.0), self.radius: radius}
        radii |= {f"twice {self.radius}": min(2 * radius, most)}
        radii |= {"unbounded": most} if self.unbounded else {}
        steps = {self.one: 0, self.few: FEW, self.many: self.many_steps}
        return {name: self.make(against, radius, count) for name, count in steps.items()} | {
            name: self.make(against, size, SWEPT) for name, size in radii.items()
        }


BALL = Family("PGD", "FGSM", "fgsm", 50, "pgd", "epsilon")
EDITS = Family("the choice of edits by gradients", "a single gradient", "edits-1", 20, "edits", "budget")
"""Of spikes; one step more than edits brings nothing, so its steps are fewer."""


MOVES = Family("the choice of moves by gradients", "a single gradient", "moves-1", 20, "moves", "largest shift", False)
"""Of spikes in time; whatever moves, cells keep their number of spikes, so some samples survive without a bound."""


def family(probes: Probes) -> Family:
    """Return the family whose attacks a record names."""
    return next((kin for kin in (EDITS, MOVES) if kin.one in probes.accuracy), BALL)


def family_of(against: Attackers) -> Family:
    """Return the family of attacks that probe what these attackers do."""
    if against.shifts is not None:
        return MOVES
    return EDITS if against.space is None else BALL
