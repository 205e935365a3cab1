"""From a path to a synapse's weights: pools folded in, on Loihi's grid."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import nir
import numpy as np
from numpy.typing import NDArray

from ...toolkit.errors import UnsupportedError
from ..nir.grids import on_grid
from ..nir.layers import Grid
from ..nir.nodes import geometry
from ..program.parts import Sign
from .paths import Floats, Path

Numbers = NDArray[Any]


@dataclass(frozen=True)
class Wire:
    """The weights of a synapse to be.

    Attributes:
        path: where it comes from.
        kind: of the synapse; ``one`` joins equal neurons, ``rows`` is the same dense weight for each row of the source.
        weight: integers on the grid of ``bits``, or real numbers yet to be quantized.
        unit: real value that 1 in ``weight`` adds to the membrane for a message of 1.
        bits: of an integer weight.
        counts: whether the weight only counts spikes, so that sums are exact multiples of it.
        moves: stride, padding, dilation and groups of a convolution.
        shape: of the target; None for dense weights, which fit any.
        sign: of an integer weight.
        times: how many rows the source has.
        most: bits that a weight layer's weights may have when they are rounded.
    """

    path: Path
    kind: Literal["convolution", "dense", "one", "rows"]
    weight: Numbers
    unit: float
    bits: int = 8
    counts: bool = False
    moves: Mapping[str, Any] | None = None
    shape: tuple[int, ...] | None = None
    sign: Sign = "mixed"
    times: int = 1
    most: int = 8

    @property
    def real(self) -> bool:
        """Whether the weight is yet to be quantized."""
        return self.weight.dtype.kind == "f"

    @property
    def sides(self) -> int:
        """The largest one-sided sum of weights that meets in one neuron."""
        rows = self.weight.reshape(self.weight.shape[0], -1)
        return max(int(np.maximum(rows, 0).sum(1).max()), int(np.maximum(-rows, 0).sum(1).max()))


def _on_grid(name: str, weight: Numbers, grids: Mapping[str, Grid]) -> NDArray[np.int64]:
    """Return the weights as integers on Loihi's mixed-sign grid, w = q 2^(9 - bits)."""
    if name not in grids:
        raise UnsupportedError(f"node {name!r}: the side-car names no weight grid for it; quantize and export again")
    grid = grids[name]
    real = np.asarray(weight, dtype=np.float64) / grid.step
    q = np.rint(real)
    limit = 2 ** (grid.bits - 1)
    if not np.isfinite(real).all() or np.abs(real - q).max() > 1e-3 or q.min() < -limit or q.max() > limit - 1:
        raise UnsupportedError(f"node {name!r}: weights are not on the grid of the side-car; quantize and export again")
    return q.astype(np.int64) << (9 - grid.bits)


def _pooled_kernel(path: Path, weight: Numbers, shape: tuple[int, ...]) -> tuple[Numbers, tuple[int, ...]]:
    """Fold a pool into the convolution behind it: kernel (x) ones(k), stride k; exact in integers."""
    assert path.pool is not None
    assert path.weights is not None
    name, pool = path.pool
    moves = geometry(name, pool)
    height, width = shape[1:]
    if (
        moves.stride != moves.kernel
        or any(map(any, moves.padding))
        or height % moves.kernel[0]
        or width % moves.kernel[1]
    ):
        raise UnsupportedError(
            f"node {name!r}: only pools without overlap or padding, that divide {height}x{width}, fold exactly"
        )
    if geometry(*path.weights).dilation != (1, 1):
        raise UnsupportedError(f"node {name!r}: cannot be folded into a dilated convolution")
    return np.kron(weight, np.ones((1, 1, *moves.kernel), dtype=weight.dtype)), moves.kernel


def _pooled_columns(path: Path, weight: Numbers, shape: tuple[int, ...]) -> Numbers:
    """Fold a pool into the dense weights behind it: each pooled column repeats for all it pools."""
    assert path.pool is not None
    name, pool = path.pool
    channels, height, width = shape
    moves = geometry(name, pool)
    kernel, stride = moves.kernel, moves.stride
    if any(map(any, moves.padding)):
        raise UnsupportedError(f"node {name!r}: pooling with padding does not fold exactly")
    rows, columns = moves.output((height, width))
    pooled = weight.reshape(-1, channels, rows, columns)
    full = np.zeros((weight.shape[0], channels, height, width), dtype=weight.dtype)
    for dy in range(kernel[0]):
        for dx in range(kernel[1]):
            full[:, :, dy : dy + rows * stride[0] : stride[0], dx : dx + columns * stride[1] : stride[1]] += pooled
    if full.dtype.kind == "i" and np.abs(full).max() > 256:
        raise UnsupportedError(f"node {name!r}: overlapping pooling needs weights beyond 9 bits")
    return full.reshape(weight.shape[0], -1)


