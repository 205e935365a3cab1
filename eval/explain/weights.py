"""What was done to weights that are not the network's: recognised by doing it to the network's own."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...export.program import Synapse
from ...export.program.parts import Convolution

Numbers = NDArray[Any]


def same(a: Numbers, b: Numbers) -> bool:
    """Return whether two arrays are equal but for the last bits of float64."""
    scale = max(float(np.abs(a).max(initial=0.0)), float(np.abs(b).max(initial=0.0)), 1e-300)
    return a.shape == b.shape and float(np.abs(a - b).max(initial=0.0)) <= 1e-9 * scale


def _turned(synapse: Synapse, expected: Numbers, shape: tuple[int, ...]) -> dict[str, Numbers]:
    """Return ways to mix up axes, by what they are."""
    if isinstance(synapse, Convolution):
        found = {"the kernel is rotated by 180 degrees": expected[:, :, ::-1, ::-1]}
        if expected.shape[2] == expected.shape[3]:
            found["height and width of the kernel are exchanged"] = expected.swapaxes(2, 3)
        return found
    if expected.ndim == 2 and len(shape) == 3:
        columns = expected.reshape(-1, *shape).transpose(0, 3, 2, 1).reshape(expected.shape)
        return {"columns are in the order (width, height, channels)": columns}
    return {}


def what_happened(synapse: Synapse, found: Numbers, expected: Numbers, shape: tuple[int, ...]) -> tuple[str, str]:
    """Return (code of a cause, evidence) for weights that differ.

    Args:
        synapse: of the Program.
        found: its weights, in units of the sum.
        expected: the quantized network's.
        shape: of the synapse's source.
    """
    for text, turned in _turned(synapse, expected, shape).items():
        if same(found, turned):
            return ("flipped_kernel" if "180" in text else "other_weights"), text
    one_sided = {
        "excitatory": np.maximum(expected, 0),
        "inhibitory": np.minimum(expected, 0),
    }
    if synapse.sign in one_sided and same(found, one_sided[synapse.sign]):
        lost = int((found != expected).sum())
        return "sign_mode", f"sign mode {synapse.sign!r} made {lost:,} of {found.size:,} weights 0"
    unit = 2.0**synapse.exponent
    for bits in range(1, 9):
        grid = unit * 2**bits
        for rule, cut in (("floor", np.floor), ("toward zero", np.trunc), ("nearest", np.rint)):
            if same(found, cut(expected / grid) * grid):
                return "weight_truncation", f"weights are cut to multiples of {2**bits} ({rule})"
    large = np.abs(expected) > 1e-9 * np.abs(expected).max(initial=0.0)
    ratios = found[large] / expected[large]
    if ratios.size and ratios.min() > 0 and np.ptp(ratios) <= 1e-9 * ratios.max() and not found[~large].any():
        return "other_weights", f"all weights are {ratios[0]:.6g} times those of the network"
    off = np.abs(found - expected) > 1e-9 * np.abs(expected).max(initial=1e-300)
    return "other_weights", (
        f"{int(off.sum()):,} of {found.size:,} weights differ, by up to {np.abs(found - expected).max() / unit:.4g}"
    )
