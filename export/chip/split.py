"""A mapped Program as a Program again: one population a slice, and not one integer changed.

On the chip the sums of a neuron are made on its own core, so a mapping cannot change them. In a Program a synapse has
one source, so that one whose source is cut becomes several, each with sums of its own. That is the same only where
no rounding or wrap lies between a synapse's sum and the neuron's; :func:`whole` says which populations must not be cut.
"""

import numpy as np
from scipy.sparse import csr_array

from ...toolkit.errors import UnsupportedError
from ..program import Neurons, Program, Synapse
from ..program.connections import connections
from ..program.parts import Convolution, Dense, Graded, Sparse
from .mapping import Index, Mapping


def whole(program: Program) -> dict[str, str]:
    """Return the populations that must lie on one core as a whole, each with the reason."""
    found = {
        population.name: "bias-coded input goes to one population"
        for population in program.stateful
        if population.input_bias
    }
    found[program.readout.population] = "the read-out is of one population"
    for synapse in program.synapses:
        fan_in = int(np.prod(program.shape_of(synapse.source)))
        bound = 256 * fan_in * program.peak(synapse.source)
        if bound >= 2**23:  # Only then is it worth to look at each weight.
            bound = program.bound(synapse)
        ends = [synapse.source, synapse.target]
        reason = ""
        if isinstance(synapse, Convolution) and synapse.exponent == 0:
            if bound >= 2**23:
                reason = "is a convolution whose sums may leave 24 bits"
        elif bound << max(synapse.exponent, 0) >= 2**31:
            reason, ends = "has sums that may leave 32 bits", [synapse.source]
        elif synapse.exponent < 0 and (synapse.weight % 2**-synapse.exponent).any():
            reason, ends = f"floors its whole sum (exponent {synapse.exponent})", [synapse.source]
        if reason:
            found |= {name: f"{synapse.label} {reason}" for name in ends if name != program.input.name}
    return found


def _parts(program: Program, mapping: Mapping) -> dict[str, dict[str, Index | None]]:
    """Return each population's slices by their names in the new Program; None: all of it, as it was."""
    parts: dict[str, dict[str, Index | None]] = {program.input.name: {program.input.name: None}}
    for population in program.populations:
        slices = mapping.slices(population.name)
        parts[population.name] = (
            {population.name: None}
            if len(slices) == 1
            else {f"{population.name}.{i}": part.neurons(program) for i, part in enumerate(slices)}
        )
    return parts


def _block(synapse: Synapse, matrix: csr_array, rows: Index | None, columns: Index | None) -> Synapse | None:
    """Return the connections from some source neurons to some target neurons; None if there are none."""
    to = np.arange(matrix.shape[0]) if rows is None else rows
    start = np.arange(matrix.shape[1]) if columns is None else columns
    block = matrix[to][:, start].tocoo()
    if not block.nnz:
        return None
    if isinstance(synapse, Dense):
        return synapse.model_copy(update={"weight": synapse.weight[np.ix_(to, start)]})
    return _sparse(synapse, block.data, block.coords[0], block.coords[1], (len(to), len(start)))


def _sparse(synapse: Synapse, weight: Index, rows: Index, columns: Index, shape: tuple[int, int]) -> Sparse:
    # The sign mode is passed on, not inferred: a block of one sign in a mixed synapse stays mixed.
    return Sparse(
        source=synapse.source,
        target=synapse.target,
        bits=synapse.bits,
        exponent=synapse.exponent,
        sign=synapse.sign,
        delay=synapse.delay,
        shape=shape,
        weight=weight,
        rows=rows,
        columns=columns,
    )


def _cut(population: Neurons, name: str, neurons: Index, start: int) -> Neurons:
    values = {field: getattr(population, field) for field in type(population).model_fields}
    values |= {"name": name, "shape": (len(neurons),), "start": start}
    if isinstance(population, Graded):
        return Graded(**values)
    return type(population)(**values | {"bias": population.bias.ravel()[neurons]})


def split(program: Program, mapping: Mapping) -> Program:
    """Return the Program with one population for each slice, named ``population.0``, ``population.1``, ...

    A population on one core stays as it is, and so do synapses between such. Other synapses become one for each pair of
    slices with a connection: blocks of a dense one stay dense, a convolution's become sparse ones with the same
    connections. Bits, sign mode, exponent and delay are those of the whole synapse, windows those of the whole
    population.

    Args:
        program: what to split.
        mapping: where its neurons lie.

    Raises:
        UnsupportedError: a population that must stay whole is cut; the message says why.
        InputError: the mapping does not place every neuron once.
    """
    mapping.check(program)
    parts = _parts(program, mapping)
    for name, reason in whole(program).items():
        if len(parts[name]) > 1:
            raise UnsupportedError(f"population {name!r}: cannot be cut without changing integers: {reason}")
    depths = program.depths()
    populations = [
        population if neurons is None else _cut(population, name, neurons, depths[population.name])
        for population in program.populations
        for name, neurons in parts[population.name].items()
    ]
    synapses: list[Synapse] = []
    for synapse in program.synapses:
        pairs = [(to, start) for to in parts[synapse.target].items() for start in parts[synapse.source].items()]
        if len(pairs) == 1:
            synapses.append(synapse)
            continue
        matrix = connections(program, synapse)
        for (target, rows), (source, columns) in pairs:
            block = _block(synapse, matrix, rows, columns)
            if block is not None:
                synapses.append(block.model_copy(update={"source": source, "target": target}))
    if len(populations) > len(program.populations):
        # A slice without any input of its own would be refused: a weight of 0 stands for what the whole population has.
        # And a whole population may have lost the slices on its shortest path, so its window is said, too.
        populations = [
            part.model_copy(update={"start": depths[part.name]}) if part.name in depths else part
            for part in populations
        ]
        synapses += _silent(program, parts, {(s.source, s.target) for s in synapses})
    return Program(**{**dict(program), "populations": tuple(populations), "synapses": tuple(synapses)})


def _silent(program: Program, parts: dict[str, dict[str, Index | None]], made: set[tuple[str, str]]) -> list[Synapse]:
    """Return synapses of weight 0 into parts that nothing ends in which comes from before them."""
    found: list[Synapse] = []
    for population in program.populations:
        before = [s for s in program.incoming(population.name) if program.forward(s)]
        for name, neurons in parts[population.name].items():
            sources = {source for s in before for source in parts[s.source]}
            if not before or any((source, name) in made for source in sources):
                continue
            first = next(iter(parts[before[0].source]))
            shape = tuple(
                int(np.prod(program.shape_of(whole_name))) if kept is None else len(kept)
                for whole_name, kept in (
                    (population.name, neurons),
                    (before[0].source, parts[before[0].source][first]),
                )
            )
            nothing = np.zeros(1, dtype=np.int64)
            silent = _sparse(before[0], nothing, nothing, nothing, (shape[0], shape[1]))
            found.append(silent.model_copy(update={"source": first, "target": name}))
    return found
