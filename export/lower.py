"""Lowering: from a NIR graph with its side-car to the integer Program."""

import math
from dataclasses import dataclass
from typing import Any

import nir
import numpy as np
from numpy.typing import NDArray

from ..toolkit.errors import UnsupportedError
from .nir import SideCar, chain
from .program import (
    BIAS_EXPONENT_MAX,
    BIAS_MANTISSA,
    VTH_MAX,
    WEIGHT_EXPONENT,
    Convolution,
    Dense,
    Input,
    Population,
    Program,
    Readout,
    Synapse,
)

Floats = NDArray[np.float64]
MEMORYLESS = 4095
"""du and dv of a neuron that forgets within a step (below threshold, an OR's voltage is 0 anyway)."""


@dataclass
class _Stage:
    """What stands between one population and the next: optional pool, then weights; shapes on the way."""

    source: str
    source_shape: tuple[int, ...]
    shape: tuple[int, ...]
    pool: tuple[str, nir.NIRNode] | None = None
    weights: tuple[str, nir.NIRNode] | None = None


def _pair(value: Any) -> tuple[int, int]:
    first, second = (int(v) for v in np.broadcast_to(value, (2,)))
    return first, second


def _scalar(name: str, what: str, values: NDArray[Any]) -> float:
    """Return the one value of a population's parameter."""
    flat = np.unique(np.asarray(values, dtype=np.float64))
    if flat.size != 1 or not np.isfinite(flat[0]):
        raise UnsupportedError(f"node {name!r}: {what} must be one finite number for the whole population, as on Loihi")
    return float(flat[0])


def _grid_weights(name: str, weight: NDArray[Any], sidecar: SideCar) -> NDArray[np.int64]:
    """Return the weights as integers on Loihi's mixed-sign grid, w = q 2^(9 - bits)."""
    if name not in sidecar.grids:
        raise UnsupportedError(f"node {name!r}: the side-car names no weight grid for it; quantize and export again")
    grid = sidecar.grids[name]
    real = np.asarray(weight, dtype=np.float64) / grid.step
    q = np.rint(real)
    limit = 2 ** (grid.bits - 1)
    if not np.isfinite(real).all() or np.abs(real - q).max() > 1e-3 or q.min() < -limit or q.max() > limit - 1:
        raise UnsupportedError(f"node {name!r}: weights are not on the grid of the side-car; quantize and export again")
    return q.astype(np.int64) << (9 - grid.bits)


def _pooled_kernel(stage: _Stage, weight: NDArray[np.int64]) -> tuple[NDArray[np.int64], tuple[int, int]]:
    """Fold an average pool into the convolution behind it: kernel (x) ones(k), stride k; exact in integers."""
    assert stage.pool is not None
    name, pool = stage.pool
    assert stage.weights is not None
    conv = stage.weights[1]
    kernel = _pair(pool.kernel_size)
    height, width = stage.source_shape[1:]
    if _pair(pool.stride) != kernel or _pair(pool.padding) != (0, 0) or height % kernel[0] or width % kernel[1]:
        raise UnsupportedError(
            f"node {name!r}: only pools without overlap or padding, that divide {height}x{width}, fold exactly"
        )
    if _pair(conv.dilation) != (1, 1):
        raise UnsupportedError(f"node {name!r}: cannot be folded into a dilated convolution")
    return np.kron(weight, np.ones((1, 1, *kernel), dtype=np.int64)), kernel


def _pooled_columns(stage: _Stage, weight: NDArray[np.int64]) -> NDArray[np.int64]:
    """Fold an average pool into the dense weights behind it: each pooled column repeats for all it pools."""
    assert stage.pool is not None
    name, pool = stage.pool
    channels, height, width = stage.source_shape
    kernel, stride = _pair(pool.kernel_size), _pair(pool.stride)
    if _pair(pool.padding) != (0, 0):
        raise UnsupportedError(f"node {name!r}: average pooling with padding does not fold exactly")
    rows = (height - kernel[0]) // stride[0] + 1
    columns = (width - kernel[1]) // stride[1] + 1
    pooled = weight.reshape(-1, channels, rows, columns)
    full = np.zeros((weight.shape[0], channels, height, width), dtype=np.int64)
    for dy in range(kernel[0]):
        for dx in range(kernel[1]):
            full[:, :, dy : dy + rows * stride[0] : stride[0], dx : dx + columns * stride[1] : stride[1]] += pooled
    if np.abs(full).max() > 256:
        raise UnsupportedError(f"node {name!r}: overlapping average pooling needs weights beyond 9 bits")
    return full.reshape(weight.shape[0], -1)


def _sides(weight: NDArray[np.int64]) -> int:
    """Return the largest one-sided sum of weights that meets in one neuron."""
    rows = weight.reshape(weight.shape[0], -1)
    return max(int(np.maximum(rows, 0).sum(1).max()), int(np.maximum(-rows, 0).sum(1).max()))


