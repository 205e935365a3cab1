"""Which weights survive lava-dl's importer, and a Program's synapses as exact integer matrices."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..program import Convolution, Program, Synapse
from ..program.connections import connections
from ..program.parts import Sign
from ..program.storage import WEIGHT_BITS, stored_weight

Matrix = NDArray[np.int64]


class Refused(Exception):
    """A part that has no exact form; the message is the reason."""


def dense_problem(weight: Matrix, peak: int, loops: Matrix | None = None) -> str | None:
    """Return why a dense layer of netx would change ``weight``, or None if it keeps it exactly.

    The importer shifts weights left to fill 8 bits, with the exponent that undoes it; Lava then infers the sign mode
    once more, clips, and truncates to the bits that the importer counted.

    Args:
        weight: (out, in).
        peak: the largest message.
        loops: weights of spikes from the layer itself (out, out); the importer joins them to the others, Lava does not.
    """
    joint = weight if loops is None else np.hstack([weight, loops])
    low, high = int(joint.min()), int(joint.max())
    if low == high == 0:
        return "all weights are 0, and the importer divides by the largest"
    if low < -256 or high > (254 if low < 0 else 255):
        return f"weights {low} to {high} leave the importer's {'-256 to 254' if low < 0 else '0 to 255'}"
    shift, bits = _optimized(joint)
    for part, largest in ((weight, peak), (loops, 1)):
        if part is not None:
            problem = _changed(part << shift, bits)
            if problem:
                return problem
            if sides(part) * largest << shift >= 2**31:
                return f"sums up to {sides(part) * largest}, shifted by {shift} bits by the importer, leave 32 bits"
    return None


def _optimized(joint: Matrix) -> tuple[int, int]:
    """Return by how many bits the importer shifts weights left, and how many bits it then says that they have."""
    low, high = int(joint.min()), int(joint.max())
    signed = low < 0 <= high
    scale = 255 / high if high > 0 else -256 / low
    if signed:
        scale = min(127 / high if high else np.inf, -128 / low)
    shift = int(np.floor(np.log2(scale))) + signed
    grid = next(bits for bits in range(8, -1, -1) if not (joint % 2**bits).any())
    return shift, 8 - shift - (grid - signed)


@dataclass(frozen=True)
class Kept:
    """What Lava computes with where a file says a dense layer's weights: a = floor((weight x) 2^exponent).

    Attributes:
        weight: (out, in), on the grid of ``bits`` and ``sign``.
        bits: of a weight.
        sign: mode.
        exponent: 0 or negative.
    """

    weight: Matrix
    bits: int
    sign: Sign
    exponent: int

    @property
    def meant(self) -> Matrix:
        """The weights in the file's units."""
        return self.weight >> -self.exponent


def kept_weights(*parts: Matrix) -> tuple[Kept, ...]:
    """Return what is left of weights that arrive at the same neurons, after the importer and after Lava.

    The importer clips, shifts and counts the bits of all parts together; Lava then infers the sign of each and cuts it.

    Args:
        parts: (out, in) each: from the layer before, and from the layer itself, if it has loops.

    Raises:
        Refused: the importer computes with no weights that could be told.
    """
    joint = np.hstack(parts)
    if not joint.any():
        # The importer divides by the largest weight; nothing arrives in any case.
        return tuple(Kept(part, 8, "mixed", 0) for part in parts)
    low, high = int(joint.min()), int(joint.max())
    if low < 0 and (high > 254 or (low < -256 and high > 0)):
        parts = tuple(np.clip(part, -256, 254) for part in parts)
        joint = np.hstack(parts)
        low, high = int(joint.min()), int(joint.max())
    if low < -256 or high > 255:
        raise Refused(f"weights {low} to {high}, and lava-dl's importer shifts them by a negative number of bits")
    shift, bits = _optimized(joint)
    if not WEIGHT_BITS[0] <= bits <= WEIGHT_BITS[1]:
        raise Refused(f"weights {low} to {high}, which lava-dl's importer says have {bits} bits")
    found = []
    for part in parts:
        kept, sign = stored_weight(part << shift, bits)
        # Lava makes weights of one sign with 9 bits 0, which is so with fewer, too.
        found.append(Kept(kept.astype(np.int64), min(bits, 8) if sign != "mixed" else bits, sign, -shift))
    return tuple(found)


def _changed(weight: Matrix, bits: int) -> str | None:
    """Return how Lava's dense synapse, which infers the sign mode by itself, changes weights of ``bits`` bits."""
    low, high = int(weight.min()), int(weight.max())
    if high <= 0 and low < -255:
        return f"the smallest weight, {low} after the importer's shift, is clipped to -255 where none is positive"
    cut = 8 - bits + (low < 0 < high)
    if cut < 0 or (weight >> max(cut, 0) << max(cut, 0) != weight).any():
        return "the importer counts bits for one sign mode, and Lava infers another, which cuts off the last bit"
    return None


def sides(matrix: Matrix) -> int:
    """Return the largest one-sided sum of a row."""
    return max(int(np.maximum(matrix, 0).sum(1).max()), int(np.maximum(-matrix, 0).sum(1).max()))


def scaled(synapse: Synapse) -> Matrix:
    """Return the weights with the exponent in them."""
    weight = synapse.weight.astype(np.int64)
    if synapse.exponent < 0:
        if (weight % 2**-synapse.exponent).any():
            raise Refused(
                f"{synapse.label}: exponent {synapse.exponent} floors the sum, which netx cannot; "
                f"it is exact only for weights that are multiples of {2**-synapse.exponent} (fewer weight bits)"
            )
        return np.asarray(weight >> -synapse.exponent, dtype=np.int64)
    return np.asarray(weight << synapse.exponent, dtype=np.int64)


def whole_matrix(program: Program, synapse: Synapse) -> Matrix:
    """Return all of a synapse as one matrix (target neurons, source neurons), exponent included."""
    weight, bound = scaled(synapse), program.bound(synapse)
    limit = 23 if isinstance(synapse, Convolution) and synapse.exponent == 0 else 31
    if max(bound, bound << max(synapse.exponent, 0)) >= 2**limit:
        raise Refused(f"{synapse.label}: sums up to {bound} leave {limit + 1} bits")
    return np.asarray(connections(program, synapse.model_copy(update={"weight": weight})).toarray(), dtype=np.int64)
