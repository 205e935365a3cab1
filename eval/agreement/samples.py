"""Samples for a NIR graph of any origin: images or spikes of an ``.npz`` file, as reals and as messages."""

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...toolkit.data import DARK, check_labels, read_npz
from ...toolkit.errors import InputError
from ...toolkit.files import digest, read_bytes

Floats = NDArray[np.float32]
COUNT_BITS = 24
"""Of a message, at most."""
LEAVE_OUT = "of a network from elsewhere only classes are known; leave y out"


@dataclass(frozen=True)
class Samples:
    """Input of a graph, and what its integer form receives for it.

    Attributes:
        real: (time, samples, ...), what the origin receives; a view where the same image is shown at each step.
        labels: (samples,) or None.
        input_bits: of a message; 0: spikes.
        sha256: of the file.
        levels: the message that stands for 1.0: the largest, or 1 where counts are sent as they are.
        scale: how the file's values were read, in words.
    """

    real: Floats
    labels: NDArray[np.int64] | None
    input_bits: int
    sha256: str
    levels: int
    scale: str

    def messages(self, part: slice) -> NDArray[np.int32]:
        """Return what the Program receives for some of them, (time, batch, ...): round(levels real)."""
        return np.rint(self.real[:, part].astype(np.float64) * self.levels).astype(np.int32)


@dataclass(frozen=True)
class _Read:
    """Values as the origin receives them, the bits of a message, the message that stands for 1.0, and words for it."""

    real: Floats
    bits: int
    levels: int
    scale: str


def _numbers(x: NDArray[Any], source: str) -> None:
    if x.dtype.kind not in "fiub":
        raise InputError(f"{source}: values of type {x.dtype}, expected numbers")
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        raise InputError(f"{source}: holds NaN or infinity; remove or repair it")


def _counts(x: NDArray[Any], source: str, bits: int | None) -> _Read:
    """Return counts of events: a message is the number itself."""
    most = int(x.max())
    needed = most.bit_length()
    if needed > COUNT_BITS:
        raise InputError(f"{source}: counts up to {most}; a message has {COUNT_BITS} bits at most")
    if bits is not None and bits < needed:
        raise InputError(f"{source}: counts up to {most} need {needed} bits a message; leave --input-bits out")
    found = bits or needed
    words = f"counts up to {most}, sent as they are in messages of {found} bits"
    return _Read(x.astype(np.float32), found, 1, words)


def _read(x: NDArray[Any], source: str, bits: int | None, over_time: bool) -> _Read:
    """Return the values as float32: spikes, counts over time, bytes (divided by 255), or numbers in [0, 1]."""
    _numbers(x, source)
    low, high = x.min(), x.max()
    binary = bool(((x == 0) | (x == 1)).all())
    image_bytes = x.dtype == np.uint8 and high >= DARK
    whole = low >= 0 and bool((x == np.rint(x)).all())
    if over_time and bits != 0 and whole and high > 1 and not image_bytes:
        return _counts(x, source, bits)
    if bits == 0 or (bits is None and over_time):
        if binary:
            return _Read(x.astype(np.float32), 0, 1, "spikes")
        read = "bytes are k/255" if x.dtype == np.uint8 else "values in [0, 1] are graded"
        raise InputError(
            f"{source}: values from {low:g} to {high:g} that are not all 0 or 1; spikes (--input-bits 0) must be; "
            f"{read} with --input-bits 8; counts of events, sent as they are, are whole numbers (time, samples, ...) "
            "of another type, as int16, without --input-bits"
        )
    found = 8 if bits is None else bits
    levels = 2**found - 1
    if x.dtype == np.uint8:
        if binary and high:
            raise InputError(
                f"{source}: bytes of 0 and 1 are read as k/255, nearly black; for spikes say --input-bits 0, for "
                "images give floats in [0, 1]"
            )
        if 0 < high < DARK:
            raise InputError(
                f"{source}: bytes from {low} to {high}, which read as k/255 are nearly black; give floats in [0, 1], "
                "scaled as the network was trained"
            )
        return _Read(x.astype(np.float32) / np.float32(255), found, levels, "bytes, divided by 255")
    if low < 0 or high > 1:
        raise InputError(f"{source}: values from {low:g} to {high:g}, expected [0, 1], or bytes; rescale them")
    return _Read(x.astype(np.float32), found, levels, "numbers in [0, 1], as they are")


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
    more it holds what arrives step by step, (time, samples, ...). Whole numbers beyond 1 over time are counts of
    events: the origin receives them as they are, and so does the Program, as graded messages.

    Args:
        path: the file.
        shape: of the graph's input.
        output: shape of what is read out: one neuron a class.
        steps: time steps; needed for images, else the length of ``x``.
        input_bits: 0 for spikes; by default 8 for images, 0 for (time, samples, ...), or what its counts need.
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
    read = _read(x, source, input_bits, over_time)
    real = read.real
    if images:
        assert steps is not None
        real = np.broadcast_to(real, (steps, *real.shape))
    labels = None
    if given:
        labels = check_labels(given[0], f"{path}: y", real.shape[1], prod(output), real=LEAVE_OUT)[:samples]
    return Samples(real[:, :samples], labels, read.bits, digest(read_bytes(path)), read.levels, read.scale)