@dataclass(frozen=True)
class _Fit:
    """Exponents, threshold and bias that fit Loihi's fields."""

    exponent: int
    vth: int
    bias_exponent: int
    mantissa: NDArray[np.int64]


def _fit(name: str, unit: float, threshold: float, bias: Floats, peak: int) -> _Fit:
    """Choose the weight exponent nearest to 0 at which current, threshold and bias all fit their fields.

    Args:
        name: the population, for messages.
        unit: real value of one unit of the synaptic sum.
        threshold: real.
        bias: real, a neuron.
        peak: the largest magnitude of the synaptic sum.

    Raises:
        UnsupportedError: no exponent fits; the last obstacle is named.
    """
    why = ""
    for exponent in range(0, WEIGHT_EXPONENT[0] - 1, -1):
        coarse = unit * 2.0**-exponent
        vth = round(threshold / coarse)
        real = 64 * bias / coarse
        largest = float(np.abs(real).max(initial=0.0))
        bias_exponent = max(0, math.ceil(math.log2(largest / BIAS_MANTISSA[1]))) if largest else 0
        if (peak * 64) >> -exponent >= 2**23:
            why = f"a synaptic sum of {peak} would wrap the 24-bit current"
        elif not 1 <= vth <= VTH_MAX:
            why = f"threshold {threshold:g} is {threshold / coarse:g} units, allowed are 1 to {VTH_MAX}"
        elif bias_exponent > BIAS_EXPONENT_MAX:
            why = f"bias {float(np.abs(bias).max()):g} does not fit 13 bits times 2^{BIAS_EXPONENT_MAX}"
        else:
            # Rounding may push a mantissa to 4096, one beyond the field; the nearest it can hold is 4095.
            mantissa = np.clip(np.rint(real / 2**bias_exponent), *BIAS_MANTISSA).astype(np.int64)
            return _Fit(exponent, vth, bias_exponent, mantissa)
    raise UnsupportedError(f"node {name!r}: {why}; use fewer weight bits, smaller biases or a larger threshold")


def _lower_lif(name: str, node: nir.LIF, stage: _Stage, sidecar: SideCar) -> tuple[Population, Synapse]:
    """Lower weights and LIF to one synapse and one population."""
    if stage.weights is None:
        raise UnsupportedError(f"node {name!r}: LIF needs a convolution or linear node before it")
    weight_name, weights = stage.weights
    for what in ("v_leak", "v_reset"):
        if np.any(np.asarray(getattr(node, what)) != 0):
            raise UnsupportedError(f"node {name!r}: {what} must be 0; Loihi's LIF rests at and resets to 0")
    rate = sidecar.time_step / _scalar(name, "tau", node.tau)
    gain = rate * _scalar(name, "r", node.r)
    threshold = _scalar(name, "v_threshold", node.v_threshold)
    if not (0 < rate <= 1 and gain > 0 and threshold > 0):
        raise UnsupportedError(
            f"node {name!r}: needs 0 < dt/tau <= 1, R > 0 and threshold > 0; got {rate}, {gain}, {threshold}"
        )
    integers = _grid_weights(weight_name, weights.weight, sidecar)
    grid = sidecar.grids[weight_name]
    from_input = stage.source == "input"
    unit = grid.step / 2 ** (9 - grid.bits) * gain * (1 / sidecar.levels if from_input else 1.0)
    bias = np.asarray(getattr(weights, "bias", None) if getattr(weights, "bias", None) is not None else 0.0)
    bias = bias.astype(np.float64) * gain
    stride, padding = (1, 1), (0, 0)
    if isinstance(weights, nir.Conv2d):
        stride, padding = _pair(weights.stride), _pair(weights.padding)
        bias = np.broadcast_to(bias.reshape(-1, 1, 1), stage.shape)
    if stage.pool is not None:
        area = math.prod(_pair(stage.pool[1].kernel_size))
        unit /= area
        if isinstance(weights, nir.Conv2d):
            integers, kernel = _pooled_kernel(stage, integers)
            stride = (stride[0] * kernel[0], stride[1] * kernel[1])
            padding = (padding[0] * kernel[0], padding[1] * kernel[1])
        else:
            integers = _pooled_columns(stage, integers)
    peak = _sides(integers) * (sidecar.levels if from_input else 1)
    fit = _fit(name, unit, threshold, np.broadcast_to(bias, stage.shape).astype(np.float64), peak)
    population = Population(
        name=name,
        shape=stage.shape,
        du=MEMORYLESS,
        dv=round(rate * 4096),
        vth=fit.vth,
        bias_exponent=fit.bias_exponent,
        bias=fit.mantissa,
    )
    common: dict[str, Any] = {
        "source": stage.source,
        "target": name,
        "bits": grid.bits,
        "exponent": fit.exponent,
        "weight": integers,
    }
    if isinstance(weights, nir.Conv2d):
        common |= {"dilation": _pair(weights.dilation), "groups": int(weights.groups)}
        return population, Convolution(stride=stride, padding=padding, **common)
    return population, Dense(**common)


