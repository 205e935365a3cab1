"""Short attacks and looks at gradients that tell whether the long attacks can be believed."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ...toolkit.attacks.base import Attack
from ...toolkit.attacks.corner import CornerSearch
from ...toolkit.attacks.victim import batches, device_of, outputs, spiking
from ...toolkit.data import Images, Labels
from ...toolkit.network.backward import Backward, attack_gradient
from ...toolkit.network.surrogates import AdaptiveSharpness, Surrogate
from ...toolkit.train import seeded
from ..records.base import share
from ..records.robustness import Mask, Probes
from .attackers import FEW, SWEPT, Attackers, family_of
from .runner import Runner

SAMPLES = 100
"""Right samples that the probes see: enough that a change of 10 points stands out, few enough for every evaluation."""
SEARCHED, OTHER = 500, 1000
"""Queries of the search that looks for what a protocol missed, and what its seed is away from the protocol's."""
SWEEP = {
    "arctan 1": Backward(surrogate=Surrogate("arctan", 1.0)),
    "arctan 2": Backward(surrogate=Surrogate("arctan", 2.0)),
    "arctan 4": Backward(surrogate=Surrogate("arctan", 4.0)),
    "arctan 10": Backward(surrogate=Surrogate("arctan", 10.0)),
    "adaptive": Backward(surrogate=AdaptiveSharpness("arctan")),
}


def efforts(against: Attackers, samples: int) -> float:
    """Return the rough cost of all probes of a form with so many samples, in gradients."""
    found = family_of(against)
    steps = 2 + FEW + found.many_steps + 4 * SWEPT + len(SWEEP) * SWEPT
    return float(steps * min(samples, SAMPLES))


def probe(
    module: nn.Module,
    images: Images,
    labels: Labels,
    right: Mask,
    survivors: Mask,
    left: Mask,
    against: Attackers,
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
        left: which survived everything, (samples,).
        against: budget and seed.
        runner: runs the attacks.
        salt: as of :class:`.runner.Runner`.
    """
    chosen = np.flatnonzero(right)[:SAMPLES]
    if not chosen.size:
        return None
    kin = family_of(against)
    x, y = np.ascontiguousarray(images[chosen]), labels[chosen]

    def run(attack: Attack) -> tuple[Images, Mask]:
        done = runner(attack, module, x, y, salt=salt)
        return done.images, done.robust

    made = {name: run(attack) for name, attack in kin.compared(against, x[0].size).items()}
    sweep = {}
    if spiking(module):
        ways = {name: kin.make(against, against.epsilon, SWEPT, way) for name, way in SWEEP.items()}
        sweep = {name: run(attack)[1] for name, attack in ways.items()}
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
        search_only=_search_only(chosen[left[chosen]], images, labels, module, against, runner, salt),
    )


def _search_only(
    left: NDArray[np.int64],
    images: Images,
    labels: Labels,
    module: nn.Module,
    against: Attackers,
    runner: Runner,
    salt: str,
) -> int | None:
    """Return how many samples a short corner search breaks of those that nothing broke."""
    if against.space is None:
        return None
    search = CornerSearch(
        epsilon=against.epsilon, space=against.space, queries=SEARCHED, seed=against.seed + OTHER, batch=against.batch
    )
    done = runner(search, module, np.ascontiguousarray(images[left]), labels[left], salt=salt)
    return int((~done.robust).sum())


def _logits(module: nn.Module, images: Images) -> NDArray[Any]:
    parts = [outputs(module, part) for part in batches(images, len(images))]
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
