"""Finding the grid that weights are on already: integers of at most 9 bits times a step."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..program.parts import Sign


@dataclass(frozen=True)
class OnGrid:
    """Weights as Loihi holds them: ``weight`` times ``unit``, within float32.

    Attributes:
        weight: integers, multiples of 2^(9 - bits), or of 2^(8 - bits) if all have one sign.
        unit: real value of 1.
        bits: the fewest that hold them.
        sign: mixed wherever 8 bits hold them so.
    """

    weight: NDArray[np.int64]
    unit: float
    bits: int
    sign: Sign


def on_grid(weight: NDArray[Any]) -> OnGrid | None:
    """Return the weights on the coarsest grid that all are on, w = q step; None if there is none of 9 bits.

    Args:
        weight: any shape, finite.
    """
    real = weight.astype(np.float64)
    values = np.unique(np.abs(real))
    values = values[values > 0]
    if not values.size or values.size > 256:
        return None
    # Within float32: a thousandth of a step.
    tried = values[-1] / np.arange(1, 257)
    step = next((one for one in tried if np.abs(values / one - np.rint(values / one)).max() < 1e-3), None)
    if step is None:
        return None
    q = np.rint(real / step).astype(np.int64)
    low, high = int(q.min()), int(q.max())
    mixed = max((-low - 1).bit_length() if low < 0 else 0, high.bit_length(), 1) + 1
    if mixed <= 8 or (mixed == 9 and low < 0 < high):
        return OnGrid(q << (9 - mixed), step / 2 ** (9 - mixed), mixed, "mixed")
    # Weights of one sign need no bit for it.
    if max(high, -low) <= 255 and not low < 0 < high:
        bits = max(high, -low).bit_length()
        return OnGrid(q << (8 - bits), step / 2 ** (8 - bits), bits, "excitatory" if high > 0 else "inhibitory")
    return None
