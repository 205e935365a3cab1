"""Protocols: which attacks a form of a network has to bear, in which order; three built in, and your own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from torch import nn

from ..errors import InputError
from ..network.backward import Backward
from ..network.surrogates import AdaptiveSharpness
from .ball import NORMS
from .base import SEARCH, TRANSFER, WHITE, Attack, ThreatName
from .blind import HopSkipJump, Noise, Square
from .corner import CornerSearch
from .gradient import FGSM, PGD
from .spikes import EDITS, SpikeFlip, SpikeNoise, SpikeSearch
from .strong import APGD, SAPGD
from .suite import Transfer, check_transferable
from .timing import SpikeTiming, SpikeTimingNoise, SpikeTimingSearch, TimingAttack
from .victim import normalizes

BUILT_IN = ("quick", "standard", "strong")
BATCH = 100
"""Samples that built-in protocols attack at once: what an interruption may cost."""
QUERIES, ROUNDS = {"standard": 1000, "strong": 10_000}, 6
"""Queries a sample of one round of search, and how many rounds there are at most."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Attacks of one threat model and one radius; a sample is robust if it survives them all.

    Args:
        name: for records; not one of the built-in names.
        attacks: on every form, in order; those of the white box are run first in any case.
        transfers: made on the float network to the end, and judged on the Program.
        deployed: on the Program only, at the very end.
        search: repeated in rounds with other seeds, on every form with a module, behind white box and transfers. The
            first two rounds try the same samples and know nothing of each other, so that what both and what only
            one of them found tells how much is left to be found; later ones try what is left.
        rounds: of the search at most, 2 or more.
        until: share of all samples; the search ends when two rounds in a row, the first aside, broke no more.
        cascade: each attack tries only what those before it left; noise tries all.
        probes: whether short attacks look for gradients that mislead; without them most alarms cannot be raised.

    Raises:
        InputError: there are no attacks, they differ in threat model or radius, are not L-infinity, or one of the
            transfers stops early.
    """

    name: str
    attacks: Sequence[Attack]
    transfers: Sequence[Attack] = ()
    deployed: Sequence[Attack] = ()
    search: Attack | None = None
    rounds: int = 2
    until: float = 0.0
    cascade: bool = False
    probes: bool = True

    def __post_init__(self) -> None:
        for part in ("attacks", "transfers", "deployed"):
            object.__setattr__(self, part, tuple(getattr(self, part)))
        if not self.attacks:
            raise InputError(f"protocol {self.name!r}: no attacks; give one or more")
        budgets = sorted({f"{attack.threat} {_budget(attack)}" for attack in self.every})
        if len(budgets) != 1:
            raise InputError(
                f"protocol {self.name!r}: attacks of {' and '.join(budgets)}; give all one threat model and one radius"
            )
        for attack in self.every:
            if NORMS["l2"] in attack.place:
                raise InputError(f"protocol {self.name!r}: {attack.label} is not L-infinity; call the attack itself")
        if self.rounds < 2 or not 0 <= self.until < 1:
            raise InputError(
                f"protocol {self.name!r}: rounds, until: {self.rounds}, {self.until}, expected 2 or more, [0, 1)"
            )
        for attack in self.transfers:
            check_transferable(attack)

    @property
    def every(self) -> tuple[Attack, ...]:
        """All attacks."""
        return (*self.attacks, *self.transfers, *self.deployed, *(() if self.search is None else (self.search,)))

    @property
    def threat(self) -> ThreatName:
        """Name of the threat model."""
        return self.attacks[0].threat

    @property
    def radius(self) -> float:
        """Epsilon, or a number of edits."""
        return self.attacks[0].radius

    def within(self, radius: float) -> Self:
        """Return the same protocol at another radius."""
        return self._each(lambda attack: attack.within(radius))

    def later(self, seed: int) -> Self:
        """Return the same protocol with ``seed`` added to the seed of every attack."""
        return self._each(lambda attack: attack.with_seed(attack.seed + seed))

    def on(
        self, module: nn.Module | None, *, deployed: bool = False, source: nn.Module | None = None, draws: int = 1
    ) -> list[Attack]:
        """Return what one form has to bear, in order: white box, transfers, all others, and those for the Program.

        Args:
            module: the form, or the twin of the Program; None if there are no gradients.
            deployed: whether the form is the Program.
            source: the float network, where transferred examples are made; None if there is none.
            draws: of a stochastic victim, that attacks with gradients average.
        """
        known = [attack.averaging(draws) for attack in self.attacks]
        white: list[Attack] = []
        if module is not None:
            fit = [attack.suited(module) for attack in known if attack.access == WHITE and _runs(attack, module)]
            white = list(dict.fromkeys(fit))
            white += [attack for attack in known if attack.access == SEARCH]
        moved = [attack for attack in known if attack.access == TRANSFER]
        if deployed and source is not None:
            made = [attack.suited(source).averaging(draws) for attack in self.transfers]
            moved += [Transfer(attack=attack, source=source, source_name="float") for attack in made]
        blind = [attack for attack in known if attack.access not in (WHITE, TRANSFER, SEARCH)]
        return [*white, *moved, *blind, *(self.deployed if deployed else ())]

    def _each(self, change: Callable[[Attack], Attack]) -> Self:
        return replace(
            self,
            attacks=[change(attack) for attack in self.attacks],
            transfers=[change(attack) for attack in self.transfers],
            deployed=[change(attack) for attack in self.deployed],
            search=None if self.search is None else change(self.search),
        )


def _budget(attack: Attack) -> str:
    return attack.size if isinstance(attack, TimingAttack) else f"{attack.radius:g}"


def _runs(attack: Attack, module: nn.Module) -> bool:
    """Return whether an attack has a meaning on ``module``: batch statistics have none without batch norms."""
    return attack.backward is None or not attack.backward.batch_statistics or normalizes(module)


def check_name(name: str) -> str:
    """Return the name of a built-in protocol.

    Raises:
        InputError: there is none of that name.
    """
    if name not in BUILT_IN:
        raise InputError(f"protocol: {name!r}, expected one of {', '.join(BUILT_IN)}")
    return name


def make_protocol(given: str | Protocol, threat: ThreatName = "pixel", radius: float = 0.1) -> Protocol:
    """Return a protocol in a ball of this radius: a built-in one by its name, or one of your own.

    Raises:
        InputError: there is none of that name, or the attacks given are of another threat model or have the name of a
            built-in protocol without being it.
    """
    if isinstance(given, str):
        return built_in(given, threat, radius)
    if given.threat != threat:
        raise InputError(f"protocol {given.name!r}: its attacks are of threat model {given.threat!r}, not {threat!r}")
    made = given.within(radius)
    if made.name in BUILT_IN and _labels(made) != _labels(built_in(made.name, threat, radius)):
        raise InputError(f"protocol {made.name!r}: the name of a built-in one with other attacks; give yours another")
    return made


def _labels(protocol: Protocol) -> list[list[str]]:
    search = () if protocol.search is None else (protocol.search,)
    parts: tuple[Sequence[Attack], ...] = protocol.attacks, protocol.transfers, protocol.deployed, search
    return [[attack.label for attack in part] for part in parts]


def built_in(name: str, threat: ThreatName = "pixel", radius: float = 0.1) -> Protocol:
    """Return the protocol ``quick``, ``standard`` or ``strong`` for a threat model; its seeds are 0, 1, 2, ...

    In a ball, ``quick``: PGD-10 and noise. ``standard``: FGSM, PGD-50, APGD-CE, Square with 500 queries, noise.
    ``strong``: with the adaptive sharpness of arctan: SA-PGD with two vanishing degrees, twice with ties shared by
    pools, and with pools as neurons; APGD-CE, APGD-DLR, and with ties shared APGD-CE and APGD on the read-out's
    currents, the latter also towards four rivals; Square with 1000 queries, noise of two kinds; a cascade. ``standard``
    and ``strong`` search the corners, with 1000 and 10,000 queries a round, in at most 6 rounds. On the Program also
    PGD, in "standard" and "strong" APGD, in "strong" SA-PGD, made on the float network; and in "strong", on pixels,
    HopSkipJump.

    In encoded space every protocol starts with the attacks of the code released with arXiv 2509.23762: FGSM, and PGD
    with 7 steps of 0.01 from a random start, the latter also with batch norm on the batch's statistics, as it is run
    there (where the running ones also drift on the attacked batches, which is left out).

    On binary encoded input, ``quick``: flips by the gradient, flips at random. ``standard``: flips, insertions,
    deletions and shifts by the gradient, random search for flips with 200 queries, flips at random. ``strong``: these
    with the adaptive sharpness of arctan, flips also with ties shared by pools, with the margin as loss and with a
    gradient for every flip (50 at most), random search with 1000 queries for flips and insertions; a cascade.

    On the time of spikes, with the largest shift as radius, ``quick``: moves by the gradient, moves at random.
    ``standard``: also with the margin as loss, random search with 200 queries. ``strong``: with the adaptive sharpness
    of arctan, with ties shared by pools, from random starts, random search with 1000 queries; a cascade.

    Raises:
        InputError: another name, or the radius is refused.
    """
    check_name(name)
    cascade = name == "strong"
    if threat == "timing":
        return Protocol(name=name, attacks=_seeded(_timing(name, int(radius))), cascade=cascade)
    if threat == "encoded-binary":
        return Protocol(name=name, attacks=_seeded(_spikes(name, int(radius))), cascade=cascade)
    common: dict[str, Any] = {"epsilon": radius, "space": threat, "batch": BATCH}
    attacks = _seeded(_ball(name, common))
    # In a cascade the strongest comes first; seeds are told in records and stay as they were.
    attacks.sort(key=lambda attack: cascade and attack.name != SAPGD.name)
    last = [HopSkipJump(epsilon=radius, steps=5, queries=200, batch=HopSkipJump.most)] if cascade else []
    return Protocol(
        name=name,
        attacks=attacks,
        transfers=_transfers(name, common),
        deployed=last if threat == "pixel" else [],
        search=None if name == "quick" else CornerSearch(queries=QUERIES[name], **common),
        rounds=ROUNDS,
        cascade=cascade,
    )


def _seeded(attacks: list[Attack]) -> list[Attack]:
    return [attack.with_seed(number) for number, attack in enumerate(attacks)]


def _ball(name: str, common: dict[str, Any]) -> list[Attack]:
    attacks: list[Attack]
    if name == "quick":
        attacks = [PGD(steps=10, **common)]
    elif name == "standard":
        attacks = [FGSM(**common), PGD(steps=50, **common), APGD(steps=50, **common), Square(queries=500, **common)]
    else:
        arctan, sharp = AdaptiveSharpness("arctan"), AdaptiveSharpness("arctan", 0.95)
        shared = Backward(surrogate=arctan, pool="ties")
        attacks = [
            APGD(steps=50, **common),
            APGD(steps=50, loss="dlr", **common),
            APGD(steps=50, backward=shared, **common),
            *(SAPGD(steps=50, backward=Backward(surrogate=each), **common) for each in (arctan, sharp)),
            SAPGD(steps=50, backward=shared, restarts=2, **common),
            Square(queries=1000, **common),
            Noise(kind="sign", restarts=3, **common),
        ]
    attacks.append(Noise(kind="uniform", restarts=3, **common))
    if name == "strong":
        attacks += [
            SAPGD(steps=50, backward=Backward(surrogate=arctan, pool="neuron"), **common),
            APGD(steps=50, loss="soft", backward=shared, **common),
            APGD(steps=25, loss="soft", rivals=4, backward=shared, **common),
        ]
    if common["space"] == "pixel":
        return attacks
    released = [PGD(steps=7, step=0.01, backward=way, **common) for way in (None, Backward(batch_statistics=True))]
    return [*([] if name == "standard" else [FGSM(**common)]), *released, *attacks]


def _transfers(name: str, common: dict[str, Any]) -> list[Attack]:
    steps = 10 if name == "quick" else 50
    made: list[Attack] = [PGD(steps=steps, **common)]
    if name != "quick":
        made.append(APGD(steps=steps, early_stop=False, **common))
    if name == "strong":
        backward = Backward(surrogate=AdaptiveSharpness("arctan"))
        made.append(SAPGD(steps=steps, early_stop=False, backward=backward, **common))
    return made


def _spikes(name: str, budget: int) -> list[Attack]:
    common: dict[str, Any] = {"budget": budget, "batch": BATCH}
    attacks: list[Attack]
    if name == "quick":
        attacks = [SpikeFlip(**common)]
    elif name == "standard":
        attacks = [*(SpikeFlip(edit=edit, **common) for edit in EDITS), SpikeSearch(queries=200, **common)]
    else:
        arctan = AdaptiveSharpness("arctan")
        shared = Backward(surrogate=arctan, pool="ties")
        each = min(budget, 50)
        attacks = [
            SpikeFlip(**common),
            SpikeFlip(steps=each, backward=Backward(surrogate=arctan), **common),
            SpikeFlip(steps=each, backward=shared, **common),
            SpikeFlip(steps=each, loss="margin", **common),
            *(SpikeFlip(edit=edit, backward=shared, **common) for edit in EDITS if edit != "flip"),
            *(SpikeSearch(edit=edit, queries=1000, **common) for edit in ("flip", "insert")),
        ]
    return [*attacks, SpikeNoise(restarts=3, **common)]


def _timing(name: str, largest: int) -> list[Attack]:
    common: dict[str, Any] = {"largest": largest, "batch": BATCH}
    attacks: list[Attack]
    if name == "quick":
        attacks = [SpikeTiming(**common)]
    elif name == "standard":
        losses = SpikeTiming(**common), SpikeTiming(loss="margin", **common)
        attacks = [*losses, SpikeTimingSearch(queries=200, **common)]
    else:
        arctan = AdaptiveSharpness("arctan")
        shared = Backward(surrogate=arctan, pool="ties")
        attacks = [
            SpikeTiming(steps=40, **common),
            SpikeTiming(steps=40, backward=Backward(surrogate=arctan), **common),
            SpikeTiming(steps=40, loss="margin", backward=shared, **common),
            SpikeTiming(steps=40, backward=shared, random_start=True, restarts=2, **common),
            SpikeTimingSearch(queries=1000, **common),
        ]
    return [*attacks, SpikeTimingNoise(restarts=3, **common)]