def _lower_threshold(name: str, node: nir.Threshold, stage: _Stage) -> tuple[Population, Synapse]:
    """Lower sum pooling of spikes and a threshold: for a threshold below 1, an OR.

    Weights of 2 and vth = 2 floor(threshold) + 1 put the integer threshold between two sums of spikes.
    """
    threshold = _scalar(name, "threshold", node.threshold)
    if stage.pool is None or stage.weights is not None or not isinstance(stage.pool[1], nir.SumPool2d):
        raise UnsupportedError(f"node {name!r}: a threshold is lowered only right after sum pooling of spikes")
    if stage.source == "input" or threshold < 0:
        raise UnsupportedError(
            f"node {name!r}: pools {stage.source!r} at threshold {threshold}; only spikes pool exactly"
        )
    pool = stage.pool[1]
    channels = stage.source_shape[0]
    population = Population(
        name=name,
        shape=stage.shape,
        du=MEMORYLESS,
        dv=MEMORYLESS,
        vth=2 * math.floor(threshold) + 1,
        bias=np.zeros(stage.shape, dtype=np.int32),
    )
    synapse = Convolution(
        source=stage.source,
        target=name,
        sign="excitatory",
        weight=np.full((channels, 1, *_pair(pool.kernel_size)), 2),
        stride=_pair(pool.stride),
        padding=_pair(pool.padding),
        groups=channels,
    )
    return population, synapse


def _convolved(shape: tuple[int, ...], node: nir.Conv2d) -> tuple[int, ...]:
    kernel = node.weight.shape[2:]
    sizes = zip(shape[1:], kernel, _pair(node.stride), _pair(node.padding), _pair(node.dilation), strict=True)
    return (node.weight.shape[0], *((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in sizes))


def _pooled(shape: tuple[int, ...], node: nir.NIRNode) -> tuple[int, ...]:
    sizes = zip(shape[1:], _pair(node.kernel_size), _pair(node.stride), _pair(node.padding), strict=True)
    return (shape[0], *((n + 2 * p - k) // s + 1 for n, k, s, p in sizes))


def lower(graph: nir.NIRGraph, sidecar: SideCar, source: str = "graph") -> Program:
    """Return the integer Program of a NIR graph.

    dv = round(4096 dt/tau); du = 4095; vth = round(threshold / unit); bias mantissa 2^exponent = round(64 bias / unit),
    where ``unit`` is the real value of one unit of the synaptic sum (docs/program.md).

    Args:
        graph: a chain of convolution, linear, pooling, flatten, LIF and threshold nodes.
        sidecar: what the file cannot hold.
        source: the file's name, for messages.

    Raises:
        UnsupportedError: a node that has no exact form; named with the reason.
    """
    nodes = chain(graph, source)
    shape: tuple[int, ...] = tuple(int(size) for size in nodes[0][1].input_type["input"])
    stage = _Stage("input", shape, shape)
    populations: list[Population] = []
    synapses: list[Synapse] = []
    for name, node in nodes[1:-1]:
        if isinstance(node, nir.SumPool2d | nir.AvgPool2d):
            if stage.pool is not None or stage.weights is not None or len(stage.shape) != 3:
                raise UnsupportedError(f"{source}: node {name!r}: pooling must follow a spiking node, on (C, H, W)")
            stage.pool, stage.shape = (name, node), _pooled(stage.shape, node)
        elif isinstance(node, nir.Conv2d | nir.Affine | nir.Linear):
            if stage.weights is not None:
                raise UnsupportedError(f"{source}: node {name!r}: two weight nodes without a spiking node between them")
            if len(stage.shape) != (3 if isinstance(node, nir.Conv2d) else 1):
                raise UnsupportedError(
                    f"{source}: node {name!r}: does not fit what comes before it, of shape {stage.shape}"
                )
            stage.weights = (name, node)
            stage.shape = _convolved(stage.shape, node) if isinstance(node, nir.Conv2d) else (node.weight.shape[0],)
        elif isinstance(node, nir.Flatten):
            stage.shape = (math.prod(stage.shape),)
        elif isinstance(node, nir.LIF | nir.Threshold):
            try:
                if isinstance(node, nir.LIF):
                    population, synapse = _lower_lif(name, node, stage, sidecar)
                else:
                    population, synapse = _lower_threshold(name, node, stage)
            except UnsupportedError as error:
                raise UnsupportedError(f"{source}: {error}") from error
            populations.append(population)
            synapses.append(synapse)
            stage = _Stage(name, population.shape, population.shape)
        else:
            raise UnsupportedError(
                f"{source}: node {name!r}: {type(node).__name__} has no exact form in Loihi's integers"
            )
    if stage.weights is not None or stage.pool is not None or not populations:
        raise UnsupportedError(f"{source}: the last node before the output must be LIF: classes are its spike counts")
    return Program(
        input=Input(shape=shape, message_bits=sidecar.input_bits, scale=1 / sidecar.levels),
        populations=tuple(populations),
        synapses=tuple(synapses),
        readout=Readout(population=populations[-1].name),
        steps=sidecar.steps,
    )
