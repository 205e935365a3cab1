"""A network as other frameworks have it, made one that Loihi's neurons can be, change by change."""

from ..network.network import SpikingNetwork
from . import neurons, wires
from .draft import Change, Draft
from .wires import Pools

MOST_POPULATIONS = 64
"""Sets of constants into which one layer may be split."""


def adapt(
    network: SpikingNetwork, *, pools: Pools = "after", populations: int = MOST_POPULATIONS
) -> tuple[SpikingNetwork, list[Change], list[str]]:
    """Change what has no form on the chip, where the answer is known.

    Args:
        network: not changed.
        pools: what becomes of max pools of currents: moved behind the neurons, "after", or "average".
        populations: into how many populations of equal constants a layer may be split; beyond, its neurons get the
            mean of each.

    Returns:
        The adapted network, the changes in the order in which they were made, and what is left.
    """
    draft = Draft(network)
    found: list[Change] = []

    def made(change: Change | None) -> None:
        if change is not None:
            change.make(draft)
            found.append(change)

    for rule in (wires.nothing, wires.norm_before_pool):
        for name in list(draft.layers):
            made(rule(draft, name))
    for name in list(draft.layers):
        made(wires.pool_after_neuron(draft, name, pools))
    for step in neurons.RULES:
        for name in list(draft.layers):
            made(step(draft, name, populations))
    made(wires.readout(draft))
    return draft.network(), found, wires.unread(draft)


def alone(network: SpikingNetwork, change: Change) -> SpikingNetwork:
    """Return a network with one change of :func:`adapt` only."""
    draft = Draft(network)
    change.make(draft)
    return draft.network()


__all__ = ["MOST_POPULATIONS", "Change", "Pools", "adapt", "alone"]
