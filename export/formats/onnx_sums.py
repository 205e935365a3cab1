"""Sums of weights times messages in the ONNX form: exact, in the cheapest operators that keep them so."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ...toolkit.extras import extra
from ..program import Convolution, Program, Synapse
from .onnx_graph import DOUBLE, EXACT, FLOAT, INT64, UINT8, Graph, Tensor, value

with extra("onnx"):
    from onnx import helper

Shape = tuple[int, ...]
Summed = Callable[[Graph, Tensor, int], Tensor]

BYTE = 127
"""Messages up to here, times weights of 8 bits, add up in pairs to no more than 16 bits: kernels for CPUs without
instructions for integer products of four add pairs, and would cut what is larger."""


def piece(program: Program, synapse: Synapse) -> int:
    """Return how many bits of a message are summed at once, so that every sum is below 2^24: exact in float32.

    0 where not even one bit is; the whole message where all of it may be.
    """
    bound, peak = program.bound(synapse), program.peak(synapse.source)
    if bound < EXACT:
        return max(1, peak.bit_length())
    return ((EXACT - 1) // (bound // peak) + 1).bit_length() - 1


def arriving(graph: Graph, program: Program, index: int, x: Tensor) -> Tensor:
    """Return what arrives by synapse ``index``, (n, ...), for messages x (n, ...): float32 or, from 2^24 on, int64."""
    synapse = program.synapses[index]
    bound, exponent = program.bound(synapse), synapse.exponent
    if bound >= EXACT:
        total = _pieces(graph, program, index, x)
        delivered = int(bound * 2.0**exponent) + 1
    elif exponent >= 0:
        scaled, delivered = _weighted(graph, program, index, x, 2**exponent), bound << exponent
        total = Tensor(scaled, FLOAT)
    else:
        # Sums and powers of two are exact in float32; the floor is Loihi's shift to the right.
        scaled, delivered = _weighted(graph, program, index, x, 2.0**exponent), -(-bound >> -exponent)
        total = Tensor(graph.add("Floor", scaled), FLOAT)
    width = 24 if isinstance(synapse, Convolution) and exponent == 0 else 32
    if delivered >= 2 ** (width - 1):
        total, delivered = Tensor(graph.wrap(graph.cast(total, INT64), width), INT64), 2 ** (width - 1)
    kind = FLOAT if delivered < EXACT else INT64
    return Tensor(graph.cast(total, kind), kind, delivered)


def over_time(graph: Graph, program: Program, index: int, x: Tensor, same: str = "") -> Tensor:
    """Return what arrives (time, batch, ...) for messages x (time, batch, ...), all steps at once; a lag moves it.

    Args:
        graph: to add to.
        program: that it belongs to.
        index: of the synapse.
        x: messages.
        same: a truth value of the graph, whether the messages of all steps are equal: then they are summed once.
    """
    synapse = program.synapses[index]
    lag, shape = program.lag(synapse), program.shape_of(synapse.target)

    def summed(inside: Graph, given: Tensor, steps: int) -> Tensor:
        flat = Tensor(inside.reshape(given.name, [-1, *program.shape_of(synapse.source)]), given.kind)
        a = arriving(inside, program, index, flat)
        return a._replace(name=inside.reshape(a.name, [steps, -1, *shape]))

    a = _once(graph, same, program.steps, shape, x, summed) if same else summed(graph, x, program.steps)
    if lag:
        kept = graph.add("Slice", a.name, graph.constant([0]), graph.constant([program.steps - lag]))
        pads = graph.constant([lag, *[0] * (2 * len(shape) + 3)])
        a = a._replace(name=graph.add("Pad", kept, pads))
    return a


def _once(graph: Graph, same: str, steps: int, shape: Shape, x: Tensor, summed: Summed) -> Tensor:
    """Return sums over all steps (time, batch, ...), made of the first step alone where ``same`` holds at run time."""
    branches, made = {}, x
    for key in ("then_branch", "else_branch"):
        inside = graph.inner(f"{graph.fresh()}{key[0]}")
        if key == "then_branch":
            first = inside.add("Slice", x.name, inside.constant([0]), inside.constant([1]))
            made = summed(inside, Tensor(first, x.kind), 1)
            out = inside.add("Expand", made.name, inside.constant([steps, *[1] * (1 + len(shape))]))
        else:
            made = summed(inside, x, steps)
            out = made.name
        outputs = [value(out, made.kind, [steps, "batch", *shape])]
        branches[key] = helper.make_graph(inside.nodes, key, [], outputs)
    return made._replace(name=graph.add("If", same, **branches))


def _weighted(graph: Graph, program: Program, index: int, x: Tensor, scale: float) -> str:
    """Return the sums of weights times messages, times a power of two, (n, ...) float32."""
    synapse, name = program.synapses[index], f"weight/{index}"
    if isinstance(synapse, Convolution):
        graph.constants[name] = synapse.weight.astype(np.float32)
        pads = [*synapse.padding, *synapse.padding]
        fields: dict[str, Any] = {
            "strides": synapse.stride,
            "pads": pads,
            "dilations": synapse.dilation,
            "group": synapse.groups,
        }
        total = graph.add("Conv", graph.cast(x, FLOAT), name, **fields)
    else:
        matrix = np.ascontiguousarray(synapse.matrix().T)
        if _bytes(program, synapse):
            # Integer products are twice as fast as those of float32; those of convolutions are not.
            even = 1 + int(not (matrix % 2).any())
            graph.constants[name], scale = (matrix // even).astype(np.int8), scale * even
            flat = graph.add("Flatten", graph.cast(x, UINT8), axis=1)
            product = graph.add("Cast", graph.add("MatMulInteger", flat, name), to=FLOAT)
        else:
            graph.constants[name] = matrix.astype(np.float32)
            product = graph.add("MatMul", graph.add("Flatten", graph.cast(x, FLOAT), axis=1), name)
        total = graph.reshape(product, [-1, *program.shape_of(synapse.target)])
    return total if scale == 1 else graph.add("Mul", total, graph.constant(scale, FLOAT))


def _bytes(program: Program, synapse: Synapse) -> bool:
    """Return whether messages and weights, or half the weights if all are even, are bytes."""
    if program.signed(synapse.source) or program.peak(synapse.source) > BYTE:
        return False
    weight = synapse.weight if (synapse.weight % 2).any() else synapse.weight // 2
    return bool(weight.min() >= -128 and weight.max() <= 127)


def _pieces(graph: Graph, program: Program, index: int, x: Tensor) -> Tensor:
    """Return what arrives, int64, where float32 does not hold the sums: a few bits of the messages at a time.

    Of messages with a sign the last piece has it: what is left above the bits before, from -2^(bits - 1).
    """
    synapse = program.synapses[index]
    bits, signed = piece(program, synapse), program.signed(synapse.source)
    width = program.peak(synapse.source).bit_length() + signed
    rest, total, shift = graph.cast(x, DOUBLE), "", 0
    while shift < width:
        low = rest
        if shift + bits < width:
            high = graph.add("Floor", graph.add("Mul", rest, graph.constant(2.0**-bits, DOUBLE)))
            low = graph.add("Sub", rest, graph.add("Mul", high, graph.constant(2.0**bits, DOUBLE)))
            rest = high
        sums = _weighted(graph, program, index, Tensor(low, DOUBLE), 1)
        part = graph.add("Cast", sums, to=INT64)
        part = graph.add("Mul", part, graph.constant(2**shift)) if shift else part
        total = graph.add("Add", total, part) if total else part
        shift += bits
    if synapse.exponent > 0:
        total = graph.add("Mul", total, graph.constant(2**synapse.exponent))
    elif synapse.exponent:
        if program.bound(synapse) >= 2**31:  # The sum is 32 bits wide before it is shifted, too.
            total = graph.wrap(total, 32)
        total = graph.floor_shift(total, -synapse.exponent)
    return Tensor(total, INT64)
