"""Attacks made of other attacks: transfer, the worst case of several, and AutoAttack's composition."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from torch import nn

from ..data import Images, Labels
from ..errors import InputError
from .ball import Norm
from .base import Access, Attack, Space, ThreatName
from .blind import Square
from .strong import APGD
from .victim import Victim, fingerprint, predict


@dataclass(frozen=True, kw_only=True)
class Wrapped(Attack):
    """An attack made of others: ball, space, batch and seed are those of the first."""

    spares_wrong: ClassVar[bool] = True
    batch: int = field(init=False, repr=False, compare=False)
    seed: int = field(init=False, repr=False, compare=False)
    restarts: int = field(init=False, repr=False, compare=False, default=1)
    backward: None = field(init=False, repr=False, compare=False, default=None)

    def __post_init__(self) -> None:
        object.__setattr__(self, "batch", self.first.batch)
        object.__setattr__(self, "seed", self.first.seed)

    @property
    @abstractmethod
    def first(self) -> Attack:
        """The attack whose ball it has."""

    @abstractmethod
    def each(self, change: Callable[[Attack], Attack]) -> Self:
        """Return the same with every attack inside changed."""

    @property
    def space(self) -> Space:
        """As of the first."""
        return self.first.space

    @property
    def threat(self) -> ThreatName:
        """As of the first."""
        return self.first.threat

    @property
    def radius(self) -> float:
        """As of the first."""
        return self.first.radius

    @property
    def size(self) -> str:
        """As of the first."""
        return self.first.size

    @property
    def place(self) -> str:
        """As of the first."""
        return self.first.place

    def with_seed(self, seed: int) -> Self:
        """Return the same attacks with another seed."""
        return self.each(lambda attack: attack.with_seed(seed))

    def within(self, radius: float) -> Self:
        """Return the same attacks in a ball of another radius."""
        return self.each(lambda attack: attack.within(radius))

    def averaging(self, draws: int) -> Self:
        """Return the same attacks, those with gradients averaging over so many draws."""
        return self.each(lambda attack: attack.averaging(draws))

    def suited(self, module: nn.Module) -> Self:
        """Return the same attacks without choices that ``module`` has no use for."""
        return self.each(lambda attack: attack.suited(module))

    def check(self, inputs: NDArray[Any]) -> Images:
        """As the first."""
        return self.first.check(inputs)

    def project(self, raw: Images, clean: Images) -> Images:
        """As the first."""
        return self.first.project(raw, clean)

    def distances(self, made: Images, clean: Images) -> NDArray[np.float64]:
        """As the first."""
        return self.first.distances(made, clean)


@dataclass(frozen=True, kw_only=True)
class Transfer(Wrapped):
    """Examples made on one model, judged on another.

    Args:
        attack: made on the source; its budget, space, batch and seed are this attack's, and it must not stop early.
        source: the model they are made on; ``repr`` leaves it out.
        source_name: for labels and records.

    Raises:
        InputError: ``attack`` leaves a sample as soon as the source errs.
    """

    name: ClassVar[str] = "transfer"
    access: ClassVar[Access] = "transfer"
    attack: Attack
    source: Victim = field(repr=False)
    source_name: str

    def __post_init__(self) -> None:
        super().__post_init__()
        check_transferable(self.attack)

    @property
    def first(self) -> Attack:
        """The attack that is transferred."""
        return self.attack

    def each(self, change: Callable[[Attack], Attack]) -> Self:
        """Return the same with the attack changed."""
        return replace(self, attack=change(self.attack))

    def suited(self, module: nn.Module) -> Self:
        """Return itself: its attack runs on the source, whatever the victim is."""
        return self

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of the attack that is transferred, and where it was made."""
        return {"name": self.name, "source": self.source_name, "attack": self.attack.settings}

    @property
    def label(self) -> str:
        """The attack's label, and where it was made."""
        return f"{self.name}-{self.source_name}-{self.attack.label}"

    @property
    def effort(self) -> float:
        """That of the attack."""
        return self.attack.effort

    def run(self, model: Victim, images: Images, labels: Labels) -> Images:
        """Return the source's adversarial samples (batch, ...)."""
        if isinstance(self.source, nn.Module):
            self.source.eval()
        return self.attack.run(self.source, images, labels)

    def uses(self, inputs: Images) -> str:
        """Return a hash of the source."""
        return fingerprint(self.source, inputs)


@dataclass(frozen=True, kw_only=True)
class Composition(Wrapped):
    """Several attacks after each other, each on what is still robust: the worst case, as AutoAttack composes it.

    Args:
        attacks: of the same ball and space.
        title: for labels and records.

    Raises:
        InputError: there are none, or their budgets differ.
    """

    name: ClassVar[str] = "worst"
    attacks: Sequence[Attack]
    title: str = "worst"

    def __post_init__(self) -> None:
        object.__setattr__(self, "attacks", tuple(self.attacks))
        budgets = {(attack.place if attack.threat != "encoded-binary" else "", attack.size) for attack in self.attacks}
        if len(budgets) != 1:
            raise InputError(
                f"composition of {len(self.attacks)} attacks with {len(budgets)} budgets; expected one budget"
            )
        super().__post_init__()

    @property
    def first(self) -> Attack:
        """The first attack."""
        return self.attacks[0]

    def each(self, change: Callable[[Attack], Attack]) -> Self:
        """Return the same with every attack changed."""
        return replace(self, attacks=[change(attack) for attack in self.attacks])

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of all attacks, in order."""
        return {"name": self.name, "title": self.title, "attacks": [attack.settings for attack in self.attacks]}

    @property
    def stem(self) -> str:
        """The title."""
        return self.title

    @property
    def stops_early(self) -> bool:
        """Samples leave when misclassified."""
        return True

    @property
    def effort(self) -> float:
        """At most that of all attacks."""
        return sum(attack.effort for attack in self.attacks)

    def run(self, model: Victim, images: Images, labels: Labels) -> Images:
        """Return adversarial samples (batch, ...)."""
        made = images.copy()
        for attack in self.attacks:
            robust = predict(model, made, self.batch) == labels
            if not robust.any():
                break
            made[robust] = attack.again(model, images[robust], labels[robust])
        return made


def auto_attack(
    *, epsilon: float, norm: Norm = "linf", steps: int = 100, queries: int = 5000, **others: Any
) -> Composition:
    """Return AutoAttack's composition: APGD-CE, APGD-DLR and, in L-infinity, Square.

    FAB is left out: the library has none, its own composition takes DeepFool instead, which knows no ball.

    Args:
        epsilon: radius of the ball.
        norm: "linf" or "l2".
        steps: gradients of each APGD.
        queries: of Square.
        others: as of :class:`.ball.BallAttack`.
    """
    common: dict[str, Any] = {"epsilon": epsilon, "norm": norm, **others}
    attacks: list[Attack] = [APGD(steps=steps, loss="cross-entropy", **common), APGD(steps=steps, loss="dlr", **common)]
    if norm == "linf":
        attacks.append(Square(queries=queries, **common))
    return Composition(attacks=attacks, title="auto-attack")


def check_transferable(attack: Attack) -> None:
    """Raise :class:`InputError` if ``attack`` stops at the first error of what it runs on."""
    if attack.stops_early:
        raise InputError(f"{attack.label}: stops at the source's first error; make it with early_stop=False")
