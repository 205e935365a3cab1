"""Attacks together: the worst case of several, AutoAttack's composition, and the three protocols."""

from typing import Any, ClassVar

from ..data import Images, Labels
from ..errors import InputError
from ..network.backward import Backward
from ..network.surrogates import AdaptiveSharpness
from .base import Attack, Norm, Space
from .blind import Noise, Square
from .gradient import FGSM, PGD
from .spikes import EDITS, SpikeFlip, SpikeNoise, SpikeSearch
from .strong import APGD, SAPGD
from .victim import Victim, predict


class Composition(Attack):
    """Several attacks after each other, each on what is still robust: the worst case, as AutoAttack composes it.

    Args:
        attacks: of the same ball and space.
        title: for labels and records.

    Raises:
        InputError: there are none, or their budgets differ.
    """

    name: ClassVar[str] = "worst"
    spares_wrong: ClassVar[bool] = True

    def __init__(self, attacks: list[Attack], title: str = "worst") -> None:
        budgets = {(attack.epsilon, attack.norm, attack.space) for attack in attacks}
        if len(budgets) != 1:
            raise InputError(f"composition of {len(attacks)} attacks with {len(budgets)} budgets; expected one budget")
        ((epsilon, norm, space),) = budgets
        super().__init__(epsilon=epsilon, norm=norm, space=space, batch=attacks[0].batch, seed=attacks[0].seed)
        self.attacks = attacks
        self.title = title

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of all attacks, in order."""
        return {"name": self.name, "title": self.title, "attacks": [attack.settings for attack in self.attacks]}

    @property
    def label(self) -> str:
        """The title and the budget."""
        return f"{self.title}@{self.epsilon:g}" + ("" if self.norm == "linf" else f"-{self.norm}")

    @property
    def stops_early(self) -> bool:
        """Samples leave when misclassified."""
        return True

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
        others: as of :class:`.base.Attack`.
    """
    common: dict[str, Any] = {"epsilon": epsilon, "norm": norm, **others}
    attacks: list[Attack] = [APGD(steps=steps, loss=loss, **common) for loss in ("cross-entropy", "dlr")]
    return Composition([*attacks, *([Square(queries=queries, **common)] if norm == "linf" else [])], "auto-attack")


def protocol(
    name: str, *, epsilon: float = 0.1, batch: int = 250, seed: int = 0, space: Space = "pixel"
) -> list[Attack]:
    """Return the attacks of a protocol, L-infinity; a sample is robust if it survives them all.

    ``quick``: PGD-10 and noise. ``standard``: FGSM, PGD-50, APGD-CE, Square with 500 queries, noise. ``strong``:
    APGD-CE, APGD-DLR, and with the adaptive sharpness of arctan: APGD-CE with ties shared by pools, SA-PGD with two
    vanishing degrees, and twice with ties shared; Square with 1000 queries, noise of two kinds. The other surrogates
    added next to nothing to these, see records/attacks. Every attack of a protocol has a seed of its own.

    In encoded space every protocol starts with the attacks of the code released with arXiv 2509.23762: FGSM, and PGD
    with 7 steps of 0.01 from a random start, the latter also with batch norm on the batch's statistics, as it is run
    there (where the running ones also drift on the attacked batches, which is left out).

    Args:
        name: "quick", "standard" or "strong".
        epsilon: radius of the ball.
        batch: samples attacked at once.
        seed: of every attack.
        space: "pixel" or "encoded".

    Raises:
        InputError: another name.
    """
    common: dict[str, Any] = {"epsilon": epsilon, "batch": batch, "space": space}
    attacks: list[Attack]
    if name == "quick":
        attacks = [PGD(steps=10, **common)]
    elif name == "standard":
        attacks = [
            FGSM(**common),
            PGD(steps=50, **common),
            APGD(steps=50, **common),
            Square(queries=500, **common),
        ]
    elif name == "strong":
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
    else:
        raise InputError(f"protocol: {name!r}, expected 'quick', 'standard' or 'strong'")
    attacks.append(Noise(kind="uniform", restarts=3, **common))
    if space == "encoded":
        released = [PGD(steps=7, step=0.01, backward=way, **common) for way in (None, Backward(batch_statistics=True))]
        attacks = [*([] if name == "standard" else [FGSM(**common)]), *released, *attacks]
    return _seeded(attacks, seed)


def _seeded(attacks: list[Attack], seed: int) -> list[Attack]:
    for number, attack in enumerate(attacks):
        attack.seed = seed + number
    return attacks


def spike_protocol(name: str, *, budget: int, batch: int = 250, seed: int = 0) -> list[Attack]:
    """Return the attacks of a protocol on binary encoded input; a sample is robust if it survives them all.

    ``quick``: flips by the gradient, flips at random. ``standard``: flips, insertions, deletions and shifts by the
    gradient, random search for flips with 200 queries, flips at random. ``strong``: these with the adaptive sharpness
    of arctan, flips also with ties shared by pools, with the margin as loss and with a gradient for every flip (50 at
    most), random search with 1000 queries for flips and insertions.

    Args:
        name: "quick", "standard" or "strong".
        budget: edits a sample, of each kind of edit.
        batch: samples attacked at once.
        seed: of every attack.

    Raises:
        InputError: another name.
    """
    common: dict[str, Any] = {"budget": budget, "batch": batch}
    attacks: list[Attack]
    if name == "quick":
        attacks = [SpikeFlip(**common)]
    elif name == "standard":
        attacks = [*(SpikeFlip(edit=edit, **common) for edit in EDITS), SpikeSearch(queries=200, **common)]
    elif name == "strong":
        arctan = AdaptiveSharpness("arctan")
        shared = Backward(surrogate=arctan, pool="ties")
        attacks = [
            SpikeFlip(**common),
            SpikeFlip(steps=min(budget, 50), backward=Backward(surrogate=arctan), **common),
            SpikeFlip(steps=min(budget, 50), backward=shared, **common),
            SpikeFlip(steps=min(budget, 50), loss="margin", **common),
            *(SpikeFlip(edit=edit, backward=shared, **common) for edit in EDITS if edit != "flip"),
            *(SpikeSearch(edit=edit, queries=1000, **common) for edit in ("flip", "insert")),
        ]
    else:
        raise InputError(f"protocol: {name!r}, expected 'quick', 'standard' or 'strong'")
    return _seeded([*attacks, SpikeNoise(restarts=3, **common)], seed)
