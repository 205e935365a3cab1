"""Samples for a NIR graph of any origin: images or spikes of an ``.npz`` file, as reals and as messages."""

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...toolkit.data import check_labels, read_npz
from ...toolkit.errors import InputError
from ...toolkit.files import digest, read_bytes

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Samples:
    """Input of a graph, and what its integer form receives for it.

    Attributes:
        real: (time, samples, ...), what the origin receives; a view where the same image is shown at each step.
        labels: (samples,) or None.
        input_bits: of a message; 0: spikes.
        sha256: of the file.
    """

    real: Floats
    labels: NDArray[np.int64] | None
    input_bits: int
    sha256: str

    def messages(self, part: slice) -> NDArray[np.int32]:
        """Return what the Program receives for some of them, (time, batch, ...): round((2^bits - 1) real)."""
        levels = 2**self.input_bits - 1 if self.input_bits else 1
        return np.rint(self.real[:, part].astype(np.float64) * levels).astype(np.int32)


def _real(x: NDArray[Any], source: str, spikes: bool) -> Floats:
    """Return the values as float32: 0 and 1 for spikes, else [0, 1]; 8-bit integers are divided by 255."""
    if x.dtype.kind not in "fiub":
        raise InputError(f"{source}: values of type {x.dtype}, expected numbers")
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        raise InputError(f"{source}: holds NaN or infinity; remove or repair it")
    low, high = x.min(), x.max()
    binary = bool(((x == 0) | (x == 1)).all())
    if spikes:
        if not binary:
            raise InputError(
                f"{source}: values from {low:g} to {high:g} that are not all 0 or 1; spikes (--input-bits 0) must be; "
                "for values in [0, 1] say how many bits a message has: --input-bits 8"
            )
        return x.astype(np.float32)
    if x.dtype == np.uint8:
        if binary and high:
            raise InputError(
                f"{source}: bytes of 0 and 1 are read as k/255, nearly black; for spikes say --input-bits 0, for "
                "images give floats in [0, 1]"
            )
        return x.astype(np.float32) / np.float32(255)
    if low < 0 or high > 1:
        raise InputError(f"{source}: values from {low:g} to {high:g}, expected [0, 1], or bytes; rescale them")
    return x.astype(np.float32)


def _counted(x: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Return x with the axes of 1 that a graph's input counts in front, if only these are lacking."""
    inner = shape[next((axis for axis, size in enumerate(shape) if size > 1), len(shape)) :]
    rest = x.shape[x.ndim - len(inner) :]
    if len(inner) == len(shape) or not inner or rest != inner or x.shape[x.ndim - len(shape) :] == shape:
        return x
    return x.reshape(*x.shape[: x.ndim - len(inner)], *shape)


def load_samples(
    path: Path,
    shape: tuple[int, ...],
    output: tuple[int, ...],
    *,
    steps: int | None = None,
    input_bits: int | None = None,
    samples: int | None = None,
) -> Samples:
    """Return the samples ``x`` and labels ``y`` (if any) of an ``.npz`` file.

    ``x`` with one dimension more than ``shape`` holds images (samples, ...), each shown at all ``steps``; with two
    more it holds what arrives step by step, (time, samples, ...).

    Args:
        path: the file.
        shape: of the graph's input.
        output: shape of what is read out: one neuron a class.
        steps: time steps; needed for images, else the length of ``x``.
        input_bits: 0 for spikes; by default 0 for (time, samples, ...) and 8 for images.
        samples: keep the first ones only.

    Raises:
        FileError: it cannot be read.
        InputError: shape, type or values do not fit.
    """
    x, *given = read_npz(path, ("x",), ("y",))
    source = f"{path}: x"
    x = _counted(x, shape)
    images, over_time = x.ndim == len(shape) + 1, x.ndim == len(shape) + 2
    if not (images or over_time) or x.shape[x.ndim - len(shape) :] != shape or 0 in x.shape:
        rest = ", ".join(map(str, shape))
        raise InputError(
            f"{source}: shape {x.shape}, but the graph's input is {shape}: expected images (samples, {rest}) or "
            f"spikes (time, samples, {rest}); reshape them"
        )
    if images and steps is None:
        raise InputError(f"{source}: images, each shown at every time step: say how many with --steps")
    if over_time and steps not in (None, len(x)):
        raise InputError(f"{source}: (time, samples, ...) with {len(x)} time steps, but --steps {steps}; leave it out")
    bits = input_bits if input_bits is not None else 8 if images else 0
    real = _real(x, source, spikes=bits == 0)
    if images:
        assert steps is not None
        real = np.broadcast_to(real, (steps, *real.shape))
    labels = check_labels(given[0], f"{path}: y", real.shape[1], prod(output))[:samples] if given else None
    return Samples(real[:, :samples], labels, bits, digest(read_bytes(path)))
