"""What a Program asks of the chip beyond the arithmetic: Loihi 1 sends spikes without payload, Loihi 2 graded ones."""

from typing import Literal

from ..program import Program
from ..program.parts import Graded

Chip = Literal["loihi1", "loihi2"]
CHIPS: tuple[Chip, ...] = ("loihi1", "loihi2")


def unsupported(program: Program, chip: Chip) -> list[str]:
    """Return the reasons why ``chip`` cannot hold ``program``; empty when nothing known speaks against it.

    Sources: Davies et al. 2018 (Loihi 1: a plain spike message has no payload); lava-nc's graded processes and 24-bit
    ports (Loihi 2). Numbers of neurons, axons and synapses are not looked at here.
    """
    if chip == "loihi2":
        return []
    coded = any(population.input_bias for population in program.spiking)
    taken = any(synapse.source == program.input.name for synapse in program.synapses)
    reasons = [
        f"population {population.name!r}: graded spikes exist on Loihi 2 only; end both paths in the next population"
        for population in program.populations
        if isinstance(population, Graded)
    ]
    if program.input.message_bits and (taken or not coded):
        reasons.append(
            f"input {program.input.name!r}: messages of {program.input.message_bits} bits are graded spikes, which "
            "exist on Loihi 2 only; send binary spikes, or input that is bias-coded"
        )
    return reasons
