"""A Program for people: its integers, one row a synapse."""

from typing import Any

from .program import Program


def describe(program: Program) -> list[dict[str, Any]]:
    """Return one row a synapse, for people: the integers, and how far its sums are from overflowing."""
    rows = []
    for population in program.populations:
        own = {
            "population": population.name,
            "shape": list(population.shape),
            "vth": population.vth,
            "dv": getattr(population, "dv", None),
            "bias_exponent": getattr(population, "bias_exponent", None),
        }
        if getattr(population, "input_bias", False):
            coded = {"synapse": "bias", "bits": program.input.message_bits, "exponent": 0, "largest_sum": 0}
            rows.append(own | {"from": program.input.name} | coded)
        rows += [
            own
            | {
                "from": synapse.source,
                "synapse": synapse.kind,
                "bits": synapse.bits,
                "exponent": synapse.exponent,
                "largest_sum": program.bound(synapse),
            }
            for synapse in program.incoming(population.name)
        ]
    return rows
