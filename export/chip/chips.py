"""What a Program asks of the chip beyond the arithmetic: some send spikes without payload, others graded ones."""

from ..program import Program
from ..program.parts import Graded
from . import CHIPS
from .limits import PROFILES, load_limits


def alike(program: Program) -> list[str]:
    """Return the names of the chips that compute a Program's integers."""
    return [name for name in CHIPS.names() if PROFILES[load_limits(name).family] == program.profile]


def unsupported(program: Program, chip: str) -> list[str]:
    """Return the reasons why ``chip`` cannot hold ``program``; empty when nothing known speaks against it.

    Only what a message may carry is looked at, not numbers of neurons, axons and synapses.
    """
    limits = load_limits(chip)
    if program.profile != PROFILES[limits.family]:
        return [
            f"the Program is in the integers of profile {program.profile!r}; {limits.title} computes those of "
            f"{PROFILES[limits.family]!r}: quantize and export the network for it (export.chip = {chip!r})"
        ]
    if limits.family == "xylo":
        return []
    if limits.graded:
        names = ", ".join(repr(population.name) for population in program.sigma_delta)
        return [
            f"populations {names}: how many sigma-delta neurons a core holds is not public, so whether and where they "
            "fit is not known; what they compute runs on every simulator here"
        ] * bool(names)
    where = ", ".join(one.title for one in map(load_limits, alike(program)) if one.graded)
    coded = any(population.input_bias for population in program.stateful)
    taken = any(synapse.source == program.input.name for synapse in program.synapses)
    reasons = [
        f"population {population.name!r}: graded spikes exist on {where} only; end both paths in the next population"
        for population in program.populations
        if isinstance(population, Graded)
    ]
    if names := ", ".join(repr(population.name) for population in program.sigma_delta):
        reasons.append(f"populations {names}: sigma-delta neurons send graded changes, which exist on {where} only")
    if program.input.message_bits and (taken or not coded):
        reasons.append(
            f"input {program.input.name!r}: messages of {program.input.message_bits} bits are graded spikes, which "
            f'exist on {where} only; send binary spikes (in a recipe coding.name = "rate", "latency", "phase" or '
            '"events"), or, in a Program of your own, add the input to a population\'s bias (input_bias)'
        )
    return reasons
