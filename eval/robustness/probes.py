"""Short attacks and looks at gradients that tell whether the long attacks can be believed."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ...toolkit.attacks.base import Attack, Space
from ...toolkit.attacks.gradient import FGSM, PGD
from ...toolkit.attacks.spikes import SpikeFlip
from ...toolkit.attacks.victim import batches, device_of
from ...toolkit.data import Images, Labels
from ...toolkit.network.backward import Backward, attack_gradient
from ...toolkit.network.surrogates import AdaptiveSharpness, Surrogate
from ...toolkit.train import seeded
from ..records.base import share
from ..records.robustness import Mask, Probes
from .plan import spiking
from .runner import Runner

if TYPE_CHECKING:
    from .form import Attackers

SAMPLES = 100
"""Right samples that the probes see: enough that a change of 10 points stands out, few enough for every evaluation."""
FEW, SWEPT = 5, 20
"""Steps: few, and in the sweep of backward passes."""
SWEEP = {
    "arctan 1": Backward(surrogate=Surrogate("arctan", 1.0)),
    "arctan 2": Backward(surrogate=Surrogate("arctan", 2.0)),
    "arctan 4": Backward(surrogate=Surrogate("arctan", 4.0)),
    "arctan 10": Backward(surrogate=Surrogate("arctan", 10.0)),
    "adaptive": Backward(surrogate=AdaptiveSharpness("arctan")),
}


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
    """

    title: str
    first: str
    one: str
    many_steps: int
    prefix: str
    radius: str

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

    def make(self, radius: float, steps: int, space: Space | None) -> Attack:
        """Return the attack: PGD, FGSM for 0 steps, in ``space``; with None, as many edits of spikes."""
        if space is None:
            return SpikeFlip(budget=int(radius), steps=max(steps, 1))
        attack = PGD(epsilon=radius, steps=steps) if steps else FGSM(epsilon=radius)
        attack.space = space
        return attack

    def compared(self, radius: float, space: Space | None, entries: int) -> dict[str, Attack]:
        """Return the attacks by name, without their common settings.

        Args:
            radius: epsilon, or the number of edits.
            space: of the ball; None for edits.
            entries: of a sample: all may be edited at most.
        """
        most = 1.0 if space else float(entries)
        radii = {f"half {self.radius}": max(radius / 2, 0.0 if space else 1.0), self.radius: radius}
        radii |= {f"twice {self.radius}": min(2 * radius, most), "unbounded": most}
        steps = {self.one: 0, self.few: FEW, self.many: self.many_steps}
        return {name: self.make(radius, count, space) for name, count in steps.items()} | {
            name: self.make(size, SWEPT, space) for name, size in radii.items()
        }


BALL = Family("PGD", "FGSM", "fgsm", 50, "pgd", "epsilon")
EDITS = Family("the choice of edits by gradients", "a single gradient", "edits-1", 20, "edits", "budget")
"""Of spikes; one step more than edits brings nothing, so its steps are fewer."""


def family(probes: Probes) -> Family:
    """Return the family whose attacks a record names."""
    return EDITS if EDITS.one in probes.accuracy else BALL


def efforts(space: Space | None) -> float:
    """Return the rough cost of all probes a sample, in gradients."""
    found = EDITS if space is None else BALL
    steps = 2 + FEW + found.many_steps + 4 * SWEPT + len(SWEEP) * SWEPT
    return float(steps)


def probe(
    module: nn.Module,
    images: Images,
    labels: Labels,
    right: Mask,
    survivors: Mask,
    against: "Attackers",
    runner: Runner,
    salt: str = "",
) -> Probes | None:
    """Measure whether gradient attacks work on a module; None if it answers no sample rightly.

    Args:
        module: the victim.
        images: (samples, ...).
        labels: (samples,).
        right: which samples are answered rightly, (samples,).
        survivors: which survived all white-box attacks, (samples,).
        against: budget and seed.
        runner: runs the attacks.
        salt: as of :class:`.runner.Runner`.
    """
    chosen = np.flatnonzero(right)[:SAMPLES]
    if not chosen.size:
        return None
    kin, space = (EDITS if against.space is None else BALL), against.space
    x, y = np.ascontiguousarray(images[chosen]), labels[chosen]

    def run(attack: Attack, backward: Backward | None = None) -> tuple[Images, Mask]:
        attack.seed, attack.batch, attack.backward = against.seed, against.batch, backward
        done = runner(attack, module, x, y, salt=salt)
        return done.images, done.robust

    made = {name: run(attack) for name, attack in kin.compared(against.epsilon, space, x[0].size).items()}
    sweep = {}
    if spiking(module):
        sweep = {name: run(kin.make(against.epsilon, SWEPT, space), way)[1] for name, way in SWEEP.items()}
    with seeded(against.seed):
        first = _logits(module, x)
        again = _logits(module, x)
    inputs = {"clean": x} | {name: made[name][0] for name in (kin.one, kin.many)}
    losses = {name: _losses(module, part, y) for name, part in inputs.items()}
    broken = np.zeros(len(chosen), dtype=np.bool_)
    for robust in sweep.values():
        broken |= ~robust
    return Probes(
        samples=len(chosen),
        accuracy={name: share(robust) for name, (_, robust) in made.items()},
        backwards={
            name: (
                int((~made[weak][1] & made[strong][1]).sum()),
                int((made[weak][1] & ~made[strong][1]).sum()),
            )
            for name, (weak, strong) in kin.pairs.items()
        },
        zero_share=_zero_share(module, x, y),
        loss={name: float(loss.mean()) for name, loss in losses.items()},
        rose=float((losses[kin.many] > losses["clean"]).mean()),
        differ=float((first != again).any(axis=1).mean()),
        sweep={name: share(robust) for name, robust in sweep.items()},
        sweep_only=int((broken & survivors[chosen]).sum()),
    )


def _logits(module: nn.Module, images: Images) -> NDArray[Any]:
    with torch.no_grad():
        parts = [module(torch.from_numpy(part).to(device_of(module))) for part in batches(images, len(images))]
    found: NDArray[Any] = torch.cat(parts).cpu().numpy()
    return found


def _losses(module: nn.Module, images: Images, labels: Labels) -> NDArray[np.float64]:
    """Return the cross-entropy of every sample, in float64 so that confident answers do not round to 0."""
    logits = torch.from_numpy(_logits(module, images)).double()
    return nn.functional.cross_entropy(logits, torch.from_numpy(labels), reduction="none").numpy()


def _zero_share(module: nn.Module, images: Images, labels: Labels) -> float:
    """Return the share of exact zeros among the entries of the loss's gradient with respect to the images."""
    device = device_of(module)
    with attack_gradient(module), torch.enable_grad():
        x = torch.from_numpy(images).to(device).requires_grad_()
        loss = nn.functional.cross_entropy(module(x), torch.from_numpy(labels).to(device), reduction="sum")
        if not loss.requires_grad:
            return 1.0
        (gradient,) = torch.autograd.grad(loss, x, allow_unused=True)
    return 1.0 if gradient is None else float((gradient == 0).float().mean())
