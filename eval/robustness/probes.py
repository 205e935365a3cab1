"""Short attacks and looks at gradients that tell whether the long attacks can be believed."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ...toolkit.attacks.base import Attack, Space
from ...toolkit.attacks.gradient import FGSM, PGD
from ...toolkit.attacks.victim import batches, device_of
from ...toolkit.backward import Backward, attack_gradient
from ...toolkit.data import Images, Labels
from ...toolkit.surrogates import AdaptiveSharpness, Surrogate
from ...toolkit.train import seeded
from .plan import spiking
from .record import Mask, Probes, share
from .runner import Runner

if TYPE_CHECKING:
    from .form import Attackers

SAMPLES = 100
"""Right samples that the probes see: enough that a change of 10 points stands out, few enough for every evaluation."""
FEW, MANY, SWEPT = 5, 50, 20
"""Steps of PGD: few, many, and in the sweep of backward passes."""
SWEEP = {
    "arctan 1": Backward(surrogate=Surrogate("arctan", 1.0)),
    "arctan 2": Backward(surrogate=Surrogate("arctan", 2.0)),
    "arctan 4": Backward(surrogate=Surrogate("arctan", 4.0)),
    "arctan 10": Backward(surrogate=Surrogate("arctan", 10.0)),
    "adaptive": Backward(surrogate=AdaptiveSharpness("arctan")),
}


def compared(epsilon: float, space: Space = "pixel") -> dict[str, Attack]:
    """Return the attacks of the probes by name, without their common settings."""
    made: dict[str, Attack] = {
        "fgsm": FGSM(epsilon=epsilon),
        f"pgd-{FEW}": PGD(epsilon=epsilon, steps=FEW),
        f"pgd-{MANY}": PGD(epsilon=epsilon, steps=MANY),
        "half epsilon": PGD(epsilon=epsilon / 2, steps=SWEPT),
        "epsilon": PGD(epsilon=epsilon, steps=SWEPT),
        "twice epsilon": PGD(epsilon=min(2 * epsilon, 1.0), steps=SWEPT),
        "unbounded": PGD(epsilon=1.0, steps=SWEPT),
    }
    for attack in made.values():
        attack.space = space
    return made


PAIRS = {
    "steps": (f"pgd-{FEW}", f"pgd-{MANY}"),
    "fgsm": ("fgsm", f"pgd-{MANY}"),
    "half": ("half epsilon", "epsilon"),
    "twice": ("epsilon", "twice epsilon"),
}
"""Comparisons of a weaker with a stronger attack."""


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
    """Measure whether gradient attacks work on a module; None if it answers no sample rightly, or has no ball.

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
    if not chosen.size or against.space is None:
        return None
    space = against.space
    x, y = np.ascontiguousarray(images[chosen]), labels[chosen]

    def run(attack: Attack, backward: Backward | None = None) -> tuple[Images, Mask]:
        attack.seed, attack.batch, attack.backward = against.seed, against.batch, backward
        done = runner(attack, module, x, y, salt=salt)
        return done.images, done.robust

    made = {name: run(attack) for name, attack in compared(against.epsilon, space).items()}
    sweep = {}
    if spiking(module):
        sweep = {
            name: run(PGD(epsilon=against.epsilon, steps=SWEPT, space=space), way)[1] for name, way in SWEEP.items()
        }
    with seeded(against.seed):
        first = _logits(module, x)
        again = _logits(module, x)
    inputs = {"clean": x} | {name: made[name][0] for name in ("fgsm", f"pgd-{MANY}")}
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
            for name, (weak, strong) in PAIRS.items()
        },
        zero_share=_zero_share(module, x, y),
        loss={name: float(loss.mean()) for name, loss in losses.items()},
        rose=float((losses[f"pgd-{MANY}"] > losses["clean"]).mean()),
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
