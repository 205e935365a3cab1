"""What Lava keeps of the weights and biases that it is given: how importers put integers on Loihi's grid.

A Program only takes integers that are on the grid already; lava-nc 0.10.0 clips, truncates and wraps silently.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ...toolkit.errors import InputError
from .parts import Sign

WEIGHT_BITS = (1, 9)


def _integers(name: str, array: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return ``array`` in 64 bits; only whole numbers that fit Lava's 32 are taken."""
    values = np.asarray(array)
    if values.dtype.kind not in "iu":
        raise InputError(f"{name}: values of type {values.dtype}, expected integers; quantize first")
    if values.size and (int(values.min()) < -(2**31) or int(values.max()) >= 2**31):
        raise InputError(f"{name}: values {values.min()} to {values.max()} do not fit 32 bits; scale them down")
    return values.astype(np.int64)


def stored_weight(
    weight: NDArray[np.integer], bits: int = 8, sign: Sign | Literal["null"] | None = None
) -> tuple[NDArray[np.int32], Sign]:
    """Return the weights that Lava computes with, and the sign mode that it uses.

    With k = 9 - bits for mixed signs and k = 8 - bits for one sign:

        mixed        w <- clip(w, -256, 255);       w <- floor(w / 2^k) 2^k
        excitatory   w <- clip(w, 0, 255);          w <- floor(w / 2^k) 2^k
        inhibitory   z <- clip(-w, 0, 255);         w <- -floor(z / 2^k) 2^k      toward zero

    Without ``sign`` it is inferred as Lava does: no weight negative, excitatory; none positive, inhibitory; else
    mixed. Lava's mode ``null`` behaves as excitatory. Weights of one sign with 9 bits all become 0 (Lava shifts by -1
    bits). Dense and sparse synapses only: Lava's convolution keeps every weight as it is.

    Args:
        weight: integers of any shape and 32 bits.
        bits: ``num_weight_bits``, 1...9; mixed weights count their sign.
        sign: the sign mode, or None to infer it.

    Raises:
        InputError: ``weight`` is empty, not integer or wider than 32 bits, or ``bits`` or ``sign`` is none of those.
    """
    w = _integers("weight", weight)
    if not w.size:
        raise InputError("weight: no values, so no sign can be inferred; give at least one")
    if not WEIGHT_BITS[0] <= bits <= WEIGHT_BITS[1]:
        raise InputError(f"weight: {bits} bits; choose {WEIGHT_BITS[0]} to {WEIGHT_BITS[1]}")
    if sign is None:
        sign = "excitatory" if w.min() >= 0 else "inhibitory" if w.max() <= 0 else "mixed"
    elif sign == "null":
        sign = "excitatory"
    if sign not in ("mixed", "excitatory", "inhibitory"):
        raise InputError(f"weight: sign mode {sign!r}; choose mixed, excitatory, inhibitory, null or none")
    direction = -1 if sign == "inhibitory" else 1
    magnitude = np.clip(direction * w, -256 if sign == "mixed" else 0, 255)
    dropped = 9 - bits if sign == "mixed" else 8 - bits
    kept = magnitude >> dropped << dropped if dropped >= 0 else np.zeros_like(magnitude)
    return (direction * kept).astype(np.int32), sign


def stored_bias(mantissa: NDArray[np.integer]) -> NDArray[np.int16]:
    """Return bias mantissas as Lava stores them, in 16 bits: ((m + 2^15) mod 2^16) - 2^15, so 40000 is -25536.

    Args:
        mantissa: integers of any shape and 32 bits.

    Raises:
        InputError: ``mantissa`` is not integer or wider than 32 bits.
    """
    return (((_integers("bias", mantissa) + 2**15) & (2**16 - 1)) - 2**15).astype(np.int16)
