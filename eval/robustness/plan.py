"""Which attacks a protocol runs on which form, in which order."""

from dataclasses import replace
from typing import Any

import snntorch
from torch import nn

from ...toolkit.attacks.base import Attack, Space
from ...toolkit.attacks.blind import HopSkipJump, Transfer
from ...toolkit.attacks.gradient import PGD
from ...toolkit.attacks.strong import APGD, SAPGD
from ...toolkit.attacks.suite import protocol
from ...toolkit.attacks.victim import Victim
from ...toolkit.coding import LEVELS
from ...toolkit.errors import InputError
from ...toolkit.network.backward import Backward
from ...toolkit.network.surrogates import AdaptiveSharpness

PROTOCOLS = ("quick", "standard", "strong")
BATCH = 100
"""Samples attacked at once: what an interruption may cost."""
DECISION_SAMPLES = 10
"""HopSkipJump asks thousands of times a sample, one by one; it gets the first of those that are left."""
WHITE, TRANSFER, NONE = "white box", "transfer", "no access"


def levels(epsilon: float) -> int:
    """Return the radius ``epsilon`` in whole levels of the chip's 8-bit input, rounded down.

    Raises:
        InputError: it is less than one level, or more than all.
    """
    # 0.1 * 255 and 2 / 255 * 255 are not what they seem in floating point.
    found = int(epsilon * LEVELS + 1e-6) if 0 < epsilon <= 1 else 0
    if not found:
        raise InputError(f"epsilon: {epsilon}, expected a number in [1/{LEVELS}, 1]; the chip's input has no less")
    return found


def spiking(module: nn.Module) -> bool:
    """Return whether ``module`` has spikes, whose derivative an attacker may choose."""
    return any(
        isinstance(part, snntorch.SpikingNeuron) or callable(getattr(part, "surrogate", None))
        for part in module.modules()
    )


def fitted(backward: Backward | None, module: nn.Module) -> Backward | None:
    """Return ``backward`` without choices that ``module`` has no use for."""
    if backward is None:
        return None
    if not any(isinstance(part, nn.MaxPool2d) for part in module.modules()):
        backward = replace(backward, pool="first")
    if not spiking(module):
        backward = replace(backward, surrogate=None, time="full")
    return None if backward == Backward() else backward


def white_box(name: str, module: nn.Module, *, epsilon: float, batch: int, seed: int) -> list[Attack]:
    """Return a protocol's white-box attacks on ``module``, each once; in a cascade the strongest comes first."""
    return gradients(name, protocol(name, epsilon=epsilon, batch=batch, seed=seed), module)


def gradients(name: str, attacks: list[Attack], module: nn.Module) -> list[Attack]:
    """Return the white-box attacks among those of protocol ``name``, as :func:`white_box`."""
    found: dict[str, Attack] = {}
    norms = any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in module.modules())
    for attack in attacks:
        if attack.access != WHITE or (attack.backward and attack.backward.batch_statistics and not norms):
            continue
        attack.backward = fitted(attack.backward, module)
        found.setdefault(repr(attack), attack)
    ordered = list(found.values())
    return sorted(ordered, key=lambda attack: not isinstance(attack, SAPGD)) if cascade(name) else ordered


def without_gradients(name: str, *, epsilon: float, batch: int, seed: int) -> list[Attack]:
    """Return a protocol's black-box attacks and noise controls."""
    return blind(protocol(name, epsilon=epsilon, batch=batch, seed=seed))


def blind(attacks: list[Attack]) -> list[Attack]:
    """Return the black-box attacks and noise controls among ``attacks``."""
    return [attack for attack in attacks if attack.access not in (WHITE, TRANSFER)]


def averaged(attacks: list[Attack], draws: int) -> list[Attack]:
    """Return ``attacks``, those with gradients averaging over so many draws of a stochastic victim."""
    for attack in attacks:
        inner = vars(attack).get("attack", attack)
        if draws > 1 and hasattr(inner, "draws"):
            inner.draws = draws
    return attacks


def transfers(
    name: str,
    source: nn.Module,
    source_name: str,
    *,
    epsilon: float,
    batch: int,
    seed: int,
    space: Space = "pixel",
) -> list[Attack]:
    """Return a protocol's attacks that are made on ``source`` to the end and judged elsewhere."""
    common: dict[str, Any] = {"epsilon": epsilon, "batch": batch, "seed": seed, "space": space}
    steps = 10 if name == "quick" else 50
    made: list[Attack] = [PGD(steps=steps, **common)]
    if name != "quick":
        made.append(APGD(steps=steps, early_stop=False, **common))
    if name == "strong":
        backward = fitted(Backward(surrogate=AdaptiveSharpness("arctan")), source)
        made.append(SAPGD(steps=steps, early_stop=False, backward=backward, **common))
    return [Transfer(attack, source, source_name) for attack in made]


def decision(name: str, *, epsilon: float, seed: int) -> list[Attack]:
    """Return a protocol's attacks on classes alone, for a few samples."""
    if name != "strong":
        return []
    return [HopSkipJump(epsilon=epsilon, steps=5, queries=200, batch=DECISION_SAMPLES, seed=seed)]


def cascade(name: str) -> bool:
    """Return whether a protocol's attacks try only what earlier ones left; noise is the exception."""
    return name == "strong"


def check(name: str) -> str:
    """Return the name of a protocol.

    Raises:
        InputError: there is none of that name.
    """
    if name not in PROTOCOLS:
        raise InputError(f"protocol: {name!r}, expected one of {', '.join(PROTOCOLS)}")
    return name


def victim_of(attack: Attack, module: nn.Module, function: Victim) -> Victim:
    """Return what ``attack`` runs on: the module if it needs gradients, else what answers for the form."""
    return module if attack.access == WHITE else function


def effort(attack: Attack) -> float:
    """Return a rough cost a sample, in gradients: for the time left."""
    inner = vars(attack).get("attack", attack)
    facts = vars(inner)
    if "queries" in facts:
        return 0.35 * float(facts["queries"]) * float(facts.get("steps", 1))
    return float(facts.get("steps", 1) * facts.get("restarts", 1) * facts.get("draws", 1))