def _convolution(
    path: Path, weight: Numbers, shape: tuple[int, ...]
) -> tuple[Numbers, dict[str, Any], tuple[int, ...]]:
    """Return kernel, moves and output shape of a convolution, with the pool before it folded in."""
    assert path.weights is not None
    name, node = path.weights
    moves = geometry(name, node)
    if any(before != after for before, after in moves.padding):
        raise UnsupportedError(f"node {name!r}: padding {moves.padding} differs before and after; pad symmetrically")
    stride, padding = moves.stride, tuple(before for before, _ in moves.padding)
    size = shape[1:]
    if path.pool is not None:
        weight, kernel = _pooled_kernel(path, weight, shape)
        size = tuple(n // k for n, k in zip(size, kernel, strict=True))
        stride = tuple(s * k for s, k in zip(stride, kernel, strict=True))
        padding = tuple(p * k for p, k in zip(padding, kernel, strict=True))
    options = {"stride": stride, "padding": padding, "dilation": moves.dilation, "groups": moves.groups}
    return weight, options, (len(weight), *moves.output(size))


def _per_input(path: Path, weight: Numbers, node: nir.NIRNode) -> Numbers:
    """Fold a Scale before the weights into them: one number a column, or an input channel."""
    assert path.before is not None
    if isinstance(node, nir.Conv2d):
        channels = path.before.reshape(path.before.shape[0], -1)
        if (channels != channels[:, :1]).any():
            raise UnsupportedError(f"{path.source!r}: a Scale must be one number a channel to fold into a convolution")
        groups = len(channels) // weight.shape[1]
        by_group = weight.reshape(groups, -1, *weight.shape[1:]) * channels[:, 0].reshape(groups, 1, -1, 1, 1)
        return by_group.reshape(weight.shape)
    rows = path.before.reshape(-1, weight.shape[1])
    if (rows != rows[:1]).any():
        raise UnsupportedError(f"{path.source!r}: a Scale must be the same at all times to fold into a linear node")
    return weight * rows[:1]


def _per_output(path: Path, weight: Numbers) -> Numbers:
    """Fold a Scale after the weights into them: one number a row, or an output channel."""
    assert path.scale is not None
    # Outputs are the last axis of a linear node, which may run row by row, and the first of convolutions and pools.
    linear = weight.ndim == 2
    by_row = path.scale.reshape(-1, len(weight)).T if linear else path.scale.reshape(len(weight), -1)
    if (by_row != by_row[:, :1]).any():
        what = (
            "the same at all times to fold into a linear node"
            if linear
            else "one number a channel to fold into a convolution"
        )
        raise UnsupportedError(f"{path.source!r}: a Scale must be {what}")
    return weight * by_row[:, :1].reshape(-1, *[1] * (weight.ndim - 1))


def wire(path: Path, shape: tuple[int, ...], gain: float, grids: Mapping[str, Grid] | None, bits: int = 8) -> Wire:
    """Return the weights of a path.

    Args:
        path: from a population or the input.
        shape: of the population or input.
        gain: what the membrane gains from an input of 1, times the real value of a message of 1.
        grids: weight grid a node; None leaves weights real, unless they are on a grid already.
        bits: that such a grid may take.

    Raises:
        UnsupportedError: a pool that does not fold exactly, or weights off their grid.
    """
    unit = gain if path.scale is None or path.scale.ndim else gain * float(path.scale)
    if path.before is not None and not path.before.ndim:
        unit *= float(path.before)
    if unit == 0 or (unit < 0 and path.weights is not None and grids is not None):
        raise UnsupportedError(f"{path.source!r}: a Scale by {path.scale} takes weights off their grid; fold it before")
    each = [scale for scale in (path.before, path.scale) if scale is not None and scale.ndim]
    if each and grids is not None:
        raise UnsupportedError(
            f"{path.source!r}: a Scale neuron by neuron takes weights off their grid; fold it before"
        )
    if path.pool is not None and isinstance(path.pool[1], nir.AvgPool2d):
        unit /= math.prod(geometry(*path.pool).kernel)
    if path.weights is None:
        found = _counting(path, shape, unit)
        return _rescaled(found, path) if each else found
    name, node = path.weights
    weight: Numbers = np.asarray(node.weight, dtype=np.float64) * np.sign(unit)
    unit, width = abs(unit), 8
    sign: Sign = "mixed"
    if path.before is not None and path.before.ndim:
        weight = _per_input(path, weight, node)
    if path.scale is not None and path.scale.ndim:
        weight = _per_output(path, weight)
    if grids is not None:
        weight, width = _on_grid(name, weight, grids), grids[name].bits
        unit *= grids[name].step / 2 ** (9 - width)
    elif path.pool is None or geometry(*path.pool).stride == geometry(*path.pool).kernel:
        on = on_grid(weight)
        # A ninth bit is none that rounding would spend, but nothing is rounded here.
        if on is not None and on.bits <= (9 if bits == 8 else bits):
            weight, unit, sign, width = on.weight, unit * on.unit, on.sign, on.bits
    if isinstance(node, nir.Conv2d):
        if len(shape) != 3:
            raise UnsupportedError(f"node {name!r}: a convolution of what is flat; remove the flattening before it")
        weight, moves, target = _convolution(path, weight, shape)
        return Wire(path, "convolution", weight, unit, width, moves=moves, shape=target, sign=sign, most=bits)
    if path.pool is not None:
        return Wire(path, "dense", _pooled_columns(path, weight, shape), unit, width, sign=sign, most=bits)
    times = math.prod(shape) // weight.shape[1]
    return Wire(path, "dense" if times == 1 else "rows", weight, unit, width, sign=sign, times=times, most=bits)


def constant(path: Path, values: Floats, gain: float) -> Wire:
    """Return what a neuron that fires at each step adds: its weights are the bias, (neurons,)."""
    return Wire(path, "dense", values.reshape(-1, 1), gain)


def _counting(path: Path, shape: tuple[int, ...], unit: float) -> Wire:
    """Return weights that only count spikes: one to one, or the ones of a pool."""
    # Twice a half: Loihi's weights of mixed sign are even, and a threshold fits between two sums.
    two, counts, unit = (2, True, unit) if unit > 0 else (-2, False, -unit)
    if path.pool is None:
        return Wire(path, "one", np.full(math.prod(shape), two), unit / 2, counts=counts, shape=shape)
    name, pool = path.pool
    moves = geometry(name, pool)
    channels = shape[0]
    options = {
        "stride": moves.stride,
        "padding": tuple(before for before, _ in moves.padding),
        "dilation": (1, 1),
        "groups": channels,
    }
    weight = np.full((channels, 1, *moves.kernel), two)
    target = (channels, *moves.output(shape[1:]))
    return Wire(path, "convolution", weight, unit / 2, counts=counts, moves=options, shape=target)


def matched(wires: list[Wire]) -> list[Wire]:
    """Return wires of which those that count spikes have weights of up to 2^7 where others are finer.

    Exponents would do the same, but one below 0 elsewhere rounds sums.
    """
    finest = min(one.unit for one in wires)
    made = []
    for one in wires:
        finer = min(math.floor(math.log2(one.unit / finest) + 1e-9), 6) if one.counts else 0
        made.append(replace(one, weight=one.weight << finer, unit=one.unit / 2**finer) if finer else one)
    return made


def _rescaled(found: Wire, path: Path) -> Wire:
    """Fold a Scale into weights that only count: one to one, or of a pool."""
    assert path.scale is not None
    weight = found.weight.astype(np.float64)
    if found.kind == "one":
        return replace(found, weight=weight * path.scale.reshape(-1), counts=False)
    return replace(found, weight=_per_output(path, weight), counts=False)


def quantized(wires: list[Wire], bits: int) -> list[Wire]:
    """Return the wires into one population with integer weights, steps a power of two apart.

    w = q 2^(9 - bits), q = round(real / step) in [-(2^(bits-1) - 1), 2^(bits-1) - 1]; the coarsest wire's step is its
    peak / (2^(bits-1) - 1), the others' that divided by as large a power of two, 2^8 at most, as their peaks allow.
    Where weights are on a grid already, theirs is the step that the others' are a power of two from.

    Args:
        wires: into one population.
        bits: of weights that are no layer's; a layer's have :attr:`Wire.most`.
    """
    kept = [one for one in wires if not one.real and not one.counts]
    if not any(one.real for one in wires) and _alike(wires):
        return wires
    widths = [bits if one.path.weights is None else one.most for one in wires]
    peaks = [float(np.abs(one.weight).max()) * one.unit for one in wires]
    if kept:
        anchor = max(kept, key=lambda one: float(np.abs(one.weight).max()) * one.unit)
        return [
            one if not one.real and _alike([anchor, one]) else _rounded(one, _step(anchor, peak, width), width)
            for one, peak, width in zip(wires, peaks, widths, strict=True)
        ]
    limits = [2 ** (width - 1) - 1 for width in widths]
    coarsest = max(peak / limit for peak, limit in zip(peaks, limits, strict=True)) or 1.0
    made = []
    for one, peak, width, limit in zip(wires, peaks, widths, limits, strict=True):
        finer = min(math.floor(math.log2(coarsest * limit / peak) + 1e-9), 8) if peak else 0
        made.append(_rounded(one, coarsest * 2.0**-finer, width))
    return made


def _alike(wires: list[Wire]) -> bool:
    """Return whether the units of integer weights are powers of two apart."""
    ratios = [math.log2(one.unit / wires[0].unit) for one in wires]
    return all(abs(ratio - round(ratio)) <= 1e-6 for ratio in ratios)


def _step(anchor: Wire, peak: float, bits: int) -> float:
    """Return the finest step, a power of two from the anchor's, 2^-8 at least, that holds ``peak``."""
    base = anchor.unit * 2 ** (9 - bits)
    coarser = math.ceil(math.log2(peak / (2 ** (bits - 1) - 1) / base) - 1e-9) if peak else 0
    return float(base * 2.0 ** max(coarser, -8))


def _rounded(one: Wire, step: float, bits: int) -> Wire:
    q = np.rint(one.weight * one.unit / step).astype(np.int64)
    unit = step / 2 ** (9 - bits)
    return replace(one, weight=q << (9 - bits), unit=unit, bits=bits, counts=False, sign="mixed")
