"""What a Program of profile ``xylo`` asks of Xylo's one core."""

import numpy as np

from ...toolkit.errors import UnsupportedError
from ..program import Program, Shifted, Shifting


def demand(program: Program) -> dict[str, dict[str, int]]:
    """Return what each population asks for, by :data:`.limits.CORE_QUANTITIES`; a connection is a weight that is not 0.

    ``channels`` count for the populations that the input reaches, ``hidden`` and ``outputs`` are neurons, ``synapses``
    the currents a neuron; ``fan_in``, ``fan_out`` and ``connections`` are of weights between hidden neurons.

    Raises:
        UnsupportedError: the Program is of another profile.
    """
    if program.profile != "xylo":
        raise UnsupportedError(f"the Program is of profile {program.profile!r}; a core is asked for by 'xylo' ones")
    last, given = program.readout.population, program.input.name
    found = {}
    for population in program.populations:
        assert isinstance(population, Shifting)
        size, name = int(np.prod(population.shape)), population.name
        inner = [s for s in program.synapses if s.target not in (last,) and s.source != given]
        used = {id(s): s.weight != 0 for s in program.synapses if isinstance(s, Shifted)}
        rows = [used[id(s)].sum(1) for s in inner if s.target == name]
        columns = [used[id(s)].sum(0) for s in inner if s.source == name]
        outward = [used[id(s)].any(0) for s in program.synapses if s.source == name and s.target == last]
        inward = [used[id(s)] for s in program.synapses if s.target == name and s.source == given]
        found[name] = {
            "channels": max((int(one.any(0).sum()) for one in inward), default=0),
            "hidden": 0 if name == last else size,
            "outputs": size if name == last else 0,
            "synapses": len(population.dash_syn),
            "fan_out": int(np.max(sum(columns), initial=0)),
            "connections": int(np.sum(sum(rows))),
            "fan_in": int(np.max(sum(rows), initial=0)),
            "input_projection": int(np.sum(sum(one.any(1) for one in inward) > 0)),
            "output_projection": int(np.sum(sum(outward) > 0)),
        }
    return found


TOGETHER = ("hidden", "outputs", "connections", "input_projection", "output_projection")
"""What adds up over populations; of the others the largest counts."""


def total(program: Program) -> dict[str, int]:
    """Return what all populations ask of the core."""
    each = list(demand(program).values())
    found = {key: (sum if key in TOGETHER else max)(one[key] for one in each) for key in each[0]}
    # Populations share channels; those that nothing reaches are wired nonetheless.
    found["channels"] = int(np.prod(program.input.shape))
    return found


def values(program: Program) -> dict[str, tuple[int, int]]:
    """Return the smallest and largest integer of each field of :data:`.limits.CORE_FIELDS`."""
    populations = [population for population in program.populations if isinstance(population, Shifting)]
    dashes = [dash for population in populations for dash in (*population.dash_syn, population.dash_mem)]
    biases = np.concatenate([population.bias.ravel() for population in populations])
    shifts = [synapse.exponent for synapse in program.synapses]
    thresholds = [population.vth for population in populations]
    return {
        "weight_bits": (8, 8),
        "weight_exponent": (min(shifts), max(shifts)),
        "vth": (min(thresholds), max(thresholds)),
        "dash": (min(dashes), max(dashes)),
        "bias": (int(biases.min()), int(biases.max())),
        "message_bits": (program.input.message_bits, program.input.message_bits),
    }
